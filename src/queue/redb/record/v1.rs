//! Records as the first release wrote them, frozen: field by field what stands in queue files that are still in use.
//! Nothing here is ever changed.

use super::super::stored::{Metadata, StateCounts, StoredMessage};
use super::super::timeline::SavedTimeline;
use crate::clock::Moment;
use crate::mail::{
    Address, BodyType, HeaderFacts, HoldReason, Message, Origin, QueueId, Recipient, RecipientState,
    ReversePath,
};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Time of the last change, and the message.
#[derive(Deserialize)]
pub(super) struct RecordV1(u64, MessageV1);

#[derive(Deserialize)]
struct MessageV1 {
    id: QueueId,
    reverse_path: ReversePath,
    recipients: Vec<RecipientV1>,
    body: BodyType,
    smtp_utf8: bool,
    size: u64,
    chunks: u32,
    header: HeaderFactsV1,
    origin: OriginV1,
    received_at: Timestamp,
    reception_ms: u64,
    attempts: u32,
    failed_upstream: Option<String>,
    due: Option<Moment>,
    life_start: Moment,
    held_since: Option<Moment>,
}

#[derive(Deserialize)]
struct RecipientV1 {
    address: Address,
    state: RecipientState,
    reply: Option<String>,
    upstream: Option<String>,
    /// Names alone: nobody can tell any more under which settings an upstream refused, so it is asked once more.
    _refused_by: Vec<String>,
}

#[derive(Deserialize)]
struct HeaderFactsV1 {
    starts_well: bool,
    has_date: bool,
    has_message_id: bool,
    has_from: bool,
    has_bcc: bool,
    has_eight_bit: bool,
    received_hops: u32,
    subject: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct OriginV1 {
    listener: String,
    client: Option<IpAddr>,
    helo: String,
    protocol: String,
}

/// What changed with every commit, before it was counted how much of the file is in use.
#[derive(Deserialize)]
pub(super) struct MetadataV1 {
    serial: u64,
    states: [u64; 4],
    damaged: u64,
    /// Those before it had been removed; no type was counted for itself.
    _first_event: u64,
    next_event: u64,
    timeline: SavedTimeline,
}

impl From<MetadataV1> for Metadata {
    fn from(old: MetadataV1) -> Metadata {
        let MetadataV1 { serial, states, damaged, next_event, timeline, .. } = old;
        let counts = StateCounts { states, damaged };
        Metadata { serial, counts, next_event, timeline, ..Metadata::default() }
    }
}

impl From<RecordV1> for StoredMessage {
    fn from(RecordV1(changed_at, message): RecordV1) -> StoredMessage {
        StoredMessage { changed_at, message: message.into() }
    }
}

impl From<MessageV1> for Message {
    fn from(old: MessageV1) -> Message {
        Message {
            recipients: old.recipients.into_iter().map(Recipient::from).collect(),
            body: old.body,
            smtp_utf8: old.smtp_utf8,
            size: old.size,
            chunks: old.chunks,
            header: old.header.into(),
            origin: old.origin.into(),
            received_at: old.received_at,
            reception_ms: old.reception_ms,
            attempts: old.attempts,
            // Each attempt that left something open had moved it one step on of the schedule.
            deferrals: old.attempts,
            failed_upstream: old.failed_upstream,
            due: old.due,
            life_start: old.life_start,
            held_since: old.held_since,
            hold: operator(old.held_since),
            ..Message::new(old.id, old.reverse_path)
        }
    }
}

/// Only an operator could hold a message.
pub(super) fn operator(held_since: Option<Moment>) -> BTreeSet<HoldReason> {
    held_since.map(|_| HoldReason::Operator).into_iter().collect()
}

impl From<RecipientV1> for Recipient {
    fn from(old: RecipientV1) -> Recipient {
        let RecipientV1 { address, state, reply, upstream, .. } = old;
        Recipient { state, reply, upstream, ..Recipient::pending(address) }
    }
}

impl From<HeaderFactsV1> for HeaderFacts {
    fn from(old: HeaderFactsV1) -> HeaderFacts {
        HeaderFacts {
            starts_well: old.starts_well,
            has_date: old.has_date,
            has_message_id: old.has_message_id,
            has_from: old.has_from,
            has_bcc: old.has_bcc,
            has_eight_bit: old.has_eight_bit,
            received_hops: old.received_hops,
            subject: old.subject,
        }
    }
}

impl From<OriginV1> for Origin {
    fn from(old: OriginV1) -> Origin {
        let OriginV1 { listener, client, helo, protocol } = old;
        Origin { listener, client, user: None, helo, protocol }
    }
}
