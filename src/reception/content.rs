//! The reader of content: raw bytes behind DATA or BDAT in, content as it is stored out, without I/O
//! (RFC 5321 sections 2.3.8, 4.1.1.4 and 4.5.2; RFC 3030).
//!
//! Promises:
//! - Only CRLF.CRLF ends DATA; the CRLF of the command line counts as the first one.
//! - What comes out has no bare CR, no bare LF and no NUL: each bare LF comes out as CRLF, each bare CR as a space. Where
//!   that is not allowed the reader says so at the end.
//! - A dot is taken off (section 4.5.2) only behind a real CRLF. A line that a bare LF begins keeps its dots.
//! - Cutting the input anywhere changes nothing. Nothing is allocated, and clean lines go out in long runs.
//! - Content that is not empty ends with CRLF: DATA's always does, BDAT's gets what is missing at its end.
//!
//! After the first error nothing more comes out: the rest is only searched for its end.

use crate::config::settings::BareNewline;
use memchr::memchr3;

/// Why content cannot be accepted. The first one counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentError {
    /// A bare CR or LF, with [`BareNewline::Reject`].
    BareNewline,
    Nul,
    /// More than `message_size`.
    TooLarge,
}

/// Where the reader stands in a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Position {
    /// Behind CRLF: a dot here is not content.
    LineStart,
    /// Behind CRLF and a dot.
    Dot,
    /// Behind CRLF, a dot and CR.
    DotCr,
    Text,
    /// Behind a CR within a line: the next byte decides whether it ends the line.
    Cr,
}

/// Reads the content of one message.
#[derive(Debug)]
pub struct ContentReader {
    position: Position,
    /// DATA: dots are taken off, and a dot alone ends the content.
    dotted: bool,
    bare_newline: BareNewline,
    limit: u64,
    size: u64,
    error: Option<ContentError>,
    /// What came out last was no end of a line.
    unfinished_line: bool,
}

impl ContentReader {
    /// For what follows 354.
    pub fn data(bare_newline: BareNewline, limit: u64) -> ContentReader {
        ContentReader {
            position: Position::LineStart,
            dotted: true,
            bare_newline,
            limit,
            size: 0,
            error: None,
            unfinished_line: false,
        }
    }

    /// For the chunks of BDAT, all chunks of a message one after the other.
    pub fn bdat(bare_newline: BareNewline, limit: u64) -> ContentReader {
        ContentReader { position: Position::Text, dotted: false, ..ContentReader::data(bare_newline, limit) }
    }

    /// Octets of content so far, as stored.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is wrong with the content so far.
    pub fn error(&self) -> Option<ContentError> {
        self.error
    }

    /// Reads on; `sink` gets the content. Returns how many bytes belong to the message, and whether its end was
    /// among them. Of BDAT all do, and its end is never among them.
    pub fn read(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) -> (usize, bool) {
        // input[run..at] is clean content that has not been put out yet.
        let (mut run, mut at) = (0, 0);
        while at < input.len() {
            match self.position {
                Position::Text => {
                    let Some(found) = memchr3(b'\r', b'\n', 0, &input[at..]) else {
                        at = input.len();
                        break;
                    };
                    at += found;
                    match input[at] {
                        b'\r' if input.get(at + 1) == Some(&b'\n') => {
                            at += 2;
                            self.position = if self.dotted { Position::LineStart } else { Position::Text };
                        }
                        b'\r' => {
                            self.put(&input[run..at], &mut sink);
                            at += 1;
                            run = at;
                            self.position = Position::Cr;
                        }
                        b'\n' => {
                            self.put(&input[run..at], &mut sink);
                            self.note_bare_newline();
                            self.put(b"\r\n", &mut sink);
                            at += 1;
                            run = at;
                        }
                        _ => {
                            // What stands before the NUL may exceed the limit already, and then that is the first error.
                            self.put(&input[run..at], &mut sink);
                            run = at;
                            self.error.get_or_insert(ContentError::Nul);
                            at += 1;
                        }
                    }
                }
                Position::LineStart if input[at] == b'.' => {
                    self.put(&input[run..at], &mut sink);
                    at += 1;
                    run = at;
                    self.position = Position::Dot;
                }
                Position::LineStart => self.position = Position::Text,
                Position::Dot if input[at] == b'\r' => {
                    at += 1;
                    run = at;
                    self.position = Position::DotCr;
                }
                Position::Dot => self.position = Position::Text,
                Position::DotCr if input[at] == b'\n' => return (at + 1, true),
                Position::Cr if input[at] == b'\n' => {
                    self.put(b"\r\n", &mut sink);
                    at += 1;
                    run = at;
                    self.position = if self.dotted { Position::LineStart } else { Position::Text };
                }
                Position::DotCr | Position::Cr => {
                    self.note_bare_newline();
                    self.put(b" ", &mut sink);
                    self.position = Position::Text;
                }
            }
        }
        self.put(&input[run..at], &mut sink);
        (at, false)
    }

    /// There is no more of BDAT: puts out what is left open and ends the last line. Changes nothing for DATA, whose
    /// end says it all.
    pub fn finish(&mut self, mut sink: impl FnMut(&[u8])) {
        if self.dotted {
            return;
        }
        if self.position == Position::Cr {
            self.note_bare_newline();
            self.put(b" ", &mut sink);
            self.position = Position::Text;
        }
        if self.unfinished_line {
            self.put(b"\r\n", &mut sink);
        }
    }

    fn note_bare_newline(&mut self) {
        if self.bare_newline == BareNewline::Reject {
            self.error.get_or_insert(ContentError::BareNewline);
        }
    }

    fn put(&mut self, content: &[u8], sink: &mut impl FnMut(&[u8])) {
        let Some(last) = content.last() else {
            return;
        };
        self.unfinished_line = *last != b'\n';
        self.size += content.len() as u64;
        if self.size > self.limit {
            self.error.get_or_insert(ContentError::TooLarge);
        }
        if self.error.is_none() {
            sink(content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rules, one byte at a time, with all of the input at hand. None where the end is not there.
    fn reference(input: &[u8], dotted: bool) -> Option<(Vec<u8>, usize, bool)> {
        let mut output = Vec::new();
        let mut bare = false;
        let mut at = 0;
        let mut line_start = dotted;
        loop {
            if dotted && line_start && input[at..].starts_with(b".\r\n") {
                return Some((output, at + 3, bare));
            }
            if at == input.len() {
                break;
            }
            if dotted && line_start && input[at] == b'.' {
                at += 1;
                line_start = false;
                continue;
            }
            line_start = false;
            match input[at] {
                b'\r' if input.get(at + 1) == Some(&b'\n') => {
                    output.extend_from_slice(b"\r\n");
                    line_start = true;
                    at += 1;
                }
                b'\r' => {
                    bare = true;
                    output.push(b' ');
                }
                b'\n' => {
                    bare = true;
                    output.extend_from_slice(b"\r\n");
                }
                other => output.push(other),
            }
            at += 1;
        }
        if dotted {
            return None;
        }
        if !output.is_empty() && !output.ends_with(b"\n") {
            output.extend_from_slice(b"\r\n");
        }
        Some((output, at, bare))
    }

    fn read(reader: &mut ContentReader, pieces: &[&[u8]]) -> (Vec<u8>, usize, bool) {
        let mut output = Vec::new();
        let mut total = 0;
        for piece in pieces {
            let (used, ended) = reader.read(piece, |content| output.extend_from_slice(content));
            total += used;
            if ended {
                return (output, total, true);
            }
            assert_eq!(used, piece.len());
        }
        reader.finish(|content| output.extend_from_slice(content));
        (output, total, false)
    }

    fn data(input: &str) -> (String, bool) {
        let mut reader = ContentReader::data(BareNewline::Normalize, u64::MAX);
        let (output, _, ended) = read(&mut reader, &[input.as_bytes()]);
        (String::from_utf8(output).unwrap(), ended)
    }

    #[test]
    fn only_crlf_dot_crlf_ends() {
        for (input, content) in [
            ("x\n.\ny\r\n.\r\n", "x\r\n.\r\ny\r\n"),
            ("x\n.\r\ny\r\n.\r\n", "x\r\n.\r\ny\r\n"),
            ("x\r\n.\ny\r\n.\r\n", "x\r\n\r\ny\r\n"),
            ("x\r.\ry\r\n.\r\n", "x . y\r\n"),
            ("x\r.\r\ny\r\n.\r\n", "x .\r\ny\r\n"),
            ("x\r\n.\r\r\ny\r\n.\r\n", "x\r\n \r\ny\r\n"),
            ("x\r\n.\ry\r\n.\r\n", "x\r\n y\r\n"),
            (".\r\n", ""),
            ("..x\r\n.\r\n", ".x\r\n"),
            ("a\r\n...\r\n.\r\n", "a\r\n..\r\n"),
        ] {
            assert_eq!(data(input), (content.to_owned(), true), "{input:?}");
        }
        assert!(!data("x\r\n.\n\r.\r\n").1);
    }

    #[test]
    fn the_first_error_counts_and_the_end_is_still_found() {
        let mut reader = ContentReader::data(BareNewline::Reject, 5);
        assert!(read(&mut reader, &[b"a\nb\0 and more than five octets\r\n.\r\n"]).2);
        assert_eq!(reader.error(), Some(ContentError::BareNewline));
        let mut reader = ContentReader::data(BareNewline::Normalize, 5);
        assert_eq!(read(&mut reader, &[b"more than five\r\n", b"\n.\r\n", b"\r\n.\r\n"]), (vec![], 25, true));
        assert_eq!(reader.error(), Some(ContentError::TooLarge));
        let mut reader = ContentReader::data(BareNewline::Normalize, 5);
        assert!(read(&mut reader, &[b"abc\r\n.\r\n"]).2);
        assert_eq!((reader.error(), reader.size()), (None, 5));
        let mut reader = ContentReader::bdat(BareNewline::Normalize, 99);
        read(&mut reader, &[b"\0"]);
        assert_eq!(reader.error(), Some(ContentError::Nul));
    }

    #[test]
    fn which_error_came_first_does_not_depend_on_cuts() {
        for pieces in
            [&[&b"more than five\0"[..]][..], &[b"more than five", b"\0"], &[b"mo", b"re than five\0"]]
        {
            let mut reader = ContentReader::bdat(BareNewline::Normalize, 5);
            read(&mut reader, pieces);
            assert_eq!(reader.error(), Some(ContentError::TooLarge), "{pieces:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Whatever the bytes and wherever they are cut, DATA and BDAT read as the reference does.
        #[test]
        fn reads_as_the_reference(
            input in "[.\r\na]{0,40}",
            crlf in any::<bool>(),
            dotted in any::<bool>(),
            cuts in proptest::collection::vec(0usize..45, 0..6),
        ) {
            let input = if crlf { input.replace('a', "\r\n") } else { input };
            let input = if dotted { format!("{input}\r\n.\r\nNOOP") } else { input };
            let input = input.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
            let (expected, end, bare) = reference(input, dotted).unwrap();

            let new = if dotted { ContentReader::data } else { ContentReader::bdat };
            let mut reader = new(BareNewline::Normalize, u64::MAX);
            prop_assert_eq!(read(&mut reader, &pieces), (expected.clone(), end, dotted));
            prop_assert_eq!((reader.error(), reader.size()), (None, expected.len() as u64));

            let mut strict = new(BareNewline::Reject, u64::MAX);
            prop_assert_eq!(read(&mut strict, &pieces).1, end);
            prop_assert_eq!(strict.error(), bare.then_some(ContentError::BareNewline));
        }
    }
}
