//! How long mail has waited, from the first entries of the indexes, and how much of the file is in use.

use super::super::{QueueError, QueueFigures};
use super::due_key::{DueKey, group_number};
use super::lane_heads::DueIndex;
use super::layout::{DUE_INDEX, STATES, state_number};
use super::redb_error::queue_error;
use super::shared_queue::SharedQueue;
use crate::mail::{MessageState, QueueId};
use jiff::Timestamp;
use redb::ReadTransaction;
use std::time::Duration;

/// Two entries, and of each site one for each lane that has any.
pub(super) fn read(shared: &SharedQueue) -> Result<QueueFigures, QueueError> {
    let snapshot = shared.database.begin_read()?;
    let index = snapshot.open_table(DUE_INDEX).map_err(queue_error)?;
    let (sites, used_bytes) = {
        let state = shared.state();
        (state.sites.clone(), state.usage.bytes())
    };
    let mut figures = QueueFigures {
        oldest_queued: oldest(&snapshot, MessageState::Queued).map_err(queue_error)?,
        oldest_deferred: oldest(&snapshot, MessageState::Deferred).map_err(queue_error)?,
        used_bytes,
        ..QueueFigures::default()
    };
    for site in sites {
        let now = shared.timelines.now_of(&site).0;
        let mut overdue = 0;
        for under_mode in [false, true] {
            let first = first_due(&index, group_number(&site, under_mode)).map_err(queue_error)?;
            overdue = overdue.max(first.map_or(0, |due| now.saturating_sub(due)));
        }
        figures.overdue.insert(site, Duration::from_millis(overdue));
    }
    Ok(figures)
}

/// Ids sort by the time of reception.
fn oldest(snapshot: &ReadTransaction, state: MessageState) -> Result<Option<Timestamp>, redb::Error> {
    let Some(number) = state_number(state) else { return Ok(None) };
    let first = snapshot.open_table(STATES)?.range((number, 0)..=(number, u128::MAX))?.next().transpose()?;
    let received = first.map(|(key, _)| QueueId::from_number(key.value().1).unix_ms());
    Ok(received.and_then(|ms| Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()))
}

/// The earliest due time in any lane of a group: each lane has its own first.
fn first_due(index: &DueIndex, group: u64) -> Result<Option<u64>, redb::Error> {
    let (mut first, mut rank) = (None::<u64>, Some(0));
    while let Some(from) = rank {
        let mut lane = index.range((group, from, 0, 0)..=(group, u8::MAX, u64::MAX, u128::MAX))?;
        let Some(entry) = lane.next().transpose()? else { break };
        let key = DueKey::from(entry.0.value());
        first = Some(first.map_or(key.due, |due| due.min(key.due)));
        // A damaged index may be out of order: this ends all the same.
        rank = key.lane.rank.max(from).checked_add(1);
    }
    Ok(first)
}
