//! The writer: one thread that takes all operations that wait, commits them in one transaction, then answers the callers.
//!
//! A commit starts as soon as a client waits for one; operations that come in while it runs are the next batch, so the
//! batches grow with the number of callers. Settlements alone, for which nothing waits, wait 1 ms to share the commit of the
//! next message. What happens when a commit fails is in [`super::recovery`].

use super::super::QueueError;
use super::committer::{BATCH_BYTES, BATCH_OPS, Committer};
use super::database_opener::DatabaseOpener;
use super::op::{Op, Responder};
use super::recovery::Recovery;
use super::shared_queue::SharedQueue;
use super::stored::Metadata;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long settlements wait for a commit that they can share.
const SETTLE_LINGER: Duration = Duration::from_millis(1);
/// How often the saved timeline and the leases are checked.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(10);

/// The thread's own state.
pub(super) struct Writer {
    shared: Arc<SharedQueue>,
    inbox: Receiver<Op>,
    recovery: Recovery,
}

/// A request to close the queue. None if the handle was dropped, so that no caller waits for a response.
type CloseRequest = Option<Responder<()>>;

impl Writer {
    pub(super) fn new(
        shared: Arc<SharedQueue>,
        opener: DatabaseOpener,
        inbox: Receiver<Op>,
        metadata: Metadata,
    ) -> Writer {
        let recovery = Recovery::new(Committer::new(shared.clone(), metadata), opener);
        Writer { shared, inbox, recovery }
    }

    /// Works until the queue is closed or dropped.
    pub(super) fn run(mut self) {
        let mut next_maintenance = Instant::now() + MAINTENANCE_INTERVAL;
        let mut closing: Option<CloseRequest> = None;
        while closing.is_none() {
            let wake = self.recovery.next_try().map_or(next_maintenance, |next| next.min(next_maintenance));
            let mut ops = Vec::new();
            match self.inbox.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Op::Close { responder }) => closing = Some(Some(responder)),
                Ok(first) => closing = self.gather(first, &mut ops),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => closing = Some(None),
            }
            if Instant::now() >= next_maintenance {
                next_maintenance = Instant::now() + MAINTENANCE_INTERVAL;
                self.maintain(&mut ops);
            }
            self.recovery.commit(ops, closing.is_some());
        }
        self.close(closing.flatten());
    }

    /// Takes all operations that wait, up to the limits of a batch. Returns a request to close the queue, if one comes.
    fn gather(&self, first: Op, ops: &mut Vec<Op>) -> Option<CloseRequest> {
        let until = Instant::now() + SETTLE_LINGER;
        let (mut bytes, mut only_settlements) = (first.bytes(), first.is_settlement());
        ops.push(first);
        while ops.len() < BATCH_OPS && bytes < BATCH_BYTES {
            let next = match self.inbox.try_recv() {
                Err(_) if only_settlements => {
                    self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
                }
                next => next.ok(),
            };
            match next {
                Some(Op::Close { responder }) => return Some(Some(responder)),
                // Every reader that finds the same damage reports it, until it has been repaired.
                Some(op)
                    if op
                        .reported_damage()
                        .is_some_and(|damage| ops.iter().any(|op| op.reported_damage() == Some(damage))) => {}
                Some(op) => {
                    bytes += op.bytes();
                    only_settlements &= op.is_settlement();
                    ops.push(op);
                }
                None => break,
            }
        }
        None
    }

    /// Keeps the saved timeline near the running one, and looks for leases that ran out.
    fn maintain(&self, ops: &mut Vec<Op>) {
        if self.shared.timelines.saved().differs_from(&self.recovery.metadata().timeline) {
            ops.push(Op::WriteMetadata);
        }
        let now = self.shared.monotonic();
        let state = self.shared.state();
        // A lease that ran out stands until another claim takes the message.
        if state.leases.values().any(|lease| !lease.settling && lease.until <= now) {
            self.shared.due_changed.notify_one();
        }
        let abandoned = state.removed_while_leased.iter().filter(|id| !state.is_leased(**id, now));
        ops.extend(abandoned.map(|id| Op::RemoveContent { id: *id }));
    }

    /// Refuses all operations that are left and closes the file.
    fn close(mut self, responder: Option<Responder<()>>) {
        self.recovery.close();
        for op in self.inbox.try_iter() {
            op.refuse(&QueueError::Closed);
        }
        if let Some(responder) = responder {
            let _ = responder.send(Ok(()));
        }
    }
}
