//! Tables, times and sizes for people, and text made safe to show.
//!
//! On a terminal a table is as wide as that: its columns are cut, those that matter least are left out where it is narrow, and its
//! heading comes again with each screenful. In a pipe nothing is cut and the heading comes once.

use crate::clock::{Clock, SystemClock};
use crate::mail::printable;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use terminal_size::{Height, Width, terminal_size};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two columns.
const GAP: usize = 2;
/// A column of text is not narrower on a terminal.
const NARROWEST: usize = 12;

/// One column of a table.
#[derive(Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    /// None for text of any length.
    width: Option<usize>,
    /// Columns with a higher rank are left out first; 0 never.
    rank: u8,
    colour: fn(&str) -> Option<&'static str>,
}

impl Column {
    /// As wide as that.
    pub(super) const fn fixed(name: &'static str, width: usize) -> Column {
        Column { width: Some(width), ..Column::text(name) }
    }

    /// Shares what the others leave of the terminal.
    pub(super) const fn text(name: &'static str) -> Column {
        Column { name, width: None, rank: 0, colour: |_| None }
    }

    pub(super) const fn rank(mut self, rank: u8) -> Column {
        self.rank = rank;
        self
    }

    pub(super) const fn coloured(mut self, colour: fn(&str) -> Option<&'static str>) -> Column {
        self.colour = colour;
        self
    }
}

/// The terminal that standard output is.
#[derive(Clone, Copy)]
pub(super) struct Terminal {
    width: usize,
    height: usize,
    colours: bool,
}

impl Terminal {
    /// None where standard output is no terminal. `COLUMNS` and `LINES` outrank what the terminal says; `NO_COLOR` and
    /// `TERM=dumb` take the colours.
    pub(super) fn of_stdout() -> Option<Terminal> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let variable = |name| std::env::var(name).ok()?.parse().ok().filter(|number| *number > 0);
        let (Width(width), Height(height)) = terminal_size().unwrap_or((Width(80), Height(24)));
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Some(Terminal {
            width: variable("COLUMNS").unwrap_or(width.into()),
            height: variable("LINES").unwrap_or(height.into()),
            colours: !no_color && !is_dumb,
        })
    }
}

/// A table on its way out.
pub(super) struct Table {
    columns: &'static [Column],
    terminal: Option<Terminal>,
    /// Of the columns that are shown, with their place; none before the first row.
    widths: Vec<(usize, usize)>,
    /// Rows until the heading comes again.
    until_heading: usize,
}

impl Table {
    pub(super) fn new(columns: &'static [Column]) -> Table {
        Table::on(Terminal::of_stdout(), columns)
    }

    fn on(terminal: Option<Terminal>, columns: &'static [Column]) -> Table {
        Table { columns, terminal, widths: Vec::new(), until_heading: 0 }
    }

    /// Writes rows, their cells made safe to show, or the heading alone where there is none yet. The first ones say how wide the
    /// columns are in a pipe.
    pub(super) fn rows(&mut self, out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
        if self.widths.is_empty() {
            self.widths = match self.terminal {
                Some(terminal) => fitting(self.columns, terminal.width),
                None => widest(self.columns, &rows),
            };
        }
        if rows.is_empty() && self.until_heading == 0 {
            self.heading(out)?;
        }
        for row in &rows {
            if self.until_heading == 0 {
                self.heading(out)?;
            }
            self.until_heading -= 1;
            self.line(out, row, true)?;
        }
        Ok(())
    }

    fn heading(&mut self, out: &mut impl Write) -> io::Result<()> {
        let names: Vec<String> = self.columns.iter().map(|column| column.name.to_owned()).collect();
        self.until_heading = self.terminal.map_or(usize::MAX, |one| one.height.saturating_sub(2).max(5));
        self.line(out, &names, false)
    }

    fn line(&self, out: &mut impl Write, cells: &[String], coloured: bool) -> io::Result<()> {
        let mut line = String::new();
        let mut blanks = 0;
        for (place, width) in &self.widths {
            let cell = &cells[*place];
            let cell = if self.terminal.is_some() { cut(cell, *width) } else { cell.clone() };
            line.extend(std::iter::repeat_n(' ', blanks));
            blanks = width.saturating_sub(cell.width()) + GAP;
            let colours = coloured && self.terminal.is_some_and(|terminal| terminal.colours);
            match (self.columns[*place].colour)(&cell).filter(|_| colours) {
                Some(colour) => line += &format!("\x1b[{colour}m{cell}\x1b[0m"),
                None => line += &cell,
            }
        }
        writeln!(out, "{}", line.trim_end())
    }
}

/// The columns that fit a terminal, with their widths.
fn fitting(columns: &[Column], width: usize) -> Vec<(usize, usize)> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let needed = |shown: &[usize]| {
        let widths = shown.iter().map(|place| columns[*place].width.unwrap_or(NARROWEST) + GAP);
        widths.sum::<usize>().saturating_sub(GAP)
    };
    while needed(&shown) > width {
        let least = shown.iter().copied().max_by_key(|place| columns[*place].rank);
        let Some(least) = least.filter(|place| columns[*place].rank > 0) else { break };
        shown.retain(|place| *place != least);
    }
    let mut texts = shown.iter().filter(|place| columns[**place].width.is_none()).count();
    let mut spare = width.saturating_sub(needed(&shown));
    let widths = shown.into_iter().map(|place| {
        let width = columns[place].width.unwrap_or_else(|| {
            let share = spare / texts.max(1);
            (spare, texts) = (spare - share, texts - 1);
            NARROWEST + share
        });
        (place, width)
    });
    widths.collect()
}

/// All columns, each as wide as its widest cell.
fn widest(columns: &[Column], rows: &[Vec<String>]) -> Vec<(usize, usize)> {
    let width = |(place, column): (usize, &Column)| {
        let cells = rows.iter().map(|row| row[place].width()).max().unwrap_or(0);
        // Without a row nothing else is known.
        let least = column.width.filter(|_| rows.is_empty()).unwrap_or(0);
        (place, cells.max(column.name.len()).max(least))
    };
    columns.iter().enumerate().map(width).collect()
}

/// The colour of a state of a message or a recipient, or of an upstream's, or of an event's type: its first word says it.
pub(super) fn state_colour(state: &str) -> Option<&'static str> {
    match state.split(' ').next().unwrap_or_default() {
        "failed" | "expired" | "damaged" | "open" | "Error" => Some("31"),
        "held" | "limited" | "probing" | "skipped" | "Warning" => Some("33"),
        "deferred" => Some("36"),
        "delivered" | "sent" | "ok" => Some("32"),
        _ => None,
    }
}

/// A word of [`state_colour`], coloured where standard output is a terminal that has colours.
pub(super) fn coloured(word: &str) -> String {
    match state_colour(word).filter(|_| Terminal::of_stdout().is_some_and(|terminal| terminal.colours)) {
        Some(colour) => format!("\x1b[{colour}m{word}\x1b[0m"),
        None => word.to_owned(),
    }
}

/// Text of strangers, made safe to show; on a terminal cut to `most` columns. Whoever reads standard output by a pipe gets
/// all of it.
pub(super) fn safe(text: &str, most: usize) -> String {
    if io::stdout().is_terminal() { cut(&printable(text), most) } else { printable(text) }
}

fn cut(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut width = 0;
    for character in text.chars() {
        width += character.width().unwrap_or(0);
        if width >= most {
            break;
        }
        shown.push(character);
    }
    shown + "…"
}

/// A word as JSON has it.
pub(super) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec_short().to_string()
}

/// A time in a table: in the time zone of who looks at it, on a terminal as `ls -l` has it, else with its offset.
pub(super) fn time(time: Timestamp) -> String {
    let local = time.to_zoned(TimeZone::system());
    if !io::stdout().is_terminal() {
        return local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    }
    let near = SignedDuration::from_hours(180 * 24);
    let is_near = SystemClock::default().wall().duration_since(time).abs() < near;
    local.strftime(if is_near { "%b %e %H:%M" } else { "%Y-%m-%d" }).to_string()
}

/// As [`time`], to the second.
pub(super) fn time_to_second(time: Timestamp) -> String {
    let local = time.to_zoned(TimeZone::system());
    let format = if io::stdout().is_terminal() { "%b %e %H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S%:z" };
    local.strftime(format).to_string()
}

/// A time with its offset, and how far away it is.
pub(super) fn time_and_distance(time: Timestamp) -> String {
    format!("{} ({})", time_with_offset(time), distance(time.duration_since(SystemClock::default().wall())))
}

/// `2026-11-20 14:03:22 +01:00`, in the time zone of who looks at it.
pub(super) fn time_with_offset(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// A text of ours whose times are in UTC, with them in the time zone of who looks at it.
pub(super) fn with_local_times(text: &str) -> String {
    let localized = |word: &str| {
        let bare = word.trim_end_matches([' ', ',', ';']);
        match bare.parse::<Timestamp>() {
            Ok(time) => time_with_offset(time) + &word[bare.len()..],
            Err(_) => word.to_owned(),
        }
    };
    text.split_inclusive(' ').map(localized).collect()
}

/// `in 5m`, `2h ago`.
fn distance(ahead: SignedDuration) -> String {
    let seconds = ahead.unsigned_abs().as_secs();
    let amount = match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    };
    if ahead.is_positive() { format!("in {amount}") } else { format!("{amount} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: &[Column] = &[
        Column::fixed("ID", 4),
        Column::fixed("STATE", 8).rank(1).coloured(state_colour),
        Column::text("TO"),
        Column::text("SUBJECT").rank(2),
    ];

    fn printed(terminal: Option<Terminal>, rows: usize) -> String {
        let row = ["0001", "failed", "ann\u{1b}@example.com", "日本語の件名はとても長いです"];
        let rows = vec![row.map(str::to_owned).to_vec(); rows];
        let mut out = Vec::new();
        Table::on(terminal, SOME).rows(&mut out, &rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn terminal(width: usize, colours: bool) -> Option<Terminal> {
        Some(Terminal { width, height: 12, colours })
    }

    #[test]
    fn what_does_not_fit_on_a_terminal_is_cut_and_marked() {
        assert_eq!(cut("häagen ", 7), "häagen ");
        assert_eq!(cut("häagen dazs", 7), "häagen…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
    }

    #[test]
    fn a_table_is_as_wide_as_the_terminal_and_leaves_out_what_matters_least() {
        for width in 20..120 {
            let text = printed(terminal(width, false), 3);
            assert!(text.lines().all(|line| line.width() <= width), "{width}:\n{text}");
            assert!(text.contains("ID") && text.contains("TO"), "{text}");
            assert_eq!(text.contains("SUBJECT"), width >= 4 + 8 + 2 * NARROWEST + 3 * GAP, "{width}");
            assert_eq!(text.contains("STATE"), width >= 4 + 8 + NARROWEST + 2 * GAP, "{width}");
        }
    }

    #[test]
    fn the_heading_comes_with_each_screenful_and_once_in_a_pipe() {
        let headings = |text: &str| text.lines().filter(|line| line.starts_with("ID")).count();
        assert_eq!(headings(&printed(terminal(80, false), 25)), 3);
        let piped = printed(None, 25);
        assert_eq!(headings(&piped), 1);
        assert!(piped.contains("日本語の件名はとても長いです"), "nothing is cut in a pipe");
    }

    #[test]
    fn colours_stand_around_words_of_our_own_alone() {
        let text = printed(terminal(80, true), 1);
        assert!(text.contains("\u{1b}[31mfailed\u{1b}[0m"), "{text:?}");
        assert!(text.contains("ann @example.com"), "{text:?}");
        assert!(!printed(terminal(80, false), 1).contains('\u{1b}'));
    }

    #[test]
    fn distances_are_for_people() {
        assert_eq!(distance(SignedDuration::from_secs(300)), "in 5m");
        assert_eq!(distance(SignedDuration::from_hours(-30)), "30h ago");
        assert_eq!(distance(SignedDuration::from_hours(-72)), "3d ago");
        assert_eq!(distance(SignedDuration::from_secs(-1)), "1s ago");
    }
}
