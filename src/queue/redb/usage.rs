//! How much of the file holds something, counted as it is written.
//!
//! redb reuses the pages that deleted mail leaves, but counts them only by reading the whole file. So each
//! transaction counts what it adds and removes, and keeps the sums in the metadata; pages follow from them. Contents
//! fill their pages by design (see [`super::content`]). Measured with redb 4.4, messages of 1.5 to 10,000 KB: events, which
//! are added at one end and removed at the other, take 1.06 times their bytes, records and remainders, which are added in order and removed in
//! any order, up to 1.8 times. The figures here are a little larger, so that no space is promised that is not there.

use super::layout::{ATTEMPTS, EVENTS, MESSAGES, PARTS, REMAINDERS, SENT, open_if_made};
use crate::mail::Message;
use redb::{ReadTransaction, ReadableTableMetadata};
use serde::{Deserialize, Serialize};

/// redb's page size.
pub(super) const PAGE: usize = 4096;
/// What a page run with one part of a content holds beside it: leaf header, end of value, key.
pub(super) const PART_OVERHEAD: usize = 4 + 4 + 20;
/// Keys and index entries of a message, in bytes.
const INDEXED: u64 = 160;
/// Key and ends of a small value.
const ENTRY: u64 = 28;
/// What a record is without its recipients, and the event that goes with it.
const RECORD: usize = 400;
const EVENT: usize = 250;
/// Tables, the allocator's own records, pages that wait for the next commit to be free.
const FIXED: u64 = 512 * 1024;

/// What the file holds, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct FileUsage {
    /// Page runs of contents.
    parts: u64,
    events: u64,
    /// Records of messages, and what is left of contents behind their parts.
    small: u64,
}

impl FileUsage {
    /// Counts by reading the whole file: once, for a file that an older program wrote.
    pub(super) fn count(snapshot: &ReadTransaction) -> Result<FileUsage, redb::Error> {
        let messages = snapshot.open_table(MESSAGES)?;
        let remainders = snapshot.open_table(REMAINDERS)?.stats()?;
        let parts = snapshot.open_table(PARTS)?.stats()?;
        let mut events = 0;
        for table in EVENTS {
            events += snapshot.open_table(table)?.stats()?.stored_bytes();
        }
        let mut small =
            messages.stats()?.stored_bytes() + messages.len()? * INDEXED + remainders.stored_bytes();
        for table in [SENT, ATTEMPTS] {
            if let Some(records) = open_if_made(snapshot, table)? {
                small += records.stats()?.stored_bytes() + records.len()? * INDEXED;
            }
        }
        Ok(FileUsage {
            parts: parts.stored_bytes() + parts.metadata_bytes() + parts.fragmented_bytes(),
            events,
            small,
        })
    }

    /// A part of that many bytes was added.
    pub(super) fn add_part(&mut self, bytes: usize) {
        self.parts = self.parts.saturating_add(run(bytes));
    }

    /// A part of that many bytes was removed.
    pub(super) fn subtract_part(&mut self, bytes: usize) {
        self.parts = self.parts.saturating_sub(run(bytes));
    }

    /// A remainder of that many bytes was added.
    pub(super) fn add_remainder(&mut self, bytes: usize) {
        self.small = self.small.saturating_add(ENTRY + bytes as u64);
    }

    /// A remainder of that many bytes was removed.
    pub(super) fn subtract_remainder(&mut self, bytes: usize) {
        self.small = self.small.saturating_sub(ENTRY + bytes as u64);
    }

    /// A record was added, replaced or removed.
    pub(super) fn change_record(&mut self, before: Option<usize>, after: Option<usize>) {
        let bytes = |record: Option<usize>| record.map_or(0, |bytes| INDEXED + bytes as u64);
        self.small = self.small.saturating_add(bytes(after)).saturating_sub(bytes(before));
    }

    /// An event of that many bytes was added.
    pub(super) fn add_event(&mut self, bytes: usize) {
        self.events = self.events.saturating_add(ENTRY + bytes as u64);
    }

    /// An event of that many bytes was removed.
    pub(super) fn subtract_event(&mut self, bytes: usize) {
        self.events = self.events.saturating_sub(ENTRY + bytes as u64);
    }

    /// The record and the event of a message that is new, about as large as they will be.
    pub(super) fn add_message(&mut self, message: &Message) {
        let recipients = message.recipients.iter().map(|one| one.address.as_str().len() + 16).sum::<usize>();
        self.change_record(None, Some(recipients + RECORD));
        self.add_event(EVENT);
    }

    /// Bytes of the file whose pages are in use, or a little more.
    pub(super) fn bytes(&self) -> u64 {
        FIXED.saturating_add(self.added())
    }

    /// Bytes that this adds to a file.
    pub(super) fn added(&self) -> u64 {
        let FileUsage { parts, events, small } = *self;
        // Branches of the trees: one page for some eighty leaves.
        let parts = parts.saturating_add(parts / 64);
        let events = events.saturating_add(events / 4);
        parts.saturating_add(events).saturating_add(small.saturating_mul(2))
    }
}

/// Bytes of the run of pages that a part of so many bytes takes.
fn run(bytes: usize) -> u64 {
    (bytes.saturating_add(PART_OVERHEAD)).next_power_of_two().max(PAGE) as u64
}

#[cfg(test)]
mod tests {
    use super::super::super::{CHUNK_SIZE, EventLog, MailStore, Operations, OperatorAction, Queue};
    use super::super::test_message::message;
    use super::super::{Options, RedbQueue};
    use super::*;
    use crate::clock::ManualClock;
    use crate::mail::QueueId;
    use bytes::Bytes;
    use redb::ReadableDatabase;
    use std::sync::Arc;

    async fn put(queue: &RedbQueue, size: usize) -> QueueId {
        let content = Bytes::from(vec![7; size]);
        let mut message = Message::clone(&message(size));
        message.chunks = size.div_ceil(CHUNK_SIZE) as u32;
        let id = message.id;
        for number in 0..message.chunks.saturating_sub(1) {
            let from = number as usize * CHUNK_SIZE;
            queue.stage(id, number, content.slice(from..from + CHUNK_SIZE)).await.unwrap();
        }
        let tail = message.chunks.saturating_sub(1) as usize * CHUNK_SIZE;
        queue.put(message, content.slice(tail..), Vec::new()).await.unwrap();
        id
    }

    #[tokio::test]
    async fn what_came_and_went_leaves_nothing_and_a_count_of_the_file_says_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.redb");
        let clock = Arc::new(ManualClock::at(jiff::Timestamp::from_second(1_800_000_000).unwrap()));
        let options = || Options::new(clock.clone());
        let queue = RedbQueue::open(&path, options()).unwrap();
        let mut ids = Vec::new();
        for round in 0..40 {
            for size in [0, 100, 3_900, 4_200, 30_000, CHUNK_SIZE, 2 * CHUNK_SIZE + 77] {
                ids.push(put(&queue, size + round).await);
            }
            let given_up = QueueId::fresh(1);
            queue.stage(given_up, 0, Bytes::from(vec![7; CHUNK_SIZE])).await.unwrap();
            queue.stage(given_up, 1, Bytes::from(vec![7; CHUNK_SIZE])).await.unwrap();
            if round > 0 {
                queue.discard(given_up);
            }
        }
        queue.close().await.unwrap();
        drop(queue);

        // What was staged and neither put nor discarded goes at the start.
        let queue = RedbQueue::open(&path, options()).unwrap();
        let usage = queue.shared.state().usage;
        queue.close().await.unwrap();
        drop(queue);
        let database = redb::Database::open(&path).unwrap();
        let counted = FileUsage::count(&database.begin_read().unwrap()).unwrap();
        drop(database);
        assert!(
            usage.parts <= counted.parts && counted.parts <= usage.parts + usage.parts / 64 + 65_536,
            "{usage:?} {counted:?}"
        );
        assert!(usage.small.abs_diff(counted.small) < usage.small / 20, "{usage:?} {counted:?}");
        assert!(counted.bytes() < std::fs::metadata(&path).unwrap().len());

        let queue = RedbQueue::open(&path, options()).unwrap();
        queue.keep_events(0);
        queue.act(OperatorAction::Delete, ids).await.unwrap();
        queue.record(Vec::new());
        put(&queue, 0).await;
        let FileUsage { parts, events, small } = queue.shared.state().usage;
        assert_eq!(parts, 0);
        assert_eq!(events, 0);
        assert!(small < 1_000, "the record of one empty message: {small}");
    }
}
