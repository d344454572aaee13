//! When a commit fails: who is told what, and how work goes on.
//!
//! Puts, stages and actions are answered with the error. Settlements are kept and tried again until they
//! succeed, in their order and before anything new. redb refuses everything after an I/O error, so the database is
//! closed and opened again. Chunks that were staged before then do not count any more: some may never have been flushed.
//!
//! A commit that reported an error may be in the file all the same: the serial number in the metadata tells. If it is,
//! its puts are hidden from readers at once and removed by the next commit, since their clients were told that nothing
//! is stored, and its settlements count as done. Limit: should the process die before that next commit, such a
//! message is there after the restart.

use super::super::QueueError;
use super::apply::AppliedBatch;
use super::committer::{BATCH_OPS, CommitError, Committer};
use super::database_opener::DatabaseOpener;
use super::metadata::read_metadata;
use super::op::Op;
use super::redb_error::{catch_redb_panic, queue_error};
use super::stored::Metadata;
use crate::mail::QueueId;
use redb::ReadableDatabase;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Pause after a failed commit, doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Commits operations; when that fails, keeps what has to be retried and reopens the database.
pub(super) struct Recovery {
    committer: Committer,
    opener: DatabaseOpener,
    /// Operations to be retried before anything new.
    backlog: Vec<Op>,
    /// Present while the last commit has failed.
    outage: Option<Outage>,
}

struct Outage {
    error: QueueError,
    pause: Duration,
    /// Nothing is tried before.
    until: Instant,
    /// The failed commit, as long as the file could not be read to see whether it holds it.
    uncertain: Option<UncertainCommit>,
}

/// A commit that reported an error and may be in the file.
struct UncertainCommit {
    applied: Box<AppliedBatch>,
    /// Operations to retry if it is not, with the index of their result; all others were answered.
    retried: Vec<(usize, Op)>,
    puts: Vec<QueueId>,
}

impl Recovery {
    pub(super) fn new(committer: Committer, opener: DatabaseOpener) -> Recovery {
        Recovery { committer, opener, backlog: Vec::new(), outage: None }
    }

    /// As last committed.
    pub(super) fn metadata(&self) -> &Metadata {
        &self.committer.metadata
    }

    /// When to try again to write; none while writing works.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.outage.as_ref().map(|outage| outage.until)
    }

    /// Commits the operations, or fails them as long as nothing can be written. `closing`: there will be no later try.
    pub(super) fn commit(&mut self, ops: Vec<Op>, closing: bool) {
        if let Some(outage) = &self.outage {
            if Instant::now() < outage.until && !closing {
                let error = outage.error.clone();
                self.fail(ops, &error);
                return;
            }
            if let Err(error) = self.recover() {
                self.fail(ops, &error);
                return;
            }
        }
        if !ops.is_empty() {
            // On an error every caller has been told.
            let _ = self.try_commit(ops);
        }
    }

    /// Refuses what is left to retry and closes the file.
    pub(super) fn close(&mut self) {
        for op in std::mem::take(&mut self.backlog) {
            op.refuse(&self.outage.as_ref().map_or(QueueError::Closed, |outage| outage.error.clone()));
        }
        let shared = &self.committer.shared;
        shared.state().writable = false;
        shared.database.close(QueueError::Closed);
    }

    fn try_commit(&mut self, ops: Vec<Op>) -> Result<(), QueueError> {
        self.committer.commit(ops).map_err(|failed| {
            let error = failed.error.clone();
            self.begin_outage(failed);
            error
        })
    }

    /// Keeps the operations that are retried and tells the callers of all others of the error.
    fn fail(&mut self, ops: Vec<Op>, error: &QueueError) {
        self.backlog.extend(ops.into_iter().filter_map(|op| op.fail(error)));
    }

    /// Opens the database anew, then tells the callers whose operations are not retried: a caller that has heard of the
    /// error and looks finds the queue as it is.
    fn begin_outage(&mut self, failed: CommitError) {
        let CommitError { error, ops, attempted } = failed;
        tracing::error!(%error, operations = ops.len(), "the queue could not be written; trying again");
        let pause = self.outage.take().map_or(FIRST_PAUSE, |outage| (outage.pause * 2).min(LONGEST_PAUSE));
        self.committer.forget_staged();
        let put = |op: &Op| if let Op::Put { message, .. } = op { Some(message.id) } else { None };
        let puts = ops.iter().filter_map(put).collect();
        let (retried, answered): (Vec<_>, Vec<_>) =
            ops.into_iter().enumerate().partition(|(_, op)| op.is_retried());
        let mut outage =
            Outage { error: error.clone(), pause, until: Instant::now() + pause, uncertain: None };
        match attempted {
            Some(applied) => outage.uncertain = Some(UncertainCommit { applied, retried, puts }),
            None => self.retry_first(retried),
        }
        self.outage = Some(outage);
        self.committer.shared.database.close(error.clone());
        if let Err(error) = self.reopen() {
            tracing::error!(%error, "the queue file could not be opened again; trying again");
            self.open_read_only();
        }
        self.fail(answered.into_iter().map(|(_, op)| op).collect(), &error);
        if let Some(outage) = &mut self.outage {
            outage.until = Instant::now() + pause;
        }
    }

    fn retry_first(&mut self, ops: Vec<(usize, Op)>) {
        self.backlog.splice(0..0, ops.into_iter().map(|(_, op)| op)).for_each(drop);
    }

    /// Opens the database after a failure, finds out whether the last commit is in it, and lets readers in again.
    fn reopen(&mut self) -> Result<(), QueueError> {
        let opened = catch_redb_panic(|| -> Result<_, redb::Error> {
            let database = self.opener.open()?;
            let metadata = read_metadata(&database.begin_read()?)?;
            Ok((database, metadata))
        });
        let (database, metadata) = opened.unwrap_or_else(Err).map_err(queue_error)?;
        // None in the file where nothing has been committed since an older program wrote it.
        let usage = metadata.usage.or(self.committer.metadata.usage);
        let metadata = Metadata { usage, ..metadata };
        let uncertain = self.outage.as_mut().and_then(|outage| outage.uncertain.take());
        if let Some(UncertainCommit { applied, retried, puts }) = uncertain {
            if metadata.serial == applied.changes.metadata.serial {
                self.committer.publish(*applied, retried);
                self.committer.shared.state().writable = false;
                if !puts.is_empty() {
                    self.backlog.insert(0, Op::UndoPuts { ids: puts });
                }
            } else {
                self.retry_first(retried);
            }
        }
        self.committer.restart(metadata);
        let undone =
            self.backlog.iter().filter_map(|op| if let Op::UndoPuts { ids } = op { Some(ids) } else { None });
        let database_shared = &self.committer.shared.database;
        database_shared.hide_only(undone.flatten().copied().collect::<HashSet<_>>());
        database_shared.open(database);
        Ok(())
    }

    /// Tries whether writing works again: with the backlog first, alone, so that nothing new takes the space it needs.
    fn recover(&mut self) -> Result<(), QueueError> {
        if !self.committer.shared.database.is_open() {
            let error = self.outage.as_ref().map_or(QueueError::Closed, |outage| outage.error.clone());
            self.committer.shared.database.close(error);
            if let Err(error) = self.reopen() {
                self.lengthen_pause(&error);
                self.open_read_only();
                return Err(error);
            }
            tracing::info!("the queue file is open again");
        }
        let mut backlog = std::mem::take(&mut self.backlog);
        if backlog.is_empty() {
            backlog.push(Op::WriteMetadata);
        }
        let rest = backlog.split_off(backlog.len().min(BATCH_OPS));
        let result = self.try_commit(backlog);
        self.backlog.extend(rest);
        result?;
        if self.backlog.is_empty() {
            self.outage = None;
            tracing::info!("the queue can be written again");
            self.committer.shared.due_changed.notify_one();
            return Ok(());
        }
        self.recover()
    }

    /// A file that can only be read can still be listed. Messages whose put was answered with an error stay hidden.
    fn open_read_only(&self) {
        let Some(database) = self.opener.open_unchanged() else { return };
        let shared = &self.committer.shared.database;
        let uncertain = self.outage.as_ref().and_then(|outage| outage.uncertain.as_ref());
        shared.hide(uncertain.iter().flat_map(|uncertain| uncertain.puts.iter().copied()));
        shared.open_read_only(database);
    }

    fn lengthen_pause(&mut self, error: &QueueError) {
        if let Some(outage) = &mut self.outage {
            outage.error = error.clone();
            outage.pause = (outage.pause * 2).min(LONGEST_PAUSE);
            outage.until = Instant::now() + outage.pause;
        }
    }
}
