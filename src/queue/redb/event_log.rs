//! The event log: facts, numbered in the order of their commits, the oldest of each type removed in the same commits.
//!
//! Each type has a table of its own, so that the limit on Information, of which every message brings some, removes no warning and
//! no error. Reading merges them by their ids, as if there were one table.

use super::layout::{EVENTS, events_of};
use super::record;
use super::stored::Metadata;
use super::tables::Tables;
use crate::event::{Event, EventType, Fact, code};
use jiff::Timestamp;
use redb::{AccessGuard, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableError};

/// How many more events of a type than it adds a commit removes at most, so that after a lowered limit
/// no commit takes long.
const REMOVED_AT_ONCE: u64 = 2_000;

/// Numbers a fact and writes it.
pub(super) fn append(
    tables: &mut Tables<'_>,
    metadata: &mut Metadata,
    fact: Fact,
) -> Result<Event, redb::Error> {
    let event = Event { id: metadata.next_event, fact };
    let record = record::write_fact(&event.fact);
    let table = &mut tables.events[events_of(event.fact.kind)];
    let before = table.insert(event.id, record.as_slice())?.map(|record| record.value().len());
    before.into_iter().for_each(|bytes| tables.usage.subtract_event(bytes));
    tables.usage.add_event(record.len());
    metadata.next_event = metadata.next_event.saturating_add(1);
    Ok(event)
}

/// Removes the oldest events of each type beyond `keep`. `added` is how many this commit has written.
pub(super) fn trim(tables: &mut Tables<'_>, added: u64, keep: u64) -> Result<(), redb::Error> {
    for table in &mut tables.events {
        let beyond = table.len()?.saturating_sub(keep);
        for _ in 0..beyond.min(added.saturating_add(REMOVED_AT_ONCE)) {
            let bytes = table.pop_first()?.map(|(_, record)| record.value().len());
            bytes.into_iter().for_each(|bytes| tables.usage.subtract_event(bytes));
        }
    }
    Ok(())
}

/// The id behind the last one that is there; 1 in an empty event log.
pub(super) fn next_event(snapshot: &ReadTransaction) -> Result<u64, redb::Error> {
    let mut next = 1;
    for table in tables(snapshot)? {
        let last = table.last()?.map(|(id, _)| id.value().saturating_add(1));
        next = last.unwrap_or_default().max(next);
    }
    Ok(next)
}

/// At most `limit` events with an id of at least `from`, or the newest ones; oldest first.
pub(super) fn read(
    snapshot: &ReadTransaction,
    from: Option<u64>,
    limit: usize,
) -> Result<Vec<Event>, redb::Error> {
    let mut found = Vec::new();
    for table in tables(snapshot)? {
        let range = table.range(from.unwrap_or(0)..)?;
        let mut add = |entry: Result<EventEntry, redb::StorageError>| -> Result<(), redb::Error> {
            let (id, record) = entry?;
            found.push((id.value(), record));
            Ok(())
        };
        match from {
            Some(_) => range.take(limit).try_for_each(&mut add)?,
            None => range.rev().take(limit).try_for_each(&mut add)?,
        }
    }
    // As many of each type as could be wanted at most; only what is wanted is decoded.
    found.sort_unstable_by_key(|(id, _)| *id);
    let unwanted = found.len().saturating_sub(limit);
    match from {
        Some(_) => found.truncate(limit),
        None => drop(found.drain(..unwanted)),
    }
    Ok(found.into_iter().map(|(id, record)| event(id, record.value())).collect())
}

type EventEntry = (AccessGuard<'static, u64>, AccessGuard<'static, &'static [u8]>);

fn event(id: u64, record: &[u8]) -> Event {
    let fact = record::read_fact(record).unwrap_or_else(|what| {
        let message = format!("event {id} is damaged in the queue file: {what}");
        Fact::new(Timestamp::UNIX_EPOCH, EventType::Error, "Queue", code::DAMAGED, message)
    });
    Event { id, fact }
}

/// The tables of events that are there: a file of format 1 that is only read has but the first.
fn tables(snapshot: &ReadTransaction) -> Result<Vec<ReadOnlyTable<u64, &'static [u8]>>, redb::Error> {
    let mut tables = Vec::with_capacity(EVENTS.len());
    for table in EVENTS {
        match snapshot.open_table(table) {
            Ok(table) => tables.push(table),
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(tables)
}
