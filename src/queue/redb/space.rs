//! How much room there is for new mail: on the file system that the queue file is on, and inside the file.
//!
//! The system is asked once in a millisecond at most. What happens in between is known: every transaction says how much
//! of the file is in use after it ([`super::usage`]), and what the writer has been reserved counts from that moment on.
//!
//! Pages that are free inside the file may be too scattered for a large content, and then the file grows all the same. So
//! a sixteenth of the file does not count, and the rest only as long as the file system itself has half as much to offer
//! as is said here: whoever keeps 64 MiB free by this number will find 32 free at the very least. Measured: with messages
//! of one size none of it was missing, with all sizes from 1 KB to 3 MB a tenth after five rounds of filling and draining.

use super::usage::Usage;
use crate::unix;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How old an answer of the system may be.
const FRESH: Duration = Duration::from_millis(1);
/// This part of the file is taken for free pages that are too scattered.
const SCATTERED: u64 = 16;

/// Knows the room for new mail.
pub(super) struct Space {
    /// The queue file; none on other storage, which does not say how much room it has.
    file: Option<PathBuf>,
    /// Bytes that the writer was reserved and has not committed.
    reserved: Arc<AtomicU64>,
    seen: Mutex<Option<Seen>>,
}

/// What the system said.
#[derive(Clone, Copy)]
struct Seen {
    at: Duration,
    /// Bytes free on the file system.
    free: u64,
    /// Bytes that the file takes of it, whether in use or not.
    held: u64,
}

/// Bytes reserved to the writer, until their operation has come to its end.
pub(super) struct Reservation {
    sum: Arc<AtomicU64>,
    bytes: u64,
}

impl Space {
    pub(super) fn new(file: Option<PathBuf>) -> Space {
        Space { file, reserved: Arc::default(), seen: Mutex::default() }
    }

    /// Counts what an operation will store.
    pub(super) fn reserve(&self, usage: Usage) -> Reservation {
        let bytes = usage.added();
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Reservation { sum: self.reserved.clone(), bytes }
    }

    /// Bytes that new mail may take, at this time of the monotonic clock and with so much of the file in use. None where
    /// the system does not say.
    pub(super) fn free_space(&self, now: Duration, usage: Usage) -> Option<u64> {
        let Seen { free, held, .. } = self.look(now, usage)?;
        let used = usage.bytes();
        let outside = free.saturating_sub(used.saturating_sub(held));
        let inside = held.saturating_sub(used).saturating_sub(held / SCATTERED);
        let room = outside.saturating_add(inside).min(outside.saturating_mul(2));
        Some(room.saturating_sub(self.reserved.load(Ordering::Relaxed)))
    }

    fn look(&self, now: Duration, usage: Usage) -> Option<Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = *seen
            && now.saturating_sub(seen.at) < FRESH
        {
            return Some(seen);
        }
        let (free, held) = unix::disk_space(self.file.as_deref()?).ok()?;
        // A file that has less than was counted: from here on every further byte is one less on the file system.
        *seen = Some(Seen { at: now, free, held: held.max(usage.bytes()) });
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

    fn usage(parts: usize) -> Usage {
        let mut usage = Usage::default();
        (0..parts).for_each(|_| usage.add_part(100_000));
        usage
    }

    fn space(free: u64, held: u64) -> Space {
        let space = Space::new(None);
        *space.seen.lock().unwrap() = Some(Seen { at: Duration::ZERO, free, held });
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
        let inside = full.bytes() - empty.bytes() - full.bytes() / SCATTERED;
        assert_eq!(space.free_space(Duration::ZERO, empty), Some(100_000_000 + inside));
        let reserved = space.reserve(usage(1));
        assert_eq!(space.free_space(Duration::ZERO, full), Some(100_000_000 - usage(1).added()));
        drop(reserved);
        assert_eq!(space.free_space(Duration::ZERO, full), Some(100_000_000));
        assert_eq!(space.free_space(FRESH, full), None, "other storage does not say");
    }

    #[test]
    fn room_inside_the_file_counts_only_as_much_as_is_free_outside() {
        let space = space(1_000, usage(1_000).bytes());
        assert_eq!(space.free_space(Duration::ZERO, usage(0)), Some(2_000));
        let more = usage(1_000).bytes() - usage(999).bytes();
        assert!(more > 1_000);
        assert_eq!(space.free_space(Duration::ZERO, usage(1_001)), Some(0));
    }
}
