//! What the proxy's own event log says: which queue ids it calls delivered, in the commit that removed them.
//!
//! Read whenever the proxy has been stopped, often enough that nothing is trimmed before.

use super::ledger::Ledger;
use postroom::event::EventType;
use postroom::mail::QueueId;
use postroom::queue::redb::ReadOnlyQueue;
use std::collections::HashMap;
use std::path::Path;

/// Events that the proxy keeps: far more than it writes between two readings.
pub const KEPT: u64 = 2_000_000;
/// Events read at a time.
const PAGE: usize = 10_000;

/// What was read so far.
#[derive(Default)]
pub struct EventLog {
    next: u64,
    /// How often each queue id is called delivered.
    pub delivered: HashMap<QueueId, u32>,
}

impl EventLog {
    /// Reads on where it stopped. Ids count up by one: a gap is wrong.
    pub fn read(&mut self, queue_file: &Path, ledger: &Ledger) {
        let reader = ReadOnlyQueue::open(queue_file).expect("the queue file of a proxy that has stopped");
        loop {
            let events = reader.events(Some(self.next), PAGE).expect("an event log that can be read");
            let Some(last) = events.last() else { return };
            if self.next > 0 && (events[0].id, last.id) != (self.next, self.next + events.len() as u64 - 1) {
                ledger.wrong(format!("of the events from {} on, some are missing", self.next));
            }
            self.next = last.id + 1;
            for fact in events.into_iter().map(|event| event.fact) {
                let is_delivery = fact.kind == EventType::Information
                    && fact.recipient.is_some()
                    && fact.message.starts_with("delivered");
                if let Some(id) = fact.queue_id.filter(|_| is_delivery) {
                    *self.delivered.entry(id).or_default() += 1;
                }
            }
        }
    }
}
