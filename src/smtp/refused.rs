//! Which clients were refused, as events: `REFUSED`, a warning that says who, where, why and how often (docs/rules.md#events).
//!
//! A client is refused when it gets no session or its session is ended because of what it did (421, 554), and when mail of
//! its is refused for good: a 5xx to MAIL, to RCPT or to content. Not: a command that is unknown or comes at the
//! wrong time, which ends nothing; 4xx, after which it comes again; deadlines; our own stop.
//!
//! The first refusal of a client is an event at once. Those that follow within a minute are counted, and told together when the
//! minute is over or when the proxy stops: no refusal is lost, and a client that tries all day is one event a minute.
//! [`FrontDoor::tell_refusals`] is to be called now and then; there is no timer for each client.
//!
//! # Limits
//! [`CLIENTS`] are told apart at a time; the refusals of more are counted together.

use super::FrontDoor;
use super::reply::Reply;
use crate::event::{EventType, Fact, code};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many clients are told apart within a minute: a whole network that knocks neither fills memory nor the journal.
pub const CLIENTS: usize = 256;
/// How long the refusals of one client are one event.
pub const EPISODE: Duration = Duration::from_secs(60);

/// Who was refused within the last minute.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    clients: HashMap<IpAddr, Episode>,
    /// Refusals of clients for which there was no place, since they were told last.
    others: Option<Episode>,
}

/// What has happened since an event told about it.
#[derive(Debug)]
struct Episode {
    /// Monotonic time of that event.
    told: Duration,
    /// Refusals that no event has told yet.
    count: u64,
    /// The last of them, in words.
    last: String,
}

impl FrontDoor {
    /// Records that a client was refused on a listener, with what it was told.
    pub fn refused(&self, client: IpAddr, listener: &str, reply: &Reply) {
        let now = self.clock.monotonic();
        let last = words(client, listener, reply);
        let told = {
            let mut recent = self.recent();
            let Recent { clients, others } = &mut *recent;
            let room = clients.len() < CLIENTS;
            match clients.get_mut(&client) {
                Some(episode) => episode.add(now, last),
                None if room => {
                    clients.insert(client, Episode { told: now, count: 0, last: String::new() });
                    Some(last)
                }
                None => {
                    let nobody = Episode { told: now, count: 0, last: String::new() };
                    others.get_or_insert(nobody).add(now, last).map(of_others)
                }
            }
        };
        self.record_refusals(told);
    }

    /// Tells what was counted of clients whose minute is over, and forgets those of whom there is nothing to tell.
    pub fn tell_refusals(&self) {
        let now = self.clock.monotonic();
        self.tell_those(|episode| episode.is_over(now));
    }

    /// Tells all that was counted: nobody will count on.
    pub fn tell_all_refusals(&self) {
        self.tell_those(|_| true);
    }

    fn tell_those(&self, due: impl Fn(&Episode) -> bool) {
        let now = self.clock.monotonic();
        let mut told = Vec::new();
        {
            let mut recent = self.recent();
            recent.clients.retain(|_, episode| {
                let is_due = due(episode);
                let text = if is_due { episode.tell(now) } else { None };
                // Whoever was told of has the next minute before it.
                let stays = !is_due || text.is_some();
                told.extend(text);
                stays
            });
            let others = recent.others.take_if(|others| due(others));
            told.extend(others.and_then(|mut others| others.tell(now)).map(of_others));
        }
        self.record_refusals(told);
    }

    fn record_refusals(&self, texts: impl IntoIterator<Item = String>) {
        let time = self.clock.wall();
        let fact = |text| Fact::new(time, EventType::Warning, "Listener", code::REFUSED, text);
        let facts: Vec<Fact> = texts.into_iter().map(fact).collect();
        if !facts.is_empty() {
            self.queue.record(facts);
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.refusals.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Episode {
    /// One more refusal; what is to be told, where the minute is over.
    fn add(&mut self, now: Duration, last: String) -> Option<String> {
        self.count = self.count.saturating_add(1);
        self.last = last;
        if self.is_over(now) { self.tell(now) } else { None }
    }

    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.told) >= EPISODE
    }

    /// What was counted, if anything was. A minute begins with it.
    fn tell(&mut self, now: Duration) -> Option<String> {
        let last = std::mem::take(&mut self.last);
        self.told = now;
        match std::mem::take(&mut self.count) {
            0 => None,
            1 => Some(last),
            count => Some(format!("{last} ({count} times since the event before)")),
        }
    }
}

fn words(client: IpAddr, listener: &str, reply: &Reply) -> String {
    let Reply { code, enhanced, text } = reply;
    let enhanced = enhanced.map(|enhanced| format!("{enhanced} ")).unwrap_or_default();
    format!("{client} was refused by listener {listener}: {code} {enhanced}{text}")
}

fn of_others(text: String) -> String {
    format!("more than {CLIENTS} clients were refused within a minute; the last of the others: {text}")
}
