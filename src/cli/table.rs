//! Tables for the terminal, and text made safe to show there.

use crate::mail::printable;
use std::io::{self, IsTerminal, Write};

/// Prints rows under a heading, each column as wide as its widest cell. Cells are made safe to show here.
pub(super) fn print(heading: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let mut out = io::stdout().lock();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let heading: Vec<String> = heading.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&heading).chain(&rows) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Text of strangers, made safe to show; on a terminal cut to `most` characters. Whoever reads standard output by a pipe
/// gets all of it.
pub(super) fn safe(text: &str, most: usize) -> String {
    if io::stdout().is_terminal() { cut(text, most) } else { printable(text) }
}

fn cut(text: &str, most: usize) -> String {
    let mut shown: String = printable(text).chars().take(most).collect();
    if text.chars().count() > most {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// A number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec_short().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_on_a_terminal_is_cut_and_marked() {
        assert_eq!(cut("häagen\u{202e}", 7), "häagen ");
        assert_eq!(cut("häagen dazs", 7), "häagen…");
    }
}
