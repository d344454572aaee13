//! The log: diagnosis on standard error, as much of it and in the form that `[log]` says, changed by a reload.
//!
//! Promise: one event is one line, and no stranger's text steers the terminal that shows it: whatever a line was made of,
//! it is held against [`is_printable`] on its way out.
//!
//! Limit: what was said before [`Log::start`] is lost; nobody says anything then.

use crate::config::settings::LogSettings;
use crate::mail::printable::is_printable;
use std::io::{self, IsTerminal, Write};
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

type Format = Box<dyn Layer<Registry> + Send + Sync>;
type Formatted = Layered<reload::Layer<Format, Registry>, Registry>;

/// The running log of this process.
#[derive(Clone)]
pub struct Log {
    filter: Handle<EnvFilter, Formatted>,
    format: Handle<Format, Registry>,
}

impl Log {
    /// Starts it. A second start in one process (tests) leaves the first one's log alone, and its [`Log::change`] does
    /// nothing.
    pub fn start(settings: &LogSettings) -> Log {
        let (format, format_handle) = reload::Layer::new(format(settings));
        let (filter, filter_handle) = reload::Layer::new(EnvFilter::new(&settings.level));
        let _ = tracing_subscriber::registry().with(format).with(filter).try_init();
        Log { filter: filter_handle, format: format_handle }
    }

    /// From the next event on, level and format are these.
    pub fn change(&self, settings: &LogSettings) {
        // Fails only where the log is another's, see `start`.
        let _ = self.format.reload(format(settings));
        let _ = self.filter.reload(EnvFilter::new(&settings.level));
    }
}

fn format(settings: &LogSettings) -> Format {
    let colours = !settings.json && io::stderr().is_terminal();
    let layer = fmt::layer().with_ansi(colours).with_writer(move || Lines { out: io::stderr(), colours });
    if settings.json { Box::new(layer.json()) } else { Box::new(layer) }
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
    fn colours_are_for_terminals() {
        assert_eq!(written("\u{1b}[32mINFO\u{1b}[0m a\u{202e}b\n", true), "\u{1b}[32mINFO\u{1b}[0m a b\n");
    }
}
