//! The mail store: how messages come to exist, how they are read, and how much space is left for more.

use super::error::Pending;
use super::event_log::EventLog;
use super::timeline::Timeline;
use crate::clock::Moment;
use crate::event::Fact;
use crate::mail::{Message, QueueId};
use bytes::Bytes;
use std::sync::Arc;

/// The largest chunk that content is stored in, in bytes: a little under a power of two, so that it fits a run of
/// pages with its key. Every chunk of a message but the last has exactly this size.
pub const CHUNK_SIZE: usize = 128 * 1024 - 1024;

/// Figures of the queue, taken from counters and never by a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueStatus {
    /// The last commit succeeded, or none has failed yet.
    pub writable: bool,
    /// Messages in state [`MessageState::Queued`](crate::mail::MessageState::Queued).
    pub queued: u64,
    /// Messages in state [`MessageState::Deferred`](crate::mail::MessageState::Deferred).
    pub deferred: u64,
    /// Messages in state [`MessageState::Held`](crate::mail::MessageState::Held).
    pub held: u64,
    /// Messages in state [`MessageState::Failed`](crate::mail::MessageState::Failed).
    pub failed: u64,
    /// Records set aside because they are damaged.
    pub damaged: u64,
    /// Messages leased to attempts now.
    pub claimed: u64,
}

impl QueueStatus {
    /// Messages in the queue, whatever their state.
    pub fn messages(&self) -> u64 {
        self.queued + self.deferred + self.held + self.failed
    }
}

/// Stores messages and reads them back. Reception uses this; moments of a message are of the queue's [`Timeline`], and facts
/// about it are recorded in the [`EventLog`] with it.
pub trait MailStore: Timeline + EventLog {
    /// Writes a chunk of a message that does not exist yet, ahead of its [`MailStore::put`], so that memory does not
    /// follow message size. `number` counts from 0, in this order. No index names the chunk: if the process dies before the
    /// put, the next start removes it. The chunk need not be on disk on return: after an error of the queue, in this call or
    /// in anybody's, staged chunks may be gone, and then the next chunk or the put is refused.
    fn stage(&self, id: QueueId, number: u32, chunk: Bytes) -> Pending<'_, ()>;

    /// Removes the staged chunks of a message that will not be put.
    fn discard(&self, id: QueueId);

    /// Makes the message exist with all its recipients, in one commit, durable on return with what was staged. `tail` is
    /// its last chunk (number `message.chunks - 1`), empty only for empty content; the others were staged. `facts` are
    /// recorded in the same commit. `message.due` and `message.life_start` are taken as they are.
    ///
    /// After an error the message does not exist, neither now nor after a restart.
    fn put(&self, message: Message, tail: Bytes, facts: Vec<Fact>) -> Pending<'_, ()>;

    /// One chunk of stored content, its checksum verified.
    fn chunk(&self, id: QueueId, number: u32) -> Pending<'_, Bytes>;

    /// One message.
    fn show(&self, id: QueueId) -> Pending<'_, Arc<Message>>;

    /// Removes failed messages whose last change is older than `before`, a moment of [`Timeline::common_now`]. Returns how many.
    fn remove_failed(&self, before: Moment) -> Pending<'_, u64>;

    /// The queue's figures.
    fn status(&self) -> QueueStatus;

    /// Bytes that new mail may take, on the disk and in the space that earlier mail has left inside the file. What was
    /// staged or put counts as taken from the call on, committed or not. None where the storage does not say; then
    /// storing itself fails when it is full.
    fn free_space(&self) -> Option<u64>;

    /// This installation's own name for loop detection (random, made with the file).
    fn instance(&self) -> &str;
}
