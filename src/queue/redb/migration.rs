//! Brings the tables of a queue file that an older Postroom wrote up to date: once, in one transaction, when the file is opened
//! for writing. Records stay as they are, since every version of them is read.

use super::due_key::{DueKey, Lane};
use super::flush::{Flush, begin_write};
use super::index_entries::IndexEntries;
use super::layout::{FORMAT, events_of};
use super::record;
use super::tables::Tables;
use super::usage::FileUsage;
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
    let transaction = begin_write(database, Flush::Now)?;
    {
        let mut tables = Tables::open(&transaction, FileUsage::default())?;
        move_to_lanes(&transaction.open_table(DUE)?, &mut tables)?;
        separate_events_by_type(&mut tables)?;
        tables.meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
    }
    transaction.delete_table(DUE)?;
    transaction.commit()?;
    Ok(())
}

/// Format 1 had one order for all waiting messages; format 2 has lanes, and an index of messages that upstreams refused.
fn move_to_lanes(
    due: &impl ReadableTable<(u64, u128), u64>,
    tables: &mut Tables<'_>,
) -> Result<(), redb::Error> {
    for entry in due.iter()? {
        let (key, life_start) = entry?;
        let ((due, number), life_start) = (key.value(), life_start.value());
        let id = QueueId::from_number(number);
        let entries = match tables.message(id)? {
            Some(Ok(stored)) => IndexEntries::of(&stored),
            _ => None,
        };
        match entries.filter(|entries| entries.due.is_some()) {
            Some(entries) => tables.replace_due_entries(id, None, Some(entries))?,
            None => {
                // Its record cannot be read: the claim of this entry will notice.
                let lane = Lane { group: 0, rank: 0 };
                tables.due_index.insert(DueKey { lane, due, id }.raw(), life_start)?;
            }
        }
    }
    Ok(())
}

/// Format 1 had one table for all events; format 2 has one for each type. An event that cannot be read stays where it is.
fn separate_events_by_type(tables: &mut Tables<'_>) -> Result<(), redb::Error> {
    let mut from = Some(0);
    while let Some(start) = from {
        let (mut looked_at, mut moving) = (0, Vec::new());
        from = None;
        for entry in tables.events[0].range(start..)?.take(SLICE) {
            let (id, bytes) = entry?;
            looked_at += 1;
            from = id.value().checked_add(1).filter(|_| looked_at == SLICE);
            let table = record::read_fact(bytes.value()).map_or(0, |fact| events_of(fact.kind));
            if table > 0 {
                moving.push((id.value(), table, bytes.value().to_vec()));
            }
        }
        for (id, table, bytes) in moving {
            tables.events[0].remove(id)?;
            tables.events[table].insert(id, bytes.as_slice())?;
        }
    }
    Ok(())
}
