//! What is stored, as bytes: a version, a checksum, then postcard.
//!
//! Each kind of record counts its own versions. The newest is what is written; every older one can be read for ever, by the
//! frozen types of [`v1`] and its successors, so that a newer program takes a queue over as it is. A record is written anew, in
//! the newest version, when something about it changes.
//!
//! redb checks its own checksums only when it repairs a file; without these a byte that the disk has flipped would be read
//! as mail.

mod attempts_v1;
mod v1;
mod v2;

use attempts_v1::AttemptRecordV1;

use super::stored::{Metadata, StoredMessage};
use crate::event::Fact;
use crate::mail::AttemptRecord;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The version of each kind of record that this program writes.
const MESSAGE_VERSION: u8 = 3;
const FACT_VERSION: u8 = 1;
const ATTEMPTS_VERSION: u8 = 2;
const METADATA_VERSION: u8 = 3;
/// Version and checksum.
const HEAD: usize = 1 + 8;

pub(super) fn write_message(stored: &StoredMessage) -> Vec<u8> {
    seal(MESSAGE_VERSION, &(stored.changed_at, &stored.message))
}

/// The record under this id. The checksum does not cover the id, which is the key, but the record names its message.
pub(super) fn read_message(id: u128, bytes: &[u8]) -> Result<StoredMessage, String> {
    let (version, body) = open(bytes)?;
    let stored = match version {
        1 => decode::<v1::RecordV1>(body)?.into(),
        2 => decode::<v2::RecordV2>(body)?.into(),
        MESSAGE_VERSION => {
            let (changed_at, message) = decode(body)?;
            StoredMessage { changed_at, message }
        }
        newer => return Err(unknown_version(newer, MESSAGE_VERSION)),
    };
    match stored.message.id.number() == id {
        true => Ok(stored),
        false => Err(format!("the record is that of message {}: its key is damaged", stored.message.id)),
    }
}

pub(super) fn write_fact(fact: &Fact) -> Vec<u8> {
    seal(FACT_VERSION, fact)
}

pub(super) fn read_fact(bytes: &[u8]) -> Result<Fact, String> {
    match open(bytes)? {
        (FACT_VERSION, body) => decode(body),
        (newer, _) => Err(unknown_version(newer, FACT_VERSION)),
    }
}

pub(super) fn write_attempts(attempts: &[AttemptRecord]) -> Vec<u8> {
    seal(ATTEMPTS_VERSION, &attempts)
}

/// None where they cannot be read.
pub(super) fn read_attempts(bytes: &[u8]) -> Vec<AttemptRecord> {
    match open(bytes) {
        Ok((1, body)) => {
            let old: Vec<AttemptRecordV1> = decode(body).unwrap_or_default();
            old.into_iter().map(AttemptRecord::from).collect()
        }
        Ok((ATTEMPTS_VERSION, body)) => decode(body).unwrap_or_default(),
        _ => Vec::new(),
    }
}

pub(super) fn write_metadata(metadata: &Metadata) -> Vec<u8> {
    seal(METADATA_VERSION, metadata)
}

pub(super) fn read_metadata(bytes: &[u8]) -> Result<Metadata, String> {
    match open(bytes)? {
        (1, body) => Ok(decode::<v1::MetadataV1>(body)?.into()),
        (2, body) => Ok(decode::<v2::MetadataV2>(body)?.into()),
        (METADATA_VERSION, body) => decode(body),
        (newer, _) => Err(unknown_version(newer, METADATA_VERSION)),
    }
}

fn seal<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(&[0; HEAD]);
    #[expect(
        clippy::expect_used,
        reason = "postcard fails on I/O and unsized sequences; a Vec and these types have neither"
    )]
    let mut bytes = postcard::to_extend(value, head).expect("serializing to memory");
    bytes[0] = version;
    let checksum = checksum(version, &bytes[HEAD..]);
    bytes[1..HEAD].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Version and body of a record whose checksum is right.
fn open(bytes: &[u8]) -> Result<(u8, &[u8]), String> {
    let Some((head, body)) = bytes.split_at_checked(HEAD) else {
        return Err(format!("the record has only {} bytes", bytes.len()));
    };
    if head[1..] != checksum(head[0], body).to_le_bytes() {
        return Err("the record does not match its checksum".to_owned());
    }
    Ok((head[0], body))
}

/// Covers the version too. (With a seed of zero, as the first version has it, XXH3 is what it is without one.)
fn checksum(version: u8, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, u64::from(version.wrapping_sub(1)))
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    postcard::from_bytes(body).map_err(|error| format!("the record cannot be read: {error}"))
}

fn unknown_version(found: u8, newest: u8) -> String {
    format!(
        "the record has version {found}, this program reads versions up to {newest}: a newer Postroom wrote it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::attempt::StepTimes;
    use jiff::Timestamp;

    #[test]
    fn attempts_of_before_what_was_sent_was_kept_are_read() {
        let times = StepTimes { mail_ms: 7, ..StepTimes::default() };
        let old = |upstream: &str| AttemptRecordV1 {
            at: Timestamp::from_second(1_790_000_000).unwrap(),
            upstream: upstream.to_owned(),
            why: "priority normal".to_owned(),
            answers: Vec::new(),
            unnamed: 3,
            session_error: Some("no".to_owned()),
            times,
            tls: None,
            dialogue: "C: EHLO".to_owned(),
        };
        let read = read_attempts(&seal(1, &vec![old("a"), old("b")]));
        assert_eq!(read.iter().map(|one| one.upstream.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(read.iter().all(|one| one.times == times && one.dialogue == "C: EHLO" && one.sent.is_none()));
        assert_eq!(read_attempts(&write_attempts(&read)), read);
        assert_eq!(read_attempts(&seal(3, &vec![old("a")])), []);
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let metadata = Metadata { serial: 7, next_event: 300, ..Metadata::default() };
        let bytes = write_metadata(&metadata);
        assert_eq!(read_metadata(&bytes), Ok(metadata));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_metadata(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(read_metadata(&bytes[..length]).is_err(), "cut to {length} bytes");
        }
    }
}
