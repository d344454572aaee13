//! Staging chunks and putting messages.

use super::super::QueueError;
use super::batch::Batch;
use super::content;
use super::index_entries::IndexEntries;
use super::memory_update::MemoryUpdate;
use super::stored::StoredMessage;
use super::taken_files;
use crate::event::Fact;
use crate::mail::{Message, QueueId};
use bytes::Bytes;
use std::sync::Arc;

/// Writes a chunk ahead of its message. The inner error is the caller's alone.
pub(super) fn stage(
    batch: &mut Batch<'_, '_>,
    id: QueueId,
    number: u32,
    chunk: &[u8],
) -> Result<Result<(), QueueError>, redb::Error> {
    if number > 0 && batch.shared.state().staged.get(&id) != Some(&number) {
        return Ok(Err(QueueError::StagedLost(id)));
    }
    batch.changed = true;
    batch.shared.state().staged.insert(id, number + 1);
    if number == 0 {
        batch.tables.orphans.insert(id.number(), ())?;
    }
    content::write(&mut batch.tables, id.number(), number, chunk).map(Ok)
}

/// Whether all chunks but the last were staged since the file was opened.
pub(super) fn is_staged(batch: &Batch<'_, '_>, message: &Message) -> bool {
    let last = message.chunks.saturating_sub(1);
    last == 0 || batch.shared.state().staged.get(&message.id) == Some(&last)
}

/// Makes a message exist. The inner error is the caller's alone.
pub(super) fn put(
    batch: &mut Batch<'_, '_>,
    message: &Message,
    tail: &Bytes,
    facts: &[Fact],
) -> Result<Result<(), QueueError>, redb::Error> {
    let id = message.id.number();
    if let Some(last) = message.chunks.checked_sub(1) {
        if last > 0 && batch.shared.state().staged.remove(&message.id) != Some(last) {
            return Ok(Err(QueueError::StagedLost(message.id)));
        }
        content::write(&mut batch.tables, id, last, tail)?;
        if last > 0 {
            batch.tables.orphans.remove(id)?;
        }
    }
    batch.changed = true;
    let stored =
        StoredMessage { changed_at: batch.shared.timelines.common_now().0, message: message.clone() };
    batch.store(None, &stored)?;
    batch.memory_updates.push(MemoryUpdate::Put(Arc::new(stored.message), tail.clone()));
    batch.record(facts.iter().cloned()).map(Ok)
}

/// Removes a message that is in the file though its caller was told that the put had failed.
pub(super) fn undo_put(batch: &mut Batch<'_, '_>, id: QueueId) -> Result<(), redb::Error> {
    if let Some(Ok(stored)) = batch.tables.message(id)? {
        batch.changed = true;
        batch.remove(id, IndexEntries::of(&stored), Some(stored.message.chunks))?;
        taken_files::forget_message(batch, id.number())?;
    }
    batch.memory_updates.push(MemoryUpdate::Removed(id));
    Ok(())
}
