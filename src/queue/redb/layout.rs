//! The tables of the queue file: their names, keys and values.
//!
//! `messages` holds the records. Everything that is asked often has an index of its own, so that neither claiming nor
//! listing ever reads messages that are not wanted: the due index (each lane longest due first), `refused`, `late notices`, `states` (each
//! state newest first), `failed` (longest failed first), `sent by day`. Names, keys and values are the file's format: with a change of
//! any of them [`FORMAT`] counts up, and [`super::migration`] brings older files up to date. A table that is missing is made
//! with the next commit, and is empty until then.

use crate::event::EventType;
use crate::mail::MessageState;
use redb::{ReadOnlyTable, ReadTransaction, TableDefinition, TableError};

/// The newest layout of the tables, which this program writes and reads.
pub(super) const FORMAT: u32 = 2;

/// Id to record (see [`super::record`]).
pub(super) const MESSAGES: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("messages");
/// The due index: (group, rank, due moment, id) to start of life, of every message that waits for an attempt. See
/// [`super::due_key::DueKey`].
pub(super) const DUE_INDEX: TableDefinition<'static, (u64, u8, u64, u128), u64> =
    TableDefinition::new("waiting");
/// Ids in the due index that some upstream has refused, so that a reload finds them.
pub(super) const REFUSED: TableDefinition<'static, u128, ()> = TableDefinition::new("refused");
/// (Group, start of life, id) in the due index of whom a sender asked to be told that they are late, and was not told yet.
pub(super) const LATE_NOTICES: TableDefinition<'static, (u64, u64, u128), ()> =
    TableDefinition::new("late notices");
/// (State, id) of every message that is not set aside.
pub(super) const STATES: TableDefinition<'static, (u8, u128), ()> = TableDefinition::new("states");
/// (Wall clock milliseconds of the last change, id) of failed messages.
pub(super) const FAILED: TableDefinition<'static, (u64, u128), ()> = TableDefinition::new("failed");
/// Parts of content chunks that fill their pages (see [`super::content`]).
pub(super) const PARTS: TableDefinition<'static, (u128, u32), &[u8]> = TableDefinition::new("parts");
/// What is left of a chunk behind its parts: small values that share pages.
pub(super) const REMAINDERS: TableDefinition<'static, (u128, u32), &[u8]> =
    TableDefinition::new("remainders");
/// Ids that have content and no record: staged for a put, or deleted while an attempt was reading. Removed at start.
pub(super) const ORPHANS: TableDefinition<'static, u128, ()> = TableDefinition::new("orphans");
/// Id to record of sent messages that are archived. The records are of the kind of [`MESSAGES`].
pub(super) const SENT: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("sent");
/// (Day that it is archived under, id) of sent messages; the day as 20261120.
pub(super) const SENT_BY_DAY: TableDefinition<'static, (u32, u128), ()> = TableDefinition::new("sent by day");
/// Day of the archive to the moment of the last addition; [`u64::MAX`] where it was forgotten.
pub(super) const ARCHIVE_DAYS: TableDefinition<'static, u32, u64> = TableDefinition::new("archive days");
/// Id to the records of its attempts, of messages in the queue or sent.
pub(super) const ATTEMPTS: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("attempts");
/// (Hash of the folder, inode, size, seconds and nanoseconds of the last change) of a file that was taken in.
pub(super) type FileKey = (u128, u64, u64, i64, u32);
/// Files that were taken in and may still be there, to the id of the message and whether people were told that the file cannot be
/// removed.
pub(super) const TAKEN_FILES: TableDefinition<'static, FileKey, (u128, bool)> =
    TableDefinition::new("taken files");
/// Ids set aside, with what is wrong.
pub(super) const DAMAGED: TableDefinition<'static, u128, &str> = TableDefinition::new("damaged");
/// Event id to fact, a table for each type of events: see [`events_of`]. (Format 1 had all of them in the first.)
pub(super) const EVENTS: [TableDefinition<'static, u64, &[u8]>; 3] =
    [TableDefinition::new("events"), TableDefinition::new("warnings"), TableDefinition::new("errors")];
/// Format version, instance name and the metadata record.
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
/// The key in [`META`] of the metadata record (see [`super::stored::Metadata`]).
pub(super) const METADATA_KEY: &str = "ledger";

/// The place in [`EVENTS`] of the table for a type.
pub(super) fn events_of(kind: EventType) -> usize {
    match kind {
        EventType::Information => 0,
        EventType::Warning => 1,
        EventType::Error => 2,
    }
}

/// The state's number in [`STATES`] and in the counters; none for sent messages, which are not stored.
pub(super) fn state_number(state: MessageState) -> Option<u8> {
    match state {
        MessageState::Queued => Some(0),
        MessageState::Deferred => Some(1),
        MessageState::Held => Some(2),
        MessageState::Failed => Some(3),
        MessageState::Sent => None,
    }
}

/// A table that a file may not have yet, because no commit has made it.
pub(super) fn open_if_made<K: redb::Key + 'static, V: redb::Value + 'static>(
    snapshot: &ReadTransaction,
    table: TableDefinition<'static, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, redb::Error> {
    match snapshot.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
