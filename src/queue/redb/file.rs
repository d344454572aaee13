//! Opening the queue file: made on first start only, refused whenever something about it is not right.
//!
//! A missing file means first start. It is made under another name and takes its own name when it is whole, so a file
//! that is there and empty or cut short was damaged by somebody, and is never replaced by an empty queue.

use super::content;
use super::event_log;
use super::migration::migrate;
use super::open_error::OpenError;
use super::overlay::Overlay;
use super::record::{self, Ledger};
use super::tables::{META, STATES, Tables};
use super::usage::Usage;
use redb::{Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableTable};
use redb::{ReadableDatabase, ReadableTableMetadata, StorageBackend};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The newest layout of the tables that this program writes and reads.
pub(super) const FORMAT: u32 = 2;
/// What every redb file begins with.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// Opens the database, and opens it again after an I/O error.
pub(super) struct Source {
    name: PathBuf,
    open: Open,
    is_file: bool,
    cache_size: usize,
}

type Open = Box<dyn Fn(&Builder) -> Result<Database, DatabaseError> + Send>;

/// What is read once at open.
pub(super) struct Opened {
    pub(super) ledger: Ledger,
    pub(super) instance: String,
    /// Of the tables, as the file has it.
    pub(super) format: u32,
}

impl Source {
    /// The file at `path`, made now if it is missing.
    pub(super) fn file(path: &Path, cache_size: usize) -> Result<(Source, Database), OpenError> {
        let builder = builder(cache_size);
        let database = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => create(path, &builder)?,
            Err(source) => {
                return Err(OpenError::Io { file: path.to_owned(), action: "open the queue file", source });
            }
            Ok(file) => {
                refuse_what_is_no_database(path, file)?;
                // Looked at without writing first, since closing alone writes to the file of another program.
                open_read_only(path, cache_size)?;
                builder.open(path).map_err(|error| refusal(path, error))?
            }
        };
        let name = path.to_owned();
        let open = Box::new(move |builder: &Builder| {
            forget_cached(&name);
            builder.open(&name)
        });
        Ok((Source { name: path.to_owned(), open, is_file: true, cache_size }, database))
    }

    /// A database on other storage, which `backend` hands out anew for each opening. Empty storage is a first start.
    pub(super) fn backend<B: StorageBackend>(
        backend: impl Fn() -> io::Result<B> + Send + 'static,
        cache_size: usize,
    ) -> Result<(Source, Database), OpenError> {
        let open = Box::new(move |builder: &Builder| builder.create_with_backend(backend()?));
        let source = Source { name: "(storage backend)".into(), open, is_file: false, cache_size };
        let database = source.open().map_err(|error| refusal(&source.name, error))?;
        initialize_if_empty(&database).map_err(|error| OpenError::damaged(&source.name, error))?;
        Ok((source, database))
    }

    /// Opens the database anew; it must have been dropped before.
    pub(super) fn open(&self) -> Result<Database, DatabaseError> {
        (self.open)(&builder(self.cache_size))
    }

    /// The queue file, where it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.is_file.then_some(&*self.name)
    }

    /// Opens the database for reading, where that can be done without writing.
    pub(super) fn open_unchanged(&self) -> Option<Database> {
        if !self.is_file {
            return None;
        }
        open_unchanged(&self.name, &builder(self.cache_size)).ok()
    }

    /// Brings the tables of an older format up to date.
    pub(super) fn migrate(&self, database: &Database, format: u32) -> Result<(), OpenError> {
        migrate(database, format).map_err(|error| self.not_written(error))
    }

    /// Removes content that no record names: staged for messages that never came to be, or left by deleted ones. Counts
    /// how much of the file is in use, where an older program has not.
    pub(super) fn remove_orphans(&self, database: &Database, ledger: &mut Ledger) -> Result<(), OpenError> {
        remove_orphans(database, ledger).map_err(|error| self.not_written(error))
    }

    fn not_written(&self, error: redb::Error) -> OpenError {
        match error {
            redb::Error::Io(source) => {
                OpenError::Io { file: self.name.clone(), action: "write the queue file", source }
            }
            error => OpenError::damaged(&self.name, error),
        }
    }

    /// Checks the format and reads what is needed at once.
    pub(super) fn examine(&self, database: &Database) -> Result<Opened, OpenError> {
        let snapshot = database.begin_read().map_err(|error| OpenError::damaged(&self.name, error))?;
        examine(&self.name, &snapshot)
    }
}

/// Opens an existing file without writing to it, while no proxy has it.
pub(super) fn open_read_only(path: &Path, cache_size: usize) -> Result<(Database, Opened), OpenError> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(OpenError::Missing(path.to_owned())),
        Err(source) => {
            return Err(OpenError::Io { file: path.to_owned(), action: "read the queue file", source });
        }
        Ok(file) => refuse_what_is_no_database(path, file)?,
    }
    let database = open_unchanged(path, &builder(cache_size)).map_err(|error| refusal(path, error))?;
    let snapshot = database.begin_read().map_err(|error| OpenError::damaged(path, error))?;
    let opened = examine(path, &snapshot)?;
    Ok((database, opened))
}

fn open_unchanged(path: &Path, builder: &Builder) -> Result<Database, DatabaseError> {
    builder.create_with_backend(Overlay::new(File::open(path)?)?)
}

/// The ledger as the file has it now; counted anew where its record is damaged.
pub(super) fn read_ledger(snapshot: &ReadTransaction) -> Result<Ledger, redb::Error> {
    let meta = snapshot.open_table(META)?;
    let read = meta.get("ledger")?.map(|bytes| record::read_ledger(bytes.value()));
    match read {
        Some(Ok(ledger)) => Ok(ledger),
        broken => {
            tracing::error!(?broken, "the queue's ledger is damaged: counting anew");
            count_anew(snapshot)
        }
    }
}

fn builder(cache_size: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_size);
    builder
}

/// Makes the file under another name, gives it its own name when it is whole, and has both on disk.
fn create(path: &Path, builder: &Builder) -> Result<Database, OpenError> {
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
        // What a first start that was killed has left behind.
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
        // Another process was faster and has it.
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

fn initialize_if_empty(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = begin(database, Flush::Now)?;
    if transaction.list_tables()?.next().is_some() {
        transaction.abort()?;
        return Ok(());
    }
    {
        let mut tables = Tables::open(&transaction, Usage::default())?;
        tables.meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
        let instance = format!("{:016x}", fastrand::u64(..));
        tables.meta.insert("instance", instance.as_bytes())?;
        let usage = Some(Usage::default());
        let ledger = Ledger { next_event: 1, usage, ..Ledger::default() };
        tables.meta.insert("ledger", record::write_ledger(&ledger).as_slice())?;
    }
    transaction.set_two_phase_commit(true);
    transaction.commit()?;
    Ok(())
}

fn remove_orphans(database: &Database, ledger: &mut Ledger) -> Result<(), redb::Error> {
    loop {
        let usage = match ledger.usage {
            Some(usage) => usage,
            None => Usage::count(&database.begin_read()?)?,
        };
        ledger.usage = Some(usage);
        let transaction = begin(database, Flush::Now)?;
        let mut tables = Tables::open(&transaction, usage)?;
        // Some at a time, so that no transaction becomes large.
        let ids = tables.orphans.iter()?.take(100).map(|entry| Ok(entry?.0.value()));
        let ids = ids.collect::<Result<Vec<u128>, redb::StorageError>>()?;
        for id in &ids {
            tables.orphans.remove(id)?;
            // A record of that name would have claimed it in its own commit.
            content::remove_all(&mut tables, *id)?;
        }
        ledger.usage = Some(tables.usage);
        tables.meta.insert("ledger", record::write_ledger(ledger).as_slice())?;
        drop(tables);
        if ids.is_empty() {
            transaction.abort()?;
            return Ok(());
        }
        transaction.commit()?;
    }
}

/// How much a commit does so that it is there after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flush {
    /// Nothing: what it has written goes with the next commit that does more, or is lost.
    Later,
    /// On disk on return, and with it which pages are in use (redb's quick repair): after a kill no start has to read
    /// the whole file, nor to take a damaged page for a commit that did not come to its end.
    Now,
}

/// Begins a transaction that is committed in this way.
pub(super) fn begin(database: &Database, flush: Flush) -> Result<redb::WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    let durability = if flush == Flush::Later { Durability::None } else { Durability::Immediate };
    transaction.set_durability(durability).map_err(|error| {
        redb::Error::Corrupted(format!("a transaction that was just begun refuses its durability: {error}"))
    })?;
    transaction.set_quick_repair(flush == Flush::Now);
    Ok(transaction)
}

fn refuse_what_is_no_database(path: &Path, mut file: File) -> Result<(), OpenError> {
    let mut magic = Vec::with_capacity(MAGIC.len());
    let read = file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic);
    read.map_err(|source| OpenError::Io { file: path.to_owned(), action: "read the queue file", source })?;
    let reason = match magic.as_slice() {
        MAGIC => return Ok(()),
        [] => "the queue file is empty (0 bytes)",
        start if MAGIC.starts_with(start) => "the queue file is cut short",
        _ => "this is not a redb database",
    };
    Err(OpenError::Damaged { file: path.to_owned(), reason: reason.to_owned() })
}

fn refusal(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
        DatabaseError::Storage(redb::StorageError::Io(source)) if !is_about_content(&source) => {
            OpenError::Io { file: path.to_owned(), action: "open the queue file", source }
        }
        other => OpenError::damaged(path, other),
    }
}

/// Whether it is what redb makes of bytes that are no database, rather than of a system that refuses.
fn is_about_content(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

fn examine(path: &Path, snapshot: &ReadTransaction) -> Result<Opened, OpenError> {
    let no_queue = |what: &str| OpenError::Damaged {
        file: path.to_owned(),
        reason: format!("a redb database, but not a queue of postroom ({what})"),
    };
    let meta = snapshot.open_table(META).map_err(|error| no_queue(&error.to_string()))?;
    let entry = |key: &str| -> Result<Vec<u8>, OpenError> {
        let entry = meta.get(key).map_err(|error| OpenError::damaged(path, error))?;
        Ok(entry.ok_or_else(|| no_queue(&format!("no {key}")))?.value().to_vec())
    };
    let format = entry("format")?.try_into().map(u32::from_le_bytes);
    let found = format.map_err(|_| no_queue("its format version cannot be read"))?;
    if found > FORMAT {
        return Err(OpenError::Newer { file: path.to_owned(), found, known: FORMAT });
    }
    let instance = String::from_utf8(entry("instance")?).map_err(|_| no_queue("its name cannot be read"))?;
    let ledger = read_ledger(snapshot).map_err(|error| OpenError::damaged(path, error))?;
    Ok(Opened { ledger, instance, format: found })
}

fn count_anew(snapshot: &ReadTransaction) -> Result<Ledger, redb::Error> {
    let mut ledger = Ledger { next_event: event_log::next_event(snapshot)?, ..Ledger::default() };
    for entry in snapshot.open_table(STATES)?.iter()? {
        ledger.counts.add(entry?.0.value().0);
    }
    ledger.counts.damaged = snapshot.open_table(super::tables::DAMAGED)?.len()?;
    Ok(ledger)
}

/// After a failed sync the system may hold pages as clean that never reached the disk. What is read again must be
/// what is on the disk, so the cached pages are given up. Best effort: where that fails, redb's checks remain.
fn forget_cached(path: &Path) {
    #[cfg(target_os = "linux")]
    if let Ok(file) = File::open(path) {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = path;
}
