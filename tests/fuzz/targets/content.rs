//! The reader of content against the rules of RFC 5321 written down byte by byte.
//!
//! An input: flags, [`super::Cuts`], content. Flags: 1 BDAT, 2 `reject`, 4 a small limit, 8 what follows comes 64 times.

use super::{Cuts, Tape};
use postroom::config::settings::BareNewline;
use postroom::reception::content::{ContentError, ContentReader};

const SMALL_LIMIT: u64 = 20;

pub fn run(data: &[u8]) {
    let mut tape = Tape(data);
    let flags = tape.byte();
    let cuts = tape.cuts();
    let input = if flags & 8 == 0 { tape.0.to_vec() } else { tape.0.repeat(64) };
    let dotted = flags & 1 == 0;
    let bare_newline = if flags & 2 == 0 { BareNewline::Normalize } else { BareNewline::Reject };
    let limit = if flags & 4 == 0 { u64::MAX } else { SMALL_LIMIT };

    let expected = reference(&input, dotted, bare_newline, limit);
    let new = if dotted { ContentReader::data } else { ContentReader::bdat };
    for cuts in [Cuts(&[]), cuts, Cuts(&[1])] {
        let mut reader = new(bare_newline, limit);
        let mut output = Vec::new();
        let (used, ended) = read(&mut reader, cuts, &input, &mut output);
        assert_eq!((used, ended), (expected.used, expected.ended));
        if !ended {
            // Of DATA nothing is stored without its end.
            assert!(expected.output.starts_with(&output) || reader.error().is_some());
            if dotted {
                continue;
            }
        }
        assert_eq!(reader.error(), expected.error);
        assert_eq!(reader.size(), expected.output.len() as u64);
        if reader.error().is_some() {
            assert!(output.len() as u64 <= limit && expected.output.starts_with(&output));
            continue;
        }
        assert_eq!(output, expected.output);
        is_clean(&output);
        goes_through_again(&output);
    }
}

fn read(reader: &mut ContentReader, cuts: Cuts<'_>, input: &[u8], output: &mut Vec<u8>) -> (usize, bool) {
    let mut total = 0;
    for piece in cuts.of(input) {
        let (used, ended) = reader.read(piece, |content| output.extend_from_slice(content));
        total += used;
        if ended {
            return (total, true);
        }
        assert_eq!(used, piece.len(), "what is no end is read whole");
    }
    reader.finish(|content| output.extend_from_slice(content));
    (total, false)
}

/// What is stored, and with it all that can ever leave for an upstream.
fn is_clean(output: &[u8]) {
    assert!(output.is_empty() || output.ends_with(b"\r\n"));
    assert!(!output.contains(&0));
    for (at, byte) in output.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(output.get(at + 1), Some(&b'\n'), "a bare CR at {at}"),
            b'\n' => assert!(at > 0 && output[at - 1] == b'\r', "a bare LF at {at}"),
            _ => {}
        }
    }
}

/// Clean content with its dots doubled is one message with this content, for us as for whoever comes after us.
fn goes_through_again(content: &[u8]) {
    let mut stuffed = Vec::with_capacity(content.len() + 16);
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    let mut reader = ContentReader::data(BareNewline::Reject, u64::MAX);
    let mut again = Vec::new();
    let read = reader.read(&stuffed, |content| again.extend_from_slice(content));
    assert_eq!(read, (stuffed.len(), true));
    assert_eq!((reader.error(), again.as_slice()), (None, content));
}

struct Expected {
    output: Vec<u8>,
    used: usize,
    ended: bool,
    error: Option<ContentError>,
}

impl Expected {
    fn put(&mut self, bytes: &[u8], limit: u64) {
        self.output.extend_from_slice(bytes);
        if self.output.len() as u64 > limit {
            self.error.get_or_insert(ContentError::TooLarge);
        }
    }
}

/// The rules, one byte at a time, with all of the input at hand.
fn reference(input: &[u8], dotted: bool, bare_newline: BareNewline, limit: u64) -> Expected {
    let mut expected = Expected { output: Vec::new(), used: input.len(), ended: false, error: None };
    let bare = |expected: &mut Expected| {
        if bare_newline == BareNewline::Reject {
            expected.error.get_or_insert(ContentError::BareNewline);
        }
    };
    let mut behind_crlf = true;
    let mut at = 0;
    while at < input.len() {
        let rest = &input[at..];
        if dotted && behind_crlf && rest.starts_with(b".\r\n") {
            (expected.used, expected.ended) = (at + 3, true);
            return expected;
        }
        let is_stuffing = dotted && behind_crlf && rest[0] == b'.';
        behind_crlf = rest.starts_with(b"\r\n");
        at += if behind_crlf { 2 } else { 1 };
        match rest[0] {
            _ if is_stuffing => {}
            _ if behind_crlf => expected.put(b"\r\n", limit),
            b'\r' => {
                bare(&mut expected);
                expected.put(b" ", limit);
            }
            b'\n' => {
                bare(&mut expected);
                expected.put(b"\r\n", limit);
            }
            0 => {
                expected.error.get_or_insert(ContentError::Nul);
                expected.put(b"\0", limit);
            }
            byte => expected.put(&[byte], limit),
        }
    }
    if !dotted && !expected.output.is_empty() && !expected.output.ends_with(b"\n") {
        expected.put(b"\r\n", limit);
    }
    expected
}
