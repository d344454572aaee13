//! The fields of a header block that comes in pieces, cut anywhere.

use super::line::{HeaderLine, HeaderPosition, PartialLine, classify};
use memchr::memchr;

/// A piece of a field.
pub(super) enum Part<'a> {
    /// A field begins; its name as it is written.
    Name(&'a [u8]),
    /// More of its value, at most to the end of a line.
    Value(&'a [u8]),
}

/// Tells the fields of a header block. Keeps nothing but the beginning of a line that was cut.
#[derive(Debug)]
pub(super) struct FieldReader {
    position: HeaderPosition,
    first_line: bool,
    starts_well: bool,
    pub(super) partial: PartialLine,
}

impl Default for FieldReader {
    fn default() -> FieldReader {
        FieldReader {
            position: HeaderPosition::LineStart,
            first_line: true,
            starts_well: false,
            partial: PartialLine::default(),
        }
    }
}

impl FieldReader {
    /// The next bytes of the content.
    pub(super) fn push(&mut self, bytes: &[u8], mut part: impl FnMut(Part<'_>)) {
        let mut rest = bytes;
        while !rest.is_empty() && self.position != HeaderPosition::Body {
            if self.position == HeaderPosition::LineStart {
                rest = self.begin_line(rest, &mut part);
                continue;
            }
            let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (value, behind) = rest.split_at(end);
            part(Part::Value(value));
            if value.last() == Some(&b'\n') {
                self.position = HeaderPosition::LineStart;
            }
            rest = behind;
        }
    }

    /// Whether the header block is over.
    pub(super) fn is_at_body(&self) -> bool {
        self.position == HeaderPosition::Body
    }

    /// Whether the content starts with a field or with the empty line that ends an empty header, as far as it was read.
    pub(super) fn starts_well(&self) -> bool {
        self.starts_well
    }

    /// Reads the beginning of a line, up to its colon or its first white space. Returns what is left.
    fn begin_line<'a>(&mut self, bytes: &'a [u8], part: &mut impl FnMut(Part<'_>)) -> &'a [u8] {
        let (line, rest) = if self.partial.0.is_empty() {
            match classify(bytes) {
                HeaderLine::Unclear => {
                    self.partial.0.extend_from_slice(bytes);
                    return &[];
                }
                HeaderLine::Field { name, value } => {
                    part(Part::Name(&bytes[..name]));
                    (HeaderLine::Field { name, value }, &bytes[value..])
                }
                line => (line, bytes),
            }
        } else {
            let (taken, line) = self.partial.add(bytes);
            if line == HeaderLine::Unclear {
                return &bytes[taken..];
            }
            let partial = std::mem::take(&mut self.partial.0);
            if let HeaderLine::Field { name, .. } = line {
                part(Part::Name(&partial[..name]));
            }
            (line, &bytes[taken..])
        };
        self.position = match line {
            HeaderLine::Field { .. } => HeaderPosition::Value,
            HeaderLine::Continuation if !self.first_line => HeaderPosition::Value,
            _ => HeaderPosition::Body,
        };
        if self.first_line {
            self.starts_well = matches!(line, HeaderLine::Field { .. } | HeaderLine::Empty);
            self.first_line = false;
        }
        rest
    }
}
