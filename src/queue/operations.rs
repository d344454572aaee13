//! What operators do with the queue: list it and act on messages.

use super::error::Pending;
use super::filter::Filter;
use super::mail_store::MailStore;
use crate::mail::{AttemptRecord, Message, QueueId};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A page of a listing, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most as many as asked for. Fewer, or none, do not mean that there are no more: a search ends its page after so many
    /// records, so that no caller waits long.
    pub messages: Vec<Arc<Message>>,
    /// Records that could not be read, with what is wrong.
    pub damaged: Vec<(QueueId, String)>,
    /// Where the next page begins; none at the end.
    pub next: Option<QueueId>,
}

/// What an operator does with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperatorAction {
    /// Makes the message due now, and every upstream that refused may be asked again. Failed and expired recipients are
    /// open again with a new schedule and a new lifetime; delivered ones are never touched.
    Retry,
    /// Holds the message: no attempt starts until it is released. An attempt under way begins no further transaction; one that it
    /// has begun goes on to its end.
    Hold,
    /// Ends a hold; the time held does not count for expiry.
    Release,
    /// As [`OperatorAction::Release`], but only where nobody but an operator holds the message
    /// ([`Message::is_held_by_mode`]).
    ReleaseOwn,
    /// Removes the message at once. An attempt under way begins no further transaction; one that it has begun goes on to its end, and
    /// what it reads of the content is removed after it.
    Delete,
}

/// What an [`OperatorAction`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActionResult {
    /// The message was changed or removed.
    Done,
    /// There was nothing to do: already held, not held, no recipient open or failed to retry, or the filter does not mean it.
    Unchanged,
    /// A mode holds it, and the action was [`OperatorAction::ReleaseOwn`].
    HeldByMode,
    /// There is no such message.
    NotFound,
}

/// What takes a look at the file: how long mail has waited, how much is in use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueueFigures {
    /// When the message was received that has been in state `queued` longest.
    pub oldest_queued: Option<Timestamp>,
    /// The same of state `deferred`.
    pub oldest_deferred: Option<Timestamp>,
    /// By site (`""`: none), how long that message has been due which is due longest. While sending is off for a site, no time
    /// passes for its mail.
    pub overdue: BTreeMap<String, Duration>,
    /// Bytes of the file that hold something, or a little more.
    pub used_bytes: u64,
}

/// Lists messages and acts on them. The control socket's routes use this.
pub trait Operations: MailStore {
    /// How long mail has waited and the like, read from the indexes: a few entries for each site.
    fn figures(&self) -> Pending<'_, QueueFigures>;

    /// Carries out an action on each of these messages, and records a fact for each that changed. The results are in the
    /// order of the ids.
    fn act(&self, action: OperatorAction, ids: Vec<QueueId>) -> Pending<'_, Vec<ActionResult>> {
        self.act_where(action, ids, Filter::default())
    }

    /// Which upstreams were asked about a message, in the queue or sent, oldest first. None for one that there is not.
    fn attempts(&self, id: QueueId) -> Pending<'_, Vec<AttemptRecord>>;

    /// As [`Operations::act`], but on no message that the filter does not mean at the moment at which it is changed.
    fn act_where(
        &self,
        action: OperatorAction,
        ids: Vec<QueueId>,
        filter: Filter,
    ) -> Pending<'_, Vec<ActionResult>>;

    /// A page of at most `limit` messages, newest first, from `cursor` on (inclusive). What an index excludes is not read:
    /// messages of other states, and those that are older or newer.
    fn list(&self, filter: Filter, cursor: Option<QueueId>, limit: usize) -> Pending<'_, Page>;

    /// As [`Operations::list`], of the records alone that are set aside because they are damaged.
    fn list_damaged(&self, filter: Filter, cursor: Option<QueueId>, limit: usize) -> Pending<'_, Page>;
}
