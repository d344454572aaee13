//! What a damaged disk has done to the file: messages are set aside, the due index is mended.
//!
//! Records and contents have checksums of their own. The keys of the tables have none, so a damaged one is noticed when
//! it leads nowhere, or to the record of another message. It may stand where no search by key finds it.

use super::batch::{Batch, Effect};
use super::record;
use super::tables::{DueKey, Place, Tables};
use crate::event::{EventType, code};
use crate::mail::QueueId;
use redb::ReadableTable;

impl Batch<'_, '_> {
    /// Takes the message out of all indexes and marks it, so that it is shown and nobody trips over it again. `key` is
    /// where it stood in the due index, if it was found there.
    pub(super) fn set_aside(
        &mut self,
        id: QueueId,
        key: Option<DueKey>,
        what: &str,
    ) -> Result<(), redb::Error> {
        let was_due = match key {
            // Whoever noticed may have said so before: what is set aside already is not looked for all over the index.
            Some(key) => self.tables.take_due(key, !self.is_set_aside(id)?)?,
            None => false,
        };
        self.changed |= was_due;
        let Some(read) = self.tables.message(id)? else {
            // There is nothing to show under this id: it is what became of another one's.
            return if was_due { self.mend_due(id, what) } else { Ok(()) };
        };
        if self.is_set_aside(id)? {
            return Ok(());
        }
        self.changed = true;
        self.forget_fresh(id);
        match read {
            Ok(stored) => self.tables.move_place(&mut self.ledger.counts, id, Place::of(&stored), None)?,
            // Its state cannot be known from the record: one of the states names it.
            Err(_) => {
                for state in 0..4 {
                    if self.tables.states.remove((state, id.number()))?.is_some() {
                        self.ledger.counts.take(state);
                    }
                }
            }
        }
        self.tables.damaged.insert(id.number(), what)?;
        self.ledger.counts.damaged = self.ledger.counts.damaged.saturating_add(1);
        let message = format!("message {id} is damaged and was set aside: {what}");
        self.record([self.fact(EventType::Error, code::DAMAGED, id, message)])
    }

    /// An entry of the due index that hides what is behind it goes; its message comes back to its place.
    pub(super) fn replace(&mut self, key: DueKey) -> Result<(), redb::Error> {
        if self.tables.take_due(key, true)? {
            self.mend_due(key.id, "it did not stand in its place")?;
        }
        Ok(())
    }

    /// A damaged entry of the due index was taken out: at least one message has lost its place there.
    fn mend_due(&mut self, id: QueueId, what: &str) -> Result<(), redb::Error> {
        self.changed = true;
        let mended = self.tables.mend_due()?;
        let message = format!(
            "the index of mail that is due was damaged at message {id} ({what}); {} messages had lost their place \
             there and have it again",
            mended.len()
        );
        self.effects.extend(mended.into_iter().map(Effect::Waits));
        self.record([self.fact(EventType::Error, code::DAMAGED, id, message)])
    }
}

impl Tables<'_> {
    /// Takes an entry out of the due index, wherever it stands if it is looked for `everywhere`. Whether there was one.
    fn take_due(&mut self, key: DueKey, everywhere: bool) -> Result<bool, redb::Error> {
        let entry = key.raw();
        if self.waiting.remove(entry)?.is_some() {
            return Ok(true);
        }
        if !everywhere {
            return Ok(false);
        }
        let mut found = false;
        self.waiting.retain(|key, _| {
            found |= key == entry;
            key != entry
        })?;
        Ok(found)
    }

    /// Makes the due index anew from the records: where one entry is damaged, searches for others may go astray. A record
    /// that cannot be read is due at once, so that whoever claims it notices. Returns the beginnings of the lives of
    /// those that were not found in it.
    fn mend_due(&mut self) -> Result<Vec<u64>, redb::Error> {
        let (mut waiting, mut lost) = (Vec::new(), Vec::new());
        for entry in self.messages.iter()? {
            let (number, bytes) = entry?;
            let number = number.value();
            if self.damaged.get(number)?.is_some() {
                continue;
            }
            let Ok(stored) = record::read_message(number, bytes.value()) else {
                waiting.push(((0, 0, 0, number), 0));
                continue;
            };
            let Some((key, life_start)) = Place::of(&stored).and_then(Place::waiting) else { continue };
            waiting.push((key.raw(), life_start));
            if self.waiting.get(key.raw())?.is_none() {
                lost.push(life_start);
            }
        }
        self.waiting.retain(|_, _| false)?;
        for (key, life_start) in waiting {
            self.waiting.insert(key, life_start)?;
        }
        Ok(lost)
    }
}
