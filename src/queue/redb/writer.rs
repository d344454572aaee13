//! The writer: one thread that takes all that waits, commits it in one transaction, then answers everyone.
//!
//! Whoever waits at the front door waits for no company: a commit begins as soon as there is one such thing to do, and
//! what comes in while it runs is the next batch. So the batches grow by themselves with the number of callers. Verdicts
//! alone, for which nobody waits, let a millisecond pass: most ride on the commit of the next message.
//! What happens when a commit fails is told in [`super::recovery`].

use super::super::QueueError;
use super::batch::{Batch, Done, Effect};
use super::file::{Flush, Source};
use super::op::{Op, OpResult, Responder};
use super::record::Ledger;
use super::recovery::Trouble;
use super::shared::Shared;
use super::store::{queue_error, unless_it_panics};
use super::tables::Tables;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A batch takes at most this many operations and, but for the last of them, bytes of content.
pub(super) const BATCH_OPS: usize = 1_000;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long verdicts wait for a commit to ride on.
const SETTLE_LINGER: Duration = Duration::from_millis(1);
/// How often the timeline and the leases are looked after.
const TICK: Duration = Duration::from_secs(10);

/// The thread's own state.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) source: Source,
    inbox: Receiver<Op>,
    /// As committed.
    pub(super) ledger: Ledger,
    /// To be done before anything new.
    pub(super) backlog: Vec<Op>,
    /// There while the last commit has failed.
    pub(super) trouble: Option<Trouble>,
    /// Bytes of content that were committed without a flush since the last one.
    pub(super) unflushed: usize,
}

/// A transaction that came to nothing.
pub(super) struct Failure {
    pub(super) error: QueueError,
    /// What it would have come to, if the commit itself was tried.
    pub(super) tried: Option<Box<Done>>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, source: Source, inbox: Receiver<Op>, ledger: Ledger) -> Writer {
        Writer { shared, source, inbox, ledger, backlog: Vec::new(), trouble: None, unflushed: 0 }
    }

    /// Works until the queue is closed or dropped.
    pub(super) fn run(mut self) {
        let mut next_tick = Instant::now() + TICK;
        let mut closing = None;
        while closing.is_none() {
            let wake = self.trouble.as_ref().map_or(next_tick, |trouble| trouble.until.min(next_tick));
            let mut ops = Vec::new();
            match self.inbox.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Op::Close { responder }) => closing = Some(Some(responder)),
                Ok(first) => closing = self.gather(first, &mut ops),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => closing = Some(None),
            }
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                self.tick(&mut ops);
            }
            self.work(ops, closing.is_some());
        }
        self.finish(closing.flatten());
    }

    /// Takes all that waits, up to the bounds of a batch. Returns the end of the queue's life if that comes up.
    fn gather(&self, first: Op, ops: &mut Vec<Op>) -> Option<Option<Responder<()>>> {
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
                // Readers that come by say so again and again until it has been looked after.
                Some(op)
                    if op
                        .reported_damage()
                        .is_some_and(|it| ops.iter().any(|op| op.reported_damage() == Some(it))) => {}
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

    fn work(&mut self, ops: Vec<Op>, closing: bool) {
        if let Some(trouble) = &self.trouble {
            if Instant::now() < trouble.until && !closing {
                let error = trouble.error.clone();
                self.put_off(ops, &error);
                return;
            }
            if let Err(error) = self.recover() {
                self.put_off(ops, &error);
                return;
            }
        }
        if !ops.is_empty() {
            // What it failed with, everybody concerned has been told.
            let _ = self.commit(ops);
        }
    }

    /// Keeps what is tried again, answers everything else with the error.
    pub(super) fn put_off(&mut self, ops: Vec<Op>, error: &QueueError) {
        self.backlog.extend(ops.into_iter().filter_map(|op| op.fail(error)));
    }

    /// Commits what was asked. Chunks of messages that do not exist yet are owed to nobody: they wait for the flush of the
    /// next commit, but for so many bytes only, so that its callers need not wait long.
    pub(super) fn commit(&mut self, ops: Vec<Op>) -> Result<(), QueueError> {
        let staged = ops.iter().map(Op::bytes).sum::<usize>();
        let only_staged = ops.iter().all(|op| matches!(op, Op::Stage { .. }));
        let flush = match only_staged && self.unflushed + staged <= BATCH_BYTES {
            true => Flush::Later,
            false => Flush::Now,
        };
        match self.transact(&ops, flush) {
            Ok(done) => {
                self.unflushed = if flush == Flush::Later { self.unflushed + staged } else { 0 };
                self.publish(done, ops.into_iter().enumerate().collect());
                Ok(())
            }
            Err(failure) => {
                let error = failure.error.clone();
                self.failed(failure, ops);
                Err(error)
            }
        }
    }

    /// One transaction. A panic in the database, as a damaged file may cause, is a failure like any other.
    fn transact(&self, ops: &[Op], flush: Flush) -> Result<Done, Failure> {
        unless_it_panics(|| self.transact_unguarded(ops, flush))
            .unwrap_or_else(|error| Err(Failure { error: queue_error(error), tried: None }))
    }

    fn transact_unguarded(&self, ops: &[Op], flush: Flush) -> Result<Done, Failure> {
        let failure = |error: redb::Error| Failure { error: queue_error(error), tried: None };
        let transaction = self.shared.store.begin_write(flush).map_err(failure)?;
        let (done, changed) = Tables::open(&transaction, self.ledger.usage.unwrap_or_default())
            .and_then(|tables| Batch::new(tables, &self.shared, self.ledger.clone()).run(ops))
            .map_err(failure)?;
        if !changed {
            transaction.abort().map_err(|error| failure(error.into()))?;
            return Ok(done);
        }
        match transaction.commit() {
            Ok(()) => Ok(done),
            Err(error) => Err(Failure { error: queue_error(error), tried: Some(Box::new(done)) }),
        }
    }

    /// The commit is on disk: memory follows, then everybody is told.
    pub(super) fn publish(&mut self, done: Done, ops: Vec<(usize, Op)>) {
        let Done { ledger, mut replies, effects, events } = done;
        let mut wake = false;
        {
            let mut state = self.shared.state();
            state.counts = ledger.counts;
            state.usage = ledger.usage.unwrap_or_default();
            state.writable = true;
            for effect in effects {
                match effect {
                    Effect::Stored(message, content) => state.fresh.add(message, content),
                    Effect::Changed(id) => {
                        state.note_change(id);
                        state.fresh.remove(id);
                    }
                    Effect::Waits(life_start) => {
                        state.note_life(life_start);
                        wake = true;
                    }
                    Effect::Settled(id, token) => {
                        state.note_change(id);
                        if state.leases.get(&id).is_some_and(|lease| lease.token == token) {
                            state.leases.remove(&id);
                        }
                    }
                    Effect::Gone(id) => {
                        state.note_change(id);
                        if state.doomed.remove(&id) {
                            state.leases.remove(&id);
                        }
                        state.fresh.remove(id);
                        self.shared.store.unhide(id);
                    }
                    Effect::Doomed(id) => {
                        state.note_change(id);
                        state.doomed.insert(id);
                        self.shared.store.unhide(id);
                    }
                }
            }
        }
        self.ledger = ledger;
        for event in events {
            // Nobody listening is no error.
            let _ = self.shared.event_sender.send(Arc::new(event));
        }
        for (place, op) in ops {
            op.respond(std::mem::replace(&mut replies[place], OpResult::Done));
        }
        if wake {
            self.shared.due_changed.notify_one();
        }
    }

    /// Keeps the timeline in the file near the running one, and looks after leases that ran out.
    fn tick(&self, ops: &mut Vec<Op>) {
        if self.shared.timeline.kept().differs_from(&self.ledger.timeline) {
            ops.push(Op::WriteLedger);
        }
        let now = self.shared.monotonic();
        let state = self.shared.state();
        // A lease that ran out still stands until somebody else takes the message.
        if state.leases.values().any(|lease| !lease.settling && lease.until <= now) {
            self.shared.due_changed.notify_one();
        }
        let abandoned = state.doomed.iter().filter(|id| !state.is_leased(**id, now));
        ops.extend(abandoned.map(|id| Op::RemoveContent { id: *id }));
    }

    /// The last words: what is left is refused, the file closed.
    fn finish(mut self, responder: Option<Responder<()>>) {
        for op in std::mem::take(&mut self.backlog) {
            op.refuse(&self.trouble.as_ref().map_or(QueueError::Closed, |trouble| trouble.error.clone()));
        }
        self.shared.state().writable = false;
        self.shared.store.shut(QueueError::Closed);
        for op in self.inbox.try_iter() {
            op.refuse(&QueueError::Closed);
        }
        if let Some(responder) = responder {
            let _ = responder.send(Ok(()));
        }
    }
}
