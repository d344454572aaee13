//! What the queue knows in memory: leases, cached messages, counters.
//!
//! All of it follows the file: the writer changes it only when a commit has succeeded. A claim takes its snapshot under
//! the same lock and then reads the due index without it. Messages that are committed meanwhile are noted, and the claim
//! does not lease them. So a claim sees either a message's lease or what its settlement has committed, never neither.

use super::message_cache::MessageCache;
use super::stored::{Metadata, StateCounts};
use super::usage::FileUsage;
use crate::mail::QueueId;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// See the module.
#[derive(Default)]
pub(super) struct MemoryState {
    pub(super) leases: HashMap<QueueId, Lease>,
    pub(super) cache: MessageCache,
    pub(super) counts: StateCounts,
    /// All sites that there was ever mail of.
    pub(super) sites: BTreeSet<String>,
    /// How much of the file is in use.
    pub(super) usage: FileUsage,
    pub(super) writable: bool,
    /// Messages that do not exist yet, with the number of their chunks that were staged since the file was opened.
    pub(super) staged: HashMap<QueueId, u32>,
    /// Messages deleted during an attempt: their contents are removed when the attempt has ended.
    pub(super) removed_while_leased: HashSet<QueueId>,
    /// No waiting message has a life that began before this moment; zero as long as nothing is known.
    pub(super) oldest_life: u64,
    /// The same for messages that came in since the running search for old ones began.
    pub(super) oldest_life_since: u64,
    last_token: u64,
    /// Messages that were committed since the running search took its snapshot; none while no search runs.
    changed: Option<HashSet<QueueId>>,
}

/// A message given to one attempt.
pub(super) struct Lease {
    pub(super) token: u64,
    /// On the monotonic clock.
    pub(super) until: Duration,
    /// Its settlement is with the writer: no other attempt gets the message, however long that takes.
    pub(super) settling: bool,
    /// It was made due while the attempt was under way: when that ends, open recipients are due at once, and upstreams
    /// that refused before may be asked again.
    pub(super) made_due: bool,
    /// The message is no longer as it was claimed: an operator or a change of settings did something with it.
    changed: bool,
    /// Something has come to hold the message.
    held: bool,
}

impl MemoryState {
    /// Of a queue that was just opened.
    pub(super) fn new(metadata: &Metadata) -> MemoryState {
        let usage = metadata.usage.unwrap_or_default();
        MemoryState {
            counts: metadata.counts,
            sites: metadata.sites.clone(),
            usage,
            writable: true,
            ..MemoryState::default()
        }
    }

    pub(super) fn is_leased(&self, id: QueueId, now: Duration) -> bool {
        self.leases.get(&id).is_some_and(|lease| lease.settling || lease.until > now)
    }

    /// Leases the message; whoever had it before is fenced off.
    pub(super) fn lease(&mut self, id: QueueId, until: Duration) -> u64 {
        self.last_token += 1;
        let token = self.last_token;
        let lease = Lease { token, until, settling: false, made_due: false, changed: false, held: false };
        self.leases.insert(id, lease);
        self.last_token
    }

    /// Ends the lease that this token names, if it still stands. Returns whether it did.
    pub(super) fn end_lease(&mut self, id: QueueId, token: u64) -> bool {
        let stands = self.leases.get(&id).is_some_and(|lease| lease.token == token && !lease.settling);
        if stands {
            self.leases.remove(&id);
        }
        stands
    }

    /// A search of the due index begins: from now on changed messages are noted for it.
    pub(super) fn begin_search(&mut self) {
        self.changed = Some(HashSet::new());
    }

    /// Messages that have changed since [`MemoryState::begin_search`].
    pub(super) fn end_search(&mut self) -> HashSet<QueueId> {
        self.changed.take().unwrap_or_default()
    }

    /// Notes that a commit has changed this message.
    pub(super) fn note_change(&mut self, id: QueueId) {
        if let Some(changed) = &mut self.changed {
            changed.insert(id);
        }
    }

    /// Whether every waiting message is cached: then the pages of the due index that name them are in memory, too.
    pub(super) fn all_due_are_cached(&self) -> bool {
        let [queued, deferred, ..] = self.counts.states;
        queued.saturating_add(deferred) <= self.cache.len() as u64
    }

    /// Has a leased message due again as soon as its attempt has ended.
    pub(super) fn make_due(&mut self, id: QueueId) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.made_due = true;
        }
    }

    /// A commit has changed the message.
    pub(super) fn mark_changed(&mut self, id: QueueId) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.changed = true;
        }
    }

    /// Whether the lease stands and the message is as it was claimed.
    pub(super) fn is_current(&self, id: QueueId, token: u64) -> bool {
        let stands = |lease: &Lease| lease.token == token && !lease.changed;
        self.leases.get(&id).is_some_and(stands) && !self.removed_while_leased.contains(&id)
    }

    /// A commit has made something hold the message, or nothing.
    pub(super) fn mark_held(&mut self, id: QueueId, held: bool) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.held = held;
        }
    }

    /// Whether the lease stands and the message is neither held nor removed.
    pub(super) fn may_go_on(&self, id: QueueId, token: u64) -> bool {
        let stands = |lease: &Lease| lease.token == token && !lease.held;
        self.leases.get(&id).is_some_and(stands) && !self.removed_while_leased.contains(&id)
    }

    /// From here on the lease does not run out, because its settlement is with the writer. False for a token that was
    /// fenced off, or is being settled already.
    pub(super) fn begin_settling(&mut self, id: QueueId, token: u64) -> bool {
        match self.leases.get_mut(&id) {
            Some(lease) if lease.token == token && !lease.settling => {
                lease.settling = true;
                true
            }
            _ => false,
        }
    }

    /// The settlement was refused: the attempt has its lease as before.
    pub(super) fn stop_settling(&mut self, id: QueueId, token: u64) {
        if let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.token == token) {
            lease.settling = false;
        }
    }

    /// Notes that a message with this start of life waits.
    pub(super) fn note_life(&mut self, life_start: u64) {
        self.oldest_life = self.oldest_life.min(life_start);
        self.oldest_life_since = self.oldest_life_since.min(life_start);
    }
}
