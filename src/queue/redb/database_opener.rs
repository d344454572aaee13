//! Opens the queue's database: made on first start only, refused whenever something about it is not right.

use super::copy_on_write_file::CopyOnWriteFile;
use super::creation::{create, initialize_if_empty};
use super::layout::{FORMAT, META};
use super::metadata::read_metadata;
use super::migration::migrate;
use super::open_error::{OpenError, is_about_content};
use super::orphans::remove_orphans;
use super::stored::Metadata;
use redb::{Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageBackend};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// What every redb file begins with.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// Opens the database, and opens it again after an I/O error.
pub(super) struct DatabaseOpener {
    name: PathBuf,
    open: Open,
    is_file: bool,
    cache_size: usize,
}

type Open = Box<dyn Fn(&Builder) -> Result<Database, DatabaseError> + Send>;

/// What is read once, when the queue is opened.
pub(super) struct FileHeader {
    pub(super) metadata: Metadata,
    pub(super) instance: String,
    /// Layout of the tables, as the file has it.
    pub(super) format: u32,
}

impl DatabaseOpener {
    /// The file at `path`, made now if it is missing.
    pub(super) fn file(path: &Path, cache_size: usize) -> Result<(DatabaseOpener, Database), OpenError> {
        let builder = builder(cache_size);
        let database = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => create(path, &builder)?,
            Err(source) => {
                return Err(OpenError::Io { file: path.to_owned(), action: "open the queue file", source });
            }
            Ok(file) => {
                refuse_what_is_no_database(path, file)?;
                // Without writing first: redb writes when it closes, and the file may be another program's.
                open_read_only(path, cache_size)?;
                builder.open(path).map_err(|error| refusal(path, error))?
            }
        };
        let name = path.to_owned();
        let open = Box::new(move |builder: &Builder| {
            drop_cached_pages(&name);
            builder.open(&name)
        });
        Ok((DatabaseOpener { name: path.to_owned(), open, is_file: true, cache_size }, database))
    }

    /// A database on other storage. `backend` makes a storage backend for each opening; empty storage is a first start.
    pub(super) fn backend<B: StorageBackend>(
        backend: impl Fn() -> io::Result<B> + Send + 'static,
        cache_size: usize,
    ) -> Result<(DatabaseOpener, Database), OpenError> {
        let open = Box::new(move |builder: &Builder| builder.create_with_backend(backend()?));
        let opener = DatabaseOpener { name: "(storage backend)".into(), open, is_file: false, cache_size };
        let database = opener.open().map_err(|error| refusal(&opener.name, error))?;
        initialize_if_empty(&database).map_err(|error| OpenError::damaged(&opener.name, error))?;
        Ok((opener, database))
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

    /// Checks the format and reads what is needed at once. Tables of an older format are brought up to date, and content
    /// that no record names is removed.
    pub(super) fn prepare(&self, database: &Database) -> Result<FileHeader, OpenError> {
        let snapshot = database.begin_read().map_err(|error| OpenError::damaged(&self.name, error))?;
        let mut header = read_header(&self.name, &snapshot)?;
        drop(snapshot);
        migrate(database, header.format).map_err(|error| self.not_written(error))?;
        remove_orphans(database, &mut header.metadata).map_err(|error| self.not_written(error))?;
        Ok(header)
    }

    fn not_written(&self, error: redb::Error) -> OpenError {
        match error {
            redb::Error::Io(source) => {
                OpenError::Io { file: self.name.clone(), action: "write the queue file", source }
            }
            error => OpenError::damaged(&self.name, error),
        }
    }
}

/// Opens an existing file without writing to it, while no proxy has it.
pub(super) fn open_read_only(path: &Path, cache_size: usize) -> Result<(Database, FileHeader), OpenError> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(OpenError::Missing(path.to_owned())),
        Err(source) => {
            return Err(OpenError::Io { file: path.to_owned(), action: "read the queue file", source });
        }
        Ok(file) => refuse_what_is_no_database(path, file)?,
    }
    let database = open_unchanged(path, &builder(cache_size)).map_err(|error| refusal(path, error))?;
    let snapshot = database.begin_read().map_err(|error| OpenError::damaged(path, error))?;
    let header = read_header(path, &snapshot)?;
    Ok((database, header))
}

fn open_unchanged(path: &Path, builder: &Builder) -> Result<Database, DatabaseError> {
    builder.create_with_backend(CopyOnWriteFile::new(File::open(path)?)?)
}

fn builder(cache_size: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_size);
    builder
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

fn read_header(path: &Path, snapshot: &ReadTransaction) -> Result<FileHeader, OpenError> {
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
    let metadata = read_metadata(snapshot).map_err(|error| OpenError::damaged(path, error))?;
    Ok(FileHeader { metadata, instance, format: found })
}

/// After a failed flush the system may hold pages as clean that never reached the disk. What is read again must be
/// what is on the disk, so its cached pages are dropped. Best effort: where that fails, redb's checksums remain.
fn drop_cached_pages(path: &Path) {
    #[cfg(target_os = "linux")]
    if let Ok(file) = File::open(path) {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = path;
}
