//! When a commit fails: who is told what, and how work goes on.
//!
//! Puts, stages and orders are answered with the error. Settlements are kept and tried again until they
//! succeed, in their order and before anything new. redb refuses everything after an I/O error, so the database is
//! closed and opened again. Chunks that were staged before then do not count any more: some may never have been flushed.
//!
//! A commit that reported an error may be in the file all the same: the serial number in the ledger tells. If it is,
//! its puts are hidden from readers at once and removed by the next commit, since their clients were told that nothing
//! is stored, and its settlements count as done. Limit: should the process die before that next commit, such a
//! message is there after the restart.

use super::super::QueueError;
use super::batch::Done;
use super::file::read_ledger;
use super::op::Op;
use super::record::Ledger;
use super::store::{queue_error, unless_it_panics};
use super::writer::{BATCH_OPS, Failure, Writer};
use crate::mail::QueueId;
use redb::ReadableDatabase;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Pause after a failed commit, doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// As long as the last commit has failed.
pub(super) struct Trouble {
    pub(super) error: QueueError,
    pause: Duration,
    /// Nothing is tried before.
    pub(super) until: Instant,
    /// A transaction whose commit reported an error, as long as nobody could look whether it is in the file.
    unresolved: Option<Unresolved>,
}

/// A commit of which nobody knows whether it is in the file.
struct Unresolved {
    done: Box<Done>,
    /// With the place of their reply; all others were answered.
    kept: Vec<(usize, Op)>,
    puts: Vec<QueueId>,
}

impl Writer {
    /// Opens the database anew, then tells everybody whose work is not tried again: whoever has heard of the error
    /// and looks finds the queue as it is.
    pub(super) fn failed(&mut self, failure: Failure, ops: Vec<Op>) {
        let Failure { error, tried } = failure;
        tracing::error!(%error, operations = ops.len(), "the queue could not be written; trying again");
        let pause = self.trouble.take().map_or(FIRST_PAUSE, |trouble| (trouble.pause * 2).min(LONGEST_PAUSE));
        {
            let mut state = self.shared.state();
            state.writable = false;
            // What was staged without a flush may be gone, and no message must come to be without its chunks.
            state.staged.clear();
        }
        self.unflushed = 0;
        let put = |op: &Op| if let Op::Put { message, .. } = op { Some(message.id) } else { None };
        let puts = ops.iter().filter_map(put).collect();
        let (kept, told): (Vec<_>, Vec<_>) = ops.into_iter().enumerate().partition(|(_, op)| op.is_retried());
        let mut trouble =
            Trouble { error: error.clone(), pause, until: Instant::now() + pause, unresolved: None };
        match tried {
            Some(done) => trouble.unresolved = Some(Unresolved { done, kept, puts }),
            None => self.backlog.splice(0..0, kept.into_iter().map(|(_, op)| op)).for_each(drop),
        }
        self.trouble = Some(trouble);
        self.shared.store.shut(error.clone());
        if let Err(error) = self.reopen() {
            tracing::error!(%error, "the queue file could not be opened again; trying again");
            self.show_what_can_be_read();
        }
        self.put_off(told.into_iter().map(|(_, op)| op).collect(), &error);
        if let Some(trouble) = &mut self.trouble {
            trouble.until = Instant::now() + pause;
        }
    }

    /// Opens the database after a failure, finds out what became of the last commit, and lets readers in again.
    fn reopen(&mut self) -> Result<(), QueueError> {
        let opened = unless_it_panics(|| -> Result<_, redb::Error> {
            let database = self.source.open()?;
            let ledger = read_ledger(&database.begin_read()?)?;
            Ok((database, ledger))
        });
        let (database, ledger) = opened.unwrap_or_else(Err).map_err(queue_error)?;
        // Without it, nothing has been committed since an older program wrote the file.
        let usage = ledger.usage.or(self.ledger.usage);
        self.ledger = Ledger { usage, ..ledger };
        let unresolved = self.trouble.as_mut().and_then(|trouble| trouble.unresolved.take());
        if let Some(Unresolved { done, kept, puts }) = unresolved {
            if self.ledger.serial == done.ledger.serial {
                self.publish(*done, kept);
                self.shared.state().writable = false;
                if !puts.is_empty() {
                    self.backlog.insert(0, Op::UndoPuts { ids: puts });
                }
            } else {
                self.backlog.splice(0..0, kept.into_iter().map(|(_, op)| op)).for_each(drop);
            }
        }
        {
            let mut state = self.shared.state();
            state.counts = self.ledger.counts;
            state.usage = usage.unwrap_or_default();
        }
        let disowned =
            self.backlog.iter().filter_map(|op| if let Op::UndoPuts { ids } = op { Some(ids) } else { None });
        self.shared.store.hide_only(disowned.flatten().copied().collect::<HashSet<_>>());
        self.shared.store.open(database);
        Ok(())
    }

    /// Sees whether writing works again: the backlog first, alone, so that nothing new can keep it from fitting.
    pub(super) fn recover(&mut self) -> Result<(), QueueError> {
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
            backlog.push(Op::WriteLedger);
        }
        let rest = backlog.split_off(backlog.len().min(BATCH_OPS));
        let result = self.commit(backlog);
        self.backlog.extend(rest);
        result?;
        if self.backlog.is_empty() {
            self.trouble = None;
            tracing::info!("the queue can be written again");
            self.shared.due_changed.notify_one();
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
}
