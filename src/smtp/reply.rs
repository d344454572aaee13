//! What the front door says: a code, an enhanced code (RFC 3463), and a text that tells the person what to change.
//!
//! Nothing that a client sent is ever repeated in a reply, so that no client can forge one.

use crate::mail::EnhancedCode;
use std::borrow::Cow;

/// One reply (RFC 5321 section 4.2). A line break in its text makes a reply of several lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// Repeated on each line (RFC 2034); none in greeting, EHLO and 354.
    pub enhanced: Option<EnhancedCode>,
    /// For people; for the lines of EHLO, for programs.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced code whose class is the code's first digit.
    pub fn new(code: u16, subject: u16, detail: u16, text: impl Into<Cow<'static, str>>) -> Reply {
        let class = if code < 300 {
            2
        } else if code < 500 {
            4
        } else {
            5
        };
        Reply { code, enhanced: Some(EnhancedCode(class, subject, detail)), text: text.into() }
    }

    /// A reply without an enhanced code.
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { code, enhanced: None, text: text.into() }
    }

    /// 5xx: the client must change something.
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// Appends the reply as it is sent.
    pub fn write_to(&self, output: &mut Vec<u8>) {
        use std::io::Write;
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            // Writing to a Vec cannot fail.
            let _ = match self.enhanced {
                Some(enhanced) => write!(output, "{}{separator}{enhanced} {line}\r\n", self.code),
                None => write!(output, "{}{separator}{line}\r\n", self.code),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_carries_code_and_enhanced_code() {
        let mut output = Vec::new();
        Reply::new(214, 0, 0, "one\ntwo").write_to(&mut output);
        Reply::plain(250, "mx.test\nSIZE 1").write_to(&mut output);
        assert_eq!(output, b"214-2.0.0 one\r\n214 2.0.0 two\r\n250-mx.test\r\n250 SIZE 1\r\n");
    }
}
