//! How much space there is for new mail: on the file system of the queue file, and inside the file.
//!
//! The system is asked once in a millisecond at most. In between it is calculated: every transaction counts how much
//! of the file is in use after it ([`super::usage`]), and operations that are sent to the writer reserve space at once.
//!
//! Pages that are free inside the file may be too scattered for a large content, and then the file grows all the same. So
//! a sixteenth of the file does not count, and the rest only as long as the file system itself has half as much to offer
//! as is returned here: with 64 MiB free by this number, 32 are free on the file system at the very least. Measured: with messages
//! of one size none of it was missing, with all sizes from 1 KB to 3 MB a tenth after five rounds of filling and draining.

use super::usage::FileUsage;
use crate::unix;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How old an answer of the system may be.
const MAX_AGE: Duration = Duration::from_millis(1);
/// This part of the file does not count as free, since free pages may be too scattered (see above).
const FRAGMENTED_PART: u64 = 16;

/// Calculates the space for new mail.
pub(super) struct FreeSpace {
    /// The queue file; none on other storage, which does not say how much space it has.
    file: Option<PathBuf>,
    /// Bytes that operations sent to the writer will store.
    reserved: Arc<AtomicU64>,
    last_seen: Mutex<Option<FileSystemSpace>>,
}

/// The answer of the system.
#[derive(Clone, Copy)]
struct FileSystemSpace {
    at: Duration,
    /// Bytes free on the file system.
    free: u64,
    /// Bytes that the file takes of it, whether in use or not.
    allocated: u64,
}

/// Bytes that an operation will store. They count as used until this is dropped.
pub(super) struct Reservation {
    sum: Arc<AtomicU64>,
    bytes: u64,
}

impl FreeSpace {
    pub(super) fn new(file: Option<PathBuf>) -> FreeSpace {
        FreeSpace { file, reserved: Arc::default(), last_seen: Mutex::default() }
    }

    /// Reserves what an operation will store.
    pub(super) fn reserve(&self, usage: FileUsage) -> Reservation {
        let bytes = usage.added();
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Reservation { sum: self.reserved.clone(), bytes }
    }

    /// Bytes that new mail may take, at this time of the monotonic clock and with so much of the file in use. None where
    /// the system does not say.
    pub(super) fn free_space(&self, now: Duration, usage: FileUsage) -> Option<u64> {
        let FileSystemSpace { free, allocated, .. } = self.disk_space(now, usage)?;
        let used = usage.bytes();
        let outside = free.saturating_sub(used.saturating_sub(allocated));
        let inside = allocated.saturating_sub(used).saturating_sub(allocated / FRAGMENTED_PART);
        let space = outside.saturating_add(inside).min(outside.saturating_mul(2));
        Some(space.saturating_sub(self.reserved.load(Ordering::Relaxed)))
    }

    fn disk_space(&self, now: Duration, usage: FileUsage) -> Option<FileSystemSpace> {
        let mut seen = self.last_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = *seen
            && now.saturating_sub(seen.at) < MAX_AGE
        {
            return Some(seen);
        }
        let (free, allocated) = unix::disk_space(self.file.as_deref()?).ok()?;
        // A file that has less than was counted: from here on every further byte is one less on the file system.
        *seen = Some(FileSystemSpace { at: now, free, allocated: allocated.max(usage.bytes()) });
        *seen
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.sum.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(parts: usize) -> FileUsage {
        let mut usage = FileUsage::default();
        (0..parts).for_each(|_| usage.add_part(100_000));
        usage
    }

    fn space(free: u64, allocated: u64) -> FreeSpace {
        let space = FreeSpace::new(None);
        *space.last_seen.lock().unwrap() = Some(FileSystemSpace { at: Duration::ZERO, free, allocated });
        space
    }

    #[test]
    fn what_mail_takes_and_leaves_counts_between_two_looks() {
        let full = usage(100);
        let space = space(100_000_000, full.bytes());
        assert_eq!(space.free_space(Duration::ZERO, full), Some(100_000_000));
        let more = usage(150);
        assert_eq!(space.free_space(Duration::ZERO, more), Some(100_000_000 - (more.bytes() - full.bytes())));
        let empty = usage(0);
        let inside = full.bytes() - empty.bytes() - full.bytes() / FRAGMENTED_PART;
        assert_eq!(space.free_space(Duration::ZERO, empty), Some(100_000_000 + inside));
        let reservation = space.reserve(usage(1));
        assert_eq!(space.free_space(Duration::ZERO, full), Some(100_000_000 - usage(1).added()));
        drop(reservation);
        assert_eq!(space.free_space(Duration::ZERO, full), Some(100_000_000));
        assert_eq!(space.free_space(MAX_AGE, full), None, "other storage does not say");
    }

    #[test]
    fn space_inside_the_file_counts_only_as_much_as_is_free_outside() {
        let space = space(1_000, usage(1_000).bytes());
        assert_eq!(space.free_space(Duration::ZERO, usage(0)), Some(2_000));
        let more = usage(1_000).bytes() - usage(999).bytes();
        assert!(more > 1_000);
        assert_eq!(space.free_space(Duration::ZERO, usage(1_001)), Some(0));
    }
}
