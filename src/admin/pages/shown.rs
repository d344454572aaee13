//! Values as pages show them.

use jiff::Timestamp;

/// A time: for programs, and for readers without the script, in UTC. The script shows it in the zone of the reader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ShownTime {
    /// RFC 3339.
    pub(super) iso: String,
    /// `2026-11-22 14:03:05 UTC`.
    pub(super) utc: String,
}

impl From<Timestamp> for ShownTime {
    fn from(time: Timestamp) -> ShownTime {
        ShownTime { iso: format!("{time:.3}"), utc: time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string() }
    }
}

/// `1.2 MiB`.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// The first characters of a text, with an ellipsis where there are more.
pub(super) fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// How many bytes of texts a page may still show, so that it stays small whatever strangers write into mail and replies.
pub(super) struct TextBudget(usize);

impl TextBudget {
    /// When it is used up, texts are cut to so many characters.
    const LEAST: usize = 40;

    pub(super) fn new(bytes: usize) -> TextBudget {
        TextBudget(bytes)
    }

    /// The text, or its first `most` characters, or fewer.
    pub(super) fn text(&mut self, text: &str, most: usize) -> String {
        let mut shown = short(text, most);
        if escaped_len(&shown) > self.0 {
            shown = short(&shown, Self::LEAST);
        }
        self.0 = self.0.saturating_sub(escaped_len(&shown));
        shown
    }

    /// As much of the end of a text as there is room for, whole lines, and whether that is all.
    pub(super) fn last_lines(&mut self, text: &str) -> (String, bool) {
        let mut from = text.len();
        for line in text.split_inclusive('\n').rev() {
            let length = escaped_len(line);
            if length > self.0 {
                break;
            }
            self.0 -= length;
            from -= line.len();
        }
        (text[from..].to_owned(), from == 0)
    }
}

/// Bytes of a text in HTML.
pub(super) fn escaped_len(text: &str) -> usize {
    text.len() + 4 * text.bytes().filter(|byte| matches!(byte, b'<' | b'>' | b'&' | b'"' | b'\'')).count()
}

/// `1 message`, `12 messages`.
pub(super) fn count(number: u64, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {one}{s}", thousands(number))
}

/// `100,000`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_page_are_bounded_together() {
        let mut budget = TextBudget::new(200);
        assert_eq!(budget.text("short", 100), "short");
        assert_eq!(budget.text(&"<".repeat(100), 100).chars().count(), TextBudget::LEAST);
        assert_eq!(budget.text(&"x".repeat(100), 100).chars().count(), TextBudget::LEAST);
        let mut budget = TextBudget::new(12);
        assert_eq!(budget.last_lines("one\ntwo\n"), ("one\ntwo\n".to_owned(), true));
        assert_eq!(budget.last_lines("one\ntwo\n"), ("two\n".to_owned(), false));
    }

    #[test]
    fn values_are_short_and_clear() {
        assert_eq!(
            [0, 7, 999, 1000, 100_000, 1_234_567].map(thousands),
            ["0", "7", "999", "1,000", "100,000", "1,234,567"]
        );
        assert_eq!(
            (short("ä".repeat(5).as_str(), 5).as_str(), short("äääääa", 5).as_str()),
            ("äääää", "ääää…")
        );
        assert_eq!(
            (count(1, "message"), count(2000, "message")),
            ("1 message".into(), "2,000 messages".into())
        );
    }
}
