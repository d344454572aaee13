//! Claims messages whose senders are to be told that they are late.

use super::super::QueueError;
use super::due_key::DueKey;
use super::index_entries::IndexEntries;
use super::layout::{LATE_NOTICES, MESSAGES, open_if_made};
use super::leased::LeasedKeys;
use super::record;
use super::redb_error::queue_error;
use super::search::{begin_search, finish_search, is_free};
use super::shared_queue::SharedQueue;
use crate::clock::Moment;
use crate::mail::QueueId;
use redb::ReadTransaction;
use std::sync::PoisonError;
use std::time::Duration;

/// Leases at most `limit` messages of these groups, each with the moment of its site by which life has begun long enough ago.
pub(super) fn claim_late(
    shared: &SharedQueue,
    groups: &[(u64, Moment)],
    lease: Duration,
    limit: usize,
) -> Result<LeasedKeys, QueueError> {
    let _one_at_a_time = shared.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
    let snapshot = begin_search(shared)?;
    let monotonic = shared.monotonic();
    let found = late(shared, &snapshot, groups, monotonic, limit).map_err(|error| {
        shared.state().end_search();
        queue_error(error)
    })?;
    Ok(finish_search(shared, snapshot, found, monotonic, lease))
}

fn late(
    shared: &SharedQueue,
    snapshot: &ReadTransaction,
    groups: &[(u64, Moment)],
    monotonic: Duration,
    limit: usize,
) -> Result<Vec<DueKey>, redb::Error> {
    let mut found = Vec::new();
    let Some(index) = open_if_made(snapshot, LATE_NOTICES)? else { return Ok(found) };
    let messages = snapshot.open_table(MESSAGES)?;
    for (group, born_by) in groups {
        for entry in index.range((*group, 0, 0)..=(*group, born_by.0, u128::MAX))? {
            if found.len() >= limit {
                return Ok(found);
            }
            let number = entry?.0.value().2;
            // Those of earlier batches are leased; their records need not be read again.
            if !is_free(shared, QueueId::from_number(number), monotonic) {
                continue;
            }
            // A record that cannot be read is found when it is claimed to be sent.
            let Some(Ok(stored)) =
                messages.get(number)?.map(|bytes| record::read_message(number, bytes.value()))
            else {
                continue;
            };
            if let Some((key, _)) = IndexEntries::of(&stored).and_then(|entries| entries.due) {
                found.push(key);
            }
        }
    }
    Ok(found)
}
