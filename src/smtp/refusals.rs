//! Which clients were refused, as events: `REFUSED`, a warning that says who, where, why and how often
//! (docs/rules.md#events).
//!
//! A client is refused when it gets no session or its session is ended because of what it did (421, 554), and when mail of
//! its is refused for good: a 5xx to MAIL, to RCPT or to content. No event follows from a command that is unknown or comes at
//! the wrong time, because that ends nothing; from 4xx, because the client comes again; from deadlines; from our own stop.
//!
//! The first refusal of a client is an event at once. Those of the minute after it are counted, and one event
//! reports them when the minute is over or when the proxy stops: every refusal is in an event, and a client that tries all day is one
//! event a minute. The server calls [`Refusals::record_due`] once a second; there is no timer for each client.
//!
//! # Limits
//! The refusals of [`MAX_CLIENTS`] clients are counted one by one; those of all others are counted together.

use super::reply::ReplyToClient;
use crate::clock::Clock;
use crate::event::{EventType, Fact, code};
use crate::queue::EventLog;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many clients have a count of their own: a network full of clients fills neither memory nor the list of events.
pub const MAX_CLIENTS: usize = 256;
/// For how long the refusals of one client become one event.
pub const COUNTING_PERIOD: Duration = Duration::from_secs(60);

/// Counts the refused clients and records events about them.
pub struct Refusals {
    events: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    by_client: HashMap<IpAddr, Count>,
    /// Of all clients for which `by_client` had no place.
    others: Option<Count>,
}

/// The refusals of one client since the last event about it.
#[derive(Debug)]
struct Count {
    /// Monotonic time of that event.
    since: Duration,
    refusals: u64,
    /// The last of them, in words.
    last: String,
}

impl Refusals {
    /// Nobody refused yet.
    pub(super) fn new(events: Arc<dyn EventLog>, clock: Arc<dyn Clock>) -> Refusals {
        Refusals { events, clock, counts: Mutex::default() }
    }

    /// Counts that a listener refused a client with this reply, and records it if it is the first of a minute.
    pub(super) fn add(&self, client: IpAddr, listener: &str, reply: &ReplyToClient) {
        let now = self.clock.monotonic();
        let text = describe(client, listener, reply);
        let due = {
            let mut counts = self.lock();
            let Counts { by_client, others } = &mut *counts;
            let has_place = by_client.len() < MAX_CLIENTS;
            match by_client.get_mut(&client) {
                Some(count) => count.add(now, text),
                None if has_place => {
                    by_client.insert(client, Count::new(now));
                    Some(text)
                }
                None => others.get_or_insert_with(|| Count::new(now)).add(now, text).map(of_others),
            }
        };
        self.record(due);
    }

    /// Records what was counted of clients whose minute is over, and forgets those of whom nothing was counted.
    pub fn record_due(&self) {
        let now = self.clock.monotonic();
        self.record_where(|count| count.is_over(now));
    }

    /// Records all that was counted. For the end, when nobody calls [`Refusals::record_due`] any more.
    pub fn record_all(&self) {
        self.record_where(|_| true);
    }

    fn record_where(&self, is_due: impl Fn(&Count) -> bool) {
        let now = self.clock.monotonic();
        let mut due = Vec::new();
        {
            let mut counts = self.lock();
            counts.by_client.retain(|_, count| {
                if !is_due(count) {
                    return true;
                }
                let text = count.take(now);
                // With this event the client's next minute begins.
                let stays = text.is_some();
                due.extend(text);
                stays
            });
            let others = counts.others.take_if(|others| is_due(others));
            due.extend(others.and_then(|mut others| others.take(now)).map(of_others));
        }
        self.record(due);
    }

    fn record(&self, texts: impl IntoIterator<Item = String>) {
        let time = self.clock.wall();
        let fact = |text| Fact::new(time, EventType::Warning, "Listener", code::REFUSED, text);
        let facts: Vec<Fact> = texts.into_iter().map(fact).collect();
        if !facts.is_empty() {
            self.events.record(facts);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn new(now: Duration) -> Count {
        Count { since: now, refusals: 0, last: String::new() }
    }

    /// One more refusal. Where the minute is over, the text of the event that is due.
    fn add(&mut self, now: Duration, text: String) -> Option<String> {
        self.refusals = self.refusals.saturating_add(1);
        self.last = text;
        if self.is_over(now) { self.take(now) } else { None }
    }

    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= COUNTING_PERIOD
    }

    /// The text of an event about what was counted, if anything was; a new minute begins.
    fn take(&mut self, now: Duration) -> Option<String> {
        let last = std::mem::take(&mut self.last);
        self.since = now;
        match std::mem::take(&mut self.refusals) {
            0 => None,
            1 => Some(last),
            count => Some(format!("{last} ({count} times since the event before)")),
        }
    }
}

fn describe(client: IpAddr, listener: &str, reply: &ReplyToClient) -> String {
    let ReplyToClient { code, enhanced, text } = reply;
    let enhanced = enhanced.map(|enhanced| format!("{enhanced} ")).unwrap_or_default();
    format!("{client} was refused by listener {listener}: {code} {enhanced}{text}")
}

fn of_others(text: String) -> String {
    format!("more than {MAX_CLIENTS} clients were refused within a minute; the last of the others: {text}")
}
