//! Removes content that no record names, at the start.

use super::content;
use super::flush::{Flush, begin_write};
use super::layout::METADATA_KEY;
use super::record;
use super::stored::Metadata;
use super::tables::Tables;
use super::usage::FileUsage;
use redb::{Database, ReadableDatabase, ReadableTable};

/// How many contents one transaction removes.
const PER_TRANSACTION: usize = 100;

/// Removes content that was staged for messages that were never put, or left by deleted ones. Counts how much of the file
/// is in use, where an older program has not.
pub(super) fn remove_orphans(database: &Database, metadata: &mut Metadata) -> Result<(), redb::Error> {
    loop {
        let usage = match metadata.usage {
            Some(usage) => usage,
            None => FileUsage::count(&database.begin_read()?)?,
        };
        metadata.usage = Some(usage);
        let transaction = begin_write(database, Flush::Now)?;
        let mut tables = Tables::open(&transaction, usage)?;
        let ids = tables.orphans.iter()?.take(PER_TRANSACTION).map(|entry| Ok(entry?.0.value()));
        let ids = ids.collect::<Result<Vec<u128>, redb::StorageError>>()?;
        for id in &ids {
            tables.orphans.remove(id)?;
            // No record has this id: a put takes its id out of the orphans in its own commit.
            content::remove_all(&mut tables, *id)?;
        }
        metadata.usage = Some(tables.usage);
        tables.meta.insert(METADATA_KEY, record::write_metadata(metadata).as_slice())?;
        drop(tables);
        if ids.is_empty() {
            transaction.abort()?;
            return Ok(());
        }
        transaction.commit()?;
    }
}
