//! Taking over a queue file that an older Postroom laid out: what has changed about the tables is brought up to date once, in
//! one transaction, when the file is opened for writing. Records stay as they are, since every version of them is read.

use super::file::{FORMAT, Flush, begin};
use super::lane::Lane;
use super::tables::{DueKey, Place, Tables};
use super::usage::Usage;
use crate::mail::QueueId;
use redb::{Database, ReadableTable, TableDefinition};

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
