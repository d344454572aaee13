//! What the proxy's own event log says: which queue ids it calls delivered or failed, in the commit that decided it, and which
//! notices it has queued.
//!
//! Read whenever the proxy has been stopped, often enough that nothing is trimmed before.

use super::ledger::Ledger;
use super::letter;
use postroom::event::{Event, EventType, Fact, code};
use postroom::mail::QueueId;
use postroom::mail::printable::escaped_json;
use postroom::queue::redb::ReadOnlyQueue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// Events that the proxy keeps: far more than it writes between two readings.
pub const KEPT: u64 = 2_000_000;
/// Events read at a time.
const PAGE: usize = 10_000;

/// What was read so far.
#[derive(Default)]
pub struct EventLog {
    next: u64,
    /// Of each event as JSON, by id from 0 on.
    hashes: Vec<u64>,
    /// How often each queue id is called delivered: to its recipient, to a report address, or by debug.
    pub delivered: HashMap<QueueId, u32>,
    /// How often each queue id is said to have failed.
    pub failed: HashMap<QueueId, u32>,
    /// Numbers that debug has logged and nobody was sent, or that failed, with their queue ids.
    pub ended: BTreeMap<u64, BTreeSet<QueueId>>,
    /// Notices that debug has logged and nobody was sent.
    pub logged_notices: BTreeSet<QueueId>,
    /// The notices about each queue id.
    pub notices: HashMap<QueueId, Vec<QueueId>>,
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
            events.iter().for_each(|event| self.remember(event));
            for fact in events.into_iter().map(|event| event.fact) {
                if let Err(what) = self.note(&fact) {
                    ledger.wrong(format!("{}: {what}", fact.message));
                }
            }
        }
    }

    fn remember(&mut self, event: &Event) {
        let json = serde_json::to_string(event).expect("an event can be written as JSON");
        self.hashes.resize(usize::try_from(event.id).expect("not so many"), 0);
        self.hashes.push(xxh3_64(escaped_json(&json).as_bytes()));
    }

    /// A hash of the event as JSON; none where there is no such event.
    pub fn hash_of(&self, id: u64) -> Option<u64> {
        self.hashes.get(usize::try_from(id).ok()?).copied()
    }

    fn note(&mut self, fact: &Fact) -> Result<(), String> {
        let Some(id) = fact.queue_id else { return Ok(()) };
        if fact.code == code::BOUNCED {
            let notice = fact.message.rsplit_once("by message ").ok_or("which notice it is")?.1;
            let notice = notice.parse().map_err(|error| format!("{notice}: {error}"))?;
            self.notices.entry(id).or_default().push(notice);
            return Ok(());
        }
        let Some(recipient) = &fact.recipient else { return Ok(()) };
        let begins = |words: &str| fact.message.starts_with(words);
        let is_logged = begins("logged only");
        let is_delivery = is_logged || begins("delivered") || begins("redirected: a report address took it");
        match fact.kind {
            EventType::Information if is_delivery => *self.delivered.entry(id).or_default() += 1,
            EventType::Error if begins("refused for good by") => *self.failed.entry(id).or_default() += 1,
            _ => return Ok(()),
        }
        if recipient == letter::SENDER {
            if is_logged {
                self.logged_notices.insert(id);
            }
            return Ok(());
        }
        let number = letter::number_of(recipient)?;
        if is_logged || fact.kind == EventType::Error {
            self.ended.entry(number).or_default().insert(id);
        }
        Ok(())
    }
}
