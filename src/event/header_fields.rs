//! Header fields to show to people: a header block cut into names and values (RFC 5322 section 2.2).
//!
//! For logs and listings. What is relayed is judged by [`crate::mail::header`], byte by byte, as it goes by.

/// One header field.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    /// As written, without white space around.
    pub name: &'a str,
    /// As written, folds included, without white space around.
    pub value: &'a str,
}

impl Field<'_> {
    /// Field names know no case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The header block as text, whatever it is encoded in: each line that is no UTF-8 is read as Latin-1.
pub fn readable(header: &[u8]) -> String {
    let mut text = String::with_capacity(header.len());
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        match str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) => text.extend(line.iter().map(|byte| char::from(*byte))),
        }
    }
    text
}

/// The fields up to the empty line, or up to the first line that is none (RFC 5322 section 2.2).
pub fn fields(text: &str) -> impl Iterator<Item = Field<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (name, _) = rest.split_once(':')?;
        let value_start = name.len() + 1;
        let name = name.trim_end_matches([' ', '\t']);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut end = value_start;
        // The value ends at the first line end that white space does not follow.
        loop {
            let length = rest[end..].find('\n').map_or(rest.len() - end, |at| at + 1);
            end += length;
            if length == 0 || !rest[end..].starts_with([' ', '\t']) {
                break;
            }
        }
        let value = &rest[value_start..end];
        rest = &rest[end..];
        Some(Field { name, value: value.trim() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(&str, &str)> {
        fields(text).map(|field| (field.name, field.value)).collect()
    }

    #[test]
    fn fields_end_with_the_header() {
        assert_eq!(
            cut("A: 1\r\nB :\r\n 2\r\n\t3\r\nC:\r\n\r\nD: 4\r\n"),
            [("A", "1"), ("B", "2\r\n\t3"), ("C", "")]
        );
        assert_eq!(cut("A: 1"), [("A", "1")]);
        assert_eq!(cut("no field\r\nA: 1\r\n"), []);
        assert_eq!(cut("A: 1\r\nno field: here\r\n"), [("A", "1")]);
        assert_eq!(cut(": 1\r\n"), []);
        assert_eq!(cut(""), []);
    }

    #[test]
    fn lines_that_are_no_utf8_are_latin1() {
        assert_eq!(readable(b"A: \xc3\xb6\r\nB: \xf6\r\n"), "A: \u{f6}\r\nB: \u{f6}\r\n");
    }
}
