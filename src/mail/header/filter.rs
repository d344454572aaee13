//! Taking `Bcc:` and `Resent-Bcc:` fields out of a content that comes in pieces.

use super::line::{HeaderLine, HeaderPosition, PartialLine, classify, is_bcc};
use memchr::memchr;

/// Lets a content pass but for its `Bcc:` and `Resent-Bcc:` fields, which must not be relayed.
#[derive(Debug)]
pub struct FieldFilter {
    position: HeaderPosition,
    first_line: bool,
    dropping: bool,
    pub(super) partial: PartialLine,
}

impl Default for FieldFilter {
    fn default() -> FieldFilter {
        FieldFilter {
            position: HeaderPosition::LineStart,
            first_line: true,
            dropping: false,
            partial: PartialLine::default(),
        }
    }
}

impl FieldFilter {
    /// The next bytes of the content; `pass` gets those that stay, in order, most of them as slices of `bytes`.
    pub fn push(&mut self, bytes: &[u8], mut pass: impl FnMut(&[u8])) {
        // Everything before `passed` is dealt with; what lies between it and `at` stays.
        let (mut passed, mut at) = (0, 0);
        while at < bytes.len() && self.position != HeaderPosition::Body {
            if self.position == HeaderPosition::Value {
                let end = memchr(b'\n', &bytes[at..]);
                at = end.map_or(bytes.len(), |end| at + end + 1);
                if end.is_some() {
                    self.position = HeaderPosition::LineStart;
                }
                if self.dropping {
                    passed = at;
                }
                continue;
            }
            let line_start = at;
            let line = if self.partial.0.is_empty() {
                let line = classify(&bytes[at..]);
                if line == HeaderLine::Unclear {
                    pass_some(&bytes[passed..at], &mut pass);
                    self.partial.0.extend_from_slice(&bytes[at..]);
                    return;
                }
                self.enter(line, &bytes[at..]);
                line
            } else {
                let (taken, line) = self.partial.add(&bytes[at..]);
                (at, passed) = (at + taken, at + taken);
                if line == HeaderLine::Unclear {
                    continue;
                }
                let partial = std::mem::take(&mut self.partial.0);
                self.enter(line, &partial);
                if !self.dropping {
                    pass(&partial);
                }
                continue;
            };
            if self.dropping {
                pass_some(&bytes[passed..line_start], &mut pass);
                passed = line_start;
            }
            if let HeaderLine::Field { value, .. } = line {
                at += value;
            }
        }
        if !self.dropping {
            pass_some(&bytes[passed..], &mut pass);
        }
    }

    /// The content is over: lets pass what was held back of a last line that has no end.
    pub fn finish(&mut self, mut pass: impl FnMut(&[u8])) {
        pass_some(&std::mem::take(&mut self.partial.0), &mut pass);
    }

    fn enter(&mut self, line: HeaderLine, bytes: &[u8]) {
        match line {
            HeaderLine::Field { name, .. } => {
                self.dropping = is_bcc(&bytes[..name]);
                self.position = HeaderPosition::Value;
            }
            HeaderLine::Continuation if !self.first_line => self.position = HeaderPosition::Value,
            _ => {
                self.dropping = false;
                self.position = HeaderPosition::Body;
            }
        }
        self.first_line = false;
    }
}

fn pass_some(bytes: &[u8], pass: &mut impl FnMut(&[u8])) {
    if !bytes.is_empty() {
        pass(bytes);
    }
}
