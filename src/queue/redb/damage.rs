//! Repairs what a damaged disk has done to the file: messages are set aside, the due index is rebuilt.
//!
//! Records and contents have checksums of their own. The keys of the tables have none, so a damaged one is noticed when
//! it leads nowhere, or to the record of another message. It may stand where no search by key finds it.

use super::batch::Batch;
use super::due_key::DueKey;
use super::index_entries::IndexEntries;
use super::memory_update::MemoryUpdate;
use super::record;
use super::tables::Tables;
use crate::event::{EventType, code};
use crate::mail::QueueId;
use redb::ReadableTable;

/// Takes the message out of all indexes and marks it, so that it is shown and no claim reads it again. `key` is
/// its entry in the due index, if it was found by that.
pub(super) fn set_aside(
    batch: &mut Batch<'_, '_>,
    id: QueueId,
    key: Option<DueKey>,
    what: &str,
) -> Result<(), redb::Error> {
    let was_due = match key {
        Some(key) => {
            // The same damage may be reported again: what is set aside already is not looked for in the whole index.
            let everywhere = !batch.is_set_aside(id)?;
            take_due(&mut batch.tables, key, everywhere)?
        }
        None => false,
    };
    batch.changed |= was_due;
    let Some(read) = batch.tables.message(id)? else {
        // No message has this id: a damaged entry of another message names it.
        return if was_due { repair_due_index(batch, id, what) } else { Ok(()) };
    };
    if batch.is_set_aside(id)? {
        return Ok(());
    }
    batch.changed = true;
    batch.uncache(id);
    match read {
        Ok(stored) => {
            batch.tables.replace_entries(&mut batch.metadata.counts, id, IndexEntries::of(&stored), None)?
        }
        // The record does not say its state: one entry of the states names it.
        Err(_) => {
            for state in 0..4 {
                if batch.tables.states.remove((state, id.number()))?.is_some() {
                    batch.metadata.counts.subtract(state);
                }
            }
        }
    }
    batch.tables.damaged.insert(id.number(), what)?;
    batch.metadata.counts.damaged = batch.metadata.counts.damaged.saturating_add(1);
    let message = format!("message {id} is damaged and was set aside: {what}");
    batch.record([batch.fact(EventType::Error, code::DAMAGED, id, message)])
}

/// Removes an entry of the due index that stands out of order, which hides the entries after it; the entry that its message
/// has to have is written anew.
pub(super) fn replace_misplaced(batch: &mut Batch<'_, '_>, key: DueKey) -> Result<(), redb::Error> {
    if take_due(&mut batch.tables, key, true)? {
        repair_due_index(batch, key.id, "it did not stand in its place")?;
    }
    Ok(())
}

/// Repairs the due index after a damaged entry was taken out: at least one message has lost its entry.
fn repair_due_index(batch: &mut Batch<'_, '_>, id: QueueId, what: &str) -> Result<(), redb::Error> {
    batch.changed = true;
    let repaired = rebuild_due_index(&mut batch.tables)?;
    let message = format!(
        "the index of mail that is due was damaged at message {id} ({what}); {} messages had lost their place \
         there and have it again",
        repaired.len()
    );
    batch.memory_updates.extend(repaired.into_iter().map(MemoryUpdate::Due));
    batch.record([batch.fact(EventType::Error, code::DAMAGED, id, message)])
}

/// Takes an entry out of the due index. A damaged index may have it where no search by key finds it: then it is looked for
/// `everywhere`. Returns whether there was one.
fn take_due(tables: &mut Tables<'_>, key: DueKey, everywhere: bool) -> Result<bool, redb::Error> {
    let entry = key.raw();
    if tables.due_index.remove(entry)?.is_some() {
        return Ok(true);
    }
    if !everywhere {
        return Ok(false);
    }
    let mut found = false;
    tables.due_index.retain(|key, _| {
        found |= key == entry;
        key != entry
    })?;
    Ok(found)
}

/// Makes the due index anew from the records: with a damaged entry in it, searches for other entries may fail. A record
/// that cannot be read gets an entry that is due at once, so that the next claim finds the damage. Returns the starts of life
/// of the messages whose entries were missing.
fn rebuild_due_index(tables: &mut Tables<'_>) -> Result<Vec<u64>, redb::Error> {
    let (mut waiting, mut lost) = (Vec::new(), Vec::new());
    for entry in tables.messages.iter()? {
        let (number, bytes) = entry?;
        let number = number.value();
        if tables.damaged.get(number)?.is_some() {
            continue;
        }
        let Ok(stored) = record::read_message(number, bytes.value()) else {
            waiting.push(((0, 0, 0, number), 0));
            continue;
        };
        let Some((key, life_start)) = IndexEntries::of(&stored).and_then(|entries| entries.due) else {
            continue;
        };
        waiting.push((key.raw(), life_start));
        if tables.due_index.get(key.raw())?.is_none() {
            lost.push(life_start);
        }
    }
    tables.due_index.retain(|_, _| false)?;
    for (key, life_start) in waiting {
        tables.due_index.insert(key, life_start)?;
    }
    Ok(lost)
}
