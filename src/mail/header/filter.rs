//! Taking `Bcc:` and `Resent-Bcc:` fields out while the content goes by.

use super::line::{Held, Line, Place, classify, is_blind};
use memchr::memchr;

/// Lets a content pass but for its `Bcc:` and `Resent-Bcc:` fields, which must not be relayed.
#[derive(Debug)]
pub struct FieldFilter {
    place: Place,
    first_line: bool,
    dropping: bool,
    pub(super) held: Held,
}

impl Default for FieldFilter {
    fn default() -> FieldFilter {
        FieldFilter { place: Place::LineStart, first_line: true, dropping: false, held: Held::default() }
    }
}

impl FieldFilter {
    /// The next bytes of the content; `pass` gets those that stay, in order, most of them as slices of `bytes`.
    pub fn push(&mut self, bytes: &[u8], mut pass: impl FnMut(&[u8])) {
        // Everything before `passed` is dealt with; what lies between it and `at` stays.
        let (mut passed, mut at) = (0, 0);
        while at < bytes.len() && self.place != Place::Body {
            if self.place == Place::Value {
                let end = memchr(b'\n', &bytes[at..]);
                at = end.map_or(bytes.len(), |end| at + end + 1);
                if end.is_some() {
                    self.place = Place::LineStart;
                }
                if self.dropping {
                    passed = at;
                }
                continue;
            }
            let line_start = at;
            let line = if self.held.0.is_empty() {
                let line = classify(&bytes[at..]);
                if line == Line::Unclear {
                    pass_some(&bytes[passed..at], &mut pass);
                    self.held.0.extend_from_slice(&bytes[at..]);
                    return;
                }
                self.enter(line, &bytes[at..]);
                line
            } else {
                let (taken, line) = self.held.add(&bytes[at..]);
                (at, passed) = (at + taken, at + taken);
                if line == Line::Unclear {
                    continue;
                }
                let held = std::mem::take(&mut self.held.0);
                self.enter(line, &held);
                if !self.dropping {
                    pass(&held);
                }
                continue;
            };
            if self.dropping {
                pass_some(&bytes[passed..line_start], &mut pass);
                passed = line_start;
            }
            if let Line::Field { value, .. } = line {
                at += value;
            }
        }
        if !self.dropping {
            pass_some(&bytes[passed..], &mut pass);
        }
    }

    /// The content is over: lets pass what was held back of a last line that has no end.
    pub fn finish(&mut self, mut pass: impl FnMut(&[u8])) {
        pass_some(&std::mem::take(&mut self.held.0), &mut pass);
    }

    fn enter(&mut self, line: Line, bytes: &[u8]) {
        match line {
            Line::Field { name, .. } => {
                self.dropping = is_blind(&bytes[..name]);
                self.place = Place::Value;
            }
            Line::Continuation if !self.first_line => self.place = Place::Value,
            _ => {
                self.dropping = false;
                self.place = Place::Body;
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
