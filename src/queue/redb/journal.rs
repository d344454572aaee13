//! The journal: facts, numbered in the order of their commits, the oldest of them removed in the same commits.

use super::record::{self, Ledger};
use super::tables::{EVENTS, Tables};
use crate::event::{Event, EventType, Fact, code};
use jiff::Timestamp;
use redb::ReadTransaction;

/// How many more events than it adds a commit removes at most, so that a lowered limit stops nobody.
const REMOVED_AT_ONCE: u64 = 2_000;

/// Numbers a fact and writes it.
pub(super) fn append(tables: &mut Tables<'_>, ledger: &mut Ledger, fact: Fact) -> Result<Event, redb::Error> {
    let event = Event { id: ledger.next_event, fact };
    let record = record::write_fact(&event.fact);
    let before = tables.events.insert(event.id, record.as_slice())?.map(|record| record.value().len());
    before.into_iter().for_each(|bytes| tables.usage.take_event(bytes));
    tables.usage.add_event(record.len());
    ledger.next_event = ledger.next_event.saturating_add(1);
    Ok(event)
}

/// Removes the oldest events beyond `keep`.
pub(super) fn trim(
    tables: &mut Tables<'_>,
    ledger: &mut Ledger,
    added: u64,
    keep: u64,
) -> Result<(), redb::Error> {
    let most = ledger.first_event.saturating_add(added).saturating_add(REMOVED_AT_ONCE);
    let bound = ledger.next_event.saturating_sub(keep).min(most);
    while ledger.first_event < bound {
        let bytes = tables.events.remove(ledger.first_event)?.map(|record| record.value().len());
        bytes.into_iter().for_each(|bytes| tables.usage.take_event(bytes));
        ledger.first_event += 1;
    }
    Ok(())
}

/// At most `limit` events with an id of at least `from`, or the newest ones; oldest first.
pub(super) fn read(
    snapshot: &ReadTransaction,
    from: Option<u64>,
    limit: usize,
) -> Result<Vec<Event>, redb::Error> {
    let events = snapshot.open_table(EVENTS)?;
    let range = events.range(from.unwrap_or(0)..)?;
    let entries: Vec<_> = match from {
        Some(_) => range.take(limit).collect(),
        None => {
            let mut newest: Vec<_> = range.rev().take(limit).collect();
            newest.reverse();
            newest
        }
    };
    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        let (id, bytes) = entry?;
        let id = id.value();
        let fact = record::read_fact(bytes.value()).unwrap_or_else(|what| {
            let message = format!("event {id} is damaged in the queue file: {what}");
            Fact::new(Timestamp::UNIX_EPOCH, EventType::Error, "Queue", code::DAMAGED, message)
        });
        found.push(Event { id, fact });
    }
    Ok(found)
}
