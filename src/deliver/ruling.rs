//! What an upstream's answer means for a recipient: the table of PRODUCT rules 3 and 5.

use super::transaction::{Answer, Missing, Step};
use crate::mail::{EnhancedCode, Reply};

/// What is to be done about the recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// Delivered.
    Delivered,
    /// Refused for good, wherever it would be sent.
    Final,
    /// Says nothing against the mail for good: the next upstream is asked, then it is deferred.
    Next,
    /// Speaks of the account or the server and not of the mail: final only when every candidate said so.
    NotHere,
    /// May be sent or not: deferred, and never at once to another upstream.
    Unknown,
    /// The session was lost before anything was decided: the upstream's fault.
    Undecided,
}

/// Rules on one answer.
pub fn rule(answer: &Answer) -> Ruling {
    match answer {
        Answer::Accepted(_) => Ruling::Delivered,
        Answer::Unable(_) => Ruling::NotHere,
        Answer::Unknown(_) => Ruling::Unknown,
        Answer::Undecided => Ruling::Undecided,
        Answer::Refused(..) if is_one_too_many(answer) => Ruling::Next,
        Answer::Refused(step, reply) if reply.is_permanent() => {
            if *step == Step::Mail || speaks_of_the_server(reply) { Ruling::NotHere } else { Ruling::Final }
        }
        // Unknown = temporary.
        Answer::Refused(..) => Ruling::Next,
    }
}

/// Codes that speak of the sending account or of the server: 5.4.5 daily quota, 5.7.57 not authenticated, 5.7.60 send-as
/// denied, 5.2.252 send-as denied by a mailbox's own rule.
fn speaks_of_the_server(reply: &Reply) -> bool {
    let known = [(4, 5), (7, 57), (7, 60), (2, 252)];
    reply.enhanced.is_some_and(|EnhancedCode(_, subject, detail)| known.contains(&(subject, detail)))
}

/// Whether the recipient was only one too many for this transaction (RFC 5321 section 4.5.3.1.10: 552 there means 452),
/// so that the rest can be sent at once in another one.
pub fn is_one_too_many(answer: &Answer) -> bool {
    let Answer::Refused(Step::Rcpt, reply) = answer else { return false };
    match (reply.code, reply.enhanced) {
        (452 | 552, Some(EnhancedCode(_, 5, 3))) | (452, None) => true,
        (552, None) => reply.lines.iter().any(|line| line.to_ascii_lowercase().contains("too many")),
        _ => false,
    }
}

/// The answer in words, on one line.
pub fn words(answer: &Answer) -> String {
    match answer {
        Answer::Accepted(reply) | Answer::Refused(_, reply) => reply.to_string(),
        Answer::Unable(Missing::Size { size, limit }) => {
            format!("the message has {size} bytes, the upstream takes {limit} at most")
        }
        Answer::Unable(Missing::EightBitMime) => {
            "the upstream does not offer 8BITMIME, which this message needs".into()
        }
        Answer::Unable(Missing::SmtpUtf8) => {
            "the upstream does not offer SMTPUTF8, which this message needs".into()
        }
        Answer::Unknown(what) => format!("no valid answer to the final dot ({what}): may be sent twice"),
        Answer::Undecided => "the session was lost before the upstream decided".into(),
    }
}

/// The enhanced code that goes with the answer: the upstream's own, else the one that fits (RFC 3463).
pub fn enhanced(answer: &Answer) -> EnhancedCode {
    match answer {
        Answer::Accepted(reply) | Answer::Refused(_, reply) => {
            let class = u8::try_from(reply.code / 100).unwrap_or(4);
            reply.enhanced.unwrap_or(EnhancedCode(class, 0, 0))
        }
        Answer::Unable(Missing::Size { .. }) => EnhancedCode(5, 3, 4),
        Answer::Unable(Missing::EightBitMime) => EnhancedCode(5, 6, 3),
        Answer::Unable(Missing::SmtpUtf8) => EnhancedCode(5, 6, 7),
        Answer::Unknown(_) | Answer::Undecided => EnhancedCode(4, 4, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, enhanced: Option<EnhancedCode>) -> Reply {
        Reply { code, enhanced, lines: vec!["text".into()] }
    }

    #[test]
    fn the_table() {
        let e = |subject, detail| Some(EnhancedCode(5, subject, detail));
        let rows = [
            (Answer::Accepted(reply(250, None)), Ruling::Delivered),
            (Answer::Refused(Step::Rcpt, reply(550, e(1, 1))), Ruling::Final),
            (Answer::Refused(Step::Data, reply(554, None)), Ruling::Final),
            (Answer::Refused(Step::Content, reply(552, e(3, 4))), Ruling::Final),
            (Answer::Refused(Step::Mail, reply(550, None)), Ruling::NotHere),
            (Answer::Refused(Step::Rcpt, reply(550, e(4, 5))), Ruling::NotHere),
            (Answer::Refused(Step::Content, reply(550, e(7, 57))), Ruling::NotHere),
            (Answer::Refused(Step::Content, reply(550, e(7, 60))), Ruling::NotHere),
            (Answer::Refused(Step::Content, reply(554, e(2, 252))), Ruling::NotHere),
            (Answer::Refused(Step::Rcpt, reply(451, None)), Ruling::Next),
            (Answer::Refused(Step::Rcpt, reply(552, e(5, 3))), Ruling::Next),
            (Answer::Refused(Step::Mail, reply(421, None)), Ruling::Next),
            (Answer::Unable(Missing::Size { size: 2, limit: 1 }), Ruling::NotHere),
            (Answer::Unknown("closed".into()), Ruling::Unknown),
            (Answer::Undecided, Ruling::Undecided),
        ];
        for (answer, ruling) in rows {
            assert_eq!(rule(&answer), ruling, "{answer:?}");
        }
    }

    #[test]
    fn too_many_recipients_is_known_by_its_codes() {
        assert!(is_one_too_many(&Answer::Refused(Step::Rcpt, reply(452, Some(EnhancedCode(4, 5, 3))))));
        assert!(is_one_too_many(&Answer::Refused(Step::Rcpt, reply(552, Some(EnhancedCode(5, 5, 3))))));
        assert!(!is_one_too_many(&Answer::Refused(Step::Rcpt, reply(452, Some(EnhancedCode(4, 2, 2))))));
        assert!(!is_one_too_many(&Answer::Refused(Step::Content, reply(452, None))));
    }
}
