//! Claims messages that may expire though no upstream could be asked.

use super::super::QueueError;
use super::due_key::{DueKey, RawDueKey};
use super::layout::DUE_INDEX;
use super::leased::LeasedKeys;
use super::redb_error::queue_error;
use super::search::{begin_search, finish_search, is_free, refuse_while_unwritable};
use super::shared_queue::SharedQueue;
use crate::clock::Moment;
use std::sync::PoisonError;
use std::time::Duration;

/// How many entries of the due index one snapshot of a search looks at.
const SLICE: usize = 10_000;

/// What may expire in one group: due by `now`, its life begun by `born_by`, both moments of its site.
#[derive(Clone, Copy, Debug)]
pub(super) struct OldSearch {
    pub(super) group: u64,
    pub(super) now: Moment,
    pub(super) born_by: Moment,
}

/// Leases what is due and began its life long enough ago.
///
/// Life is no index: with a million messages waiting, keeping one would cost every message, and nothing is found
/// most of the time. So a bound is kept instead: the oldest life that a whole search has seen, lowered by what
/// comes in. Only when that is old enough is the index searched, in slices.
pub(super) fn claim_old(
    shared: &SharedQueue,
    groups: &[OldSearch],
    lease: Duration,
    limit: usize,
) -> Result<Option<LeasedKeys>, QueueError> {
    let _one_at_a_time = shared.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut state = shared.state();
        refuse_while_unwritable(&state)?;
        // Whatever the site: a bound that is too low costs a search.
        if groups.iter().all(|search| state.oldest_life > search.born_by.0) {
            return Ok(None);
        }
        state.oldest_life_since = u64::MAX;
    }
    let mut candidates = Vec::new();
    let mut oldest = u64::MAX;
    let mut from: RawDueKey = (0, 0, 0, 0);
    let whole = loop {
        let snapshot = shared.database.begin_read()?;
        let index = snapshot.open_table(DUE_INDEX).map_err(queue_error)?;
        let mut walked = 0;
        for entry in index.range(from..).map_err(queue_error)?.take(SLICE) {
            let (key, life_start) = entry.map_err(queue_error)?;
            let (key, life_start) = (key.value(), life_start.value());
            walked += 1;
            from = (key.0, key.1, key.2, key.3.saturating_add(1));
            oldest = oldest.min(life_start);
            let search = groups.iter().find(|search| search.group == key.0);
            if let Some(OldSearch { born_by, .. }) =
                search.filter(|search| key.2 <= search.now.0 && life_start <= search.born_by.0)
            {
                candidates.push((DueKey::from(key), born_by.0));
            }
        }
        if walked < SLICE {
            break true;
        }
        // Some more than asked for, since some may be leased.
        if candidates.len() > limit + SLICE {
            break false;
        }
    };
    if whole {
        let mut state = shared.state();
        state.oldest_life = oldest.min(state.oldest_life_since);
    }
    let snapshot = begin_search(shared)?;
    let monotonic = shared.monotonic();
    let mut found = Vec::new();
    {
        let index = snapshot.open_table(DUE_INDEX).map_err(queue_error)?;
        for (key, born_by) in candidates {
            if found.len() >= limit {
                break;
            }
            let still_old =
                index.get(key.raw()).map_err(queue_error)?.is_some_and(|life| life.value() <= born_by);
            if still_old && is_free(shared, key.id, monotonic) {
                found.push(key);
            }
        }
    }
    Ok(Some(finish_search(shared, snapshot, found, monotonic, lease)))
}
