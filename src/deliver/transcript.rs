//! What was said on a connection since the last message, for people: secrets and content are left out, and it is bounded.

use crate::mail::{Reply, printable_bytes};
use std::collections::VecDeque;
use std::fmt::Write;

/// Bytes that are kept from the beginning, as whole lines.
const MOST_AT_THE_BEGINNING: usize = 12 * 1024;
/// Lines that are kept from the end, where there are more.
const LINES_AT_THE_END: usize = 12;
/// Characters of one line.
const LONGEST_LINE: usize = 512;

/// Lines, ours as `C:` and the server's as `S:`.
#[derive(Default)]
pub(super) struct Transcript {
    beginning: String,
    end: VecDeque<String>,
    left_out: usize,
    /// The server has asked for more of a login: what comes next is a secret.
    in_login: bool,
}

impl Transcript {
    /// Commands as they leave, several perhaps. Of a login its mechanism alone is told.
    pub(super) fn commands(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let mut words = line.split(|byte| *byte == b' ');
            match (self.in_login, words.next(), words.next()) {
                (true, ..) => self.add("C: ", "***"),
                (false, Some(verb), Some(mechanism)) if verb.eq_ignore_ascii_case(b"AUTH") => {
                    self.add("C: ", &format!("AUTH {} ***", printable_bytes(mechanism)));
                }
                _ => self.add("C: ", &printable_bytes(line)),
            }
        }
        self.in_login = false;
    }

    /// A reply. What the server asks in a login may be part of the secret.
    pub(super) fn reply(&mut self, reply: &Reply) {
        self.in_login = reply.code == 334;
        match self.in_login {
            true => self.add("S: ", "334 ***"),
            false => self.add("S: ", &reply.to_string()),
        }
    }

    /// So many octets of content leave.
    pub(super) fn content(&mut self, octets: u64) {
        self.add("C: ", &format!("<{octets} bytes>"));
    }

    /// Something that neither side said.
    pub(super) fn note(&mut self, what: &str) {
        self.add("-- ", what);
    }

    /// Changes each line of it: secrets that the server has repeated are taken out.
    pub(super) fn rewrite(&mut self, change: impl Fn(String) -> String) {
        self.beginning = change(std::mem::take(&mut self.beginning));
        self.end.iter_mut().for_each(|line| *line = change(std::mem::take(line)));
    }

    /// All of it; from here on it is empty.
    pub(super) fn take(&mut self) -> String {
        let Transcript { mut beginning, end, left_out, .. } = std::mem::take(self);
        if left_out > 0 {
            let _ = writeln!(beginning, "-- {left_out} lines are left out");
        }
        end.iter().for_each(|line| beginning.push_str(line));
        beginning
    }

    fn add(&mut self, who: &str, line: &str) {
        let end = line.char_indices().nth(LONGEST_LINE).map_or(line.len(), |(at, _)| at);
        let line = &line[..end];
        if self.end.is_empty() && self.beginning.len() + line.len() < MOST_AT_THE_BEGINNING {
            self.beginning.push_str(who);
            self.beginning.push_str(line);
            self.beginning.push('\n');
            return;
        }
        self.end.push_back(format!("{who}{line}\n"));
        if self.end.len() > LINES_AT_THE_END {
            self.end.pop_front();
            self.left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, text: &str) -> Reply {
        Reply { code, enhanced: None, lines: vec![text.to_owned()] }
    }

    #[test]
    fn secrets_of_every_mechanism_are_left_out() {
        let mut transcript = Transcript::default();
        transcript.commands(b"AUTH PLAIN AHNlY3JldA==\r\n");
        transcript.reply(&reply(504, "no"));
        transcript.commands(b"auth LOGIN\r\n");
        for secret in ["c2VjcmV0\r\n", "c2VjcmV0\r\n"] {
            transcript.reply(&reply(334, "c2VjcmV0"));
            transcript.commands(secret.as_bytes());
        }
        transcript.reply(&reply(235, "welcome"));
        transcript.commands(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n");
        let said = transcript.take();
        assert!(!said.contains("c2VjcmV0") && !said.contains("AHNl"), "{said}");
        assert!(said.contains("C: AUTH PLAIN ***\n") && said.contains("C: ***\nS: 235 welcome\n"), "{said}");
        assert!(said.ends_with("C: MAIL FROM:<a@x.test>\nC: RCPT TO:<b@x.test>\n"), "{said}");
        assert_eq!(transcript.take(), "");
    }

    #[test]
    fn a_long_one_keeps_its_beginning_and_its_end() {
        let mut transcript = Transcript::default();
        for number in 0..10_000 {
            transcript.commands(format!("RCPT TO:<{number}@x.test>\r\n").as_bytes());
        }
        transcript.commands(&[b'x'; 100_000]);
        let said = transcript.take();
        assert!(said.len() < 16 * 1024 && said.starts_with("C: RCPT TO:<0@"), "{}", said.len());
        assert!(said.contains("lines are left out") && said.contains("<9999@x.test>"), "{said}");
    }
}
