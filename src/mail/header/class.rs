//! What a message's own header says of its class: who may go before it when mail waits.

use crate::mail::Class;

/// As many bytes of a value as tell it from others.
const VALUE_LIMIT: usize = 32;
/// A header with more such fields than this says nothing new.
const FIELDS_LIMIT: usize = 8;

/// A field that says something of the class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ClassField {
    /// `Precedence:` (RFC 2076 section 3.9), as mailing lists have it.
    Precedence,
    /// `List-Unsubscribe:` (RFC 2369 section 3.2).
    ListUnsubscribe,
    /// `Priority:` (RFC 2156 section 5.3.6).
    Priority,
    /// `X-Priority:`, 1 to 5, as mail programs have it.
    XPriority,
    /// `Importance:` (RFC 2156 section 5.3.4).
    Importance,
}

impl ClassField {
    /// The field of that name.
    pub(super) fn named(name: &[u8]) -> Option<ClassField> {
        const NAMES: [(&str, ClassField); 5] = [
            ("Precedence", ClassField::Precedence),
            ("List-Unsubscribe", ClassField::ListUnsubscribe),
            ("Priority", ClassField::Priority),
            ("X-Priority", ClassField::XPriority),
            ("Importance", ClassField::Importance),
        ];
        NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, field)| *field)
    }

    /// The class that it names with this value. What is unknown says nothing.
    fn class(self, value: &[u8]) -> Class {
        // `1 (Highest)` is how Outlook writes it.
        let word =
            value.split(|byte| matches!(byte, b' ' | b'\t' | b'(' | b';')).find(|word| !word.is_empty());
        let word = word.unwrap_or_default().to_ascii_lowercase();
        match (self, word.as_slice()) {
            (ClassField::ListUnsubscribe, _)
            | (ClassField::Precedence, b"bulk" | b"list" | b"junk")
            | (ClassField::Priority, b"non-urgent")
            | (ClassField::XPriority, b"4" | b"5")
            | (ClassField::Importance, b"low") => Class::Bulk,
            (ClassField::Priority, b"urgent")
            | (ClassField::XPriority, b"1" | b"2")
            | (ClassField::Importance, b"high") => Class::Urgent,
            _ => Class::Normal,
        }
    }
}

/// The values of such fields, gathered piece by piece.
#[derive(Default, Debug)]
pub(super) struct ClassFields(Vec<(ClassField, Vec<u8>)>);

impl ClassFields {
    /// Another field begins. Whether its value is wanted.
    pub(super) fn begin(&mut self, field: ClassField) -> bool {
        let wanted = self.0.len() < FIELDS_LIMIT;
        if wanted {
            self.0.push((field, Vec::new()));
        }
        wanted
    }

    /// The value of the last one goes on.
    pub(super) fn push(&mut self, value: &[u8]) {
        let Some((_, kept)) = self.0.last_mut() else { return };
        let text = value.iter().filter(|byte| !matches!(byte, b'\r' | b'\n'));
        let leading = kept.is_empty();
        let text = text.skip_while(|byte| leading && matches!(byte, b' ' | b'\t'));
        kept.extend(text.take(VALUE_LIMIT - kept.len()));
    }

    /// What they say together: bulk mail is bulk, however important its sender finds it.
    pub(super) fn class(&self) -> Class {
        let classes = || self.0.iter().map(|(field, value)| field.class(value));
        [Class::Bulk, Class::Urgent]
            .into_iter()
            .find(|wanted| classes().any(|class| class == *wanted))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::HeaderScan;
    use super::*;

    fn class(header: &str) -> Class {
        let mut whole = HeaderScan::new("instance");
        whole.push(header.as_bytes());
        let mut cut = HeaderScan::new("instance");
        header.as_bytes().chunks(1).for_each(|byte| cut.push(byte));
        assert_eq!(whole.class(), cut.class(), "{header}");
        whole.class()
    }

    #[test]
    fn the_header_says_who_may_go_first() {
        use Class::{Bulk, Normal, Urgent};
        for (header, expected) in [
            ("Subject: t\r\n\r\n", Normal),
            ("Precedence: bulk\r\n\r\n", Bulk),
            ("precedence:LIST\r\n\r\n", Bulk),
            ("Precedence:\r\n junk\r\n\r\n", Bulk),
            ("Precedence: first-class\r\n\r\n", Normal),
            ("List-Unsubscribe: <https://x.test/u>\r\n\r\n", Bulk),
            ("Priority: non-urgent\r\n\r\n", Bulk),
            ("Priority: urgent\r\n\r\n", Urgent),
            ("Priority: normal\r\n\r\n", Normal),
            ("X-Priority: 1 (Highest)\r\n\r\n", Urgent),
            ("X-Priority: 2\r\n\r\n", Urgent),
            ("X-Priority: 3\r\n\r\n", Normal),
            ("X-Priority: 5 (Lowest)\r\n\r\n", Bulk),
            ("X-Priority: 10\r\n\r\n", Normal),
            ("Importance: High\r\n\r\n", Urgent),
            ("Importance: low\r\n\r\n", Bulk),
            // What .NET's MailPriority.High writes, on a newsletter.
            ("X-Priority: 1\r\nPriority: urgent\r\nImportance: high\r\nList-Unsubscribe: <m>\r\n\r\n", Bulk),
            // The body says nothing.
            ("Subject: t\r\n\r\nPrecedence: bulk\r\n", Normal),
            ("Importance: hi", Normal),
        ] {
            assert_eq!(class(header), expected, "{header:?}");
        }
        assert_eq!(class(&format!("{}\r\n", "X-Priority: 1\r\n".repeat(100))), Urgent);
    }
}
