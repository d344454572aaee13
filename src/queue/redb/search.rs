//! A search of the due index, beside the commits: from a snapshot to leases.

use super::super::QueueError;
use super::due_key::DueKey;
use super::leased::{LeasedKey, LeasedKeys};
use super::memory_state::MemoryState;
use super::shared_queue::SharedQueue;
use crate::mail::QueueId;
use redb::ReadTransaction;
use std::time::Duration;

/// Takes a snapshot of the file to search. From here on commits note which messages they change.
pub(super) fn begin_search(shared: &SharedQueue) -> Result<ReadTransaction, QueueError> {
    let mut state = shared.state();
    refuse_while_unwritable(&state)?;
    let snapshot = shared.database.begin_read()?;
    state.begin_search();
    Ok(snapshot)
}

/// Leases what was found, except messages that have changed or were leased since the snapshot.
pub(super) fn finish_search(
    shared: &SharedQueue,
    snapshot: ReadTransaction,
    found: Vec<DueKey>,
    monotonic: Duration,
    lease: Duration,
) -> LeasedKeys {
    let mut state = shared.state();
    let changed = state.end_search();
    let free = |key: &DueKey| {
        !changed.contains(&key.id)
            && !state.is_leased(key.id, monotonic)
            && !shared.database.is_hidden(key.id)
    };
    let found: Vec<DueKey> = found.into_iter().filter(free).collect();
    let until = monotonic + lease;
    let lease_one = |key: DueKey| LeasedKey {
        key,
        token: state.lease(key.id, until),
        cached: state.cache.message(key.id),
    };
    let entries = found.into_iter().map(lease_one).collect();
    drop(state);
    LeasedKeys { snapshot, entries }
}

/// Whether the message is neither leased nor hidden now. Takes the lock for each message, so that nothing waits for a whole
/// search.
pub(super) fn is_free(shared: &SharedQueue, id: QueueId, monotonic: Duration) -> bool {
    !shared.state().is_leased(id, monotonic) && !shared.database.is_hidden(id)
}

/// While no outcome can be recorded nothing more is claimed: each attempt would be repeated after a crash.
pub(super) fn refuse_while_unwritable(state: &MemoryState) -> Result<(), QueueError> {
    match state.writable {
        true => Ok(()),
        false => {
            Err(QueueError::Storage("no outcome could be recorded: the queue cannot be written".to_owned()))
        }
    }
}
