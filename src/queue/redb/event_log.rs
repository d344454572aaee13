//! The event log: facts, numbered in the order of their commits, the oldest of each type removed in the same commits.
//!
//! Each type has a table of its own, so that the limit on Information, of which every message brings some, removes no warning and
//! no error. Reading merges them by their ids, as if there were one table.

use super::super::Needle;
use super::layout::{EVENTS, events_of};
use super::record;
use super::stored::Metadata;
use super::tables::Tables;
use crate::event::{Event, EventFilter, EventType, Fact, code};
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
    for (_, table) in tables(snapshot)? {
        let last = table.last()?.map(|(id, _)| id.value().saturating_add(1));
        next = last.unwrap_or_default().max(next);
    }
    Ok(next)
}

/// At most `limit` events of a part of the log that the filter means; oldest first. Of other types
/// nothing is read. Else it goes through the log from its end until it has as many as are wanted, and decodes but those whose
/// bytes hold what is looked for.
pub(super) fn read(
    snapshot: &ReadTransaction,
    filter: &EventFilter,
    part: LogPart,
    limit: usize,
) -> Result<Vec<Event>, redb::Error> {
    let texts = [filter.code.as_deref(), filter.source.as_deref()].map(|text| text.map(Needle::new));
    let id = filter.queue_id.map(|id| Needle::new(&id.to_string()));
    let needles: Vec<Needle> = texts.into_iter().chain([id]).flatten().collect();
    let meant = |entry: Result<EventEntry, redb::StorageError>| match entry {
        Err(error) => Some(Err(error)),
        Ok((id, record)) => event_if(filter, &needles, id.value(), record.value()).map(Ok),
    };
    let mut found: Vec<Event> = Vec::new();
    let tables = tables(snapshot)?;
    let are_apart = tables.len() == EVENTS.len();
    for (kind, table) in tables {
        if are_apart && !filter.has_type(kind) {
            continue;
        }
        // As many of each type as could be wanted at most.
        let events: Result<Vec<Event>, redb::StorageError> = match part {
            LogPart::From(from) => table.range(from..)?.filter_map(meant).take(limit).collect(),
            LogPart::Before(end) => table.range(..end)?.rev().filter_map(meant).take(limit).collect(),
        };
        found.extend(events?);
    }
    found.sort_unstable_by_key(|event| event.id);
    let unwanted = found.len().saturating_sub(limit);
    match part {
        LogPart::From(_) => found.truncate(limit),
        LogPart::Before(_) => drop(found.drain(..unwanted)),
    }
    Ok(found)
}

/// Which events are read.
#[derive(Clone, Copy)]
pub(super) enum LogPart {
    /// The oldest with an id of at least that.
    From(u64),
    /// The newest with a smaller id.
    Before(u64),
}

impl LogPart {
    /// The newest of all.
    pub(super) const NEWEST: LogPart = LogPart::Before(u64::MAX);
}

type EventEntry = (AccessGuard<'static, u64>, AccessGuard<'static, &'static [u8]>);

fn event_if(filter: &EventFilter, needles: &[Needle], id: u64, record: &[u8]) -> Option<Event> {
    needles
        .iter()
        .all(|needle| needle.is_in_bytes(record))
        .then(|| event(id, record))
        .filter(|event| filter.matches(&event.fact))
}

fn event(id: u64, record: &[u8]) -> Event {
    let fact = record::read_fact(record).unwrap_or_else(|what| {
        let message = format!("event {id} is damaged in the queue file: {what}");
        Fact::new(Timestamp::UNIX_EPOCH, EventType::Error, "Queue", code::DAMAGED, message)
    });
    Event { id, fact }
}

/// The tables of events that are there, with their types: a file of format 1 that is only read has but the first, in which are
/// all.
fn tables(snapshot: &ReadTransaction) -> Result<Vec<(EventType, EventTable)>, redb::Error> {
    let mut tables = Vec::with_capacity(EVENTS.len());
    for kind in [EventType::Information, EventType::Warning, EventType::Error] {
        match snapshot.open_table(EVENTS[events_of(kind)]) {
            Ok(table) => tables.push((kind, table)),
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(tables)
}

type EventTable = ReadOnlyTable<u64, &'static [u8]>;
