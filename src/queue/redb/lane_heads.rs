//! The next message of each lane that is neither leased nor hidden.

use super::super::QueueError;
use super::due_key::{DueKey, Lane, RawDueKey};
use super::lane_scheduler::LaneScheduler;
use super::redb_error::queue_error;
use super::search::is_free;
use super::shared_queue::SharedQueue;
use redb::ReadOnlyTable;
use std::collections::HashMap;
use std::time::Duration;

/// The due index as a snapshot has it.
pub(super) type DueIndex = ReadOnlyTable<RawDueKey, u64>;

/// What is searched for in one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupSearch {
    /// See [`group_number`](super::due_key::group_number).
    pub(super) group: u64,
    /// Due by then, a moment of its site.
    pub(super) due_by: u64,
    /// At most that many.
    pub(super) limit: usize,
}

/// The lanes of these groups that have entries. Goes from lane to lane, so that empty ones cost nothing.
fn lanes(index: &DueIndex, groups: &[GroupSearch]) -> Result<Vec<(Lane, u64)>, QueueError> {
    let mut lanes = Vec::new();
    let mut from = Some((0, 0));
    while let Some((group, rank)) = from {
        let mut rest = index.range((group, rank, 0, 0)..).map_err(queue_error)?;
        let Some(entry) = rest.next() else { break };
        let lane = DueKey::from(entry.map_err(queue_error)?.0.value()).lane;
        if (lane.group, lane.rank) < (group, rank) {
            // Out of order, as only a damaged disk leaves it: the claim of an entry that was found here notices more.
            break;
        }
        if let Some(search) = groups.iter().find(|search| search.group == lane.group && search.limit > 0) {
            lanes.push((lane, search.due_by));
        }
        from = match lane.rank.checked_add(1) {
            Some(rank) => Some((lane.group, rank)),
            None => lane.group.checked_add(1).map(|group| (group, 0)),
        };
    }
    Ok(lanes)
}

/// Stands at the first free message of each lane.
pub(super) struct LaneHeads<'a> {
    shared: &'a SharedQueue,
    monotonic: Duration,
    heads: Vec<LaneHead<'a>>,
    /// By group, how many more may be taken.
    left: HashMap<u64, usize>,
}

struct LaneHead<'a> {
    next: DueKey,
    rest: redb::Range<'a, RawDueKey, u64>,
}

impl<'a> LaneHeads<'a> {
    /// Of the messages of these groups that are due by their moment.
    pub(super) fn of(
        shared: &'a SharedQueue,
        index: &'a DueIndex,
        groups: &[GroupSearch],
        monotonic: Duration,
    ) -> Result<LaneHeads<'a>, QueueError> {
        let left = groups.iter().map(|search| (search.group, search.limit)).collect();
        let mut heads = LaneHeads { shared, monotonic, heads: Vec::new(), left };
        for (Lane { group, rank }, due_by) in lanes(index, groups)? {
            let due = (group, rank, 0, 0)..=(group, rank, due_by, u128::MAX);
            let mut rest = index.range(due).map_err(queue_error)?;
            if let Some(next) = heads.free(&mut rest)? {
                heads.heads.push(LaneHead { next, rest });
            }
        }
        Ok(heads)
    }

    /// Takes the message that the scheduler chooses next.
    pub(super) fn next(&mut self, scheduler: &mut LaneScheduler) -> Result<Option<DueKey>, QueueError> {
        let lanes: Vec<Lane> = self.heads.iter().map(|head| head.next.lane).collect();
        let Some(lane) = scheduler.next(&lanes) else { return Ok(None) };
        let Some(index) = lanes.iter().position(|one| *one == lane) else { return Ok(None) };
        let mut head = self.heads.swap_remove(index);
        let taken = head.next;
        let left = self.left.entry(lane.group).or_default();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.heads.retain(|head| head.next.lane.group != lane.group);
        } else if let Some(next) = self.free(&mut head.rest)? {
            self.heads.push(LaneHead { next, rest: head.rest });
        }
        Ok(Some(taken))
    }

    /// The first entry that is neither leased nor hidden.
    fn free(&self, rest: &mut redb::Range<'_, RawDueKey, u64>) -> Result<Option<DueKey>, QueueError> {
        for entry in rest {
            let key = DueKey::from(entry.map_err(queue_error)?.0.value());
            if is_free(self.shared, key.id, self.monotonic) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The first of each lane.
    pub(super) fn all(&self) -> impl Iterator<Item = DueKey> + use<'_> {
        self.heads.iter().map(|head| head.next)
    }
}
