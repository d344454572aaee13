//! Reading: what the running queue shows, and the command line while no proxy runs.

use super::super::{Filter, Page, QueueError, QueueStatus};
use super::file::{self, read_ledger};
use super::open_error::OpenError;
use super::store::{Store, queue_error, unless_it_panics};
use super::tables::{DAMAGED, MESSAGES, STATES, state_number};
use super::{content, event_log, record};
use crate::clock::Moment;
use crate::event::Event;
use crate::mail::{Message, QueueId};
use bytes::Bytes;
use jiff::Timestamp;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Pages of the file that a reading command keeps in memory, in bytes.
const CACHE_SIZE: usize = 16 * 1024 * 1024;
/// How many records one snapshot of a listing looks at.
const SLICE: usize = 500;

/// A queue file opened for reading only, while no proxy has it. Answers at once, from the calling thread.
pub struct Reader {
    store: Store,
    instance: String,
}

impl Reader {
    /// Opens an existing queue file. Fails with [`OpenError::InUse`] while a proxy runs.
    pub fn open(path: &Path) -> Result<Reader, OpenError> {
        let opened = unless_it_panics(|| file::open_read_only(path, CACHE_SIZE));
        let (database, opened) = opened.unwrap_or_else(|error| Err(OpenError::damaged(path, error)))?;
        Ok(Reader { store: Store::read_only(database), instance: opened.instance })
    }

    /// See [`super::super::Operations::list`].
    pub fn list(&self, filter: &Filter, cursor: Option<QueueId>, limit: usize) -> Result<Page, QueueError> {
        list(&self.store, filter, cursor, limit)
    }

    /// See [`super::super::MailStore::show`].
    pub fn show(&self, id: QueueId) -> Result<Arc<Message>, QueueError> {
        show(&self.store, id)
    }

    /// See [`super::super::MailStore::chunk`].
    pub fn chunk(&self, id: QueueId, number: u32) -> Result<Bytes, QueueError> {
        chunk(&self.store, id, number)
    }

    /// See [`super::super::EventLog::events`].
    pub fn events(&self, from: Option<u64>, limit: usize) -> Result<Vec<Event>, QueueError> {
        events(&self.store, from, limit)
    }

    /// See [`super::super::Timeline::wall`]: what the wall clock showed, or would show, if nobody sets it.
    pub fn wall(&self, moment: Moment) -> Timestamp {
        let kept = self.store.begin_read().and_then(|snapshot| read_ledger(&snapshot).map_err(queue_error));
        kept.map(|ledger| ledger.timeline).unwrap_or_default().wall(moment)
    }

    /// See [`super::super::MailStore::status`]; never writable.
    pub fn status(&self) -> Result<QueueStatus, QueueError> {
        Ok(read_ledger(&self.store.begin_read()?).map_err(queue_error)?.counts.status())
    }

    /// See [`super::super::MailStore::instance`].
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

pub(super) fn show(store: &Store, id: QueueId) -> Result<Arc<Message>, QueueError> {
    if store.is_hidden(id) {
        return Err(QueueError::NotFound(id));
    }
    let snapshot = store.begin_read()?;
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

pub(super) fn chunk(store: &Store, id: QueueId, number: u32) -> Result<Bytes, QueueError> {
    match content::read(&store.begin_read()?, id.number(), number).map_err(queue_error)? {
        Some(Ok(chunk)) => Ok(chunk),
        Some(Err(what)) => Err(QueueError::Damaged { id, what }),
        // With the record there, it is the content that is missing.
        None => match show(store, id) {
            Ok(_) => Err(QueueError::Damaged { id, what: format!("content chunk {number} is missing") }),
            Err(error) => Err(error),
        },
    }
}

pub(super) fn events(store: &Store, from: Option<u64>, limit: usize) -> Result<Vec<Event>, QueueError> {
    event_log::read(&store.begin_read()?, from, limit).map_err(queue_error)
}

pub(super) fn list(
    store: &Store,
    filter: &Filter,
    cursor: Option<QueueId>,
    limit: usize,
) -> Result<Page, QueueError> {
    let mut listing = Listing { store, filter, limit, page: Page::default() };
    let mut from = Some(cursor.map_or(u128::MAX, QueueId::number));
    while let Some(start) = from {
        from = listing.slice(&store.begin_read()?, start).map_err(queue_error)?;
    }
    Ok(listing.page)
}

/// A page in the making.
struct Listing<'a> {
    store: &'a Store,
    filter: &'a Filter,
    limit: usize,
    page: Page,
}

impl Listing<'_> {
    /// Looks at some records from `start` on, in one snapshot. Returns where the next slice starts, if the page is
    /// not full and there are more.
    fn slice(&mut self, snapshot: &ReadTransaction, start: u128) -> Result<Option<u128>, redb::Error> {
        let messages = snapshot.open_table(MESSAGES)?;
        let set_aside = set_aside(snapshot)?;
        for (looked_at, id) in newest_first(snapshot, self.filter, start)?.enumerate() {
            let number = id?;
            let id = QueueId::from_number(number);
            if looked_at == SLICE {
                return Ok(Some(number));
            }
            if self.page.messages.len() + self.page.damaged.len() >= self.limit {
                self.page.next = Some(id);
                return Ok(None);
            }
            if self.store.is_hidden(id) {
                continue;
            }
            let read = messages.get(number)?.map(|bytes| record::read_message(number, bytes.value()));
            match (read, set_aside.get(&id)) {
                (None, _) => {}
                (Some(Ok(stored)), None) if self.matches(&stored.message) => {
                    self.page.messages.push(Arc::new(stored.message));
                }
                (Some(Ok(_)), None) => {}
                (Some(Ok(stored)), Some(what)) if self.matches(&stored.message) => {
                    self.page.damaged.push((id, what.clone()));
                }
                (Some(Ok(_)), Some(_)) => {}
                (Some(Err(what)), _)
                    if self.filter.text.as_ref().is_none_or(|text| holds(&id.to_string(), text)) =>
                {
                    self.page.damaged.push((id, what));
                }
                (Some(Err(_)), _) => {}
            }
        }
        Ok(None)
    }

    fn matches(&self, message: &Message) -> bool {
        let Some(text) = &self.filter.text else { return true };
        let in_recipient = |one: &crate::mail::Recipient| {
            holds(one.address.as_str(), text) || one.reply.as_ref().is_some_and(|reply| holds(reply, text))
        };
        holds(&message.id.to_string(), text)
            || holds(message.reverse_path.as_str(), text)
            || message.header.subject.as_ref().is_some_and(|subject| holds(subject, text))
            || message.recipients.iter().any(in_recipient)
    }
}

type Ids<'a> = Box<dyn Iterator<Item = Result<u128, redb::StorageError>> + 'a>;

/// Ids from `start` down, of the filter's states alone.
fn newest_first(
    snapshot: &ReadTransaction,
    filter: &Filter,
    start: u128,
) -> Result<Ids<'static>, redb::Error> {
    if filter.states.is_empty() {
        let messages = snapshot.open_table(MESSAGES)?;
        return Ok(Box::new(messages.range_owned(..=start)?.rev().map(|entry| Ok(entry?.0.value()))));
    }
    let states = snapshot.open_table(STATES)?;
    let mut numbers: Vec<u8> = filter.states.iter().filter_map(|state| state_number(*state)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut sources = Vec::new();
    for state in numbers {
        let ids = states.range_owned((state, 0)..=(state, start))?.rev();
        sources.push(ids.map(|entry| entry.map(|(key, _)| key.value().1)).peekable());
    }
    Ok(Box::new(std::iter::from_fn(move || {
        // An error comes first of all, so that it is not lost.
        let next = |source: &mut std::iter::Peekable<_>| match source.peek() {
            Some(Ok(id)) => Some(*id),
            Some(Err(_)) => Some(u128::MAX),
            None => None,
        };
        let heads = sources.iter_mut().enumerate().filter_map(|(place, source)| Some((next(source)?, place)));
        let (_, newest) = heads.max()?;
        sources[newest].next()
    })))
}

fn set_aside(snapshot: &ReadTransaction) -> Result<HashMap<QueueId, String>, redb::Error> {
    let damaged = snapshot.open_table(DAMAGED)?;
    if damaged.is_empty()? {
        return Ok(HashMap::new());
    }
    let entries = damaged.iter()?.map(|entry| {
        let (id, what) = entry?;
        Ok((QueueId::from_number(id.value()), what.value().to_owned()))
    });
    entries.collect()
}

/// Whether `text` is somewhere in `whole`, ASCII case ignored.
fn holds(whole: &str, text: &str) -> bool {
    text.is_empty()
        || whole.as_bytes().windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
}
