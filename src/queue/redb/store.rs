//! The open database, shared by the writer and everybody who reads.

use super::super::QueueError;
use super::file::{self, Flush};
use crate::mail::QueueId;
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::sync::{PoisonError, RwLock};

/// The database where there is one: it is taken away while it is opened again after an I/O error, and at the end.
pub(super) struct Store {
    held: RwLock<Held>,
    hidden: RwLock<HashSet<QueueId>>,
}

enum Held {
    Open(Database),
    /// What is written to it stays in memory.
    ReadOnly(Database),
    Shut(QueueError),
}

impl Store {
    pub(super) fn new(database: Database) -> Store {
        Store { held: RwLock::new(Held::Open(database)), hidden: RwLock::default() }
    }

    pub(super) fn read_only(database: Database) -> Store {
        Store { held: RwLock::new(Held::ReadOnly(database)), hidden: RwLock::default() }
    }

    /// A snapshot to read from. To be dropped soon: it keeps pages from being used again.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, QueueError> {
        match &*self.held.read().unwrap_or_else(PoisonError::into_inner) {
            Held::Open(database) | Held::ReadOnly(database) => database.begin_read().map_err(queue_error),
            Held::Shut(why) => Err(why.clone()),
        }
    }

    /// For the writer alone.
    pub(super) fn begin_write(&self, flush: Flush) -> Result<WriteTransaction, redb::Error> {
        match &*self.held.read().unwrap_or_else(PoisonError::into_inner) {
            Held::Open(database) => file::begin(database, flush),
            Held::ReadOnly(_) | Held::Shut(_) => Err(redb::Error::DatabaseClosed),
        }
    }

    pub(super) fn open(&self, database: Database) {
        self.replace(Held::Open(database));
    }

    /// Lets readers in while nothing can be written.
    pub(super) fn open_read_only(&self, database: Database) {
        self.replace(Held::ReadOnly(database));
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.held.read().unwrap_or_else(PoisonError::into_inner), Held::Open(_))
    }

    /// Closes the file. Snapshots that are still in use fail from here on.
    pub(super) fn shut(&self, why: QueueError) {
        self.replace(Held::Shut(why));
    }

    fn replace(&self, held: Held) {
        let before = std::mem::replace(&mut *self.held.write().unwrap_or_else(PoisonError::into_inner), held);
        // Outside the lock: closing commits once more. What panics here has nothing left to lose.
        let _ = unless_it_panics(|| drop(before));
    }

    /// Messages that a reader must not see: about to be deleted, or there although their put was answered with an
    /// error.
    pub(super) fn is_hidden(&self, id: QueueId) -> bool {
        self.hidden.read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    pub(super) fn hide(&self, ids: impl IntoIterator<Item = QueueId>) {
        self.hidden.write().unwrap_or_else(PoisonError::into_inner).extend(ids);
    }

    pub(super) fn unhide(&self, id: QueueId) {
        self.hidden.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Hides these and no others.
    pub(super) fn hide_only(&self, ids: HashSet<QueueId>) {
        *self.hidden.write().unwrap_or_else(PoisonError::into_inner) = ids;
    }
}

/// What a caller is told of an error of the database.
pub(super) fn queue_error(error: impl Into<redb::Error>) -> QueueError {
    let error = error.into();
    match &error {
        redb::Error::Io(io) if matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            QueueError::Full(error.to_string())
        }
        _ => QueueError::Storage(error.to_string()),
    }
}

/// redb trusts the structure of its pages: a file with a flipped byte can make it panic. That is an error of the file
/// and must not end the task that happened to read it.
pub(super) fn unless_it_panics<T>(work: impl FnOnce() -> T) -> Result<T, redb::Error> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .map_err(|_| redb::Error::Corrupted("the database panicked: is the file damaged?".to_owned()))
}
