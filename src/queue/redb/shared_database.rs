//! The open database, shared by the writer and all readers, and the messages that readers must not see.

use super::super::QueueError;
use super::flush::{Flush, begin_write};
use super::redb_error::{catch_redb_panic, queue_error};
use crate::mail::QueueId;
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

/// The database, while it is open: it is closed at the end, and after an I/O error until it is opened again.
pub(super) struct SharedDatabase {
    state: RwLock<DatabaseState>,
    hidden: RwLock<HashSet<QueueId>>,
}

enum DatabaseState {
    Open(Database),
    /// For readers alone; what redb itself writes to it stays in memory.
    ReadOnly(Database),
    Closed(QueueError),
}

impl SharedDatabase {
    pub(super) fn new(database: Database) -> SharedDatabase {
        SharedDatabase { state: RwLock::new(DatabaseState::Open(database)), hidden: RwLock::default() }
    }

    pub(super) fn read_only(database: Database) -> SharedDatabase {
        SharedDatabase { state: RwLock::new(DatabaseState::ReadOnly(database)), hidden: RwLock::default() }
    }

    /// A snapshot to read from. To be dropped soon: it keeps pages from being used again.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, QueueError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            DatabaseState::Open(database) | DatabaseState::ReadOnly(database) => {
                database.begin_read().map_err(queue_error)
            }
            DatabaseState::Closed(why) => Err(why.clone()),
        }
    }

    /// For the writer alone.
    pub(super) fn begin_write(&self, flush: Flush) -> Result<WriteTransaction, redb::Error> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            DatabaseState::Open(database) => begin_write(database, flush),
            DatabaseState::ReadOnly(_) | DatabaseState::Closed(_) => Err(redb::Error::DatabaseClosed),
        }
    }

    /// Lets readers and the writer use this database.
    pub(super) fn open(&self, database: Database) {
        self.replace(DatabaseState::Open(database));
    }

    /// Lets readers use this database while nothing can be written.
    pub(super) fn open_read_only(&self, database: Database) {
        self.replace(DatabaseState::ReadOnly(database));
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.state.read().unwrap_or_else(PoisonError::into_inner), DatabaseState::Open(_))
    }

    /// Closes the file; callers get `why`. Snapshots that are still in use fail from here on.
    pub(super) fn close(&self, why: QueueError) {
        self.replace(DatabaseState::Closed(why));
    }

    fn replace(&self, state: DatabaseState) {
        let before =
            std::mem::replace(&mut *self.state.write().unwrap_or_else(PoisonError::into_inner), state);
        // Outside the lock, since redb commits once more when it closes. Should it panic, nothing is lost by that.
        let _ = catch_redb_panic(|| drop(before));
    }

    /// Whether readers must not see the message: it is about to be deleted, or is in the file though its put failed.
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
