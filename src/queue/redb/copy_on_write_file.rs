//! A queue file opened without writing to it: what redb writes while it opens and closes stays in memory.
//!
//! redb's own read-only mode refuses a file that a killed process has left, quick repair or not. A listing must not
//! need a repaired file, nor the right to write it.

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE: usize = 4096;

/// Reads the file, except the pages that were written, which are in memory.
#[derive(Debug)]
pub(super) struct CopyOnWriteFile {
    file: FileBackend,
    changes: Mutex<ChangedPages>,
}

#[derive(Debug)]
struct ChangedPages {
    length: u64,
    /// Up to here unwritten bytes are those of the file; beyond it they are zero.
    from_file: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl CopyOnWriteFile {
    pub(super) fn new(file: File) -> Result<CopyOnWriteFile, DatabaseError> {
        let length = file.metadata()?.len();
        let changes = ChangedPages { length, from_file: length, pages: BTreeMap::new() };
        Ok(CopyOnWriteFile { file: FileBackend::new(file)?, changes: Mutex::new(changes) })
    }

    fn changes(&self) -> MutexGuard<'_, ChangedPages> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_file(&self, changes: &ChangedPages, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = changes.from_file.saturating_sub(offset).min(out.len() as u64) as usize;
        let (below, behind) = out.split_at_mut(there);
        behind.fill(0);
        if below.is_empty() { Ok(()) } else { self.file.read(offset, below) }
    }
}

impl StorageBackend for CopyOnWriteFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes();
        let end = offset + out.len() as u64;
        if end > changes.length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.read_file(&changes, offset, out)?;
        for (number, page) in changes.pages.range(offset / PAGE as u64..end.div_ceil(PAGE as u64)) {
            let start = number * PAGE as u64;
            let (from, to) = (start.max(offset), (start + PAGE as u64).min(end));
            let part = &page[(from - start) as usize..(to - start) as usize];
            out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut changes = self.changes();
        changes.from_file = changes.from_file.min(length);
        changes.length = length;
        changes.pages.retain(|number, _| number * (PAGE as u64) < length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes();
        changes.length = changes.length.max(offset + data.len() as u64);
        let mut left = data;
        let mut at = offset;
        while !left.is_empty() {
            let (number, inside) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let (now, later) = left.split_at(left.len().min(PAGE - inside));
            if !changes.pages.contains_key(&number) {
                let mut page = vec![0; PAGE].into_boxed_slice();
                self.read_file(&changes, number * PAGE as u64, &mut page)?;
                changes.pages.insert(number, page);
            }
            if let Some(page) = changes.pages.get_mut(&number) {
                page[inside..inside + now.len()].copy_from_slice(now);
            }
            (left, at) = (later, at + now.len() as u64);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    /// A shared lock: several readers may have the file, but not while a proxy writes it.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
