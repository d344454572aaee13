//! What is stored, as bytes: a version, a checksum, then postcard.
//!
//! Each kind of record counts its own versions. The newest is what is written; every older one is read for ever, by the
//! frozen types of [`v1`] and its successors, so that a newer program takes a queue over as it is. A record is written anew, in
//! the newest version, when something about it changes.
//!
//! redb's own checksums are looked at only when it repairs a file; a byte that the disk has flipped would otherwise
//! be read as mail.

mod v1;
mod v2;

use super::super::QueueStatus;
use super::timeline::Kept;
use super::usage::Usage;
use crate::event::Fact;
use crate::mail::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The version of each kind of record that this program writes.
const MESSAGE_VERSION: u8 = 3;
const FACT_VERSION: u8 = 1;
const LEDGER_VERSION: u8 = 2;
/// Version and checksum.
const HEAD: usize = 1 + 8;

/// A message as the file keeps it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Stored {
    /// Wall clock milliseconds at the last change of its outcome.
    pub(super) changed_ms: u64,
    /// The message.
    pub(super) message: Message,
}

/// Messages by state, numbered by [`super::tables::state_number`], and those set aside. Whatever number stands in the
/// file, counting on from it does not overflow.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) states: [u64; 4],
    pub(super) damaged: u64,
}

impl Counts {
    pub(super) fn add(&mut self, state: u8) {
        let count = &mut self.states[usize::from(state)];
        *count = count.saturating_add(1);
    }

    pub(super) fn take(&mut self, state: u8) {
        let count = &mut self.states[usize::from(state)];
        *count = count.saturating_sub(1);
    }

    /// What the counters know of [`QueueStatus`].
    pub(super) fn status(&self) -> QueueStatus {
        let [queued, deferred, held, failed] = self.states;
        QueueStatus { queued, deferred, held, failed, damaged: self.damaged, ..QueueStatus::default() }
    }
}

/// What changes with every commit and is therefore kept in one small record.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// Number of this commit: tells, after a commit that failed, whether it is in the file.
    pub(super) serial: u64,
    pub(super) counts: Counts,
    /// The id that the next event gets, whatever its type.
    pub(super) next_event: u64,
    pub(super) timeline: Kept,
    /// How much of the file is in use; none where an older program wrote it last.
    pub(super) usage: Option<Usage>,
}

pub(super) fn write_message(stored: &Stored) -> Vec<u8> {
    seal(MESSAGE_VERSION, &(stored.changed_ms, &stored.message))
}

/// The record under this id. The checksum does not cover the key that it stands under, but the record names its message.
pub(super) fn read_message(id: u128, bytes: &[u8]) -> Result<Stored, String> {
    let (version, body) = open(bytes)?;
    let stored = match version {
        1 => decode::<v1::Stored>(body)?.into(),
        2 => decode::<v2::Stored>(body)?.into(),
        MESSAGE_VERSION => {
            let (changed_ms, message) = decode(body)?;
            Stored { changed_ms, message }
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

pub(super) fn write_ledger(ledger: &Ledger) -> Vec<u8> {
    seal(LEDGER_VERSION, ledger)
}

pub(super) fn read_ledger(bytes: &[u8]) -> Result<Ledger, String> {
    match open(bytes)? {
        (1, body) => Ok(decode::<v1::Ledger>(body)?.into()),
        (LEDGER_VERSION, body) => decode(body),
        (newer, _) => Err(unknown_version(newer, LEDGER_VERSION)),
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

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let ledger = Ledger { serial: 7, next_event: 300, ..Ledger::default() };
        let bytes = write_ledger(&ledger);
        assert_eq!(read_ledger(&bytes), Ok(ledger));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_ledger(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(read_ledger(&bytes[..length]).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn counting_on_from_the_largest_number_does_not_overflow() {
        let mut counts = Counts { states: [u64::MAX, 0, 0, 0], damaged: 0 };
        counts.add(0);
        counts.take(1);
        assert_eq!(counts.states, [u64::MAX, 0, 0, 0]);
    }
}
