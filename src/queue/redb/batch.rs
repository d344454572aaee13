//! The work on one transaction: what every operation does with the tables, and what memory must follow afterwards.

use super::index_entries::IndexEntries;
use super::layout::METADATA_KEY;
use super::memory_update::MemoryUpdate;
use super::shared_queue::SharedQueue;
use super::stored::{Metadata, StoredMessage};
use super::tables::Tables;
use super::{content, event_log, record};
use crate::event::{Event, EventType, Fact};
use crate::mail::QueueId;
use redb::ReadableTable;
use std::sync::atomic::Ordering;

/// One transaction, with what its operations have changed so far.
pub(super) struct Batch<'t, 's> {
    pub(super) tables: Tables<'t>,
    pub(super) shared: &'s SharedQueue,
    pub(super) metadata: Metadata,
    pub(super) memory_updates: Vec<MemoryUpdate>,
    events: Vec<Event>,
    /// Whether there is anything to commit.
    pub(super) changed: bool,
}

/// What memory and subscribers are told of once the transaction is committed.
pub(super) struct BatchChanges {
    pub(super) metadata: Metadata,
    pub(super) memory_updates: Vec<MemoryUpdate>,
    pub(super) events: Vec<Event>,
    /// Whether there is anything to commit.
    pub(super) changed: bool,
}

impl<'t, 's> Batch<'t, 's> {
    pub(super) fn new(tables: Tables<'t>, shared: &'s SharedQueue, metadata: Metadata) -> Batch<'t, 's> {
        Batch { tables, shared, metadata, memory_updates: Vec::new(), events: Vec::new(), changed: false }
    }

    /// Removes the oldest events beyond the limit and writes the metadata record, if there is anything to commit.
    pub(super) fn finish(mut self) -> Result<BatchChanges, redb::Error> {
        if self.changed {
            let (added, keep) = (self.events.len() as u64, self.shared.keep_events.load(Ordering::Relaxed));
            event_log::trim(&mut self.tables, added, keep)?;
            self.metadata.serial = self.metadata.serial.wrapping_add(1);
            self.metadata.timeline = self.shared.timelines.saved();
            self.metadata.site_timelines = self.shared.timelines.saved_sites();
            self.metadata.usage = Some(self.tables.usage);
            self.tables.meta.insert(METADATA_KEY, record::write_metadata(&self.metadata).as_slice())?;
        }
        let Batch { metadata, memory_updates, events, changed, .. } = self;
        Ok(BatchChanges { metadata, memory_updates, events, changed })
    }

    /// Writes the record and replaces its index entries, unless it is set aside.
    pub(super) fn store(
        &mut self,
        before: Option<IndexEntries>,
        after: &StoredMessage,
    ) -> Result<(), redb::Error> {
        self.changed = true;
        let id = after.message.id;
        if !self.metadata.sites.contains(&after.message.site) {
            self.metadata.sites.insert(after.message.site.clone());
        }
        self.tables.write_message(after)?;
        if self.is_set_aside(id)? {
            return Ok(());
        }
        self.tables.replace_entries(&mut self.metadata.counts, id, before, IndexEntries::of(after))?;
        if after.message.due.is_some() {
            self.memory_updates.push(MemoryUpdate::Due(after.message.life_start.0));
        }
        Ok(())
    }

    /// Removes the record and its index entries, and `chunks` of content or all that is there.
    pub(super) fn remove(
        &mut self,
        id: QueueId,
        before: Option<IndexEntries>,
        chunks: Option<u32>,
    ) -> Result<(), redb::Error> {
        self.changed = true;
        self.tables.remove_message(id)?;
        self.tables.remove_attempts(id)?;
        if self.tables.damaged.remove(id.number())?.is_some() {
            self.metadata.counts.damaged = self.metadata.counts.damaged.saturating_sub(1);
        }
        self.tables.replace_entries(&mut self.metadata.counts, id, before, None)?;
        match chunks {
            Some(chunks) => content::remove(&mut self.tables, id.number(), chunks),
            None => content::remove_all(&mut self.tables, id.number()),
        }
    }

    /// The index entries that the stored record has now.
    pub(super) fn entries(&self, stored: &StoredMessage) -> Result<Option<IndexEntries>, redb::Error> {
        Ok(if self.is_set_aside(stored.message.id)? { None } else { IndexEntries::of(stored) })
    }

    pub(super) fn is_set_aside(&self, id: QueueId) -> Result<bool, redb::Error> {
        Ok(self.metadata.counts.damaged > 0 && self.tables.damaged.get(id.number())?.is_some())
    }

    pub(super) fn record(&mut self, facts: impl IntoIterator<Item = Fact>) -> Result<(), redb::Error> {
        for fact in facts {
            self.changed = true;
            self.events.push(event_log::append(&mut self.tables, &mut self.metadata, fact)?);
        }
        Ok(())
    }

    /// A fact of the queue's own about a message.
    pub(super) fn fact(&self, kind: EventType, code: &str, id: QueueId, message: String) -> Fact {
        let mut fact = Fact::new(self.shared.timelines.clock().wall(), kind, "Queue", code, message);
        fact.queue_id = Some(id);
        fact
    }

    /// Removes a message that is about to change from the cache. Before the commit, not after it: a claim between the two
    /// would see the new index and the old message.
    pub(super) fn uncache(&mut self, id: QueueId) {
        self.shared.state().cache.remove(id);
        self.memory_updates.push(MemoryUpdate::Changed(id));
    }

    /// Removes content that no record names.
    pub(super) fn remove_orphan(&mut self, id: QueueId) -> Result<(), redb::Error> {
        self.shared.state().staged.remove(&id);
        if self.tables.orphans.remove(id.number())?.is_some() {
            self.changed = true;
            content::remove_all(&mut self.tables, id.number())?;
        }
        self.memory_updates.push(MemoryUpdate::Removed(id));
        Ok(())
    }
}
