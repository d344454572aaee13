//! The operations that the writer carries out, and their results.

use super::super::{
    ActionResult, Claim, Day, Filter, HoldChange, OperatorAction, QueueError, Settled, Settlement,
};
use super::due_key::DueKey;
use super::layout::FileKey;
use super::space::Reservation;
use crate::clock::Moment;
use crate::event::Fact;
use crate::mail::{AttemptRecord, Message, QueueId};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Where the result of an operation goes. The caller may have been cancelled and wait for it no longer.
pub(super) type Responder<T> = oneshot::Sender<Result<T, QueueError>>;

/// One operation with its arguments.
pub(super) enum Op {
    /// `_reservation` counts as used space until the operation is dropped.
    Stage {
        id: QueueId,
        number: u32,
        chunk: Bytes,
        _reservation: Reservation,
        responder: Responder<()>,
    },
    Discard {
        id: QueueId,
    },
    Put {
        message: Box<Message>,
        tail: Bytes,
        facts: Vec<Fact>,
        /// It is this file.
        file: Option<FileKey>,
        _reservation: Reservation,
        responder: Responder<()>,
    },
    /// Of files that were taken in: people were told of some, others are gone.
    ChangeTakenFiles {
        told: Vec<FileKey>,
        forgotten: Vec<FileKey>,
        responder: Responder<()>,
    },
    NoteMode {
        id: QueueId,
        responder: Responder<()>,
    },
    Settle {
        claim: Claim,
        settlement: Settlement,
        responder: Responder<Settled>,
    },
    Act {
        action: OperatorAction,
        ids: Vec<QueueId>,
        filter: Arc<Filter>,
        responder: Responder<Vec<ActionResult>>,
    },
    RemoveFailed {
        before: Moment,
        limit: usize,
        responder: Responder<u64>,
    },
    /// Makes those due now that some upstream has refused, at most `limit` of them, from an id on.
    MakeRefusedDue {
        from: u128,
        limit: usize,
        responder: Responder<Option<u128>>,
    },
    ChangeHolds {
        changes: Vec<HoldChange>,
        responder: Responder<()>,
    },
    /// Forgets sent mail of a day that nothing was added to since `before_ms`, at most `limit` messages.
    ForgetSent {
        day: Day,
        before_ms: u64,
        limit: usize,
        responder: Responder<ForgottenDay>,
    },
    /// Counts a day of the archive from now on, or forgets that there was one.
    KnowDay {
        day: Day,
        known: bool,
        responder: Responder<()>,
    },
    Record {
        facts: Vec<Fact>,
    },
    AddAttempts {
        id: QueueId,
        attempts: Vec<AttemptRecord>,
    },
    /// The record or content of a message is damaged. `key` is its entry in the due index, if that is known.
    SetAside {
        id: QueueId,
        key: Option<DueKey>,
        what: String,
    },
    /// An entry of the due index stands out of order, so that searches miss what comes after it, or not where its record
    /// says.
    Misplaced {
        key: DueKey,
    },
    /// Removes the content of a message that was deleted while an attempt read it.
    RemoveContent {
        id: QueueId,
    },
    /// Removes messages that are in the file though their callers were told that the put had failed.
    UndoPuts {
        ids: Vec<QueueId>,
    },
    /// Writes the metadata alone: to save a timeline that has moved, or to try whether writing works again.
    WriteMetadata,
    Close {
        responder: Responder<()>,
    },
}

/// What [`Op::ForgetSent`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ForgottenDay {
    /// Something was added to it in the meantime.
    InUse,
    /// There is more to forget.
    More,
    /// Nothing is left of it.
    All,
}

/// The result of an [`Op`] whose commit has succeeded.
pub(super) enum OpResult {
    Done,
    Acted(Vec<ActionResult>),
    Count(u64),
    /// Where to go on; none at the end.
    Next(Option<u128>),
    Forgotten(ForgottenDay),
    Settled(Settled),
    Refused(QueueError),
}

impl Op {
    /// Bytes of content that it adds to its transaction.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Op::Stage { chunk, .. } => chunk.len(),
            Op::Put { tail, .. } => tail.len(),
            Op::Settle { settlement, .. } => settlement.follow_up.as_ref().map_or(0, |one| one.tail.len()),
            _ => 0,
        }
    }

    /// Whether it ends an attempt. The attempt's connection is free already, so nothing waits for the commit.
    pub(super) fn is_settlement(&self) -> bool {
        matches!(self, Op::Settle { .. })
    }

    /// Sends the result to the caller.
    pub(super) fn respond(self, result: OpResult) {
        // Sending fails when the caller was cancelled, which is no error.
        match (self, result) {
            (Op::Act { responder, .. }, OpResult::Acted(results)) => drop(responder.send(Ok(results))),
            (Op::RemoveFailed { responder, .. }, OpResult::Count(count)) => drop(responder.send(Ok(count))),
            (Op::MakeRefusedDue { responder, .. }, OpResult::Next(next)) => drop(responder.send(Ok(next))),
            (Op::ForgetSent { responder, .. }, OpResult::Forgotten(what)) => drop(responder.send(Ok(what))),
            (Op::Settle { responder, .. }, OpResult::Settled(what)) => drop(responder.send(Ok(what))),
            (op, OpResult::Refused(error)) => op.refuse(&error),
            (
                Op::Stage { responder, .. }
                | Op::Put { responder, .. }
                | Op::ChangeTakenFiles { responder, .. }
                | Op::NoteMode { responder, .. }
                | Op::ChangeHolds { responder, .. }
                | Op::KnowDay { responder, .. }
                | Op::Close { responder },
                _,
            ) => drop(responder.send(Ok(()))),
            _ => {}
        }
    }

    /// Sends an error to the caller.
    pub(super) fn refuse(self, error: &QueueError) {
        match self {
            Op::Stage { responder, .. }
            | Op::Put { responder, .. }
            | Op::ChangeTakenFiles { responder, .. }
            | Op::NoteMode { responder, .. }
            | Op::ChangeHolds { responder, .. }
            | Op::KnowDay { responder, .. }
            | Op::Close { responder } => drop(responder.send(Err(error.clone()))),
            Op::Act { responder, .. } => drop(responder.send(Err(error.clone()))),
            Op::Settle { responder, .. } => drop(responder.send(Err(error.clone()))),
            Op::RemoveFailed { responder, .. } => drop(responder.send(Err(error.clone()))),
            Op::MakeRefusedDue { responder, .. } => drop(responder.send(Err(error.clone()))),
            Op::ForgetSent { responder, .. } => drop(responder.send(Err(error.clone()))),
            Op::Record { facts } => {
                for fact in facts {
                    tracing::warn!(%error, code = fact.code, message = fact.message, "an event was not recorded");
                }
            }
            Op::Discard { .. }
            | Op::AddAttempts { .. }
            | Op::SetAside { .. }
            | Op::Misplaced { .. }
            | Op::RemoveContent { .. }
            | Op::UndoPuts { .. }
            | Op::WriteMetadata => {}
        }
    }

    /// What a report of damage is about; none for other operations.
    pub(super) fn reported_damage(&self) -> Option<(QueueId, Option<DueKey>)> {
        match self {
            Op::SetAside { id, key, .. } => Some((*id, *key)),
            Op::Misplaced { key } => Some((key.id, Some(*key))),
            _ => None,
        }
    }

    /// Whether the writer retries it by itself when its commit has failed. A report of damage is not retried: the next
    /// reader reports it again, and damage so great that repairing it fails must not stop everything else.
    pub(super) fn is_retried(&self) -> bool {
        matches!(
            self,
            Op::Settle { .. } | Op::Discard { .. } | Op::RemoveContent { .. } | Op::UndoPuts { .. }
        )
    }

    /// The operation cannot be carried out now. Returns what the writer has to retry; any other caller is told of the
    /// error. What was staged for a put that failed is discarded.
    pub(super) fn fail(self, error: &QueueError) -> Option<Op> {
        match self {
            Op::Put { message, responder, .. } => {
                drop(responder.send(Err(error.clone())));
                (message.chunks > 1).then_some(Op::Discard { id: message.id })
            }
            op if op.is_retried() => Some(op),
            other => {
                other.refuse(error);
                None
            }
        }
    }
}
