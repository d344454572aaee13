//! The writer: one thread that takes all that waits, commits it in one transaction, then answers everyone.
//!
//! Alone, nobody waits for company: a commit begins as soon as there is one thing to do, and what comes in while it
//! runs is the next batch. So the batches grow by themselves with the number of callers.
//!
//! # When a commit fails
//! Puts, stages and orders are answered with the error at once. Settlements are kept and tried again until they
//! succeed, in their order and before anything new. redb refuses everything after an I/O error, so the database is
//! closed and opened again. A commit that reported an error may be in the file all the same: the serial number in
//! the ledger tells. If it is, its puts are hidden from readers at once and removed by the next commit, since their
//! clients were told that nothing is stored, and its settlements count as done. Limit: should the process die
//! before that next commit, such a message is there after the restart.

use super::super::QueueError;
use super::batch::{Batch, Done, Effect};
use super::file::{Source, read_ledger};
use super::op::{Answer, Op};
use super::record::Ledger;
use super::shared::Shared;
use super::store::queue_error;
use super::tables::Tables;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A batch takes at most this many operations and, but for the last of them, bytes of content.
const BATCH_OPS: usize = 1_000;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How often the timeline and the leases are looked after.
const TICK: Duration = Duration::from_secs(10);
/// Pause after a failed commit, doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The thread's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    source: Source,
    inbox: Receiver<Op>,
    /// As committed.
    ledger: Ledger,
    /// To be done before anything new.
    backlog: Vec<Op>,
    /// There while the last commit has failed.
    trouble: Option<Trouble>,
}

struct Trouble {
    error: QueueError,
    pause: Duration,
    until: Instant,
    /// A transaction whose commit reported an error, as long as nobody could look whether it is in the file.
    unresolved: Option<Unresolved>,
}

struct Unresolved {
    done: Done,
    /// With the place of their reply; all others were answered.
    kept: Vec<(usize, Op)>,
    puts: Vec<crate::mail::QueueId>,
}

/// A transaction that came to nothing.
struct Failure {
    error: QueueError,
    /// What it would have come to, if the commit itself was tried.
    tried: Option<Done>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, source: Source, inbox: Receiver<Op>, ledger: Ledger) -> Writer {
        Writer { shared, source, inbox, ledger, backlog: Vec::new(), trouble: None }
    }

    /// Works until the queue is closed or dropped.
    pub(super) fn run(mut self) {
        let mut next_tick = Instant::now() + TICK;
        let mut closing = None;
        while closing.is_none() {
            let wake = self.trouble.as_ref().map_or(next_tick, |trouble| trouble.until.min(next_tick));
            let mut ops = Vec::new();
            match self.inbox.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Op::Close { answer }) => closing = Some(Some(answer)),
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
    fn gather(&self, first: Op, ops: &mut Vec<Op>) -> Option<Option<Answer<()>>> {
        let mut bytes = first.bytes();
        ops.push(first);
        while ops.len() < BATCH_OPS && bytes < BATCH_BYTES {
            match self.inbox.try_recv() {
                Ok(Op::Close { answer }) => return Some(Some(answer)),
                Ok(op) => {
                    bytes += op.bytes();
                    ops.push(op);
                }
                Err(_) => break,
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
    fn put_off(&mut self, ops: Vec<Op>, error: &QueueError) {
        self.backlog.extend(ops.into_iter().filter_map(|op| op.fail(error)));
    }

    fn commit(&mut self, ops: Vec<Op>) -> Result<(), QueueError> {
        match self.transact(&ops) {
            Ok(done) => {
                self.follow(done, ops.into_iter().enumerate().collect());
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
    fn transact(&self, ops: &[Op]) -> Result<Done, Failure> {
        catch_unwind(AssertUnwindSafe(|| self.transact_unguarded(ops))).unwrap_or_else(|_| {
            let error = QueueError::Storage("the database panicked: is the file damaged?".to_owned());
            Err(Failure { error, tried: None })
        })
    }

    fn transact_unguarded(&self, ops: &[Op]) -> Result<Done, Failure> {
        let failure = |error: redb::Error| Failure { error: queue_error(error), tried: None };
        let transaction = self.shared.store.begin_write().map_err(failure)?;
        let (done, changed) = Tables::open(&transaction)
            .and_then(|tables| Batch::new(tables, &self.shared, self.ledger.clone()).run(ops))
            .map_err(failure)?;
        if !changed {
            transaction.abort().map_err(|error| failure(error.into()))?;
            return Ok(done);
        }
        match transaction.commit() {
            Ok(()) => Ok(done),
            Err(error) => Err(Failure { error: queue_error(error), tried: Some(done) }),
        }
    }

    /// The commit is on disk: memory follows, then everybody is told.
    fn follow(&mut self, done: Done, ops: Vec<(usize, Op)>) {
        let Done { ledger, mut replies, effects, events } = done;
        let mut wake = false;
        {
            let mut state = self.shared.state();
            state.counts = ledger.counts;
            state.writable = true;
            for effect in effects {
                match effect {
                    Effect::Stored(message, content) => state.fresh.add(message, content),
                    Effect::Changed(id) => state.fresh.remove(id),
                    Effect::Waits(life_start) => {
                        state.note_life(life_start);
                        wake = true;
                    }
                    Effect::Settled(id, token) => {
                        if state.leases.get(&id).is_some_and(|lease| lease.token == token) {
                            state.leases.remove(&id);
                        }
                    }
                    Effect::Gone(id) => {
                        state.doomed.remove(&id);
                        state.fresh.remove(id);
                        self.shared.store.unhide(id);
                    }
                    Effect::Doomed(id) => {
                        state.doomed.insert(id);
                        self.shared.store.unhide(id);
                    }
                }
            }
        }
        self.ledger = ledger;
        for event in events {
            // Nobody listening is no error.
            let _ = self.shared.events.send(Arc::new(event));
        }
        for (place, op) in ops {
            op.answer(std::mem::replace(&mut replies[place], super::op::Reply::Done));
        }
        if wake {
            self.shared.woken.notify_one();
        }
    }

    /// Tells everybody whose work is not tried again, and opens the database anew.
    fn failed(&mut self, failure: Failure, ops: Vec<Op>) {
        let Failure { error, tried } = failure;
        tracing::error!(%error, operations = ops.len(), "the queue could not be written; trying again");
        let pause = self.trouble.take().map_or(FIRST_PAUSE, |trouble| (trouble.pause * 2).min(LONGEST_PAUSE));
        self.shared.state().writable = false;
        let put = |op: &Op| if let Op::Put { message, .. } = op { Some(message.id) } else { None };
        let puts = ops.iter().filter_map(put).collect();
        let kept =
            ops.into_iter().enumerate().filter_map(|(place, op)| Some((place, op.fail(&error)?))).collect();
        let mut trouble =
            Trouble { error: error.clone(), pause, until: Instant::now() + pause, unresolved: None };
        match tried {
            Some(done) => trouble.unresolved = Some(Unresolved { done, kept, puts }),
            None => self.backlog.splice(0..0, kept.into_iter().map(|(_, op)| op)).for_each(drop),
        }
        self.trouble = Some(trouble);
        self.shared.store.shut(error);
        if let Err(error) = self.reopen() {
            tracing::error!(%error, "the queue file could not be opened again; trying again");
            self.show_what_can_be_read();
        }
        if let Some(trouble) = &mut self.trouble {
            trouble.until = Instant::now() + pause;
        }
    }

    /// Opens the database after a failure, finds out what became of the last commit, and lets readers in again.
    fn reopen(&mut self) -> Result<(), QueueError> {
        let opened = catch_unwind(AssertUnwindSafe(|| -> Result<_, redb::Error> {
            let database = self.source.open()?;
            let ledger = read_ledger(&redb::ReadableDatabase::begin_read(&database)?)?;
            Ok((database, ledger))
        }));
        let (database, ledger) = opened
            .unwrap_or_else(|_| Err(redb::Error::Corrupted("the database panicked".to_owned())))
            .map_err(queue_error)?;
        self.ledger = ledger;
        let unresolved = self.trouble.as_mut().and_then(|trouble| trouble.unresolved.take());
        if let Some(Unresolved { done, kept, puts }) = unresolved {
            if self.ledger.serial == done.ledger.serial {
                self.follow(done, kept);
                self.shared.state().writable = false;
                if !puts.is_empty() {
                    self.backlog.insert(0, Op::Disown { ids: puts });
                }
            } else {
                self.backlog.splice(0..0, kept.into_iter().map(|(_, op)| op)).for_each(drop);
            }
        }
        self.shared.state().counts = self.ledger.counts;
        let disowned =
            self.backlog.iter().filter_map(|op| if let Op::Disown { ids } = op { Some(ids) } else { None });
        self.shared.store.hide_only(disowned.flatten().copied().collect::<HashSet<_>>());
        self.shared.store.open(database);
        Ok(())
    }

    /// Sees whether writing works again: the backlog first, alone, so that nothing new can keep it from fitting.
    fn recover(&mut self) -> Result<(), QueueError> {
        if !self.shared.store.is_open() {
            let error = self.trouble.as_ref().map_or(QueueError::Closed, |trouble| trouble.error.clone());
            self.shared.store.shut(error);
            if let Err(error) = self.reopen() {
                self.pause_again(&error);
                self.show_what_can_be_read();
                return Err(error);
            }
            tracing::info!("the queue file is open again");
        }
        let mut backlog = std::mem::take(&mut self.backlog);
        if backlog.is_empty() {
            backlog.push(Op::Touch);
        }
        let rest = backlog.split_off(backlog.len().min(BATCH_OPS));
        let result = self.commit(backlog);
        self.backlog.extend(rest);
        result?;
        if self.backlog.is_empty() {
            self.trouble = None;
            tracing::info!("the queue can be written again");
            self.shared.woken.notify_one();
            return Ok(());
        }
        self.recover()
    }

    /// A file that can only be read can still be listed. What was refused stays out of sight.
    fn show_what_can_be_read(&self) {
        let Some(database) = self.source.open_unchanged() else { return };
        let unresolved = self.trouble.as_ref().and_then(|trouble| trouble.unresolved.as_ref());
        self.shared.store.hide(unresolved.iter().flat_map(|unresolved| unresolved.puts.iter().copied()));
        self.shared.store.open_read_only(database);
    }

    fn pause_again(&mut self, error: &QueueError) {
        if let Some(trouble) = &mut self.trouble {
            trouble.error = error.clone();
            trouble.pause = (trouble.pause * 2).min(LONGEST_PAUSE);
            trouble.until = Instant::now() + trouble.pause;
        }
    }

    /// Keeps the timeline in the file near the running one, and looks after leases that ran out.
    fn tick(&self, ops: &mut Vec<Op>) {
        if self.shared.timeline.kept().differs_from(&self.ledger.timeline) {
            ops.push(Op::Touch);
        }
        let now = self.shared.monotonic();
        let mut state = self.shared.state();
        let held = state.leases.len();
        state.leases.retain(|_, lease| lease.settling || lease.until > now);
        if state.leases.len() < held {
            self.shared.woken.notify_one();
        }
        let abandoned = state.doomed.iter().filter(|id| !state.leases.contains_key(id));
        ops.extend(abandoned.map(|id| Op::Sweep { id: *id }));
    }

    /// The last words: what is left is refused, the file closed.
    fn finish(mut self, answer: Option<Answer<()>>) {
        for op in std::mem::take(&mut self.backlog) {
            op.refuse(&self.trouble.as_ref().map_or(QueueError::Closed, |trouble| trouble.error.clone()));
        }
        self.shared.state().writable = false;
        self.shared.store.shut(QueueError::Closed);
        for op in self.inbox.try_iter() {
            op.refuse(&QueueError::Closed);
        }
        if let Some(answer) = answer {
            let _ = answer.send(Ok(()));
        }
    }
}
