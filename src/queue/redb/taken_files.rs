//! The table of files that were taken in and may still be there.

use super::super::{FileIdentity, QueueError, TakenFile};
use super::batch::Batch;
use super::layout::{FileKey, TAKEN_FILES, open_if_made};
use super::redb_error::queue_error;
use super::shared_database::SharedDatabase;
use crate::mail::QueueId;
use redb::ReadableTable;

/// The key of a file in a folder.
pub(super) fn key(folder: &str, file: FileIdentity) -> FileKey {
    let FileIdentity { inode, size, modified_s, modified_ns } = file;
    (folder_number(folder), inode, size, modified_s, modified_ns)
}

fn folder_number(folder: &str) -> u128 {
    xxhash_rust::xxh3::xxh3_128(folder.as_bytes())
}

/// Whether the file is a message already.
pub(super) fn is_taken(batch: &Batch<'_, '_>, key: FileKey) -> Result<bool, redb::Error> {
    Ok(batch.tables.taken_files.get(key)?.is_some())
}

/// Remembers the file, which is that message.
pub(super) fn remember(batch: &mut Batch<'_, '_>, key: FileKey, id: QueueId) -> Result<(), redb::Error> {
    batch.changed = true;
    batch.tables.taken_files.insert(key, (id.number(), false))?;
    Ok(())
}

/// Notes of some that people were told of them; forgets others.
pub(super) fn change(
    batch: &mut Batch<'_, '_>,
    told: &[FileKey],
    forgotten: &[FileKey],
) -> Result<(), redb::Error> {
    batch.changed = true;
    for key in told {
        let before = batch.tables.taken_files.get(key)?.map(|entry| entry.value());
        if let Some((id, _)) = before {
            batch.tables.taken_files.insert(key, (id, true))?;
        }
    }
    for key in forgotten {
        batch.tables.taken_files.remove(key)?;
    }
    Ok(())
}

/// The message does not exist after all, so its file is none that was taken.
pub(super) fn forget_message(batch: &mut Batch<'_, '_>, id: u128) -> Result<(), redb::Error> {
    Ok(batch.tables.taken_files.retain(|_, (of, _)| of != id)?)
}

/// Those of a folder.
pub(super) fn list(database: &SharedDatabase, folder: &str) -> Result<Vec<TakenFile>, QueueError> {
    let snapshot = database.begin_read()?;
    let number = folder_number(folder);
    let read = || -> Result<Vec<TakenFile>, redb::Error> {
        let Some(files) = open_if_made(&snapshot, TAKEN_FILES)? else { return Ok(Vec::new()) };
        let all = (number, 0, 0, i64::MIN, 0)..=(number, u64::MAX, u64::MAX, i64::MAX, u32::MAX);
        let mut found = Vec::new();
        for entry in files.range(all)? {
            let (key, value) = entry?;
            let (_, inode, size, modified_s, modified_ns) = key.value();
            let file = FileIdentity { inode, size, modified_s, modified_ns };
            found.push(TakenFile { file, told: value.value().1 });
        }
        Ok(found)
    };
    read().map_err(queue_error)
}
