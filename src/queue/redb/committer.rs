//! Commits operations in one transaction, then has memory follow and tells the callers.

use super::super::QueueError;
use super::apply::{AppliedBatch, apply_all};
use super::flush::Flush;
use super::op::{Op, OpResult};
use super::redb_error::{catch_redb_panic, queue_error};
use super::shared_queue::SharedQueue;
use super::stored::Metadata;
use super::tables::Tables;
use std::sync::Arc;
use std::time::Instant;

/// A transaction takes at most this many operations and, but for the last of them, bytes of content.
pub(super) const BATCH_OPS: usize = 1_000;
pub(super) const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Commits, one transaction at a time.
pub(super) struct Committer {
    pub(super) shared: Arc<SharedQueue>,
    pub(super) metadata: Metadata,
    /// Bytes of content that were committed without a flush since the last one.
    unflushed: usize,
}

/// A transaction that failed.
pub(super) struct CommitError {
    pub(super) error: QueueError,
    pub(super) ops: Vec<Op>,
    /// If the commit itself failed: what it would have changed. It may be in the file all the same.
    pub(super) attempted: Option<Box<AppliedBatch>>,
}

impl Committer {
    pub(super) fn new(shared: Arc<SharedQueue>, metadata: Metadata) -> Committer {
        Committer { shared, metadata, unflushed: 0 }
    }

    /// Commits the operations. Chunks of messages that do not exist yet need no flush of their own: they are flushed with the
    /// next commit, unless so many bytes are waiting for it that its callers would wait long.
    pub(super) fn commit(&mut self, ops: Vec<Op>) -> Result<(), CommitError> {
        let staged = ops.iter().map(Op::bytes).sum::<usize>();
        let only_staged = ops.iter().all(|op| matches!(op, Op::Stage { .. }));
        let flush = match only_staged && self.unflushed + staged <= BATCH_BYTES {
            true => Flush::Later,
            false => Flush::Now,
        };
        let start = Instant::now();
        match self.transact(&ops, flush) {
            Ok(applied) => {
                if flush == Flush::Now && applied.changes.changed {
                    self.shared.metrics.commit(ops.len(), start.elapsed());
                }
                self.unflushed = if flush == Flush::Later { self.unflushed + staged } else { 0 };
                self.publish(applied, ops.into_iter().enumerate().collect());
                Ok(())
            }
            Err((error, attempted)) => Err(CommitError { error, ops, attempted }),
        }
    }

    /// A panic in the database, as a damaged file may cause, is an error like any other.
    fn transact(
        &self,
        ops: &[Op],
        flush: Flush,
    ) -> Result<AppliedBatch, (QueueError, Option<Box<AppliedBatch>>)> {
        catch_redb_panic(|| self.transact_unguarded(ops, flush))
            .unwrap_or_else(|error| Err((queue_error(error), None)))
    }

    fn transact_unguarded(
        &self,
        ops: &[Op],
        flush: Flush,
    ) -> Result<AppliedBatch, (QueueError, Option<Box<AppliedBatch>>)> {
        let failed = |error: redb::Error| (queue_error(error), None);
        let transaction = self.shared.database.begin_write(flush).map_err(failed)?;
        let applied = Tables::open(&transaction, self.metadata.usage.unwrap_or_default())
            .and_then(|tables| apply_all(tables, &self.shared, self.metadata.clone(), ops))
            .map_err(failed)?;
        if !applied.changes.changed {
            transaction.abort().map_err(|error| failed(error.into()))?;
            return Ok(applied);
        }
        match transaction.commit() {
            Ok(()) => Ok(applied),
            Err(error) => Err((queue_error(error), Some(Box::new(applied)))),
        }
    }

    /// The commit is on disk: memory follows, then the callers get their results. Each operation comes with the index of its
    /// result.
    pub(super) fn publish(&mut self, applied: AppliedBatch, ops: Vec<(usize, Op)>) {
        let AppliedBatch { mut results, changes } = applied;
        let due_changed = changes.memory_updates.iter().any(|update| update.changes_due());
        {
            let mut state = self.shared.state();
            state.counts = changes.metadata.counts;
            if state.sites != changes.metadata.sites {
                state.sites.clone_from(&changes.metadata.sites);
            }
            state.usage = changes.metadata.usage.unwrap_or_default();
            state.writable = true;
            for update in changes.memory_updates {
                update.apply(&mut state, &self.shared.database);
            }
        }
        self.metadata = changes.metadata;
        for event in changes.events {
            self.shared.metrics.event(event.fact.kind.word());
            // Without subscribers sending fails, which is no error.
            let _ = self.shared.event_sender.send(Arc::new(event));
        }
        for (index, op) in ops {
            op.respond(std::mem::replace(&mut results[index], OpResult::Done));
        }
        if due_changed {
            self.shared.due_changed.notify_one();
        }
    }

    /// A commit has failed: staged chunks that were not flushed may be lost, so none of them counts any longer.
    pub(super) fn forget_staged(&mut self) {
        let mut state = self.shared.state();
        state.writable = false;
        state.staged.clear();
        self.unflushed = 0;
    }

    /// The database was opened anew with this metadata: memory follows.
    pub(super) fn restart(&mut self, metadata: Metadata) {
        let mut state = self.shared.state();
        state.counts = metadata.counts;
        state.sites.clone_from(&metadata.sites);
        state.usage = metadata.usage.unwrap_or_default();
        self.metadata = metadata;
    }
}
