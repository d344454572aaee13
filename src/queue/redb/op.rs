//! What the writer is asked to do, and how it answers.

use super::super::{Claim, Obeyed, Order, QueueError, Settlement};
use super::space::Handed;
use super::tables::DueKey;
use crate::event::Fact;
use crate::mail::{Message, QueueId};
use bytes::Bytes;
use tokio::sync::oneshot;

/// Where an answer goes. Nobody may be waiting for it any more.
pub(super) type Answer<T> = oneshot::Sender<Result<T, QueueError>>;

/// One thing to do, with what it takes.
pub(super) enum Op {
    /// What is `_handed` counts as taken until the operation has come to its end.
    Stage {
        id: QueueId,
        number: u32,
        chunk: Bytes,
        _handed: Handed,
        answer: Answer<()>,
    },
    Discard {
        id: QueueId,
    },
    Put {
        message: Box<Message>,
        tail: Bytes,
        facts: Vec<Fact>,
        _handed: Handed,
        answer: Answer<()>,
    },
    Settle {
        claim: Claim,
        settlement: Settlement,
        answer: Answer<()>,
    },
    Order {
        order: Order,
        ids: Vec<QueueId>,
        answer: Answer<Vec<Obeyed>>,
    },
    RemoveFailed {
        before_ms: u64,
        limit: usize,
        answer: Answer<u64>,
    },
    /// Makes those due now that some upstream has refused, at most `limit` of them, from an id on.
    HastenRefused {
        from: u128,
        limit: usize,
        answer: Answer<Option<u128>>,
    },
    Record {
        facts: Vec<Fact>,
    },
    /// The record or content of a message is damaged. `key` is where the due index names it, if that is known.
    SetAside {
        id: QueueId,
        key: Option<DueKey>,
        what: String,
    },
    /// An entry of the due index stands out of order, so that whatever comes behind it is not found, or elsewhere than its
    /// record says.
    Misplaced {
        key: DueKey,
    },
    /// The attempt with a deleted message has ended: its content goes.
    Sweep {
        id: QueueId,
    },
    /// Messages that are in the file though their put was answered with an error.
    Disown {
        ids: Vec<QueueId>,
    },
    /// Writes the ledger and nothing else: a timeline that has moved, or to see whether writing works again.
    Touch,
    Close {
        answer: Answer<()>,
    },
}

/// What an [`Op`] is answered with when its commit has succeeded.
pub(super) enum Reply {
    Done,
    Obeyed(Vec<Obeyed>),
    Count(u64),
    /// Where to go on; none at the end.
    Next(Option<u128>),
    Refused(QueueError),
}

impl Op {
    /// Bytes of content that it brings into its transaction.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Op::Stage { chunk, .. } => chunk.len(),
            Op::Put { tail, .. } => tail.len(),
            _ => 0,
        }
    }

    /// The end of an attempt: its connection is free already, so nobody waits for the commit.
    pub(super) fn is_verdict(&self) -> bool {
        matches!(self, Op::Settle { .. })
    }

    /// Answers whoever asked.
    pub(super) fn answer(self, reply: Reply) {
        // An answer that nobody waits for any more is no error: the caller was cancelled.
        match (self, reply) {
            (Op::Order { answer, .. }, Reply::Obeyed(obeyed)) => drop(answer.send(Ok(obeyed))),
            (Op::RemoveFailed { answer, .. }, Reply::Count(count)) => drop(answer.send(Ok(count))),
            (Op::HastenRefused { answer, .. }, Reply::Next(next)) => drop(answer.send(Ok(next))),
            (op, Reply::Refused(error)) => op.refuse(&error),
            (
                Op::Stage { answer, .. }
                | Op::Put { answer, .. }
                | Op::Settle { answer, .. }
                | Op::Close { answer },
                _,
            ) => drop(answer.send(Ok(()))),
            _ => {}
        }
    }

    /// Answers whoever asked with an error.
    pub(super) fn refuse(self, error: &QueueError) {
        match self {
            Op::Stage { answer, .. }
            | Op::Put { answer, .. }
            | Op::Settle { answer, .. }
            | Op::Close { answer } => drop(answer.send(Err(error.clone()))),
            Op::Order { answer, .. } => drop(answer.send(Err(error.clone()))),
            Op::RemoveFailed { answer, .. } => drop(answer.send(Err(error.clone()))),
            Op::HastenRefused { answer, .. } => drop(answer.send(Err(error.clone()))),
            Op::Record { facts } => {
                for fact in facts {
                    tracing::warn!(%error, code = fact.code, message = fact.message, "an event was not recorded");
                }
            }
            Op::Discard { .. }
            | Op::SetAside { .. }
            | Op::Misplaced { .. }
            | Op::Sweep { .. }
            | Op::Disown { .. }
            | Op::Touch => {}
        }
    }

    /// Where damage has been noticed, if that is what it is about.
    pub(super) fn notice(&self) -> Option<(QueueId, Option<DueKey>)> {
        match self {
            Op::SetAside { id, key, .. } => Some((*id, *key)),
            Op::Misplaced { key } => Some((key.id, Some(*key))),
            _ => None,
        }
    }

    /// Whether the writer tries it again by itself when its commit has failed. Damage is noticed again by the next reader:
    /// should it be so great that looking after it fails, everything else goes on.
    pub(super) fn is_tried_again(&self) -> bool {
        matches!(self, Op::Settle { .. } | Op::Discard { .. } | Op::Sweep { .. } | Op::Disown { .. })
    }

    /// When it cannot be done now: what is to be tried again. Whoever asked for anything else is told, and what a put
    /// had staged goes.
    pub(super) fn fail(self, error: &QueueError) -> Option<Op> {
        match self {
            Op::Put { message, answer, .. } => {
                drop(answer.send(Err(error.clone())));
                (message.chunks > 1).then_some(Op::Discard { id: message.id })
            }
            op if op.is_tried_again() => Some(op),
            other => {
                other.refuse(error);
                None
            }
        }
    }
}
