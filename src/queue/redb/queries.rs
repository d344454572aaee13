//! Reads single records: a message, a chunk, events.

use super::super::QueueError;
use super::event_log::LogPart;
use super::layout::{ATTEMPTS, MESSAGES, open_if_made};
use super::redb_error::queue_error;
use super::shared_database::SharedDatabase;
use super::{content, event_log, record};
use crate::event::{Event, EventFilter};
use crate::mail::{AttemptRecord, Message, QueueId};
use bytes::Bytes;
use std::sync::Arc;

pub(super) fn show(database: &SharedDatabase, id: QueueId) -> Result<Arc<Message>, QueueError> {
    if database.is_hidden(id) {
        return Err(QueueError::NotFound(id));
    }
    let snapshot = database.begin_read()?;
    let read = || -> Result<_, redb::Error> {
        let messages = snapshot.open_table(MESSAGES)?;
        Ok(messages.get(id.number())?.map(|bytes| record::read_message(id.number(), bytes.value())))
    };
    match read().map_err(queue_error)? {
        None => Err(QueueError::NotFound(id)),
        Some(Err(what)) => Err(QueueError::Damaged { id, what }),
        Some(Ok(stored)) => Ok(Arc::new(stored.message)),
    }
}

pub(super) fn chunk(database: &SharedDatabase, id: QueueId, number: u32) -> Result<Bytes, QueueError> {
    match content::read(&database.begin_read()?, id.number(), number).map_err(queue_error)? {
        Some(Ok(chunk)) => Ok(chunk),
        Some(Err(what)) => Err(QueueError::Damaged { id, what }),
        // With the record there, it is the content that is missing.
        None => match show(database, id) {
            Ok(_) => Err(QueueError::Damaged { id, what: format!("content chunk {number} is missing") }),
            Err(error) => Err(error),
        },
    }
}

pub(super) fn attempts(database: &SharedDatabase, id: QueueId) -> Result<Vec<AttemptRecord>, QueueError> {
    let snapshot = database.begin_read()?;
    let read = || -> Result<_, redb::Error> {
        let Some(attempts) = open_if_made(&snapshot, ATTEMPTS)? else { return Ok(Vec::new()) };
        let bytes = attempts.get(id.number())?;
        Ok(bytes.map(|bytes| record::read_attempts(bytes.value())).unwrap_or_default())
    };
    read().map_err(queue_error)
}

pub(super) fn events(
    database: &SharedDatabase,
    filter: &EventFilter,
    part: LogPart,
    limit: usize,
) -> Result<Vec<Event>, QueueError> {
    event_log::read(&database.begin_read()?, filter, part, limit).map_err(queue_error)
}
