//! Claiming: from the due index to leased messages.

use super::super::{Claim, QueueError};
use super::lane::{Lane, Turns};
use super::record::{self, Stored};
use super::shared::{Shared, State};
use super::store::queue_error;
use super::tables::{DueKey, MESSAGES, Place, RawDueKey, WAITING};
use crate::clock::Moment;
use crate::mail::{Message, QueueId};
use redb::{ReadOnlyTable, ReadTransaction};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How many entries of the due index one snapshot of a search for old messages walks over.
const SLICE: usize = 10_000;

/// Leased entries of the due index, their records not read yet.
pub(super) struct Taken {
    snapshot: ReadTransaction,
    entries: Vec<Entry>,
}

struct Entry {
    key: DueKey,
    token: u64,
    fresh: Option<Arc<Message>>,
}

/// A due index entry whose record is not there or cannot be read, or says another place (`what` is none then).
pub(super) struct Unreadable {
    pub(super) key: DueKey,
    pub(super) what: Option<String>,
}

type Index = ReadOnlyTable<RawDueKey, u64>;

/// Leases what is due at these sites, by lanes. Walks over what is leased already, which is never much.
pub(super) fn take_due(
    shared: &Shared,
    now: Moment,
    lease: Duration,
    sites: &[u64],
    limit: usize,
) -> Result<Taken, QueueError> {
    // Held to the end, so that only one search at a time goes on beside the commits.
    let mut turns = shared.turns.lock().unwrap_or_else(PoisonError::into_inner);
    let snapshot = begin_search(shared)?;
    let monotonic = shared.monotonic();
    let found = due(shared, &snapshot, now, sites, limit, &mut turns).inspect_err(|_| {
        shared.state().end_search();
    })?;
    Ok(finish_search(shared, snapshot, found, monotonic, lease))
}

/// What is due at these sites, by turns.
fn due(
    shared: &Shared,
    snapshot: &ReadTransaction,
    now: Moment,
    sites: &[u64],
    limit: usize,
    turns: &mut Turns,
) -> Result<Vec<DueKey>, QueueError> {
    let index = snapshot.open_table(WAITING).map_err(queue_error)?;
    let mut heads = Heads::of(shared, &index, now, sites, shared.monotonic())?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(key) = heads.next(turns)?
    {
        found.push(key);
    }
    Ok(found)
}

/// A snapshot of the file, taken where nothing is committed unseen: what is committed from here on is noted.
fn begin_search(shared: &Shared) -> Result<ReadTransaction, QueueError> {
    let mut state = shared.state();
    refuse_while_unwritable(&state)?;
    let snapshot = shared.store.begin_read()?;
    state.begin_search();
    Ok(snapshot)
}

/// Leases what was found, but for what has changed or was leased meanwhile.
fn finish_search(
    shared: &Shared,
    snapshot: ReadTransaction,
    found: Vec<DueKey>,
    monotonic: Duration,
    lease: Duration,
) -> Taken {
    let mut state = shared.state();
    let changed = state.end_search();
    let free = |key: &DueKey| {
        !changed.contains(&key.id) && !state.is_leased(key.id, monotonic) && !shared.store.is_hidden(key.id)
    };
    let found: Vec<DueKey> = found.into_iter().filter(free).collect();
    let until = monotonic + lease;
    let lease_one =
        |key: DueKey| Entry { key, token: state.lease(key.id, until), fresh: state.fresh.message(key.id) };
    let entries = found.into_iter().map(lease_one).collect();
    drop(state);
    Taken { snapshot, entries }
}

/// The lanes that have something at these sites: from lane to lane, so that empty ones cost nothing.
fn lanes(index: &Index, sites: &[u64]) -> Result<Vec<Lane>, QueueError> {
    let mut lanes = Vec::new();
    let mut from = Some((0, 0));
    while let Some((site, rank)) = from {
        let mut rest = index.range((site, rank, 0, 0)..).map_err(queue_error)?;
        let Some(entry) = rest.next() else { break };
        let lane = DueKey::from(entry.map_err(queue_error)?.0.value()).lane;
        if (lane.site, lane.rank) < (site, rank) {
            // Out of order, as only a damaged disk has it: whoever claims what was found here notices more.
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

/// The first free message of each lane, and the rest behind it.
struct Heads<'a> {
    shared: &'a Shared,
    monotonic: Duration,
    heads: Vec<Head<'a>>,
}

struct Head<'a> {
    next: DueKey,
    rest: redb::Range<'a, RawDueKey, u64>,
}

impl<'a> Heads<'a> {
    fn of(
        shared: &'a Shared,
        index: &'a Index,
        now: Moment,
        sites: &[u64],
        monotonic: Duration,
    ) -> Result<Heads<'a>, QueueError> {
        let mut heads = Heads { shared, monotonic, heads: Vec::new() };
        for Lane { site, rank } in lanes(index, sites)? {
            let due = (site, rank, 0, 0)..=(site, rank, now.0, u128::MAX);
            let mut rest = index.range(due).map_err(queue_error)?;
            if let Some(next) = heads.free(&mut rest)? {
                heads.heads.push(Head { next, rest });
            }
        }
        Ok(heads)
    }

    /// The next message by turns.
    fn next(&mut self, turns: &mut Turns) -> Result<Option<DueKey>, QueueError> {
        let lanes: Vec<Lane> = self.heads.iter().map(|head| head.next.lane).collect();
        let Some(lane) = turns.next(&lanes) else { return Ok(None) };
        let Some(place) = lanes.iter().position(|one| *one == lane) else { return Ok(None) };
        let mut head = self.heads.swap_remove(place);
        let taken = head.next;
        if let Some(next) = self.free(&mut head.rest)? {
            self.heads.push(Head { next, rest: head.rest });
        }
        Ok(Some(taken))
    }

    /// The first entry that nobody has.
    fn free(&self, rest: &mut redb::Range<'_, RawDueKey, u64>) -> Result<Option<DueKey>, QueueError> {
        for entry in rest {
            let key = DueKey::from(entry.map_err(queue_error)?.0.value());
            if is_free(self.shared, key.id, self.monotonic) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

/// Whether the message is neither leased nor hidden now. Asks for the lock each time, so that nobody waits for a whole walk.
fn is_free(shared: &Shared, id: QueueId, monotonic: Duration) -> bool {
    !shared.state().is_leased(id, monotonic) && !shared.store.is_hidden(id)
}

/// Leases what is due and began its life at or before `born_by`.
///
/// Life is no index: with a million messages waiting, keeping one would cost every message, and nothing is found
/// most of the time. So a bound is kept instead: the oldest life that a whole search has seen, lowered by what
/// comes in. Only when that is old enough is the index searched, in slices.
pub(super) fn take_old(
    shared: &Shared,
    now: Moment,
    born_by: Moment,
    lease: Duration,
    limit: usize,
) -> Result<Option<Taken>, QueueError> {
    let _one_at_a_time = shared.turns.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut state = shared.state();
        refuse_while_unwritable(&state)?;
        if state.oldest_life > born_by.0 {
            return Ok(None);
        }
        state.oldest_life_since = u64::MAX;
    }
    let mut candidates = Vec::new();
    let mut oldest = u64::MAX;
    let mut from: RawDueKey = (0, 0, 0, 0);
    let whole = loop {
        let snapshot = shared.store.begin_read()?;
        let index = snapshot.open_table(WAITING).map_err(queue_error)?;
        let mut walked = 0;
        for entry in index.range(from..).map_err(queue_error)?.take(SLICE) {
            let (key, life_start) = entry.map_err(queue_error)?;
            let (key, life_start) = (key.value(), life_start.value());
            walked += 1;
            from = (key.0, key.1, key.2, key.3.saturating_add(1));
            oldest = oldest.min(life_start);
            if key.2 <= now.0 && life_start <= born_by.0 {
                candidates.push(DueKey::from(key));
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
        let index = snapshot.open_table(WAITING).map_err(queue_error)?;
        for key in candidates {
            if found.len() >= limit {
                break;
            }
            let still_old =
                index.get(key.raw()).map_err(queue_error)?.is_some_and(|life| life.value() <= born_by.0);
            if still_old && is_free(shared, key.id, monotonic) {
                found.push(key);
            }
        }
    }
    Ok(Some(finish_search(shared, snapshot, found, monotonic, lease)))
}

/// The message that becomes due next.
pub(super) struct Next {
    pub(super) key: DueKey,
    /// Its lane ends before it, as it does only on a damaged disk. Nobody searches beyond such an entry before its time.
    pub(super) misplaced: bool,
}

/// The next message of these sites that is not leased.
pub(super) fn next_due(shared: &Shared, sites: &[u64]) -> Result<Option<Next>, QueueError> {
    refuse_while_unwritable(&shared.state())?;
    let snapshot = shared.store.begin_read()?;
    let index = snapshot.open_table(WAITING).map_err(queue_error)?;
    let heads = Heads::of(shared, &index, Moment(u64::MAX), sites, shared.monotonic())?;
    let Some(key) = heads.heads.iter().map(|head| head.next).min_by_key(|key| key.due) else {
        return Ok(None);
    };
    let Lane { site, rank } = key.lane;
    let mut lane =
        index.range((site, rank, 0, 0)..=(site, rank, u64::MAX, u128::MAX)).map_err(queue_error)?;
    let last = lane.next_back().transpose().map_err(queue_error)?;
    let misplaced = last.is_some_and(|(last, _)| last.value() < key.raw());
    Ok(Some(Next { key, misplaced }))
}

/// While no outcome can be recorded nothing more is sent: each attempt would be repeated after a crash.
fn refuse_while_unwritable(state: &State) -> Result<(), QueueError> {
    match state.writable {
        true => Ok(()),
        false => {
            Err(QueueError::Storage("no outcome could be recorded: the queue cannot be written".to_owned()))
        }
    }
}

impl Taken {
    /// Reads the records. Those that cannot be read are given back apart; where the file itself cannot be read, all
    /// leases end.
    pub(super) fn read(self, shared: &Arc<Shared>) -> Result<Leased, QueueError> {
        let open = self.entries.iter().map(|entry| (entry.key.id, entry.token)).collect();
        let mut leased = Leased { shared: shared.clone(), open, claims: Vec::new(), unreadable: Vec::new() };
        (leased.claims, leased.unreadable) = self.read_all().map_err(queue_error)?;
        Ok(leased)
    }

    fn read_all(&self) -> Result<(Vec<Claim>, Vec<Unreadable>), redb::Error> {
        let mut claims = Vec::with_capacity(self.entries.len());
        let mut unreadable = Vec::new();
        let messages = self.snapshot.open_table(MESSAGES)?;
        for Entry { key, token, fresh } in &self.entries {
            if let Some(message) = fresh {
                claims.push(Claim { message: message.clone(), token: *token });
                continue;
            }
            let number = key.id.number();
            let stored = messages.get(number)?.map(|bytes| record::read_message(number, bytes.value()));
            match stored.unwrap_or_else(|| Err("its record is missing".to_owned())) {
                // Claimed by an entry that no settlement would find, it would be due again at once, again and again.
                Ok(stored) if !stands_at(&stored, *key) => {
                    unreadable.push(Unreadable { key: *key, what: None });
                }
                Ok(stored) => claims.push(Claim { message: Arc::new(stored.message), token: *token }),
                Err(what) => unreadable.push(Unreadable { key: *key, what: Some(what) }),
            }
        }
        Ok((claims, unreadable))
    }
}

/// Whether the record has its entry where it was found.
fn stands_at(stored: &Stored, key: DueKey) -> bool {
    Place::of(stored).and_then(Place::waiting).is_some_and(|(own, _)| own == key)
}

/// Claims on their way to whoever asked. Should nobody be there any more, the leases end.
pub(super) struct Leased {
    shared: Arc<Shared>,
    open: Vec<(QueueId, u64)>,
    claims: Vec<Claim>,
    unreadable: Vec<Unreadable>,
}

impl Leased {
    /// Hands the claims over, and what could not be read.
    pub(super) fn take(mut self) -> (Vec<Claim>, Vec<Unreadable>) {
        let (claims, unreadable) = (std::mem::take(&mut self.claims), std::mem::take(&mut self.unreadable));
        self.open.retain(|(id, _)| unreadable.iter().any(|one| one.key.id == *id));
        (claims, unreadable)
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if !self.open.is_empty() {
            let mut state = self.shared.state();
            for (id, token) in &self.open {
                state.end_lease(*id, *token);
            }
        }
    }
}
