//! Lists messages, a page at a time.

use super::super::{Filter, Page, QueueError};
use super::layout::{DAMAGED, MESSAGES, STATES, state_number};
use super::record;
use super::redb_error::queue_error;
use super::shared_database::SharedDatabase;
use crate::mail::QueueId;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// How many records one snapshot of a listing looks at.
const SLICE: usize = 500;
/// How many of them a page looks at: some hundredths of a second.
const SLICES_OF_A_PAGE: usize = 20;

/// See [`super::super::Operations::list`].
pub(super) fn list(
    database: &SharedDatabase,
    filter: &Filter,
    cursor: Option<QueueId>,
    limit: usize,
) -> Result<Page, QueueError> {
    let mut listing = PageInProgress { database, filter, limit, page: Page::default() };
    let ids = filter.ids();
    let mut from = Some(cursor.map_or(u128::MAX, QueueId::number).min(*ids.end()));
    for _ in 0..SLICES_OF_A_PAGE {
        let Some(start) = from.filter(|start| start >= ids.start()) else { return Ok(listing.page) };
        from = listing.slice(&database.begin_read()?, *ids.start()..=start).map_err(queue_error)?;
    }
    listing.page.next = listing.page.next.or(from.map(QueueId::from_number));
    Ok(listing.page)
}

/// See [`super::super::Operations::list_damaged`].
pub(super) fn list_damaged(
    database: &SharedDatabase,
    filter: &Filter,
    cursor: Option<QueueId>,
    limit: usize,
) -> Result<Page, QueueError> {
    let snapshot = database.begin_read()?;
    let read = || -> Result<Page, redb::Error> {
        let (messages, damaged) = (snapshot.open_table(MESSAGES)?, snapshot.open_table(DAMAGED)?);
        let mut page = Page::default();
        for entry in damaged.range(..=cursor.map_or(u128::MAX, QueueId::number))?.rev() {
            let (number, what) = entry?;
            let id = QueueId::from_number(number.value());
            if page.damaged.len() >= limit {
                page.next = Some(id);
                break;
            }
            let record = messages.get(number.value())?;
            let is_meant = match record.map(|bytes| record::read_message(number.value(), bytes.value())) {
                Some(Ok(stored)) => filter.matches(&stored.message),
                Some(Err(_)) => filter.matches_unreadable(id),
                None => false,
            };
            if is_meant && !database.is_hidden(id) {
                page.damaged.push((id, what.value().to_owned()));
            }
        }
        Ok(page)
    };
    read().map_err(queue_error)
}

struct PageInProgress<'a> {
    database: &'a SharedDatabase,
    filter: &'a Filter,
    limit: usize,
    page: Page,
}

impl PageInProgress<'_> {
    /// Looks at some records from the end of the range on down, in one snapshot. Returns where the next slice starts, if the
    /// page is not full and there are more.
    fn slice(
        &mut self,
        snapshot: &ReadTransaction,
        range: RangeInclusive<u128>,
    ) -> Result<Option<u128>, redb::Error> {
        let messages = snapshot.open_table(MESSAGES)?;
        let set_aside = set_aside(snapshot)?;
        for (looked_at, id) in newest_first(snapshot, self.filter, range)?.enumerate() {
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
                (Some(Ok(stored)), None) if self.filter.matches(&stored.message) => {
                    self.page.messages.push(Arc::new(stored.message));
                }
                (Some(Ok(_)), None) => {}
                (Some(Ok(stored)), Some(what)) if self.filter.matches(&stored.message) => {
                    self.page.damaged.push((id, what.clone()));
                }
                (Some(Ok(_)), Some(_)) => {}
                (Some(Err(what)), _) if self.filter.matches_unreadable(id) => {
                    self.page.damaged.push((id, what));
                }
                (Some(Err(_)), _) => {}
            }
        }
        Ok(None)
    }
}

type Ids<'a> = Box<dyn Iterator<Item = Result<u128, redb::StorageError>> + 'a>;

/// Ids of a range, of the filter's states alone.
fn newest_first(
    snapshot: &ReadTransaction,
    filter: &Filter,
    range: RangeInclusive<u128>,
) -> Result<Ids<'static>, redb::Error> {
    let Some(states) = filter.states() else {
        let messages = snapshot.open_table(MESSAGES)?;
        return Ok(Box::new(messages.range_owned(range)?.rev().map(|entry| Ok(entry?.0.value()))));
    };
    let index = snapshot.open_table(STATES)?;
    let mut sources = Vec::new();
    for state in states.into_iter().filter_map(state_number) {
        let ids = index.range_owned((state, *range.start())..=(state, *range.end()))?.rev();
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
