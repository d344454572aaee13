//! Replies of an SMTP server (RFC 5321 section 4.2), and the enhanced status codes in them (RFC 3463).

use super::printable::printable_bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// `class.subject.detail` (RFC 3463 section 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl fmt::Debug for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One whole reply, whatever number of lines it had.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The three digits: 200 to 599.
    pub code: u16,
    /// The enhanced code at the start of its text, where there is one whose class matches the code's first digit.
    pub enhanced: Option<EnhancedCode>,
    /// The lines' texts without code and enhanced code, made safe to show by [`printable_bytes`].
    pub lines: Vec<String>,
}

/// What a reply says to programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyCode {
    /// As [`Reply::code`].
    pub code: u16,
    /// As [`Reply::enhanced`].
    pub enhanced: Option<EnhancedCode>,
}

impl Reply {
    /// Its code and enhanced code.
    pub fn reply_code(&self) -> ReplyCode {
        ReplyCode { code: self.code, enhanced: self.enhanced }
    }

    /// 2xx.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }
}

/// On one line, as events and listings show it: `550 5.1.1 no such user`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.lines.iter().filter(|line| !line.is_empty()) {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

/// What came is no reply (RFC 5321 section 4.2), in words, printable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadReply(pub String);

/// Longest line of a reply that is read. RFC 5321 allows 512; servers write more.
const LINE_LIMIT: usize = 8 * 1024;

/// Most bytes of text in one reply: a reply of 100,000 lines must not grow memory.
const REPLY_LIMIT: usize = 64 * 1024;

/// Puts replies together from the bytes of a connection, cut anywhere. What comes behind a reply stays for the next
/// one, as pipelining needs it.
///
/// Takes any code from 200 to 599, text or none, any bytes as text, LF for CRLF. Everything else is a protocol error,
/// after which the parser is of no further use.
#[derive(Debug, Default)]
pub struct ReplyParser {
    unread: Vec<u8>,
    /// Bytes of `unread` that belong to lines already read.
    taken: usize,
    /// Bytes of `unread` known to hold no line end, from `taken` on.
    searched: usize,
    code: u16,
    enhanced: Option<EnhancedCode>,
    lines: Vec<String>,
    size: usize,
}

impl ReplyParser {
    /// The next bytes from the server. Call [`ReplyParser::reply`] until it has nothing more before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        self.unread.drain(..self.taken);
        self.taken = 0;
        self.unread.extend_from_slice(bytes);
    }

    /// Whether the server said more than the replies that were taken out, if only half a line.
    pub fn has_more(&self) -> bool {
        self.taken < self.unread.len() || self.size > 0
    }

    /// Forgets everything that was said: after STARTTLS nothing that came in clear text may count.
    pub fn clear(&mut self) {
        *self = ReplyParser::default();
    }

    /// The next whole reply; none when more bytes are needed.
    pub fn reply(&mut self) -> Result<Option<Reply>, BadReply> {
        loop {
            let rest = &self.unread[self.taken..];
            let Some(end) = memchr::memchr(b'\n', &rest[self.searched..]).map(|at| at + self.searched) else {
                self.searched = rest.len();
                if rest.len() > LINE_LIMIT {
                    return Err(BadReply("a line of the reply has no end".to_owned()));
                }
                return Ok(None);
            };
            let line = &rest[..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (code, last, text) = split_line(line)?;
            if self.size > 0 && code != self.code {
                return Err(BadReply(format!("a reply has the codes {} and {code}", self.code)));
            }
            self.size += end + 1;
            if end > LINE_LIMIT || self.size > REPLY_LIMIT {
                return Err(BadReply(format!("the reply {code} is endless")));
            }
            self.code = code;
            let (enhanced, text) = split_enhanced(code, text);
            self.enhanced = self.enhanced.or(enhanced);
            self.lines.push(printable_bytes(text));
            (self.taken, self.searched) = (self.taken + end + 1, 0);
            if last {
                self.size = 0;
                let (enhanced, lines) = (self.enhanced.take(), std::mem::take(&mut self.lines));
                return Ok(Some(Reply { code, enhanced, lines }));
            }
        }
    }
}

/// `250-text`, `250 text` or `250`.
fn split_line(line: &[u8]) -> Result<(u16, bool, &[u8]), BadReply> {
    let bad = || BadReply(format!("no reply: `{}`", printable_bytes(&line[..line.len().min(100)])));
    let (digits, rest) = line.split_at_checked(3).ok_or_else(bad)?;
    let [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] = digits else { return Err(bad()) };
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest {
        [] => Ok((code, true, rest)),
        [b' ', text @ ..] => Ok((code, true, text)),
        [b'-', text @ ..] => Ok((code, false, text)),
        _ => Err(bad()),
    }
}

/// Takes the enhanced code off the text where there is one whose class fits the code (RFC 2034 section 4).
fn split_enhanced(code: u16, text: &[u8]) -> (Option<EnhancedCode>, &[u8]) {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let found = std::str::from_utf8(&text[..end]).ok().and_then(|word| {
        let mut numbers = word.split('.').map(|number| {
            let digits = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| number.parse::<u16>().ok()).flatten()
        });
        let numbers = [numbers.next()??, numbers.next()??, numbers.next()??, numbers.next().map_or(0, |_| 1)];
        let [class, subject, detail, 0] = numbers else { return None };
        let class = u8::try_from(class).ok()?;
        (matches!(class, 2 | 4 | 5) && u16::from(class) == code / 100)
            .then_some(EnhancedCode(class, subject, detail))
    });
    match found {
        Some(enhanced) => (Some(enhanced), text.get(end + 1..).unwrap_or_default()),
        None => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<Reply>, BadReply> {
        let (mut parser, mut replies) = (ReplyParser::default(), Vec::new());
        parser.push(bytes);
        while let Some(reply) = parser.reply()? {
            replies.push(reply);
        }
        Ok(replies)
    }

    fn one(bytes: &[u8]) -> Reply {
        let mut replies = all(bytes).unwrap();
        assert_eq!(replies.len(), 1);
        replies.remove(0)
    }

    #[test]
    fn replies_without_text_are_replies() {
        for bytes in [&b"250\r\n"[..], b"250 \r\n", b"250\n", b"250-\r\n250\r\n"] {
            assert_eq!(one(bytes).to_string(), "250");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for bytes in [
            &b"2200 x\r\n"[..],
            b"bogus\r\n",
            b"850 NONSENSE\r\n",
            b"150 go on\r\n",
            b"25\r\n",
            b"\r\n",
            b"250-a\r\n251 b\r\n",
            b"250-a\r\nx\r\n",
            b"-50 x\r\n",
            b"250\tx\r\n",
        ] {
            assert!(all(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn enhanced_codes_are_taken_off_where_their_class_fits() {
        let reply = one(b"550-5.1.1 no\r\n550 5.1.1 such user\r\n");
        assert_eq!(reply.enhanced, Some(EnhancedCode(5, 1, 1)));
        assert_eq!(reply.lines, ["no", "such user"]);
        assert_eq!(reply.to_string(), "550 5.1.1 no such user");
        assert_eq!(one(b"550 5.7.520\r\n").enhanced, Some(EnhancedCode(5, 7, 520)));
        for text in ["4.1.1 x", "5.1 x", "5.1.1.1 x", "5.1.1x", "5.1.1234", "5..1", "5.1.", ""] {
            let reply = one(format!("550 {text}\r\n").as_bytes());
            assert_eq!((reply.enhanced, reply.lines.concat()), (None, text.to_owned()));
        }
    }

    #[test]
    fn any_bytes_become_printable_text() {
        assert_eq!(one(b"250 Zugestellt f\xfcr \0\r \x1b[1m\r\n").lines, ["Zugestellt f\\xfcr     [1m"]);
        assert_eq!(one("250 für ✓ \u{202e}\r\n".as_bytes()).lines, ["für ✓  "]);
    }

    #[test]
    fn endless_replies_are_cut_off() {
        let mut parser = ReplyParser::default();
        let endless = (0..100_000).find_map(|_| {
            parser.push(b"250-and another line\r\n");
            parser.reply().err()
        });
        assert!(endless.is_some());
        assert!(parser.lines.len() < 10_000);
        let mut parser = ReplyParser::default();
        let endless = (0..100_000).find_map(|_| {
            parser.push(b"250 x");
            parser.reply().err()
        });
        assert!(endless.is_some() && parser.unread.len() < 2 * LINE_LIMIT);
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(pieces in proptest::collection::vec(prop_oneof![
            Just("250 2.0.0 ok\r\n"), Just("250-a\r\n"), Just("250\n"), Just("354\r\n"), Just("x"),
            Just("451 4.2.0 later\r\n"), Just("\r\n"), Just("250 ü\r\n"),
        ], 0..8)) {
            let bytes = pieces.concat().into_bytes();
            let whole = all(&bytes);
            let (mut parser, mut replies) = (ReplyParser::default(), Vec::new());
            let mut cut = Ok(());
            'bytes: for byte in &bytes {
                parser.push(std::slice::from_ref(byte));
                loop {
                    match parser.reply() {
                        Ok(Some(reply)) => replies.push(reply),
                        Ok(None) => break,
                        Err(error) => { cut = Err(error); break 'bytes; }
                    }
                }
            }
            prop_assert_eq!(cut.map(|()| replies), whole);
        }

        #[test]
        fn no_bytes_make_it_panic_or_let_a_control_character_through(bytes: Vec<u8>) {
            let line = [b"250 ", &bytes[..], b"\r\n"].concat();
            let mut parser = ReplyParser::default();
            parser.push(&line);
            while let Ok(Some(reply)) = parser.reply() {
                prop_assert!(reply.to_string().chars().all(crate::mail::printable::is_printable));
            }
        }
    }
}
