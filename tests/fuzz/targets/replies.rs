//! The parser of upstreams' replies against a plain one that has all of the bytes at hand.
//!
//! An input: flags, [`super::Cuts`], what the server said. Flags: 8 it says it 64 times, 16 two thousand times.

use super::{Cuts, Tape};
use postroom::mail::printable::is_printable;
use postroom::mail::{EnhancedCode, Reply, ReplyParser};

/// Longest line, and most bytes of one reply, that are read.
const LINE_LIMIT: usize = 8 * 1024;
const REPLY_LIMIT: usize = 64 * 1024;

pub fn run(data: &[u8]) {
    let mut tape = Tape(data);
    let flags = tape.byte();
    let cuts = tape.cuts();
    let input = match flags & 24 {
        0 => tape.0.to_vec(),
        8 => tape.0.repeat(64),
        _ => tape.0[..tape.0.len().min(100)].repeat(2_000),
    };
    let (expected, sound, left) = reference(&input);
    for reply in &expected {
        is_harmless(reply);
    }
    let byte_by_byte = if input.len() < 4_096 { Cuts(&[1]) } else { Cuts(&[255]) };
    for cuts in [Cuts(&[]), cuts, byte_by_byte] {
        let mut parser = ReplyParser::default();
        let mut replies = Vec::new();
        let read = cuts.of(&input).try_for_each(|piece| {
            parser.push(piece);
            while let Some(reply) = parser.reply()? {
                replies.push(reply);
            }
            Ok::<(), postroom::mail::BadReply>(())
        });
        assert_eq!(replies, expected);
        assert_eq!(read.is_ok(), sound);
        match read {
            Ok(()) => assert_eq!(parser.has_more(), left),
            Err(error) => assert!(error.to_string().chars().all(is_printable), "{error:?}"),
        }
        parser.clear();
        assert!(!parser.has_more());
        parser.push(b"250 2.0.0 ok\r\n");
        let fresh = Reply { code: 250, enhanced: Some(EnhancedCode(2, 0, 0)), lines: vec!["ok".to_owned()] };
        assert_eq!(parser.reply(), Ok(Some(fresh)), "what was said before counts no more");
    }
}

/// Nothing in a reply breaks a line of a log, forges one or steers a terminal.
fn is_harmless(reply: &Reply) {
    assert!((200..600).contains(&reply.code));
    let class = reply.code / 100;
    assert_eq!(
        (reply.is_positive(), reply.is_transient(), reply.is_permanent()),
        (class == 2, class == 4, class == 5)
    );
    assert!(reply.enhanced.is_none_or(|enhanced| u16::from(enhanced.0) == class));
    let shown = reply.to_string();
    assert!(shown.chars().all(is_printable), "{shown:?}");
}

/// The replies, whether all bytes were replies or the beginning of one, and whether something is left over.
fn reference(input: &[u8]) -> (Vec<Reply>, bool, bool) {
    let mut replies = Vec::new();
    let mut reply: Option<Reply> = None;
    let mut size = 0;
    let mut rest = input;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        size += end + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some((code, more, text)) = line_of_reply(line) else { return (replies, false, true) };
        if end > LINE_LIMIT || size > REPLY_LIMIT || reply.as_ref().is_some_and(|reply| reply.code != code) {
            return (replies, false, true);
        }
        let (enhanced, text) = enhanced(code, text);
        let reply_so_far = reply.get_or_insert(Reply { code, enhanced: None, lines: Vec::new() });
        reply_so_far.enhanced = reply_so_far.enhanced.or(enhanced);
        reply_so_far.lines.push(postroom::mail::printable_bytes(text));
        if !more {
            replies.extend(reply.take());
            size = 0;
        }
    }
    let left = reply.is_some() || !rest.is_empty();
    (replies, rest.len() <= LINE_LIMIT, left)
}

/// `250-text`, `250 text` or `250`.
fn line_of_reply(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let code: u16 = std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()?;
    let digits = line[..3].iter().all(u8::is_ascii_digit);
    let more = line.get(3) == Some(&b'-');
    let separated = matches!(line.get(3), None | Some(b' ' | b'-'));
    (digits && separated && (200..600).contains(&code)).then(|| (code, more, line.get(4..).unwrap_or(&[])))
}

/// `5.1.1` at the start of the text, where it fits the code.
fn enhanced(code: u16, text: &[u8]) -> (Option<EnhancedCode>, &[u8]) {
    let word = text.split(|byte| *byte == b' ').next().unwrap_or(&[]);
    let numbers: Vec<&[u8]> = word.split(|byte| *byte == b'.').collect();
    let is_number = |digits: &&[u8]| (1..4).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    if numbers.len() != 3 || !numbers.iter().all(is_number) {
        return (None, text);
    }
    let number = |at: usize| std::str::from_utf8(numbers[at]).unwrap().parse::<u16>().unwrap();
    let class = number(0);
    if class != code / 100 || !matches!(class, 2 | 4 | 5) {
        return (None, text);
    }
    let rest = text.get(word.len() + 1..).unwrap_or(&[]);
    (Some(EnhancedCode(class as u8, number(1), number(2))), rest)
}
