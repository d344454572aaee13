//! What the queue knows in memory: leases, fresh messages, counters.
//!
//! All of it follows the file: the writer changes it only when a commit has succeeded. A claim takes its snapshot under
//! the same lock and walks the index without it; what a commit changes meanwhile is noted and left out when it leases what
//! it found. So it sees either a message's lease or what its settlement has committed, never neither.

use super::lane::Turns;
use super::record::{Counts, Ledger};
use super::space::Space;
use super::store::Store;
use super::timeline::Timeline;
use super::usage::Usage;
use crate::event::Event;
use crate::mail::{Message, QueueId};
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast};

/// Fresh messages and their contents take at most this much memory.
const FRESH_BUDGET: usize = 16 * 1024 * 1024;
/// Larger ones are read from the file.
const FRESH_LARGEST: usize = 64 * 1024;
/// What a message costs beside its content, roughly.
const FRESH_OVERHEAD: usize = 1_024;

/// Shared by the handle, the readers and the writer.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) timeline: Timeline,
    pub(super) space: Space,
    state: Mutex<State>,
    /// Whose turn it is. Held by whoever searches the index of what waits: one at a time.
    pub(super) turns: Mutex<Turns>,
    pub(super) due_changed: Arc<Notify>,
    pub(super) event_sender: broadcast::Sender<Arc<Event>>,
    pub(super) keep_events: AtomicU64,
    pub(super) instance: String,
}

/// See the module.
#[derive(Default)]
pub(super) struct State {
    pub(super) leases: HashMap<QueueId, Lease>,
    pub(super) fresh: Fresh,
    pub(super) counts: Counts,
    /// How much of the file is in use.
    pub(super) usage: Usage,
    pub(super) writable: bool,
    /// Messages that do not exist yet, with the number of their chunks that were staged since the file was opened.
    pub(super) staged: HashMap<QueueId, u32>,
    /// Deleted during an attempt: their contents go when the attempt has ended.
    pub(super) doomed: HashSet<QueueId>,
    /// No waiting message has a life that began before this moment; zero as long as nothing is known.
    pub(super) oldest_life: u64,
    /// The same of what came in since the running search began.
    pub(super) oldest_life_since: u64,
    last_token: u64,
    /// What was committed while somebody searches in an older snapshot: not to be leased by what that says. None while nobody does.
    changed: Option<HashSet<QueueId>>,
}

/// A message given to one attempt.
pub(super) struct Lease {
    pub(super) token: u64,
    /// On the monotonic clock.
    pub(super) until: Duration,
    /// Its settlement is with the writer: nobody else may have the message, however long that takes.
    pub(super) settling: bool,
    /// It was made due while the attempt was under way: whatever of it is open then is due at once, and nobody who has
    /// refused it before is left out.
    pub(super) made_due: bool,
}

impl Shared {
    pub(super) fn new(
        store: Store,
        timeline: Timeline,
        space: Space,
        ledger: &Ledger,
        keep: u64,
        instance: String,
    ) -> Shared {
        let usage = ledger.usage.unwrap_or_default();
        let state = State { counts: ledger.counts, usage, writable: true, ..State::default() };
        Shared {
            store,
            timeline,
            space,
            state: Mutex::new(state),
            turns: Mutex::default(),
            due_changed: Arc::default(),
            event_sender: broadcast::Sender::new(4_096),
            keep_events: AtomicU64::new(keep),
            instance,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn monotonic(&self) -> Duration {
        self.timeline.clock().monotonic()
    }

    pub(super) fn wall_ms(&self) -> u64 {
        u64::try_from(self.timeline.clock().wall().as_millisecond()).unwrap_or(0)
    }
}

impl State {
    pub(super) fn is_leased(&self, id: QueueId, now: Duration) -> bool {
        self.leases.get(&id).is_some_and(|lease| lease.settling || lease.until > now)
    }

    /// Leases the message; whoever had it before is fenced off.
    pub(super) fn lease(&mut self, id: QueueId, until: Duration) -> u64 {
        self.last_token += 1;
        self.leases.insert(id, Lease { token: self.last_token, until, settling: false, made_due: false });
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

    /// From now on what changes is noted, for the search that begins.
    pub(super) fn begin_search(&mut self) {
        self.changed = Some(HashSet::new());
    }

    /// What has changed since [`State::begin_search`].
    pub(super) fn end_search(&mut self) -> HashSet<QueueId> {
        self.changed.take().unwrap_or_default()
    }

    /// A commit has changed this message.
    pub(super) fn note_change(&mut self, id: QueueId) {
        if let Some(changed) = &mut self.changed {
            changed.insert(id);
        }
    }

    /// Whether every message that waits is in memory, and with it the pages of the index that name them.
    pub(super) fn all_is_fresh(&self) -> bool {
        let [queued, deferred, ..] = self.counts.states;
        queued.saturating_add(deferred) <= self.fresh.messages.len() as u64
    }

    /// Somebody wants the message tried at once; where an attempt is under way, as soon as that has ended.
    pub(super) fn make_due(&mut self, id: QueueId) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.made_due = true;
        }
    }

    /// Takes the lease over for its settlement: from here on it does not run out. False for a token that was fenced
    /// off, or is being settled already.
    pub(super) fn begin_settling(&mut self, id: QueueId, token: u64) -> bool {
        match self.leases.get_mut(&id) {
            Some(lease) if lease.token == token && !lease.settling => {
                lease.settling = true;
                true
            }
            _ => false,
        }
    }

    /// A message with this start of life waits.
    pub(super) fn note_life(&mut self, life_start: u64) {
        self.oldest_life = self.oldest_life.min(life_start);
        self.oldest_life_since = self.oldest_life_since.min(life_start);
    }
}

/// Messages as they were put and not changed since, the newest ones, with their content: most are claimed at once.
#[derive(Default)]
pub(super) struct Fresh {
    messages: HashMap<QueueId, (Arc<Message>, Bytes)>,
    /// Oldest first; may name messages that are gone.
    order: VecDeque<QueueId>,
    bytes: usize,
}

impl Fresh {
    pub(super) fn message(&self, id: QueueId) -> Option<Arc<Message>> {
        self.messages.get(&id).map(|(message, _)| message.clone())
    }

    /// The chunk, where the message has only one.
    pub(super) fn chunk(&self, id: QueueId, number: u32) -> Option<Bytes> {
        let (message, content) = self.messages.get(&id)?;
        (number == 0 && message.chunks == 1).then(|| content.clone())
    }

    pub(super) fn add(&mut self, message: Arc<Message>, content: Bytes) {
        if message.chunks > 1 || content.len() > FRESH_LARGEST {
            return;
        }
        let id = message.id;
        self.remove(id);
        self.bytes += FRESH_OVERHEAD + content.len();
        self.messages.insert(id, (message, content));
        self.order.push_back(id);
        while self.bytes > FRESH_BUDGET
            && let Some(oldest) = self.order.pop_front()
        {
            self.remove(oldest);
        }
        if self.order.len() > 2 * self.messages.len() + 64 {
            let messages = &self.messages;
            self.order.retain(|id| messages.contains_key(id));
        }
    }

    pub(super) fn remove(&mut self, id: QueueId) {
        if let Some((_, content)) = self.messages.remove(&id) {
            self.bytes -= FRESH_OVERHEAD + content.len();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::mail::{BodyType, HeaderFacts, Origin, ReversePath};

    /// A message without recipients.
    pub(in super::super) fn message(size: usize) -> Arc<Message> {
        Arc::new(Message {
            id: QueueId::fresh(1),
            reverse_path: ReversePath::Null,
            recipients: Vec::new(),
            body: BodyType::SevenBit,
            smtp_utf8: false,
            size: size as u64,
            chunks: 1,
            header: HeaderFacts::default(),
            origin: Origin {
                listener: String::new(),
                client: None,
                user: None,
                helo: String::new(),
                protocol: String::new(),
            },
            received_at: jiff::Timestamp::UNIX_EPOCH,
            reception_ms: 0,
            due: None,
            life_start: Moment(0),
            ..Message::new(QueueId::from_number(0), ReversePath::Null)
        })
    }

    #[test]
    fn fresh_messages_stay_within_their_budget_and_the_oldest_go_first() {
        let mut fresh = Fresh::default();
        let all: Vec<_> = (0..2_000).map(|_| message(30_000)).collect();
        for message in &all {
            fresh.add(message.clone(), Bytes::from(vec![0; 30_000]));
            assert!(fresh.bytes <= FRESH_BUDGET);
        }
        assert!(fresh.message(all[0].id).is_none());
        assert_eq!(fresh.chunk(all[1_999].id, 0).map(|chunk| chunk.len()), Some(30_000));
        for message in &all {
            fresh.remove(message.id);
        }
        assert_eq!((fresh.bytes, fresh.messages.len()), (0, 0));
        for _ in 0..10_000 {
            let message = message(10);
            fresh.add(message.clone(), Bytes::from_static(b"content"));
            fresh.remove(message.id);
        }
        assert!(fresh.order.len() < 200, "what is gone does not pile up: {}", fresh.order.len());
    }
}
