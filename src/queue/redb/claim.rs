//! Claims what is due: from the due index to leased messages.

use super::super::QueueError;
use super::due_key::{DueKey, Lane};
use super::lane_heads::{GroupSearch, LaneHeads};
use super::lane_scheduler::LaneScheduler;
use super::layout::DUE_INDEX;
use super::leased::LeasedKeys;
use super::redb_error::queue_error;
use super::search::{begin_search, finish_search, refuse_while_unwritable};
use super::shared_queue::SharedQueue;
use crate::clock::Moment;
use redb::ReadTransaction;
use std::sync::PoisonError;
use std::time::Duration;

/// Leases what is due in these groups, in the scheduler's order. Passes over what is leased already, which is never much.
pub(super) fn claim_due(
    shared: &SharedQueue,
    lease: Duration,
    groups: &[GroupSearch],
    limit: usize,
) -> Result<LeasedKeys, QueueError> {
    // Locked to the end: one search at a time runs beside the commits.
    let mut scheduler = shared.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
    let snapshot = begin_search(shared)?;
    let monotonic = shared.monotonic();
    let found = due(shared, &snapshot, groups, limit, &mut scheduler).inspect_err(|_| {
        shared.state().end_search();
    })?;
    Ok(finish_search(shared, snapshot, found, monotonic, lease))
}

/// What is due in these groups, in the scheduler's order.
fn due(
    shared: &SharedQueue,
    snapshot: &ReadTransaction,
    groups: &[GroupSearch],
    limit: usize,
    scheduler: &mut LaneScheduler,
) -> Result<Vec<DueKey>, QueueError> {
    let index = snapshot.open_table(DUE_INDEX).map_err(queue_error)?;
    let mut heads = LaneHeads::of(shared, &index, groups, shared.monotonic())?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(key) = heads.next(scheduler)?
    {
        found.push(key);
    }
    Ok(found)
}

/// The message that becomes due next.
pub(super) struct NextDue {
    pub(super) key: DueKey,
    /// How long that is.
    pub(super) wait: Duration,
    /// Its lane ends before it, as it does only on a damaged disk: no search finds the entries after it before its time.
    pub(super) misplaced: bool,
}

/// The next message of these groups that is not leased; with each group, the present moment of its site.
pub(super) fn next_due(
    shared: &SharedQueue,
    groups: &[(u64, Moment)],
) -> Result<Option<NextDue>, QueueError> {
    refuse_while_unwritable(&shared.state())?;
    let snapshot = shared.database.begin_read()?;
    let index = snapshot.open_table(DUE_INDEX).map_err(queue_error)?;
    let any = |(group, _): &(u64, Moment)| GroupSearch { group: *group, due_by: u64::MAX, limit: usize::MAX };
    let searches: Vec<GroupSearch> = groups.iter().map(any).collect();
    let heads = LaneHeads::of(shared, &index, &searches, shared.monotonic())?;
    let wait = |key: DueKey| {
        let now =
            groups.iter().find(|(group, _)| *group == key.lane.group).map_or(Moment(0), |(_, now)| *now);
        (Moment(key.due).since(now), key)
    };
    let Some((wait, key)) = heads.all().map(wait).min_by_key(|(wait, key)| (*wait, key.due)) else {
        return Ok(None);
    };
    let Lane { group, rank } = key.lane;
    let mut lane =
        index.range((group, rank, 0, 0)..=(group, rank, u64::MAX, u128::MAX)).map_err(queue_error)?;
    let last = lane.next_back().transpose().map_err(queue_error)?;
    let misplaced = last.is_some_and(|(last, _)| last.value() < key.raw());
    Ok(Some(NextDue { key, wait, misplaced }))
}
