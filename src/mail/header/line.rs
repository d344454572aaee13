//! What a line of the header block is, told from as little of it as possible.

use memchr::memchr2;

/// RFC 5322 section 2.1.1: longest line. A field's name and colon must lie within.
pub(super) const NAME_LIMIT: usize = 998;

/// What a line of the header block is, as far as its beginning tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeaderLine {
    /// Cannot be told from these bytes.
    Unclear,
    /// A field: its name has `name` bytes, its value begins at `value`.
    Field { name: usize, value: usize },
    /// Belongs to the field before it.
    Continuation,
    /// The empty line that ends the header.
    Empty,
    /// Something else: the body begins here.
    NotHeader,
}

pub(super) fn classify(line: &[u8]) -> HeaderLine {
    match line {
        [] | [b'\r'] => return HeaderLine::Unclear,
        [b' ' | b'\t', ..] => return HeaderLine::Continuation,
        [b'\n', ..] | [b'\r', b'\n', ..] => return HeaderLine::Empty,
        _ => {}
    }
    let line = &line[..line.len().min(NAME_LIMIT)];
    let name = line.iter().take_while(|byte| byte.is_ascii_graphic() && **byte != b':').count();
    let colon = name + line[name..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match line.get(colon) {
        Some(b':') if name > 0 => HeaderLine::Field { name, value: colon + 1 },
        None if line.len() < NAME_LIMIT => HeaderLine::Unclear,
        _ => HeaderLine::NotHeader,
    }
}

/// Whether a field names recipients that the others must not learn of: `Bcc` (RFC 5322 section 3.6.3) and `Resent-Bcc`
/// (section 3.6.6).
pub(super) fn is_bcc(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Bcc") || name.eq_ignore_ascii_case(b"Resent-Bcc")
}

/// The beginning of a line that was cut before it was clear what it is.
#[derive(Clone, Debug, Default)]
pub(super) struct PartialLine(pub(super) Vec<u8>);

impl PartialLine {
    /// Adds the least of `bytes` that may make it clear what the line is; says how many that were and what it is now.
    pub(super) fn add(&mut self, bytes: &[u8]) -> (usize, HeaderLine) {
        let clear = memchr2(b':', b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let taken = clear.min(NAME_LIMIT - self.0.len().min(NAME_LIMIT));
        self.0.extend_from_slice(&bytes[..taken]);
        (taken, classify(&self.0))
    }
}

/// Where a reader is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeaderPosition {
    LineStart,
    Value,
    Body,
}
