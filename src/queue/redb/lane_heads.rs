//! The next message of each lane that is neither leased nor hidden.

use super::super::QueueError;
use super::due_key::{DueKey, Lane, RawDueKey};
use super::lane_scheduler::LaneScheduler;
use super::redb_error::queue_error;
use super::search::is_free;
use super::shared_queue::SharedQueue;
use crate::clock::Moment;
use redb::ReadOnlyTable;
use std::time::Duration;

/// The due index as a snapshot has it.
pub(super) type DueIndex = ReadOnlyTable<RawDueKey, u64>;

/// The lanes of these sites that have entries. Goes from lane to lane, so that empty ones cost nothing.
fn lanes(index: &DueIndex, sites: &[u64]) -> Result<Vec<Lane>, QueueError> {
    let mut lanes = Vec::new();
    let mut from = Some((0, 0));
    while let Some((site, rank)) = from {
        let mut rest = index.range((site, rank, 0, 0)..).map_err(queue_error)?;
        let Some(entry) = rest.next() else { break };
        let lane = DueKey::from(entry.map_err(queue_error)?.0.value()).lane;
        if (lane.site, lane.rank) < (site, rank) {
            // Out of order, as only a damaged disk leaves it: the claim of an entry that was found here notices more.
            break;
        }
        if sites.contains(&lane.site) {
            lanes.push(lane);
        }
        from = match lane.rank.checked_add(1) {
            Some(rank) => Some((lane.site, rank)),
            None => lane.site.checked_add(1).map(|site| (site, 0)),
        };
    }
    Ok(lanes)
}

/// Stands at the first free message of each lane.
pub(super) struct LaneHeads<'a> {
    shared: &'a SharedQueue,
    monotonic: Duration,
    heads: Vec<LaneHead<'a>>,
}

struct LaneHead<'a> {
    next: DueKey,
    rest: redb::Range<'a, RawDueKey, u64>,
}

impl<'a> LaneHeads<'a> {
    /// Of the messages of these sites that are due by `now`.
    pub(super) fn of(
        shared: &'a SharedQueue,
        index: &'a DueIndex,
        now: Moment,
        sites: &[u64],
        monotonic: Duration,
    ) -> Result<LaneHeads<'a>, QueueError> {
        let mut heads = LaneHeads { shared, monotonic, heads: Vec::new() };
        for Lane { site, rank } in lanes(index, sites)? {
            let due = (site, rank, 0, 0)..=(site, rank, now.0, u128::MAX);
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
        if let Some(next) = self.free(&mut head.rest)? {
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

    /// The one that becomes due first.
    pub(super) fn first_due(&self) -> Option<DueKey> {
        self.heads.iter().map(|head| head.next).min_by_key(|key| key.due)
    }
}
