//! What one upstream was asked about a message and said: kept with the message, so that its owner can see without logs what
//! became of it.

use super::reply::EnhancedCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Records that are kept of a message; older ones are dropped.
const MOST_RECORDS: usize = 20;
/// Bytes of dialogue that are kept of a message.
const MOST_DIALOGUE: usize = 64 * 1024;
/// Bytes of everything else in the records of a message; the oldest are dropped first, the newest stays.
const MOST_BYTES: usize = 128 * 1024;
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
    /// What it was given otherwise than it was stored; none where there was no session, and in records of before this was kept.
    pub sent: Option<SentChanges>,
}

/// How a message left otherwise than it came.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct SentChanges {
    /// The reverse-path of the transaction; null for `<>`.
    pub reverse_path: Option<String>,
    /// The header fields that were put in front of the content.
    pub added: String,
    /// There were more of them than are kept.
    pub added_is_cut: bool,
    /// Fields that left under another name, where the message had them. `Bcc` and `Resent-Bcc` never leave.
    pub renamed: Vec<RenamedField>,
}

/// A field that left under another name, with its value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RenamedField {
    /// As `From`.
    pub old: String,
    /// As `X-Original-From`.
    pub new: String,
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
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

impl StepTimes {
    /// All of them together.
    pub fn total_ms(self) -> u64 {
        let StepTimes { connect_ms, mail_ms, rcpt_ms, data_ms, final_ms } = self;
        [connect_ms, mail_ms, rcpt_ms, data_ms, final_ms].into_iter().fold(0, u64::saturating_add)
    }
}

/// What is known of TLS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
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

impl AttemptRecord {
    /// It tells no more than that: the same upstream could not be asked, for the same reason.
    fn repeats(&self, earlier: &AttemptRecord) -> bool {
        let says_nothing = |one: &AttemptRecord| one.answers.iter().all(|answer| answer.code.is_none());
        self.session_error.is_some()
            && self.session_error == earlier.session_error
            && says_nothing(self)
            && says_nothing(earlier)
    }

    /// How much it takes, without its dialogue.
    fn bytes(&self) -> usize {
        let answer = |one: &AttemptAnswer| one.recipient.len() + one.text.len() + 32;
        let error = self.session_error.as_ref().map_or(0, String::len);
        let sent = self.sent.as_ref().map_or(0, |sent| {
            sent.added.len() + sent.renamed.iter().map(|one| one.old.len() + one.new.len()).sum::<usize>()
        });
        128 + self.why.len() + error + sent + self.answers.iter().map(answer).sum::<usize>()
    }
}

/// Adds new records to those of a message, oldest first, and drops what is beyond the bounds. One that says of its upstream what
/// the last one of it said, that there was no session, takes that one's place: an upstream may be down for days.
pub fn add_records(records: &mut Vec<AttemptRecord>, new: &[AttemptRecord]) {
    for record in new {
        let last = records.iter().rposition(|one| one.upstream == record.upstream);
        if let Some(last) = last.filter(|last| record.repeats(&records[*last])) {
            records.remove(last);
        }
        records.push(record.clone());
    }
    let mut bytes = 0;
    let fits = |record: &&AttemptRecord| {
        bytes += record.bytes();
        bytes <= MOST_BYTES
    };
    let kept = records.iter().rev().take(MOST_RECORDS).take_while(fits).count().max(1);
    records.drain(..records.len().saturating_sub(kept));
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

    #[test]
    fn an_upstream_that_stays_down_has_one_record() {
        let record = |upstream: &str, error: &str, at: i64| AttemptRecord {
            upstream: upstream.to_owned(),
            session_error: Some(error.to_owned()),
            at: Timestamp::from_second(at).unwrap(),
            ..AttemptRecord::default()
        };
        let mut records = vec![AttemptRecord { upstream: "a".to_owned(), ..AttemptRecord::default() }];
        for at in 1..100 {
            add_records(&mut records, &[record("a", "refused", at), record("b", "silent", at)]);
        }
        add_records(&mut records, &[record("a", "no TLS", 100)]);
        let told: Vec<_> = records.iter().map(|one| (one.upstream.as_str(), one.at.as_second())).collect();
        assert_eq!(told, [("a", 0), ("a", 99), ("b", 99), ("a", 100)]);
    }

    #[test]
    fn the_bytes_of_all_records_are_bounded_and_the_newest_stays() {
        let answer = AttemptAnswer {
            recipient: "a@x.test".to_owned(),
            stage: None,
            code: Some(451),
            enhanced: None,
            text: "x".repeat(512),
        };
        let record =
            |count| AttemptRecord { answers: vec![answer.clone(); count], ..AttemptRecord::default() };
        let mut records = Vec::new();
        for _ in 0..10 {
            add_records(&mut records, &[record(100)]);
        }
        assert_eq!(records.len(), 2);
        add_records(&mut records, &[record(1_000)]);
        assert_eq!(records.len(), 1);
    }
}
