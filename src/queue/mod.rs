//! The queue: what was answered 250 is in here, durably, until every recipient has its outcome.
//!
//! This file holds the contract; [`redb`] keeps it in one file of the embedded redb database.
//!
//! # Promises
//! - What [`Queue::put`] has confirmed survives a crash of the process and of the machine.
//! - What [`Queue::settle`] has confirmed is never claimed again.
//! - A message is claimed by one attempt at a time.
//! - A damaged record is set aside and shown; it is never dropped and never stops the others.
//! - Memory does not follow the number or the size of the messages.
//!
//! # Limits
//! A crash between an upstream's 250 and the commit of its verdict repeats that one transaction: a duplicate may
//! be, a loss may not.

pub mod redb;

use crate::clock::Moment;
use crate::event::{Event, Fact};
use crate::mail::{Message, MessageState, QueueId, Verdict};
use bytes::Bytes;
use jiff::Timestamp;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The largest chunk that content is stored in, in bytes: a little under a power of two, so that it fits a run of
/// pages with its key. Every chunk of a message but the last has exactly this size.
pub const CHUNK_SIZE: usize = 128 * 1024 - 1024;

/// An answer that comes when the queue has done it.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, QueueError>> + Send + 'a>>;

/// Why the queue could not do what was asked.
#[derive(Debug, thiserror::Error, Clone)]
pub enum QueueError {
    /// The disk has no room. Goes away by itself when there is room again.
    #[error("no space left for the queue file: {0}")]
    Full(String),
    /// The file could not be read or written. The queue reopens it by itself.
    #[error("the queue file cannot be read or written: {0}")]
    Storage(String),
    /// The record is there and does not match its checksum, or cannot be read by this version.
    #[error("message {id} is damaged in the queue file: {what}")]
    Damaged {
        /// Which message.
        id: QueueId,
        /// What does not fit.
        what: String,
    },
    /// No such message (any more).
    #[error("no message {0} in the queue")]
    NotFound(QueueId),
    /// The queue is being closed.
    #[error("the queue is closed")]
    Closed,
}

/// A message that is leased to one attempt.
#[derive(Clone, Debug)]
pub struct Claim {
    /// As stored when it was claimed.
    pub message: Arc<Message>,
    /// Fences off whoever settles after the lease was given to somebody else.
    pub token: u64,
}

/// The outcome of an attempt, to be written in one commit.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// One verdict for each recipient that was open at the claim, in their order.
    pub verdicts: Vec<Verdict>,
    /// MAIL was sent to an upstream: one more attempt is counted (rule 12).
    pub counted: bool,
    /// What is still open goes one step on in the retry schedule.
    pub steps_on: bool,
    /// Due time of what is still open, if anything is.
    pub next_due: Moment,
    /// The upstream that failed last, if one did.
    pub failed_upstream: Option<String>,
    /// What is recorded along with it.
    pub facts: Vec<Fact>,
}

/// Which messages a listing shows or a bulk verb means.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these states; none = all but sent.
    pub states: Vec<MessageState>,
    /// Only those with this text (ASCII case ignored) in id, reverse-path, a recipient, subject or a reply.
    pub text: Option<String>,
}

/// A page of a listing, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most as many as asked for.
    pub messages: Vec<Arc<Message>>,
    /// Records that could not be read, with what is wrong.
    pub damaged: Vec<(QueueId, String)>,
    /// Where the next page begins; none at the end.
    pub next: Option<QueueId>,
}

/// What an operator asks of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Due now, and every upstream that refused may be asked again; failed and expired recipients open again with a fresh
    /// schedule and a fresh life; delivered ones are never touched.
    Retry,
    /// Goes nowhere until released. An attempt that is under way finishes first.
    Hold,
    /// Takes a hold back; the time held does not count for expiry.
    Release,
    /// Removed for good. With an attempt under way: as soon as that has ended.
    Delete,
}

/// What became of an [`Order`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obeyed {
    /// Done.
    Done,
    /// There was nothing to do: already held, not held, nothing open or failed to retry.
    Unchanged,
    /// No such message.
    NotFound,
}

/// The queue at a glance, from counters: never by a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// The last commit succeeded, or nothing speaks against the next one.
    pub writable: bool,
    /// Messages in each state.
    pub queued: u64,
    /// See [`MessageState::Deferred`].
    pub deferred: u64,
    /// See [`MessageState::Held`].
    pub held: u64,
    /// See [`MessageState::Failed`].
    pub failed: u64,
    /// Records set aside because they are damaged.
    pub damaged: u64,
    /// Messages leased to attempts now.
    pub claimed: u64,
}

impl Health {
    /// Messages in the queue, whatever their state.
    pub fn messages(&self) -> u64 {
        self.queued + self.deferred + self.held + self.failed
    }
}

/// Where messages live between 250 and their outcome. See the module for the promises of the whole.
///
/// Every method may be called from any task at any time; none blocks the caller's thread for long.
pub trait Queue: Send + Sync + 'static {
    /// Now, on the timeline that due times and lives are planned on.
    fn now(&self) -> Moment;

    /// What the wall clock shows, or will show, at that moment.
    fn wall(&self, moment: Moment) -> Timestamp;

    /// Stops (`true`) or restarts the timeline: while sending is off no time passes for the mail that waits.
    fn freeze(&self, frozen: bool);

    /// Writes a chunk of a message that does not exist yet, ahead of its [`Queue::put`], so that memory does not
    /// follow message size. `number` counts from 0, in this order. No index names it: if the process dies first, the next
    /// start removes it. It is owed to nobody and need not be on disk on return: after an error of the queue, whoever
    /// it happened to, what was staged may be gone, and then the next chunk or the put is refused.
    fn stage(&self, id: QueueId, number: u32, chunk: Bytes) -> Pending<'_, ()>;

    /// Gives up a message some chunks of which were staged.
    fn discard(&self, id: QueueId);

    /// Makes the message exist with all its recipients, in one commit, durable on return with what was staged. `tail` is
    /// its last chunk (number `message.chunks - 1`), empty only for empty content; the others were staged. `facts` are recorded
    /// in the same commit. `message.due` and `message.life_start` are taken as they are.
    ///
    /// After an error nothing of the message is owed: it does not exist, now or after a restart.
    fn put(&self, message: Message, tail: Bytes, facts: Vec<Fact>) -> Pending<'_, ()>;

    /// Due messages of these sites (`""`: mail of no site), each leased to the caller for `lease`. Urgent mail goes before
    /// normal, normal before bulk, within a class first attempts before retries and the longest due first, sites in turn;
    /// what is behind gets every tenth message while it waits. Whoever does not settle within the lease loses the message
    /// to the next claim.
    fn claim(&self, now: Moment, lease: Duration, sites: &[String], limit: usize) -> Pending<'_, Vec<Claim>>;

    /// One chunk of stored content, its checksum verified.
    fn chunk(&self, id: QueueId, number: u32) -> Pending<'_, Bytes>;

    /// Writes exactly one verdict for each claimed recipient, in one commit, and counts the attempt where `settlement.counted`. With nothing left
    /// open and nothing failed the message is removed. A claim that was fenced off changes nothing.
    fn settle(&self, claim: Claim, settlement: Settlement) -> Pending<'_, ()>;

    /// Gives a lease back: the message is due as it was and no attempt is counted.
    fn put_back(&self, claim: Claim);

    /// When the next message of these sites that is not leased becomes due; none with nothing waiting.
    fn next_due(&self, sites: &[String]) -> Pending<'_, Option<Moment>>;

    /// Leases messages due by `now` whose life began at or before `born_by`, the longest due first: those that may
    /// expire because nobody could be asked.
    fn claim_old(
        &self,
        now: Moment,
        born_by: Moment,
        lease: Duration,
        limit: usize,
    ) -> Pending<'_, Vec<Claim>>;

    /// Does what an operator asks, for each id, and records a fact for each that changed.
    fn order(&self, order: Order, ids: Vec<QueueId>) -> Pending<'_, Vec<Obeyed>>;

    /// Removes failed messages whose last change is older than `before` (wall clock). Returns how many.
    fn remove_failed(&self, before: Timestamp) -> Pending<'_, u64>;

    /// Makes every message due now that some upstream has refused: those that wait for their time may find an upstream that
    /// was set up anew. A message under way in an attempt is not touched by it.
    fn hasten_refused(&self) -> Pending<'_, ()>;

    /// A page of at most `limit`, newest first, from `cursor` on (inclusive).
    fn list(&self, filter: Filter, cursor: Option<QueueId>, limit: usize) -> Pending<'_, Page>;

    /// One message.
    fn show(&self, id: QueueId) -> Pending<'_, Arc<Message>>;

    /// Records facts that belong to no other write. Never fails the caller: what cannot be written goes to the log.
    fn record(&self, facts: Vec<Fact>);

    /// At most `limit` events with an id of at least `from`, oldest first; without `from` the newest ones.
    fn events(&self, from: Option<u64>, limit: usize) -> Pending<'_, Vec<Event>>;

    /// Events from now on, as they are committed.
    fn follow(&self) -> tokio::sync::broadcast::Receiver<Arc<Event>>;

    /// How many events of each type are kept from now on: the newest ones.
    fn keep_events(&self, keep: u64);

    /// Told of every message that is new, newly due or given back: what the engine waits on. Who knows [`Queue::next_due`]
    /// and has not been told since need not ask again before that time.
    fn woken(&self) -> Arc<tokio::sync::Notify>;

    /// At a glance.
    fn health(&self) -> Health;

    /// Bytes of new mail that there is room for, on the disk and in what earlier mail has left. What was staged or put
    /// counts from the call on, done or not. None where nobody can say; then storing will tell.
    fn room(&self) -> Option<u64>;

    /// This installation's own name for loop detection (random, made with the file).
    fn instance(&self) -> &str;

    /// Finishes what was asked and closes the file. Later calls answer [`QueueError::Closed`].
    fn close(&self) -> Pending<'_, ()>;
}
