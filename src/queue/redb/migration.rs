//! Taking over a queue file that an older Postroom laid out: what has changed about the tables is brought up to date once, in
//! one transaction, when the file is opened for writing. Records stay as they are, since every version of them is read.

use super::file::{FORMAT, Flush, begin};
use super::lane::Lane;
use super::record;
use super::tables::{DueKey, Place, Tables, events_of};
use super::usage::Usage;
use crate::mail::QueueId;
use redb::{Database, ReadableTable, TableDefinition};

/// How many events are looked at before those of them that move are moved.
const SLICE: usize = 1_000;
/// Of format 1: (due moment, id) to start of life.
const DUE: TableDefinition<'static, (u64, u128), u64> = TableDefinition::new("due");

/// Brings the tables from `format` to the present one. Nothing has changed if it fails.
pub(super) fn migrate(database: &Database, format: u32) -> Result<(), redb::Error> {
    if format >= FORMAT {
        return Ok(());
    }
    tracing::info!(from = format, to = FORMAT, "the queue file is brought up to date");
    let transaction = begin(database, Flush::Now)?;
    {
        let mut tables = Tables::open(&transaction, Usage::default())?;
        lanes_in_place_of_one_line(&transaction.open_table(DUE)?, &mut tables)?;
        events_by_type(&mut tables)?;
        tables.meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
    }
    transaction.delete_table(DUE)?;
    transaction.commit()?;
    Ok(())
}

/// Format 1 had one line for all that waits; format 2 has lanes, and an index of what upstreams have refused.
fn lanes_in_place_of_one_line(
    due: &impl ReadableTable<(u64, u128), u64>,
    tables: &mut Tables<'_>,
) -> Result<(), redb::Error> {
    for entry in due.iter()? {
        let (key, life_start) = entry?;
        let ((due, number), life_start) = (key.value(), life_start.value());
        let id = QueueId::from_number(number);
        let place = match tables.message(id)? {
            Some(Ok(stored)) => Place::of(&stored),
            _ => None,
        };
        match place.filter(|place| place.waiting().is_some()) {
            Some(place) => tables.enter_waiting(id, place)?,
            None => {
                // Nobody can read it: whoever claims it by this entry notices.
                let lane = Lane { site: 0, rank: 0 };
                tables.waiting.insert(DueKey { lane, due, id }.raw(), life_start)?;
            }
        }
    }
    Ok(())
}

/// Format 1 had one table for all events; format 2 has one for each type. An event that nobody can read stays where it is.
fn events_by_type(tables: &mut Tables<'_>) -> Result<(), redb::Error> {
    let mut from = Some(0);
    while let Some(start) = from {
        let (mut looked_at, mut moving) = (0, Vec::new());
        from = None;
        for entry in tables.events[0].range(start..)?.take(SLICE) {
            let (id, bytes) = entry?;
            looked_at += 1;
            from = id.value().checked_add(1).filter(|_| looked_at == SLICE);
            let place = record::read_fact(bytes.value()).map_or(0, |fact| events_of(fact.kind));
            if place > 0 {
                moving.push((id.value(), place, bytes.value().to_vec()));
            }
        }
        for (id, place, bytes) in moving {
            tables.events[0].remove(id)?;
            tables.events[place].insert(id, bytes.as_slice())?;
        }
    }
    Ok(())
}
