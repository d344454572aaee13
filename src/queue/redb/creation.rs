//! Makes a new queue file.
//!
//! The file is made under another name and takes its own name when it is whole. So a queue file that is empty or cut short
//! was damaged later, and is never replaced by an empty queue.

use super::flush::{Flush, begin_write};
use super::layout::{FORMAT, METADATA_KEY};
use super::open_error::{OpenError, is_about_content};
use super::record;
use super::stored::Metadata;
use super::tables::Tables;
use super::usage::FileUsage;
use redb::{Builder, Database, DatabaseError};
use std::fs::File;
use std::path::Path;

/// Makes the file under another name, gives it its own name when it is whole, and flushes the folder that holds the name.
pub(super) fn create(path: &Path, builder: &Builder) -> Result<Database, OpenError> {
    let failed = |action| move |source| OpenError::Io { file: path.to_owned(), action, source };
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let open = || builder.create_file(options.open(&unfinished)?);
    let is_unfinished = |error: &DatabaseError| match error {
        DatabaseError::Storage(redb::StorageError::Io(source)) => is_about_content(source),
        DatabaseError::Storage(redb::StorageError::Corrupted(_)) => true,
        _ => false,
    };
    let database = match open() {
        // A first start that was killed has left it behind.
        Err(error) if is_unfinished(&error) => {
            std::fs::remove_file(&unfinished).map_err(failed("make the queue file"))?;
            open()
        }
        opened => opened,
    }
    .map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
        DatabaseError::Storage(redb::StorageError::Io(source)) => failed("make the queue file")(source),
        error => OpenError::damaged(Path::new(&unfinished), error),
    })?;
    initialize_if_empty(&database).map_err(|error| OpenError::damaged(Path::new(&unfinished), error))?;
    if path.exists() {
        // Another process has made it in the meantime and has it open.
        return Err(OpenError::InUse(path.to_owned()));
    }
    std::fs::rename(&unfinished, path).map_err(failed("name the queue file"))?;
    // The name is durable only when the folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync the folder of the queue file"))?;
    Ok(database)
}

/// Makes the tables of an empty queue, unless the database has tables.
pub(super) fn initialize_if_empty(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = begin_write(database, Flush::Now)?;
    if transaction.list_tables()?.next().is_some() {
        transaction.abort()?;
        return Ok(());
    }
    {
        let mut tables = Tables::open(&transaction, FileUsage::default())?;
        tables.meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
        let instance = format!("{:016x}", fastrand::u64(..));
        tables.meta.insert("instance", instance.as_bytes())?;
        let usage = Some(FileUsage::default());
        let metadata = Metadata { next_event: 1, usage, ..Metadata::default() };
        tables.meta.insert(METADATA_KEY, record::write_metadata(&metadata).as_slice())?;
    }
    transaction.set_two_phase_commit(true);
    transaction.commit()?;
    Ok(())
}
