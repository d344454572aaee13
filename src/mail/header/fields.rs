//! The fields of a header block that is at hand as a whole.

use super::line::{HeaderLine, classify};
use memchr::memchr;

/// The fields at the start of `content`, each with its name and its value, line ends and folds included.
pub fn fields(content: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = content;
    std::iter::from_fn(move || {
        let HeaderLine::Field { name, value } = classify(rest) else { return None };
        let mut end = line_end(rest, value);
        while matches!(rest.get(end), Some(b' ' | b'\t')) {
            end = line_end(rest, end);
        }
        let (field, behind) = rest.split_at(end);
        rest = behind;
        Some((&field[..name], &field[value..]))
    })
}

/// Where the line that `from` is in ends, behind its LF.
fn line_end(bytes: &[u8], from: usize) -> usize {
    memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |at| from + at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Vec<(&str, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        fields(content.as_bytes()).map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn fields_end_where_the_body_begins() {
        assert_eq!(
            read("To: a@x,\r\n b@x\r\nbcc : c@x\r\n\t\r\nX:\r\n\r\nCc: body\r\n"),
            [("To", " a@x,\r\n b@x\r\n"), ("bcc", " c@x\r\n\t\r\n"), ("X", "\r\n")]
        );
        assert_eq!(read("To: a\r\nno field\r\nCc: b\r\n"), [("To", " a\r\n")]);
        assert_eq!(read("To: a"), [("To", " a")]);
        for none in ["", "\r\nTo: a\r\n", " To: a\r\n", "hello\r\n"] {
            assert_eq!(read(none), []);
        }
    }
}
