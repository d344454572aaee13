//! The log: diagnosis on standard error, as much of it and in the form that `[log]` says, changed by a reload.
//!
//! Promise: one event is one line, and no stranger's text steers the terminal that shows it: whatever a line was made of,
//! it passes [`is_printable`] on its way out. Nobody waits for standard error: [`writer`] writes, and says what it keeps
//! and what it drops. A panic is printed behind the lines that were logged before it, and what a process says last, behind
//! all of them.
//!
//! Limit: what was said before [`Log::start`] is lost; nobody says anything then.

pub mod writer;

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
use writer::Writer;

type Format = Box<dyn Layer<Registry> + Send + Sync>;
type Formatted = Layered<reload::Layer<Format, Registry>, Registry>;
type PanicHook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// How long a panic waits for the lines before it.
const PANIC_PATIENCE: Duration = Duration::from_secs(1);

/// The running log of this process.
#[derive(Clone)]
pub struct Log {
    filter: Handle<EnvFilter, Formatted>,
    format: Handle<Format, Registry>,
    writer: Arc<Writer>,
}

/// Dropped at the end of the process, it returns when all lines are written.
#[must_use = "dropped at once it waits for no line"]
pub struct LogEnd(Arc<Writer>);

impl Drop for LogEnd {
    fn drop(&mut self) {
        // Where nobody reads there is nobody to tell.
        let _ = self.0.close();
    }
}

impl Log {
    /// Starts it. A second start in one process (tests) leaves the first one's log alone, and its [`Log::change`] does
    /// nothing.
    ///
    /// # Errors
    /// The system starts no thread for the writer.
    pub fn start(settings: &LogSettings) -> io::Result<(Log, LogEnd)> {
        let writer = Writer::start(io::stderr(), |lost| {
            tracing::error!(
                lost,
                "log lines were lost: standard error was read too slowly, or could not be written"
            );
        })?;
        let (format, format_handle) = reload::Layer::new(format(settings, writer.clone()));
        let (filter, filter_handle) = reload::Layer::new(EnvFilter::new(&settings.level));
        if tracing_subscriber::registry().with(format).with(filter).try_init().is_ok() {
            let hook = behind_the_log(writer.clone(), std::panic::take_hook());
            std::panic::set_hook(hook);
        }
        let log = Log { filter: filter_handle, format: format_handle, writer: writer.clone() };
        Ok((log, LogEnd(writer)))
    }

    /// From the next event on, level and format are these.
    pub fn change(&self, settings: &LogSettings) {
        // Fails only where the log is another's, see `start`.
        let _ = self.format.reload(format(settings, self.writer.clone()));
        let _ = self.filter.reload(EnvFilter::new(&settings.level));
    }
}

/// Prints a panic once the lines before it are written. Where nobody reads them nobody would read the panic either, and
/// printing it would stop the thread for good.
fn behind_the_log(writer: Arc<Writer>, print: PanicHook) -> PanicHook {
    Box::new(move |panic| {
        if writer.flush(PANIC_PATIENCE) {
            print(panic);
        }
    })
}

fn format(settings: &LogSettings, writer: Arc<Writer>) -> Format {
    let colours = !settings.json && io::stderr().is_terminal();
    let lines = move || Lines { out: HandOver(writer.clone()), colours };
    let layer = fmt::layer().with_ansi(colours).with_writer(lines);
    if settings.json { Box::new(layer.json()) } else { Box::new(layer) }
}

/// Hands each line to the writer.
struct HandOver(Arc<Writer>);

impl Write for HandOver {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines, each given in one piece. Bytes that are no UTF-8 do not come from tracing.
struct Lines<W> {
    out: W,
    /// Escape characters are ours: tracing escapes those in values.
    colours: bool,
}

impl<W: Write> Write for Lines<W> {
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
        let mut lines = Lines { out: Vec::new(), colours };
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
        let writer = Writer::start(pipe.try_clone().unwrap(), |_| {}).unwrap();
        let before = std::panic::take_hook();
        let print = move |_: &PanicHookInfo<'_>| (&pipe).write_all(b"the panic\n").unwrap();
        std::panic::set_hook(behind_the_log(writer.clone(), Box::new(print)));
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
