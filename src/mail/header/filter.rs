//! Taking `Bcc:` and `Resent-Bcc:` fields out of a content that comes in pieces, and giving others another name.

use super::line::{HeaderLine, HeaderPosition, PartialLine, classify, is_bcc};
use memchr::memchr;

/// A field that leaves under another name, with the value that it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rename {
    /// Its name in the message, in any case.
    pub old: &'static str,
    /// The name that it leaves under.
    pub new: &'static str,
}

/// Lets a content pass but for its `Bcc:` and `Resent-Bcc:` fields, which must not be relayed, and the names of those that
/// are renamed.
///
/// Limit: a renamed line that was nearly 998 bytes long is longer than that when it leaves.
#[derive(Clone, Debug)]
pub struct FieldFilter {
    position: HeaderPosition,
    first_line: bool,
    dropping: bool,
    renames: Vec<Rename>,
    pub(super) partial: PartialLine,
}

impl Default for FieldFilter {
    fn default() -> FieldFilter {
        FieldFilter::renaming(Vec::new())
    }
}

impl FieldFilter {
    /// One that renames fields, too.
    pub fn renaming(renames: Vec<Rename>) -> FieldFilter {
        let (position, partial) = (HeaderPosition::LineStart, PartialLine::default());
        FieldFilter { position, first_line: true, dropping: false, renames, partial }
    }

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
            let (line, renamed) = if self.partial.0.is_empty() {
                let line = classify(&bytes[at..]);
                if line == HeaderLine::Unclear {
                    pass_some(&bytes[passed..at], &mut pass);
                    self.partial.0.extend_from_slice(&bytes[at..]);
                    return;
                }
                let name = self.enter(line, &bytes[at..]);
                (line, name)
            } else {
                let (taken, line) = self.partial.add(&bytes[at..]);
                (at, passed) = (at + taken, at + taken);
                if line == HeaderLine::Unclear {
                    continue;
                }
                let partial = std::mem::take(&mut self.partial.0);
                match self.enter(line, &partial) {
                    Some((name, to)) => {
                        pass(to.as_bytes());
                        pass(&partial[name..]);
                    }
                    None if !self.dropping => pass(&partial),
                    None => {}
                }
                continue;
            };
            if self.dropping {
                pass_some(&bytes[passed..line_start], &mut pass);
                passed = line_start;
            }
            if let Some((name, to)) = renamed {
                pass_some(&bytes[passed..line_start], &mut pass);
                pass(to.as_bytes());
                passed = line_start + name;
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

    /// A line begins. Where it is renamed: the length of its name, and the new one.
    fn enter(&mut self, line: HeaderLine, bytes: &[u8]) -> Option<(usize, &'static str)> {
        let mut renamed = None;
        match line {
            HeaderLine::Field { name, .. } => {
                self.dropping = is_bcc(&bytes[..name]);
                self.position = HeaderPosition::Value;
                let is_meant = |rename: &&Rename| bytes[..name].eq_ignore_ascii_case(rename.old.as_bytes());
                renamed = self.renames.iter().find(is_meant).map(|rename| (name, rename.new));
            }
            HeaderLine::Continuation if !self.first_line => self.position = HeaderPosition::Value,
            _ => {
                self.dropping = false;
                self.position = HeaderPosition::Body;
            }
        }
        self.first_line = false;
        renamed
    }
}

fn pass_some(bytes: &[u8], pass: &mut impl FnMut(&[u8])) {
    if !bytes.is_empty() {
        pass(bytes);
    }
}
