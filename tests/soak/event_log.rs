//! What the proxy's own event log says: which queue ids it calls delivered, in the commit that removed them.
//!
//! Read whenever the proxy has been stopped, often enough that nothing is trimmed before.

use super::ledger::Ledger;
use super::letter;
use postroom::event::EventType;
use postroom::mail::QueueId;
use postroom::queue::redb::ReadOnlyQueue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Events that the proxy keeps: far more than it writes between two readings.
pub const KEPT: u64 = 2_000_000;
/// Events read at a time.
const PAGE: usize = 10_000;

/// What was read so far.
#[derive(Default)]
pub struct EventLog {
    next: u64,
    /// How often each queue id is called delivered: to its recipient, to a report address, or by debug.
    pub delivered: HashMap<QueueId, u32>,
    /// Numbers that debug has logged and nobody was sent, with their queue ids.
    pub logged: BTreeMap<u64, BTreeSet<QueueId>>,
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
                let (Some(id), Some(recipient)) = (fact.queue_id, &fact.recipient) else { continue };
                let is_logged = fact.message.starts_with("logged only");
                let ends = ["delivered", "redirected: a report address took it"];
                let is_delivery = is_logged || ends.iter().any(|end| fact.message.starts_with(end));
                if fact.kind != EventType::Information || !is_delivery {
                    continue;
                }
                *self.delivered.entry(id).or_default() += 1;
                match letter::number_of(recipient) {
                    Ok(number) if is_logged => {
                        self.logged.entry(number).or_default().insert(id);
                    }
                    Ok(_) => {}
                    Err(what) => ledger.wrong(format!("an event about <{recipient}>: {what}")),
                }
            }
        }
    }
}
