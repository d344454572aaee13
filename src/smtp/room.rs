//! Is there room for another message? Asked at MAIL and again before the message is stored, so it must be cheap: the
//! queue answers from counters, the file system is asked once a second at most.

use super::FrontDoor;
use super::reply::Reply;
use crate::config::Settings;
use crate::event::{EventType, Fact, code};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How old an answer of the file system may be.
const FRESH: Duration = Duration::from_secs(1);

/// What the file system said last.
#[derive(Debug, Default)]
pub struct FreeSpace(Mutex<Option<Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Duration,
    free: u64,
    low: bool,
}

impl FrontDoor {
    /// Why a message of that many octets cannot be taken now, if it cannot. The first refusal of an episode of low
    /// space is recorded as an event.
    pub fn no_room(&self, settings: &Settings, size: u64) -> Option<Reply> {
        let cap = settings.queue.max_messages;
        if cap > 0 && self.queue.health().messages() >= cap {
            return Some(Reply::new(
                452,
                3,
                1,
                "the queue holds `max_messages`: try again when some have left, or raise it under [queue]",
            ));
        }
        let floor = settings.queue.min_free_space;
        if floor == 0 || self.free_space(settings)?.saturating_sub(size) >= floor {
            return None;
        }
        Some(Reply::new(
            452,
            3,
            1,
            "the disk is full but for `min_free_space`: make room in Postroom's data_dir",
        ))
    }

    /// Octets free on the queue's file system. None where it cannot say: then storing will tell.
    fn free_space(&self, settings: &Settings) -> Option<u64> {
        let now = self.clock.monotonic();
        let mut last = self.space.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = *last
            && now.saturating_sub(seen.at) < FRESH
        {
            return Some(seen.free);
        }
        let space = rustix::fs::statvfs(&settings.data_dir).ok()?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let low = free < settings.queue.min_free_space;
        if low && !last.is_some_and(|seen| seen.low) {
            let text = format!(
                "only {free} octets are free in {}, less than min_free_space: no mail is accepted",
                settings.data_dir.display()
            );
            tracing::warn!("{text}");
            self.queue.record(vec![Fact::new(
                self.clock.wall(),
                EventType::Warning,
                "Queue",
                code::LOW_DISK,
                text,
            )]);
        }
        *last = Some(Seen { at: now, free, low });
        Some(free)
    }
}
