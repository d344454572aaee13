//! The index entries of a record: which there have to be follows from the record alone.

use super::due_key::{DueKey, Lane};
use super::layout::state_number;
use super::stored::StoredMessage;
use crate::clock::Moment;
use crate::mail::{MessageState, Notify, Recipient, ReversePath, Role};

/// The index entries of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IndexEntries {
    pub(super) state: u8,
    /// The key in the due index and the start of the message's life, if it waits for an attempt.
    pub(super) due: Option<(DueKey, u64)>,
    /// Some upstream has refused an open recipient.
    pub(super) refused: bool,
    /// It waits for an attempt, and its sender asked to be told when it is late and was not told yet.
    pub(super) wants_late_notice: bool,
    pub(super) failed_at: Option<u64>,
}

impl IndexEntries {
    /// The entries that this record has to have; none for a message that is not stored.
    pub(super) fn of(stored: &StoredMessage) -> Option<IndexEntries> {
        let message = &stored.message;
        let state = message.state();
        let waits = matches!(state, MessageState::Queued | MessageState::Deferred);
        let key = |due: Moment| DueKey { lane: Lane::of(message), due: due.0, id: message.id };
        let due = message.due.filter(|_| waits).map(|due| (key(due), message.life_start.0));
        let refused = |(_, recipient): (usize, &Recipient)| !recipient.refused_by.is_empty();
        let asks = |(_, recipient): (usize, &Recipient)| {
            recipient.role == Role::Original && matches!(recipient.notify, Notify::Of { delay: true, .. })
        };
        Some(IndexEntries {
            state: state_number(state)?,
            due,
            refused: due.is_some() && message.open_recipients().any(refused),
            wants_late_notice: due.is_some()
                && message.reverse_path != ReversePath::Null
                && !message.delay_told
                && message.open_recipients().any(asks),
            failed_at: (state == MessageState::Failed).then_some(stored.changed_at),
        })
    }
}
