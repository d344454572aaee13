//! Is there space on the disk for another message? Asked at MAIL, for the size that the client announces, and again for what
//! comes beyond that, before it is stored: `min_free_space` stays free, however many clients send at the same time.
//!
//! The queue says how much space there is for mail. What transactions under way have reserved is subtracted here, until
//! the queue has their content and counts it itself.

use super::not_accepted::NotAccepted;
use crate::clock::Clock;
use crate::config::Settings;
use crate::event::{EventType, Fact, code};
use crate::queue::MailStore;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The space that transactions have reserved, and whether space is low.
pub struct DiskSpace {
    queue: Arc<dyn MailStore>,
    clock: Arc<dyn Clock>,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    /// Octets that transactions have reserved and the queue does not have yet.
    reserved: u64,
    /// An event has said that space is low, and none yet that it no longer is.
    low: bool,
}

/// Octets that one transaction may still store. Given back when it is dropped.
#[must_use]
pub(crate) struct SpaceReservation<'d> {
    space: &'d DiskSpace,
    settings: Arc<Settings>,
    octets: u64,
}

impl DiskSpace {
    /// Nothing reserved.
    pub(crate) fn new(queue: Arc<dyn MailStore>, clock: Arc<dyn Clock>) -> DiskSpace {
        DiskSpace { queue, clock, usage: Mutex::default() }
    }

    /// Reserves space for a message of so many octets, or says why it cannot be taken now.
    pub(crate) fn reserve(
        &self,
        settings: &Arc<Settings>,
        octets: u64,
    ) -> Result<SpaceReservation<'_>, NotAccepted> {
        self.check_message_count(settings)?;
        let mut reservation = self.reserve_nothing(settings);
        reservation.ensure(octets)?;
        Ok(reservation)
    }

    /// A reservation that grows when content comes.
    pub(crate) fn reserve_nothing(&self, settings: &Arc<Settings>) -> SpaceReservation<'_> {
        SpaceReservation { space: self, settings: settings.clone(), octets: 0 }
    }

    /// Whether the queue may hold one more message (`max_messages`).
    pub(crate) fn check_message_count(&self, settings: &Settings) -> Result<(), NotAccepted> {
        match settings.queue.max_messages {
            0 => Ok(()),
            most if self.queue.status().messages() < most => Ok(()),
            _ => Err(NotAccepted::TooManyMessages),
        }
    }

    /// Records an event when less than `min_free_space` is left, and another when that is over: once there is an eighth more,
    /// so that a disk near the limit does not fill the log.
    pub fn record_changes(&self, settings: &Settings) {
        let Some(free) = self.queue.free_space() else { return };
        let usage = self.lock();
        let least = settings.queue.min_free_space;
        if !usage.low && free < least {
            self.record_low(usage, settings, free);
        } else if usage.low && free >= least.saturating_add(least / 8) {
            self.record_recovered(usage, free);
        }
    }

    fn record_low(&self, mut usage: MutexGuard<'_, Usage>, settings: &Settings, free: u64) {
        usage.low = true;
        let file = settings.queue.path.display();
        let text = format!(
            "there is room for {free} octets on the disk of {file}, and min_free_space keeps {} free: no mail is \
             accepted until mail has left or room is made on that disk",
            settings.queue.min_free_space
        );
        tracing::warn!("{text}");
        self.record(EventType::Warning, text);
    }

    fn record_recovered(&self, mut usage: MutexGuard<'_, Usage>, free: u64) {
        usage.low = false;
        let text = format!("there is room for {free} octets of mail again: mail is accepted");
        tracing::info!("{text}");
        self.record(EventType::Information, text);
    }

    fn record(&self, kind: EventType, text: String) {
        self.queue.record(vec![Fact::new(self.clock.wall(), kind, "Queue", code::LOW_DISK, text)]);
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpaceReservation<'_> {
    /// Makes sure that so many octets may be stored next; some of them may be reserved already.
    pub(crate) fn ensure(&mut self, octets: u64) -> Result<(), NotAccepted> {
        let least = self.settings.queue.min_free_space;
        let more = octets.saturating_sub(self.octets);
        // The queue is asked under the lock: content that goes from a reservation to the queue at this moment is then counted
        // twice at worst, and never not at all.
        let mut usage = self.space.lock();
        if least > 0
            && (more > 0 || self.octets == 0)
            && let Some(free) = self.space.queue.free_space()
            && free.saturating_sub(usage.reserved).saturating_sub(more) < least
        {
            // With more than `min_free_space` free, this one message is too large, and that is no event.
            if !usage.low && free < least {
                self.space.record_low(usage, &self.settings, free);
            }
            return Err(NotAccepted::MinFreeSpace);
        }
        usage.reserved = usage.reserved.saturating_add(more);
        self.octets += more;
        Ok(())
    }

    /// The queue has so many octets now and counts them itself.
    pub(crate) fn stored(&mut self, octets: u64) {
        let done = octets.min(self.octets);
        self.octets -= done;
        let mut usage = self.space.lock();
        usage.reserved = usage.reserved.saturating_sub(done);
    }
}

impl Drop for SpaceReservation<'_> {
    fn drop(&mut self) {
        self.stored(self.octets);
    }
}
