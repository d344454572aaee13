//! What one upstream was asked about a message and said: kept with the message, so that its owner can see without logs what
//! became of it.

use super::reply::EnhancedCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Records that are kept of a message; older ones are dropped.
const MOST_RECORDS: usize = 20;
/// Bytes of dialogue that are kept of a message.
const MOST_DIALOGUE: usize = 64 * 1024;
/// Recipients that one record names.
pub const MOST_NAMED: usize = 100;

/// One upstream that was asked in an attempt.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// When it was asked.
    pub at: Timestamp,
    /// Its name.
    pub upstream: String,
    /// Why this one: its rank, and why those before it were not asked.
    pub why: String,
    /// What it said of each recipient, the first [`MOST_NAMED`] of them.
    pub answers: Vec<AttemptAnswer>,
    /// Recipients that it was asked about and that are not named.
    pub unnamed: u32,
    /// What was wrong with the session, in words, where it failed.
    pub session_error: Option<String>,
    /// How long each step took.
    pub times: StepTimes,
    /// Of the session, where there was TLS.
    pub tls: Option<TlsFacts>,
    /// What was said, with secrets and content left out; of the last record of each upstream alone.
    pub dialogue: String,
}

/// What was said of one recipient.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AttemptAnswer {
    /// Its address.
    pub recipient: String,
    /// The command that was answered: MAIL, RCPT, DATA, or content for the final dot; none where nothing was.
    pub stage: Option<String>,
    /// The reply's code.
    pub code: Option<u16>,
    /// The reply's enhanced code.
    pub enhanced: Option<EnhancedCode>,
    /// The reply, or what happened, on one printable line.
    pub text: String,
}

/// Milliseconds of each step; zero where it was not come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StepTimes {
    /// To a usable session; zero for one that there was.
    pub connect_ms: u64,
    /// To the reply to MAIL.
    pub mail_ms: u64,
    /// From there to the reply to the last RCPT.
    pub rcpt_ms: u64,
    /// From there to the reply to DATA.
    pub data_ms: u64,
    /// From there to the reply to the final dot.
    pub final_ms: u64,
}

/// What is known of TLS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TlsFacts {
    /// As `TLSv1.3`.
    pub version: String,
    /// IANA's name of the cipher suite, as `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The key exchange, as `X25519MLKEM768`; none where an earlier session of TLS 1.2 was resumed.
    pub key_exchange: Option<String>,
    /// When the server's certificate expires.
    pub certificate_expires: Option<Timestamp>,
}

impl fmt::Display for TlsFacts {
    /// `TLSv1.3, TLS_AES_256_GCM_SHA384, X25519MLKEM768; the certificate ends 2027-02-01T12:00:00Z`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.version, self.cipher)?;
        if let Some(key_exchange) = &self.key_exchange {
            write!(f, ", {key_exchange}")?;
        }
        match self.certificate_expires {
            Some(end) => write!(f, "; the certificate ends {end}"),
            None => Ok(()),
        }
    }
}

/// Adds new records to those of a message, oldest first, and drops what is beyond the bounds.
pub fn add_records(records: &mut Vec<AttemptRecord>, new: &[AttemptRecord]) {
    records.extend(new.iter().cloned());
    let beyond = records.len().saturating_sub(MOST_RECORDS);
    records.drain(..beyond);
    let (mut seen, mut left): (Vec<String>, usize) = (Vec::new(), MOST_DIALOGUE);
    for record in records.iter_mut().rev().filter(|record| !record.dialogue.is_empty()) {
        if seen.contains(&record.upstream) || record.dialogue.len() > left {
            record.dialogue = String::new();
        } else {
            seen.push(record.upstream.clone());
            left -= record.dialogue.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_bounded_and_the_last_dialogue_of_each_upstream_stays() {
        let record = |upstream: &str, size: usize| AttemptRecord {
            upstream: upstream.to_owned(),
            dialogue: "x".repeat(size),
            ..AttemptRecord::default()
        };
        let mut records = Vec::new();
        for _ in 0..15 {
            add_records(&mut records, &[record("a", 10), record("b", 60_000)]);
        }
        assert_eq!(records.len(), MOST_RECORDS);
        let kept: Vec<usize> =
            records.iter().map(|one| one.dialogue.len()).filter(|size| *size > 0).collect();
        assert_eq!(kept, [10, 60_000]);
        add_records(&mut records, &[record("c", 6_000)]);
        let kept: Vec<&str> =
            records.iter().filter(|one| !one.dialogue.is_empty()).map(|one| &*one.upstream).collect();
        assert_eq!(kept, ["a", "c"], "what does not fit goes");
    }
}
