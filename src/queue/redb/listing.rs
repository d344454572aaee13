//! Lists messages, a page at a time.

use super::super::{Filter, Page, QueueError};
use super::layout::{DAMAGED, MESSAGES, STATES, state_number};
use super::record;
use super::redb_error::queue_error;
use super::shared_database::SharedDatabase;
use crate::mail::{Message, QueueId};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use std::collections::HashMap;
use std::sync::Arc;

/// How many records one snapshot of a listing looks at.
const SLICE: usize = 500;

/// See [`super::super::Operations::list`].
pub(super) fn list(
    database: &SharedDatabase,
    filter: &Filter,
    cursor: Option<QueueId>,
    limit: usize,
) -> Result<Page, QueueError> {
    let mut listing = PageInProgress { database, filter, limit, page: Page::default() };
    let mut from = Some(cursor.map_or(u128::MAX, QueueId::number));
    while let Some(start) = from {
        from = listing.slice(&database.begin_read()?, start).map_err(queue_error)?;
    }
    Ok(listing.page)
}

struct PageInProgress<'a> {
    database: &'a SharedDatabase,
    filter: &'a Filter,
    limit: usize,
    page: Page,
}

impl PageInProgress<'_> {
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
            if self.database.is_hidden(id) {
                continue;
            }
            let read = messages.get(number)?.map(|bytes| record::read_message(number, bytes.value()));
            match (read, set_aside.get(&id)) {
                (None, _) => {}
                (Some(Ok(stored)), None) if matches(self.filter, &stored.message) => {
                    self.page.messages.push(Arc::new(stored.message));
                }
                (Some(Ok(_)), None) => {}
                (Some(Ok(stored)), Some(what)) if matches(self.filter, &stored.message) => {
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
}

/// Whether the message has the text of the filter.
pub(super) fn matches(filter: &Filter, message: &Message) -> bool {
    let Some(text) = &filter.text else { return true };
    let in_recipient = |one: &crate::mail::Recipient| {
        holds(one.address.as_str(), text) || one.reply.as_ref().is_some_and(|reply| holds(reply, text))
    };
    holds(&message.id.to_string(), text)
        || holds(message.reverse_path.as_str(), text)
        || message.header.subject.as_ref().is_some_and(|subject| holds(subject, text))
        || message.recipients.iter().any(in_recipient)
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
