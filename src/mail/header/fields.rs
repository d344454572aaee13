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

/// The values of the fields that name recipients. What is not UTF-8 in them becomes U+FFFD: in a name that does no harm. Where
/// the message is resent, those of the first sending are not meant (RFC 5322 section 3.6.6).
pub fn recipient_fields(content: &[u8]) -> Vec<String> {
    let names = match is_resent(content) {
        true => ["Resent-To", "Resent-Cc", "Resent-Bcc"],
        false => ["To", "Cc", "Bcc"],
    };
    values(content, &names).collect()
}

/// The value of the field that says who has sent it: Sender, else From, or their like of the resender.
pub fn sender_field(content: &[u8]) -> Option<String> {
    let names = match is_resent(content) {
        true => ["Resent-Sender", "Resent-From"],
        false => ["Sender", "From"],
    };
    names.iter().find_map(|name| values(content, &[name]).next())
}

fn is_resent(content: &[u8]) -> bool {
    let is_resent = |name: &[u8]| name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"Resent-"));
    fields(content).any(|(name, _)| is_resent(name))
}

fn values<'a>(content: &'a [u8], names: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    fields(content)
        .filter(|(name, _)| names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted.as_bytes())))
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
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
