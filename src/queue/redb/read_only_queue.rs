//! Reads a queue file while no proxy runs, for the command line.

use super::super::{Filter, Page, QueueError, QueueStatus, SentMessage, SentPage};
use super::database_opener::open_read_only;
use super::event_log::LogPart;
use super::listing::list;
use super::metadata::read_metadata;
use super::open_error::OpenError;
use super::queries::{attempts, chunk, events, show};
use super::redb_error::{catch_redb_panic, queue_error};
use super::sent_listing;
use super::shared_database::SharedDatabase;
use crate::clock::Moment;
use crate::event::{Event, EventFilter};
use crate::mail::{AttemptRecord, Message, QueueId};
use bytes::Bytes;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;

/// Pages of the file that a reading command keeps in memory, in bytes.
const CACHE_SIZE: usize = 16 * 1024 * 1024;

/// A queue file opened for reading only, while no proxy has it. Its methods block the calling thread.
pub struct ReadOnlyQueue {
    database: SharedDatabase,
    instance: String,
}

impl ReadOnlyQueue {
    /// Opens an existing queue file. Fails with [`OpenError::InUse`] while a proxy runs.
    pub fn open(path: &Path) -> Result<ReadOnlyQueue, OpenError> {
        let opened = catch_redb_panic(|| open_read_only(path, CACHE_SIZE));
        let (database, header) = opened.unwrap_or_else(|error| Err(OpenError::damaged(path, error)))?;
        Ok(ReadOnlyQueue { database: SharedDatabase::read_only(database), instance: header.instance })
    }

    /// See [`super::super::Operations::list`].
    pub fn list(&self, filter: &Filter, cursor: Option<QueueId>, limit: usize) -> Result<Page, QueueError> {
        list(&self.database, filter, cursor, limit)
    }

    /// See [`super::super::MailStore::show`].
    pub fn show(&self, id: QueueId) -> Result<Arc<Message>, QueueError> {
        show(&self.database, id)
    }

    /// See [`super::super::Operations::attempts`].
    pub fn attempts(&self, id: QueueId) -> Result<Vec<AttemptRecord>, QueueError> {
        attempts(&self.database, id)
    }

    /// See [`super::super::SentMail::list_sent`].
    pub fn list_sent(
        &self,
        filter: &Filter,
        cursor: Option<QueueId>,
        limit: usize,
    ) -> Result<SentPage, QueueError> {
        sent_listing::list(&self.database, filter, cursor, limit)
    }

    /// See [`super::super::SentMail::show_sent`].
    pub fn show_sent(&self, id: QueueId) -> Result<SentMessage, QueueError> {
        sent_listing::show(&self.database, id)
    }

    /// See [`super::super::MailStore::chunk`].
    pub fn chunk(&self, id: QueueId, number: u32) -> Result<Bytes, QueueError> {
        chunk(&self.database, id, number)
    }

    /// See [`super::super::EventLog::events`].
    pub fn events(&self, from: Option<u64>, limit: usize) -> Result<Vec<Event>, QueueError> {
        self.events_where(&EventFilter::default(), from, limit)
    }

    /// See [`super::super::EventLog::events_where`].
    pub fn events_where(
        &self,
        filter: &EventFilter,
        from: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, QueueError> {
        events(&self.database, filter, from.map_or(LogPart::NEWEST, LogPart::From), limit)
    }

    /// See [`super::super::Timeline::wall_of`]: what the wall clock showed, or would show, if nobody sets it.
    pub fn wall_of(&self, site: &str, moment: Moment) -> Timestamp {
        let metadata =
            self.database.begin_read().and_then(|snapshot| read_metadata(&snapshot).map_err(queue_error));
        metadata.unwrap_or_default().wall_of(site, moment)
    }

    /// See [`super::super::MailStore::status`]; never writable.
    pub fn status(&self) -> Result<QueueStatus, QueueError> {
        Ok(read_metadata(&self.database.begin_read()?).map_err(queue_error)?.counts.status())
    }

    /// See [`super::super::MailStore::instance`].
    pub fn instance(&self) -> &str {
        &self.instance
    }
}
