//! The log: diagnosis on standard error, with the level and in the format that `[log]` says, changed by a reload.
//!
//! Promise: one tracing event is one line, and text of clients and upstreams cannot control the terminal that shows it: every
//! character that is not printable is replaced ([`is_printable`]). No caller waits for standard error: a thread writes, see
//! `log::writer`. A panic is printed after the lines that were logged before it.
//!
//! Limit: what is logged before [`Log::start`] is lost; nothing is.

mod writer;

use crate::config::settings::LogSettings;
use crate::mail::printable::is_printable;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};
use writer::LogWriter;

type Format = Box<dyn Layer<Registry> + Send + Sync>;
type Formatted = Layered<reload::Layer<Format, Registry>, Registry>;
type PanicHook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// How long a panic waits until the lines before it are written.
const PANIC_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The running log of this process.
#[derive(Clone)]
pub struct Log {
    filter: Handle<EnvFilter, Formatted>,
    format: Handle<Format, Registry>,
    writer: Arc<LogWriter>,
}

/// Dropped at the end of the process, it waits until all lines are written.
#[must_use = "dropped at once it waits for no line"]
pub struct LogGuard(Arc<LogWriter>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        // If standard error is not read, there is nothing left to do.
        let _ = self.0.close();
    }
}

impl Log {
    /// Starts the log. A second start in one process (tests) has no effect, and neither has its [`Log::change`].
    ///
    /// # Errors
    /// The system starts no thread for the writer.
    pub fn start(settings: &LogSettings) -> io::Result<(Log, LogGuard)> {
        let writer = LogWriter::start(io::stderr(), |lost| {
            tracing::error!(
                lost,
                "log lines were lost: standard error was read too slowly, or could not be written"
            );
        })?;
        let (format, format_handle) = reload::Layer::new(format(settings, writer.clone()));
        let (filter, filter_handle) = reload::Layer::new(EnvFilter::new(&settings.level));
        if tracing_subscriber::registry().with(format).with(filter).try_init().is_ok() {
            let hook = print_after_log(writer.clone(), std::panic::take_hook());
            std::panic::set_hook(hook);
        }
        let log = Log { filter: filter_handle, format: format_handle, writer: writer.clone() };
        Ok((log, LogGuard(writer)))
    }

    /// From the next event on, level and format are these.
    pub fn change(&self, settings: &LogSettings) {
        // Fails only after a second start, see `start`.
        let _ = self.format.reload(format(settings, self.writer.clone()));
        let _ = self.filter.reload(EnvFilter::new(&settings.level));
    }
}

/// Prints a panic once the lines before it are written. If standard error is not read, printing would block the thread for
/// ever, so the panic is not printed.
fn print_after_log(writer: Arc<LogWriter>, print: PanicHook) -> PanicHook {
    Box::new(move |panic| {
        if writer.flush(PANIC_FLUSH_TIMEOUT) {
            print(panic);
        }
    })
}

fn format(settings: &LogSettings, writer: Arc<LogWriter>) -> Format {
    let colours = !settings.json && io::stderr().is_terminal();
    let lines = move || PrintableLines { out: QueueLine(writer.clone()), colours };
    let layer = fmt::layer().with_ansi(colours).with_writer(lines);
    if settings.json { Box::new(layer.json()) } else { Box::new(layer) }
}

/// Gives each line to the writer.
struct QueueLine(Arc<LogWriter>);

impl Write for QueueLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Replaces what is not printable. Each line is given in one piece; tracing writes UTF-8 only.
struct PrintableLines<W> {
    out: W,
    /// Escape characters are colours of tracing, which escapes those in values.
    colours: bool,
}

impl<W: Write> Write for PrintableLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') || *byte == 0x1b && self.colours;
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if text.iter().all(plain) {
            self.out.write_all(line)?;
            return Ok(line.len());
        }
        let shown = |character| match character {
            '\u{1b}' if self.colours => character,
            character if is_printable(character) => character,
            _ => ' ',
        };
        let mut safe: String = String::from_utf8_lossy(text).chars().map(shown).collect();
        if text.len() < line.len() {
            safe.push('\n');
        }
        self.out.write_all(safe.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str, colours: bool) -> String {
        let mut lines = PrintableLines { out: Vec::new(), colours };
        lines.write_all(line.as_bytes()).unwrap();
        String::from_utf8(lines.out).unwrap()
    }

    #[test]
    fn a_line_stays_one_and_shows_what_stands_in_it() {
        assert_eq!(written("from=\"a@x\" ✓\n", false), "from=\"a@x\" ✓\n");
        assert_eq!(written("a\u{202e}b\r\nINFO forged\u{9b}\u{1b}[2J\n", false), "a b  INFO forged  [2J\n");
        assert_eq!(written("no end", false), "no end");
    }

    #[test]
    fn a_panic_stands_behind_the_lines_before_it() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let writer = LogWriter::start(pipe.try_clone().unwrap(), |_| {}).unwrap();
        let before = std::panic::take_hook();
        let print = move |_: &PanicHookInfo<'_>| (&pipe).write_all(b"the panic\n").unwrap();
        std::panic::set_hook(print_after_log(writer.clone(), Box::new(print)));
        let panicked = std::panic::catch_unwind(|| {
            (0..100).for_each(|_| writer.push(b"a line\n"));
            panic!("asked for by a test");
        });
        std::panic::set_hook(before);
        assert!(panicked.is_err());
        let expected = "a line\n".repeat(100) + "the panic\n";
        let mut said = vec![0; expected.len()];
        io::Read::read_exact(&mut reader, &mut said).unwrap();
        assert_eq!(String::from_utf8(said).unwrap(), expected);
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(written("\u{1b}[32mINFO\u{1b}[0m a\u{202e}b\n", true), "\u{1b}[32mINFO\u{1b}[0m a b\n");
    }
}
