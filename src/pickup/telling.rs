//! What people are told of a folder: each trouble once, and files that were refused as one event a minute.

use super::status::PickupStatus;
use crate::clock::Clock;
use crate::event::{EventType, Fact, code};
use crate::queue::EventLog;
use std::sync::Arc;
use std::time::Duration;

/// For as long refused files become one event.
const COUNTING_PERIOD: Duration = Duration::from_secs(60);

/// Tells of one pickup.
pub(super) struct Telling {
    events: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    status: Arc<PickupStatus>,
    name: String,
    /// Monotonic time of the last event about refused files.
    told: Option<Duration>,
    /// Refused since, and the last of them in words.
    refused: u64,
    last: String,
}

impl Telling {
    pub(super) fn new(
        events: Arc<dyn EventLog>,
        clock: Arc<dyn Clock>,
        status: Arc<PickupStatus>,
        name: &str,
    ) -> Telling {
        Telling { events, clock, status, name: name.to_owned(), told: None, refused: 0, last: String::new() }
    }

    /// Nothing can be taken now, because of that: an event, unless it was told already.
    pub(super) fn trouble(&self, what: &str) {
        if self.status.set(&self.name, Some(what)).as_deref() != Some(what) {
            self.event(EventType::Warning, code::STORAGE, format!("pickup.{}: {what}", self.name));
        }
    }

    /// Mail is taken.
    pub(super) fn works(&self) {
        if self.status.set(&self.name, None).is_some() {
            let text = format!("pickup.{}: mail is taken from the folder again", self.name);
            self.event(EventType::Information, code::STORAGE, text);
        }
    }

    /// A file that stays where it is, for a reason that is its own.
    pub(super) fn stays(&self, what: &str) {
        self.event(EventType::Warning, code::STORAGE, format!("pickup.{}: {what}", self.name));
    }

    /// A file was refused, and moved aside.
    pub(super) fn refused(&mut self, what: &str) {
        tracing::warn!(pickup = self.name, "{what}");
        self.refused += 1;
        what.clone_into(&mut self.last);
        self.refusals_due(false);
    }

    /// Tells of refused files, where the minute since the last event about them is over. `all`: in any case, for the end.
    pub(super) fn refusals_due(&mut self, all: bool) {
        let now = self.clock.monotonic();
        let is_over = self.told.is_none_or(|told| now.saturating_sub(told) >= COUNTING_PERIOD);
        if self.refused == 0 || !(is_over || all) {
            return;
        }
        let more = match std::mem::take(&mut self.refused) {
            1 => String::new(),
            count => format!(" ({count} files since the event before)"),
        };
        self.told = Some(now);
        let text = format!("pickup.{}: {}{more}", self.name, self.last);
        self.record(EventType::Warning, code::REFUSED, text);
    }

    fn event(&self, kind: EventType, code: &str, text: String) {
        match kind {
            EventType::Information => tracing::info!("{text}"),
            _ => tracing::warn!("{text}"),
        }
        self.record(kind, code, text);
    }

    fn record(&self, kind: EventType, code: &str, text: String) {
        self.events.record(vec![Fact::new(self.clock.wall(), kind, "Pickup", code, text)]);
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.refusals_due(true);
        self.status.set(&self.name, None);
    }
}
