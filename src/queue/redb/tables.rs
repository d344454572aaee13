//! All tables, open for writing. [`Tables::replace_entries`] is the only code that keeps the indexes in step with the records.

use super::due_key::RawDueKey;
use super::index_entries::IndexEntries;
use super::layout::{
    ARCHIVE_DAYS, ATTEMPTS, DAMAGED, DUE_INDEX, EVENTS, FAILED, FileKey, LATE_NOTICES, MESSAGES, META,
    ORPHANS, PARTS, REFUSED, REMAINDERS, SENT, SENT_BY_DAY, STATES, TAKEN_FILES,
};
use super::record;
use super::stored::{StateCounts, StoredMessage};
use super::usage::FileUsage;
use crate::mail::{AttemptRecord, QueueId};
use redb::{ReadableTable, Table, WriteTransaction};

/// All tables, open for writing in one transaction.
pub(super) struct Tables<'t> {
    pub(super) messages: Table<'t, u128, &'static [u8]>,
    pub(super) due_index: Table<'t, RawDueKey, u64>,
    pub(super) refused: Table<'t, u128, ()>,
    pub(super) late_notices: Table<'t, (u64, u64, u128), ()>,
    pub(super) states: Table<'t, (u8, u128), ()>,
    pub(super) failed: Table<'t, (u64, u128), ()>,
    pub(super) parts: Table<'t, (u128, u32), &'static [u8]>,
    pub(super) remainders: Table<'t, (u128, u32), &'static [u8]>,
    pub(super) sent: Table<'t, u128, &'static [u8]>,
    pub(super) sent_by_day: Table<'t, (u32, u128), ()>,
    pub(super) attempts: Table<'t, u128, &'static [u8]>,
    pub(super) archive_days: Table<'t, u32, u64>,
    pub(super) orphans: Table<'t, u128, ()>,
    pub(super) damaged: Table<'t, u128, &'static str>,
    pub(super) taken_files: Table<'t, FileKey, (u128, bool)>,
    pub(super) events: [Table<'t, u64, &'static [u8]>; 3],
    pub(super) meta: Table<'t, &'static str, &'static [u8]>,
    /// What all of them hold. Kept in the metadata record from one transaction to the next.
    pub(super) usage: FileUsage,
}

impl<'t> Tables<'t> {
    /// Opens all of them; missing ones are made. `usage` is what they hold.
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        usage: FileUsage,
    ) -> Result<Tables<'t>, redb::Error> {
        let [information, warnings, errors] = EVENTS;
        Ok(Tables {
            messages: transaction.open_table(MESSAGES)?,
            due_index: transaction.open_table(DUE_INDEX)?,
            refused: transaction.open_table(REFUSED)?,
            late_notices: transaction.open_table(LATE_NOTICES)?,
            states: transaction.open_table(STATES)?,
            failed: transaction.open_table(FAILED)?,
            parts: transaction.open_table(PARTS)?,
            remainders: transaction.open_table(REMAINDERS)?,
            sent: transaction.open_table(SENT)?,
            sent_by_day: transaction.open_table(SENT_BY_DAY)?,
            attempts: transaction.open_table(ATTEMPTS)?,
            archive_days: transaction.open_table(ARCHIVE_DAYS)?,
            orphans: transaction.open_table(ORPHANS)?,
            damaged: transaction.open_table(DAMAGED)?,
            taken_files: transaction.open_table(TAKEN_FILES)?,
            events: [
                transaction.open_table(information)?,
                transaction.open_table(warnings)?,
                transaction.open_table(errors)?,
            ],
            meta: transaction.open_table(META)?,
            usage,
        })
    }

    /// The record of a message: none if there is none, what is wrong if it cannot be read.
    pub(super) fn message(&self, id: QueueId) -> Result<Option<Result<StoredMessage, String>>, redb::Error> {
        Ok(self.messages.get(id.number())?.map(|bytes| record::read_message(id.number(), bytes.value())))
    }

    /// Writes the record, nothing else.
    pub(super) fn write_message(&mut self, stored: &StoredMessage) -> Result<(), redb::Error> {
        let record = record::write_message(stored);
        let before = self.messages.insert(stored.message.id.number(), record.as_slice())?;
        let before = before.map(|record| record.value().len());
        self.usage.change_record(before, Some(record.len()));
        Ok(())
    }

    /// The records of a message's attempts. What cannot be read is none: nothing depends on it.
    pub(super) fn attempts(&self, id: QueueId) -> Result<Vec<AttemptRecord>, redb::Error> {
        let read = self.attempts.get(id.number())?.map(|bytes| record::read_attempts(bytes.value()));
        Ok(read.unwrap_or_default())
    }

    /// Replaces the records of a message's attempts.
    pub(super) fn write_attempts(
        &mut self,
        id: QueueId,
        attempts: &[AttemptRecord],
    ) -> Result<(), redb::Error> {
        let bytes = record::write_attempts(attempts);
        let before = self.attempts.insert(id.number(), bytes.as_slice())?.map(|record| record.value().len());
        self.usage.change_record(before, Some(bytes.len()));
        Ok(())
    }

    /// Removes them.
    pub(super) fn remove_attempts(&mut self, id: QueueId) -> Result<(), redb::Error> {
        let before = self.attempts.remove(id.number())?.map(|record| record.value().len());
        self.usage.change_record(before, None);
        Ok(())
    }

    /// Removes the record, nothing else.
    pub(super) fn remove_message(&mut self, id: QueueId) -> Result<(), redb::Error> {
        let before = self.messages.remove(id.number())?.map(|record| record.value().len());
        self.usage.change_record(before, None);
        Ok(())
    }

    /// Removes the index entries `before` and writes those of `after`; the counters follow.
    pub(super) fn replace_entries(
        &mut self,
        counts: &mut StateCounts,
        id: QueueId,
        before: Option<IndexEntries>,
        after: Option<IndexEntries>,
    ) -> Result<(), redb::Error> {
        self.replace_due_entries(id, before, after)?;
        let id = id.number();
        let state = |entries: Option<IndexEntries>| entries.map(|entries| entries.state);
        if state(before) != state(after) {
            if let Some(state) = state(before) {
                self.states.remove((state, id))?;
                counts.subtract(state);
            }
            if let Some(state) = state(after) {
                self.states.insert((state, id), ())?;
                counts.add(state);
            }
        }
        let failed = |entries: Option<IndexEntries>| entries.and_then(|entries| entries.failed_at);
        if failed(before) != failed(after) {
            if let Some(at) = failed(before) {
                self.failed.remove((at, id))?;
            }
            if let Some(at) = failed(after) {
                self.failed.insert((at, id), ())?;
            }
        }
        Ok(())
    }

    /// The same for the due index and those of refused messages and notices alone.
    pub(super) fn replace_due_entries(
        &mut self,
        id: QueueId,
        before: Option<IndexEntries>,
        after: Option<IndexEntries>,
    ) -> Result<(), redb::Error> {
        let due = |entries: Option<IndexEntries>| entries.and_then(|entries| entries.due);
        if due(before) != due(after) {
            if let Some((key, _)) = due(before) {
                self.due_index.remove(key.raw())?;
            }
            if let Some((key, life_start)) = due(after) {
                self.due_index.insert(key.raw(), life_start)?;
            }
        }
        let refused = |entries: Option<IndexEntries>| entries.is_some_and(|entries| entries.refused);
        match (refused(before), refused(after)) {
            (true, false) => drop(self.refused.remove(id.number())?),
            (false, true) => drop(self.refused.insert(id.number(), ())?),
            _ => {}
        }
        let late_notice = |entries: Option<IndexEntries>| {
            let (key, life_start) = entries.filter(|entries| entries.wants_late_notice)?.due?;
            Some((key.lane.group, life_start, id.number()))
        };
        if late_notice(before) != late_notice(after) {
            if let Some(key) = late_notice(before) {
                self.late_notices.remove(key)?;
            }
            if let Some(key) = late_notice(after) {
                self.late_notices.insert(key, ())?;
            }
        }
        Ok(())
    }
}
