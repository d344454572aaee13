//! Is there room for another message? Asked at MAIL, for what the client announces, and again for whatever comes beyond
//! that, before it is stored: `min_free_space` stays free, however many clients send at the same time.
//!
//! The queue says how much room there is. What was promised to transactions under way is taken off here, until
//! it is with the queue, which counts it from then on.

use super::FrontDoor;
use super::reply::Reply;
use crate::config::Settings;
use crate::event::{EventType, Fact, code};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What has been promised, and whether room is short.
#[derive(Debug, Default)]
pub struct Room(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Octets promised to transactions and not with the queue yet.
    promised: u64,
    /// An episode of low space has begun and is not over.
    low: bool,
}

/// Octets that one transaction may still store. Given back when it is dropped.
#[must_use]
pub struct Promise<'d> {
    door: &'d FrontDoor,
    settings: Arc<Settings>,
    octets: u64,
}

impl FrontDoor {
    /// Promises room for a message of so many octets, or says why it cannot be taken now.
    pub fn promise(&self, settings: &Arc<Settings>, octets: u64) -> Result<Promise<'_>, Reply> {
        self.below_cap(settings)?;
        let mut promise = self.no_promise(settings);
        promise.cover(octets)?;
        Ok(promise)
    }

    /// Nothing promised: room is asked for when content comes.
    pub fn no_promise(&self, settings: &Arc<Settings>) -> Promise<'_> {
        Promise { door: self, settings: settings.clone(), octets: 0 }
    }

    /// Whether the queue may hold one more message.
    pub fn below_cap(&self, settings: &Settings) -> Result<(), Reply> {
        let cap = settings.queue.max_messages;
        if cap == 0 || self.queue.status().messages() < cap {
            return Ok(());
        }
        Err(Reply::new(
            452,
            3,
            1,
            "the queue holds `max_messages`: try again when some have left, or raise it under [queue]",
        ))
    }

    /// Whether there is less room than `min_free_space` now. The beginning of an episode is an event, and its end is.
    pub fn watch_room(&self, settings: &Settings) {
        let Some(room) = self.queue.free_space() else { return };
        let state = self.room_state();
        let floor = settings.queue.min_free_space;
        if !state.low && room < floor {
            self.begin_episode(state, settings, room);
        } else if state.low && room >= floor.saturating_add(floor / 8) {
            self.end_episode(state, room);
        }
    }

    fn begin_episode(&self, mut state: MutexGuard<'_, State>, settings: &Settings, room: u64) {
        state.low = true;
        let file = settings.queue.path.display();
        let text = format!(
            "there is room for {room} octets on the disk of {file}, and min_free_space keeps {} free: no mail is \
             accepted until mail has left or room is made on that disk",
            settings.queue.min_free_space
        );
        tracing::warn!("{text}");
        self.record_room(EventType::Warning, text);
    }

    fn end_episode(&self, mut state: MutexGuard<'_, State>, room: u64) {
        state.low = false;
        let text = format!("there is room for {room} octets of mail again: mail is accepted");
        tracing::info!("{text}");
        self.record_room(EventType::Information, text);
    }

    fn record_room(&self, kind: EventType, text: String) {
        self.queue.record(vec![Fact::new(self.clock.wall(), kind, "Queue", code::LOW_DISK, text)]);
    }

    fn room_state(&self) -> MutexGuard<'_, State> {
        self.room.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Promise<'_> {
    /// Sees to it that so many octets may be stored next, of which some may have been promised already.
    pub fn cover(&mut self, octets: u64) -> Result<(), Reply> {
        let floor = self.settings.queue.min_free_space;
        let more = octets.saturating_sub(self.octets);
        // Under the lock, so that what passes from here to the queue at this moment is counted in one place at least.
        let mut state = self.door.room_state();
        if floor > 0
            && (more > 0 || self.octets == 0)
            && let Some(room) = self.door.queue.free_space()
            && room.saturating_sub(state.promised).saturating_sub(more) < floor
        {
            // Else it is this message that is too large for what there is.
            if !state.low && room < floor {
                self.door.begin_episode(state, &self.settings, room);
            }
            return Err(Reply::new(
                452,
                3,
                1,
                "the disk is full but for `min_free_space`: try again when mail has left, or make room on the disk of \
                 Postroom's queue",
            ));
        }
        state.promised = state.promised.saturating_add(more);
        self.octets += more;
        Ok(())
    }

    /// So many octets are with the queue now.
    pub fn stored(&mut self, octets: u64) {
        let done = octets.min(self.octets);
        self.octets -= done;
        let mut state = self.door.room_state();
        state.promised = state.promised.saturating_sub(done);
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.stored(self.octets);
    }
}
