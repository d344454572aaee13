//! Claiming: from the due index to leased messages.

use super::super::{Claim, QueueError};
use super::record;
use super::shared::{Shared, State};
use super::store::queue_error;
use super::tables::{DUE, MESSAGES};
use crate::clock::Moment;
use crate::mail::{Message, QueueId};
use redb::{ReadTransaction, ReadableTable};
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
    due: u64,
    id: QueueId,
    token: u64,
    fresh: Option<Arc<Message>>,
}

/// A due index entry whose record is not there or cannot be read, or says another moment (`what` is none then).
pub(super) struct Unreadable {
    pub(super) id: QueueId,
    pub(super) due: u64,
    pub(super) what: Option<String>,
}

/// Leases what is due, the longest due first. Walks over what is leased already, which is never much.
pub(super) fn take_due(
    shared: &Shared,
    now: Moment,
    lease: Duration,
    limit: usize,
) -> Result<Taken, QueueError> {
    let mut state = shared.state();
    refuse_while_unwritable(&state)?;
    let snapshot = shared.store.begin_read()?;
    let monotonic = shared.monotonic();
    let mut found = Vec::new();
    {
        let index = snapshot.open_table(DUE).map_err(queue_error)?;
        for entry in index.range(..=(now.0, u128::MAX)).map_err(queue_error)? {
            if found.len() >= limit {
                break;
            }
            let (due, id) = entry.map_err(queue_error)?.0.value();
            let id = QueueId::from_number(id);
            if !state.is_leased(id, monotonic) && !shared.store.is_hidden(id) {
                found.push((due, id));
            }
        }
    }
    let entries = lease_all(&mut state, found, monotonic + lease);
    drop(state);
    Ok(Taken { snapshot, entries })
}

/// Leases what is due and began its life at or before `born_by`.
///
/// Life is no index: with a million messages waiting, keeping one would cost every message, and nothing is found
/// most of the time. So a bound is kept instead: the oldest life that a whole search has seen, lowered by what
/// comes in. Only when that is old enough is the index searched, in slices and without the lock, and what was found
/// is looked at again under it.
pub(super) fn take_old(
    shared: &Shared,
    now: Moment,
    born_by: Moment,
    lease: Duration,
    limit: usize,
) -> Result<Option<Taken>, QueueError> {
    let _one_at_a_time = shared.searching.lock().unwrap_or_else(PoisonError::into_inner);
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
    let mut from = (0, 0);
    let whole = loop {
        let snapshot = shared.store.begin_read()?;
        let index = snapshot.open_table(DUE).map_err(queue_error)?;
        let mut walked = 0;
        for entry in index.range(from..).map_err(queue_error)?.take(SLICE) {
            let (key, life_start) = entry.map_err(queue_error)?;
            let (key, life_start) = (key.value(), life_start.value());
            walked += 1;
            from = (key.0, key.1.saturating_add(1));
            oldest = oldest.min(life_start);
            if key.0 <= now.0 && life_start <= born_by.0 {
                candidates.push(key);
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
    let mut state = shared.state();
    if whole {
        state.oldest_life = oldest.min(state.oldest_life_since);
    }
    let snapshot = shared.store.begin_read()?;
    let monotonic = shared.monotonic();
    let mut found = Vec::new();
    {
        let index = snapshot.open_table(DUE).map_err(queue_error)?;
        for (due, number) in candidates {
            if found.len() >= limit {
                break;
            }
            let id = QueueId::from_number(number);
            let still_old =
                index.get((due, number)).map_err(queue_error)?.is_some_and(|life| life.value() <= born_by.0);
            if still_old && !state.is_leased(id, monotonic) && !shared.store.is_hidden(id) {
                found.push((due, id));
            }
        }
    }
    let entries = lease_all(&mut state, found, monotonic + lease);
    drop(state);
    Ok(Some(Taken { snapshot, entries }))
}

/// The message that becomes due next.
pub(super) struct Next {
    pub(super) due: u64,
    pub(super) id: QueueId,
    /// The index ends before it, as it does only on a damaged disk. Nobody searches beyond such an entry before its time.
    pub(super) misplaced: bool,
}

/// The next message that is not leased.
pub(super) fn next_due(shared: &Shared) -> Result<Option<Next>, QueueError> {
    let state = shared.state();
    refuse_while_unwritable(&state)?;
    let snapshot = shared.store.begin_read()?;
    let monotonic = shared.monotonic();
    let index = snapshot.open_table(DUE).map_err(queue_error)?;
    for entry in index.iter().map_err(queue_error)? {
        let (due, number) = entry.map_err(queue_error)?.0.value();
        let id = QueueId::from_number(number);
        if !state.is_leased(id, monotonic) && !shared.store.is_hidden(id) {
            let last = index.last().map_err(queue_error)?;
            let misplaced = last.is_some_and(|(last, _)| last.value() < (due, number));
            return Ok(Some(Next { due, id, misplaced }));
        }
    }
    Ok(None)
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

fn lease_all(state: &mut State, found: Vec<(u64, QueueId)>, until: Duration) -> Vec<Entry> {
    let lease_one =
        |(due, id)| Entry { due, id, token: state.lease(id, until), fresh: state.fresh.message(id) };
    found.into_iter().map(lease_one).collect()
}

impl Taken {
    /// Whether every record is in memory, so that reading them takes no time.
    pub(super) fn is_fresh(&self) -> bool {
        self.entries.iter().all(|entry| entry.fresh.is_some())
    }

    /// Reads the records. Those that cannot be read are given back apart; where the file itself cannot be read, all
    /// leases end.
    pub(super) fn read(self, shared: &Arc<Shared>) -> Result<Leased, QueueError> {
        let open = self.entries.iter().map(|entry| (entry.id, entry.token)).collect();
        let mut leased = Leased { shared: shared.clone(), open, claims: Vec::new(), unreadable: Vec::new() };
        (leased.claims, leased.unreadable) = self.read_all().map_err(queue_error)?;
        Ok(leased)
    }

    fn read_all(&self) -> Result<(Vec<Claim>, Vec<Unreadable>), redb::Error> {
        let mut claims = Vec::with_capacity(self.entries.len());
        let mut unreadable = Vec::new();
        let messages = self.snapshot.open_table(MESSAGES)?;
        for Entry { due, id, token, fresh } in &self.entries {
            if let Some(message) = fresh {
                claims.push(Claim { message: message.clone(), token: *token });
                continue;
            }
            let stored =
                messages.get(id.number())?.map(|bytes| record::read_message(id.number(), bytes.value()));
            match stored.unwrap_or_else(|| Err("its record is missing".to_owned())) {
                // Claimed by an entry that no settlement would find, it would be due again at once, again and again.
                Ok(stored) if stored.message.due != Some(Moment(*due)) => {
                    unreadable.push(Unreadable { id: *id, due: *due, what: None });
                }
                Ok(stored) => claims.push(Claim { message: Arc::new(stored.message), token: *token }),
                Err(what) => unreadable.push(Unreadable { id: *id, due: *due, what: Some(what) }),
            }
        }
        Ok((claims, unreadable))
    }
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
        self.open.retain(|(id, _)| unreadable.iter().any(|one| one.id == *id));
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
