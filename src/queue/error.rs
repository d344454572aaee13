//! Why the queue could not do something, and the future that says so.

use crate::mail::QueueId;
use std::future::Future;
use std::pin::Pin;

/// The result of a queue operation, ready when the queue has carried it out.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, QueueError>> + Send + 'a>>;

/// Why the queue could not do what was asked.
#[derive(Debug, thiserror::Error, Clone)]
pub enum QueueError {
    /// The disk is full. The queue goes on by itself when there is space again.
    #[error("no space left for the queue file: {0}")]
    Full(String),
    /// The file could not be read or written. The queue reopens it by itself.
    #[error("the queue file cannot be read or written: {0}")]
    Storage(String),
    /// Chunks that were staged are gone, because the file was opened anew since, or were not staged in order.
    #[error("chunks of message {0} that were staged before an error are gone")]
    StagedLost(QueueId),
    /// The file is a message already, put by somebody who went away before the answer.
    #[error("the file is a message already")]
    AlreadyTaken,
    /// The lease has passed to somebody else, who settles the message now.
    #[error("the lease on message {0} ran out, and another attempt has it now")]
    FencedOff(QueueId),
    /// The record does not match its checksum, or this version cannot read it.
    #[error("message {id} is damaged in the queue file: {what}")]
    Damaged {
        id: QueueId,
        /// What is wrong with it.
        what: String,
    },
    /// The queue has no such message, or has it no longer.
    #[error("no message {0} in the queue")]
    NotFound(QueueId),
    /// The queue is being closed.
    #[error("the queue is closed")]
    Closed,
}
