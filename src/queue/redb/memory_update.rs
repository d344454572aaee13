//! What memory has to follow once a commit is on disk.

use super::memory_state::MemoryState;
use super::shared_database::SharedDatabase;
use crate::mail::{Message, QueueId};
use bytes::Bytes;
use std::sync::Arc;

/// One change to memory. Those of a commit are applied in their order.
pub(super) enum MemoryUpdate {
    /// A message and the last chunk of its content, as put.
    Put(Arc<Message>, Bytes),
    /// The message is no longer as it was put.
    Changed(QueueId),
    /// Something holds the message from now on, or nothing does any more.
    Held(QueueId, bool),
    /// A message with this start of life waits.
    Due(u64),
    /// The lease with this token ends.
    Settled(QueueId, u64),
    /// The message was removed with its content.
    Removed(QueueId),
    /// The message was removed; its content stays until the attempt that reads it has ended.
    RemovedWhileLeased(QueueId),
}

impl MemoryUpdate {
    /// Whether the delivery engine has to look at the due index again.
    pub(super) fn changes_due(&self) -> bool {
        matches!(self, MemoryUpdate::Due(_))
    }

    pub(super) fn apply(self, state: &mut MemoryState, database: &SharedDatabase) {
        match self {
            MemoryUpdate::Put(message, content) => state.cache.add(message, content),
            MemoryUpdate::Changed(id) => {
                state.note_change(id);
                state.mark_changed(id);
                state.cache.remove(id);
            }
            MemoryUpdate::Held(id, held) => state.mark_held(id, held),
            MemoryUpdate::Due(life_start) => state.note_life(life_start),
            MemoryUpdate::Settled(id, token) => {
                state.note_change(id);
                if state.leases.get(&id).is_some_and(|lease| lease.token == token) {
                    state.leases.remove(&id);
                }
            }
            MemoryUpdate::Removed(id) => {
                state.note_change(id);
                if state.removed_while_leased.remove(&id) {
                    state.leases.remove(&id);
                }
                state.cache.remove(id);
                database.unhide(id);
            }
            MemoryUpdate::RemovedWhileLeased(id) => {
                state.note_change(id);
                state.removed_while_leased.insert(id);
                database.unhide(id);
            }
        }
    }
}
