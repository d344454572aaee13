//! Text that strangers wrote, made safe to show: on a terminal, in a log, in events, on pages, in `logemails.log`.
//!
//! Promise: what [`printable`] returns stays on its line, steers no terminal, and is read in the order in which it stands
//! there. Whatever shows a stranger's text asks this module and decides nothing for itself.
//!
//! Limits: letters that look alike (`а` and `a`) are not told apart, and text of languages that are written from right to
//! left stays as it is. Emoji keep the joiners that they are made with; flags of regions, which are made of invisible
//! letters, lose them.

use std::fmt::Write;

/// Whether a character may be shown as it is. Not: control characters (general category Cc), the line ends that Unicode
/// knows besides (U+2028, U+2029), all with the property `Bidi_Control`, which turn the direction of writing (UAX #9), and
/// those that take no place, which make two texts look the same (zero-width space, word joiner, byte order mark,
/// annotations, tags).
pub fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with a space for each character that may not be shown as it is. What comes of it twice is what comes of it
/// once.
pub fn printable(text: &str) -> String {
    // Nearly all of it is plain ASCII, which need not be looked at letter by letter.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    text.chars().map(|character| if is_printable(character) { character } else { ' ' }).collect()
}

/// At most `most` characters of a text; what was cut off is shown by `…` at the end.
pub fn shortened(mut text: String, most: usize) -> String {
    if text.len() > most
        && let Some((end, _)) = text.char_indices().nth(most)
    {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// As [`printable`], of bytes that may be no text at all: each that is no UTF-8 is written `\xfc`.
pub fn printable_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&printable(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a String does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Each line of a text of our own that quotes strangers, as [`printable`] has it. Only for texts whose line ends are ours.
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// JSON with the characters that may not be shown as they are written as `\u202e` (RFC 8259 section 7): whoever reads the
/// value gets every character, and whoever looks at it sees what stands there. Line ends stay: in JSON they stand between
/// values only.
pub fn escaped_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if is_printable(character) || character == '\n' {
            text.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a String does not fail.
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of Unicode's PropList.txt: all that has `Bidi_Control`.
    const TURNS: &str =
        "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";

    #[test]
    fn what_breaks_a_line_steers_a_terminal_or_turns_the_writing_is_a_space() {
        for bad in TURNS
            .chars()
            .chain("\0\t\r\n\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{200b}\u{feff}\u{e0041}".chars())
        {
            assert_eq!(printable(&format!("a{bad}b")), "a b", "{bad:?}");
        }
    }

    #[test]
    fn what_people_write_stays() {
        for good in [
            "Grüße ✓",
            "שלום",
            "مرحبا",
            "नमस्ते",
            "e\u{301}",
            "👩\u{200d}👩\u{200d}👧",
            "می\u{200c}خواهم",
            "\u{a0}",
            "日本",
            "\\x00",
        ] {
            assert_eq!(printable(good), good);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_written_out() {
        assert_eq!(printable_bytes(b"f\xfcr \0\r \x1b[1m"), "f\\xfcr     [1m");
        assert_eq!(printable_bytes("für ✓ \u{202e}".as_bytes()), "für ✓  ");
    }

    #[test]
    fn lines_of_our_own_stay_lines() {
        assert_eq!(printable_lines("a\u{1b}\nb\r"), "a \nb ");
    }

    #[test]
    fn escaped_json_is_the_same_value_and_shows_nothing_that_is_not_there() {
        let value = serde_json::json!({ "a\u{202e}": "x\u{9b}y\u{e0041}\n", "b": ["✓"] });
        let shown = escaped_json(&value.to_string());
        assert_eq!(shown, r#"{"a\u202e":"x\u009by\udb40\udc41\n","b":["✓"]}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    proptest! {
        #[test]
        fn nothing_gets_through(bytes: Vec<u8>, text: String) {
            let (bytes, once) = (printable_bytes(&bytes), printable(&text));
            prop_assert!(bytes.chars().chain(once.chars()).all(is_printable));
            prop_assert_eq!(once.chars().count(), text.chars().count());
            prop_assert_eq!(printable(&once), once);
        }

        #[test]
        fn every_json_text_survives(text: String) {
            let shown = escaped_json(&serde_json::to_string(&text).unwrap());
            prop_assert!(shown.chars().all(is_printable));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
