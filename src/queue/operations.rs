//! What operators do with the queue: list it and act on messages.

use super::error::Pending;
use super::mail_store::MailStore;
use crate::mail::{Message, MessageState, QueueId};
use std::sync::Arc;

/// Which messages a listing shows or a bulk action means.
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

/// What an operator does with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperatorAction {
    /// Makes the message due now, and every upstream that refused may be asked again. Failed and expired recipients are
    /// open again with a new schedule and a new lifetime; delivered ones are never touched.
    Retry,
    /// Holds the message: no attempt starts until it is released. An attempt under way finishes first.
    Hold,
    /// Ends a hold; the time held does not count for expiry.
    Release,
    /// Removes the message. With an attempt under way it is removed as soon as that has ended.
    Delete,
}

/// What an [`OperatorAction`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActionResult {
    /// The message was changed or removed.
    Done,
    /// There was nothing to do: already held, not held, or no recipient open or failed to retry.
    Unchanged,
    /// There is no such message.
    NotFound,
}

/// Lists messages and acts on them. The control socket's routes use this.
pub trait Operations: MailStore {
    /// Carries out an action on each of these messages, and records a fact for each that changed. The results are in the
    /// order of the ids.
    fn act(&self, action: OperatorAction, ids: Vec<QueueId>) -> Pending<'_, Vec<ActionResult>>;

    /// A page of at most `limit` messages, newest first, from `cursor` on (inclusive).
    fn list(&self, filter: Filter, cursor: Option<QueueId>, limit: usize) -> Pending<'_, Page>;
}
