//! Messages and metadata as they were written before there were modes and sites, frozen: see [`super::v1`]. Nothing here
//! is ever changed.

use super::super::stored::{Metadata, StateCounts, StoredMessage};
use super::super::timeline::SavedTimeline;
use super::super::usage::FileUsage;
use super::v1::{self, OriginV1};
use crate::clock::Moment;
use crate::mail::{
    Address, BodyType, Class, HeaderFacts, Message, QueueId, Recipient, RecipientState, Refusal, ReversePath,
};
use jiff::Timestamp;
use serde::Deserialize;

/// Time of the last change, and the message.
#[derive(Deserialize)]
pub(super) struct RecordV2(u64, MessageV2);

#[derive(Deserialize)]
struct MessageV2 {
    id: QueueId,
    reverse_path: ReversePath,
    recipients: Vec<RecipientV2>,
    body: BodyType,
    smtp_utf8: bool,
    size: u64,
    chunks: u32,
    header: HeaderFacts,
    origin: OriginV1,
    site: String,
    class: Class,
    received_at: Timestamp,
    reception_ms: u64,
    attempts: u32,
    deferrals: u32,
    failed_upstream: Option<String>,
    due: Option<Moment>,
    life_start: Moment,
    held_since: Option<Moment>,
}

#[derive(Deserialize)]
struct RecipientV2 {
    address: Address,
    state: RecipientState,
    reply: Option<String>,
    upstream: Option<String>,
    refused_by: Vec<Refusal>,
}

/// What changed with every commit.
#[derive(Deserialize)]
pub(super) struct MetadataV2 {
    serial: u64,
    counts: StateCounts,
    next_event: u64,
    timeline: SavedTimeline,
    usage: Option<FileUsage>,
}

impl From<MetadataV2> for Metadata {
    fn from(old: MetadataV2) -> Metadata {
        let MetadataV2 { serial, counts, next_event, timeline, usage } = old;
        Metadata { serial, counts, next_event, timeline, usage, ..Metadata::default() }
    }
}

impl From<RecordV2> for StoredMessage {
    fn from(RecordV2(changed_at, message): RecordV2) -> StoredMessage {
        StoredMessage { changed_at, message: message.into() }
    }
}

impl From<MessageV2> for Message {
    fn from(old: MessageV2) -> Message {
        Message {
            recipients: old.recipients.into_iter().map(Recipient::from).collect(),
            body: old.body,
            smtp_utf8: old.smtp_utf8,
            size: old.size,
            chunks: old.chunks,
            header: old.header,
            origin: old.origin.into(),
            site: old.site,
            class: old.class,
            received_at: old.received_at,
            reception_ms: old.reception_ms,
            attempts: old.attempts,
            deferrals: old.deferrals,
            failed_upstream: old.failed_upstream,
            due: old.due,
            life_start: old.life_start,
            held_since: old.held_since,
            hold: v1::operator(old.held_since),
            ..Message::new(old.id, old.reverse_path)
        }
    }
}

impl From<RecipientV2> for Recipient {
    fn from(old: RecipientV2) -> Recipient {
        let RecipientV2 { address, state, reply, upstream, refused_by } = old;
        Recipient { state, reply, upstream, refused_by, ..Recipient::pending(address) }
    }
}
