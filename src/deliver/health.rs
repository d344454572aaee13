//! Health of the upstreams: who has a free connection, whose circuit is open, who has used up its rate.
//!
//! A circuit opens when a new connection yields no usable session, or after three sessions in a row were lost with no
//! success between; it stays open one second, doubling to a minute (after refused AUTH five minutes to an hour, because
//! accounts get locked), then one message probes (PRODUCT rule 3). Nothing of this outlives the process.

use super::transaction::{Trouble, TroubleKind};
use crate::clock::Clock;
use crate::config::settings::{RateLimit, Upstream};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const FIRST_WAIT_AFTER_AUTH: Duration = Duration::from_secs(5 * 60);
const LONGEST_WAIT_AFTER_AUTH: Duration = Duration::from_secs(60 * 60);
/// So many sessions lost in a row open a circuit.
const LOST_IN_A_ROW: u32 = 3;

/// What is known of all upstreams, shared by engine and attempts.
pub struct Health {
    states: Mutex<BTreeMap<String, State>>,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    in_flight: usize,
    lost_in_a_row: u32,
    circuit: Circuit,
    last_error: Option<String>,
    last_error_at: Option<Timestamp>,
    /// When messages were sent, for the rate limit; not longer than the limit's number.
    sent: VecDeque<Duration>,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Circuit {
    #[default]
    Closed,
    Open {
        until: Duration,
        wait: Duration,
    },
    /// One message is on its way to find out.
    Probing {
        wait: Duration,
    },
}

/// What a change of health means for people, to be recorded as an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The upstream is left alone for that long.
    Opened(Duration),
    /// It works again.
    Closed,
}

/// An upstream as listings show it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Standing {
    /// `ok`, `busy`, `open` (circuit), `probing` or `limited` (rate).
    pub state: &'static str,
    /// Connections in use by attempts.
    pub in_flight: usize,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When, by the wall clock.
    pub last_error_at: Option<Timestamp>,
}

impl Health {
    /// Everybody is well until proved otherwise.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Health> {
        Arc::new(Health { states: Mutex::default(), clock, changed: Arc::default() })
    }

    /// Told when somebody may have become available.
    pub fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// Connections still free, or none if the upstream is not available now: busy, circuit open, rate used up.
    pub fn free(&self, upstream: &Upstream) -> Option<usize> {
        let now = self.clock.monotonic();
        let mut states = self.lock();
        let state = states.entry(upstream.name.clone()).or_default();
        state.is_available(upstream, now).then(|| upstream.connection_limit - state.in_flight)
    }

    /// Takes a connection's place; none if there is none after all. The place is given back by dropping the slot.
    pub fn take(self: &Arc<Health>, upstream: &Arc<Upstream>) -> Option<Slot> {
        let now = self.clock.monotonic();
        let mut states = self.lock();
        let state = states.entry(upstream.name.clone()).or_default();
        if !state.is_available(upstream, now) {
            return None;
        }
        let probing = if let Circuit::Open { wait, .. } = state.circuit {
            state.circuit = Circuit::Probing { wait };
            true
        } else {
            false
        };
        state.in_flight += 1;
        if upstream.rate_limit.is_some() {
            state.sent.push_back(now);
        }
        Some(Slot { upstream: upstream.clone(), health: self.clone(), probing, taken: now, used: false })
    }

    /// When somebody becomes available by time alone, later than `after` (both monotonic); none if nobody waits for time.
    /// Whose time has come by then is available, and whoever asks has seen so.
    pub fn next_change(&self, upstreams: &[Arc<Upstream>], after: Duration) -> Option<Duration> {
        let states = self.lock();
        let wait = |upstream: &Arc<Upstream>| {
            let state = states.get(&upstream.name)?;
            let circuit = match state.circuit {
                Circuit::Open { until, .. } => Some(until),
                _ => None,
            };
            circuit.max(upstream.rate_limit.and_then(|limit| state.rate_frees_at(limit)))
        };
        let enabled = upstreams.iter().filter(|upstream| upstream.enabled);
        enabled.filter_map(wait).filter(|at| *at > after).min()
    }

    /// Every open circuit gets one probe at once: an operator asked for a retry.
    pub fn probe_now(&self) {
        let now = self.clock.monotonic();
        for state in self.lock().values_mut() {
            if let Circuit::Open { until, .. } = &mut state.circuit {
                *until = (*until).min(now);
            }
        }
        self.changed.notify_one();
    }

    /// Forgets what is known of upstreams that a reload changed or removed; their connections under way still count.
    pub fn forget(&self, names: &[String]) {
        let mut states = self.lock();
        for name in names {
            if let Some(state) = states.get_mut(name) {
                *state = State { in_flight: state.in_flight, ..State::default() };
            }
        }
        drop(states);
        self.changed.notify_one();
    }

    /// For listings.
    pub fn standing(&self, upstream: &Upstream) -> Standing {
        let now = self.clock.monotonic();
        let mut states = self.lock();
        let state = states.entry(upstream.name.clone()).or_default();
        let available = state.is_available(upstream, now);
        let word = match state.circuit {
            Circuit::Open { .. } => "open",
            Circuit::Probing { .. } => "probing",
            Circuit::Closed if available => "ok",
            Circuit::Closed if state.in_flight >= upstream.connection_limit => "busy",
            Circuit::Closed => "limited",
        };
        let (last_error, last_error_at) = (state.last_error.clone(), state.last_error_at);
        Standing { state: word, in_flight: state.in_flight, last_error, last_error_at }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_available(&mut self, upstream: &Upstream, now: Duration) -> bool {
        let circuit = match self.circuit {
            Circuit::Closed => true,
            Circuit::Open { until, .. } => until <= now,
            Circuit::Probing { .. } => false,
        };
        circuit
            && self.in_flight < upstream.connection_limit
            && upstream.rate_limit.is_none_or(|limit| self.rate_allows(limit, now))
    }

    fn rate_allows(&mut self, limit: RateLimit, now: Duration) -> bool {
        while self.sent.front().is_some_and(|sent| *sent + limit.time <= now) {
            self.sent.pop_front();
        }
        self.sent.len() < limit.messages as usize
    }

    fn rate_frees_at(&self, limit: RateLimit) -> Option<Duration> {
        let over = self.sent.len().checked_sub(limit.messages as usize)?;
        self.sent.get(over).map(|sent| *sent + limit.time)
    }

    fn open(&mut self, auth: bool, now: Duration) -> Duration {
        let (first, longest) = match auth {
            true => (FIRST_WAIT_AFTER_AUTH, LONGEST_WAIT_AFTER_AUTH),
            false => (FIRST_WAIT, LONGEST_WAIT),
        };
        let wait = match self.circuit {
            Circuit::Probing { wait } | Circuit::Open { wait, .. } => (wait * 2).clamp(first, longest),
            Circuit::Closed => first,
        };
        self.circuit = Circuit::Open { until: now + wait, wait };
        wait
    }
}

/// A place among an upstream's connections, held by one attempt at a time.
pub struct Slot {
    upstream: Arc<Upstream>,
    health: Arc<Health>,
    probing: bool,
    taken: Duration,
    used: bool,
}

impl Slot {
    /// Whose place it is.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// MAIL was sent: the place counts for the rate limit.
    pub fn began(&mut self) {
        self.used = true;
    }

    /// The upstream gave a valid answer to a transaction, whatever it said. Only the probe closes a circuit: sessions from
    /// before it opened may go on working while every new connection is refused, and would close it again and again.
    pub fn succeeded(&mut self) -> Option<Change> {
        let mut states = self.health.lock();
        let state = states.entry(self.upstream.name.clone()).or_default();
        state.lost_in_a_row = 0;
        let closes = std::mem::take(&mut self.probing) && state.circuit != Circuit::Closed;
        if closes {
            state.circuit = Circuit::Closed;
        }
        drop(states);
        if closes {
            self.health.changed.notify_one();
        }
        closes.then_some(Change::Closed)
    }

    /// The upstream was at fault.
    pub fn failed(&mut self, trouble: &Trouble) -> Option<Change> {
        let now = self.health.clock.monotonic();
        let mut states = self.health.lock();
        let state = states.entry(self.upstream.name.clone()).or_default();
        state.last_error = Some(trouble.text.clone());
        state.last_error_at = Some(self.health.clock.wall());
        let opens = match trouble.kind {
            TroubleKind::Stale | TroubleKind::Content => return None,
            TroubleKind::Lost => {
                state.lost_in_a_row += 1;
                self.probing || state.lost_in_a_row >= LOST_IN_A_ROW
            }
            _ => true,
        };
        // Others that were under way when the circuit opened say nothing new: the first one's wait stands.
        if !opens || (matches!(state.circuit, Circuit::Open { .. }) && !self.probing) {
            return None;
        }
        self.probing = false;
        Some(Change::Opened(state.open(trouble.kind == TroubleKind::AuthRefused, now)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut states = self.health.lock();
        let state = states.entry(self.upstream.name.clone()).or_default();
        state.in_flight = state.in_flight.saturating_sub(1);
        // A probe that found nothing out leaves the question to the next one.
        if self.probing
            && let Circuit::Probing { wait } = state.circuit
        {
            state.circuit = Circuit::Open { until: self.taken, wait };
        }
        if !self.used
            && self.upstream.rate_limit.is_some()
            && let Some(place) = state.sent.iter().rposition(|sent| *sent == self.taken)
        {
            state.sent.remove(place);
        }
        drop(states);
        self.health.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::deliver::route::tests::upstream;

    fn trouble(kind: TroubleKind) -> Trouble {
        Trouble { kind, text: "no".into() }
    }

    fn fresh() -> (Arc<ManualClock>, Arc<Health>) {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let health = Health::new(clock.clone());
        (clock, health)
    }

    #[test]
    fn a_circuit_opens_at_once_doubles_to_a_minute_and_lets_one_probe_through() {
        let (clock, health) = fresh();
        let up = Arc::new(upstream("a"));
        let mut waits = Vec::new();
        for _ in 0..8 {
            let mut slot = health.take(&up).unwrap();
            assert!(waits.is_empty() || health.take(&up).is_none(), "one probe only");
            let Some(Change::Opened(wait)) = slot.failed(&trouble(TroubleKind::Connect)) else {
                panic!("opens")
            };
            drop(slot);
            assert!(health.take(&up).is_none());
            let next = || health.next_change(std::slice::from_ref(&up), clock.monotonic());
            assert_eq!(next(), Some(clock.monotonic() + wait));
            waits.push(wait.as_secs());
            clock.advance(wait);
            assert_eq!(next(), None, "it may be asked: there is nothing to wait for");
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(health.take(&up).unwrap().succeeded(), Some(Change::Closed));
        assert_eq!(health.standing(&up).state, "ok");
    }

    #[test]
    fn refused_auth_opens_for_five_minutes_to_an_hour() {
        let (clock, health) = fresh();
        let up = Arc::new(upstream("a"));
        let mut waits = Vec::new();
        for _ in 0..6 {
            let Some(Change::Opened(wait)) =
                health.take(&up).unwrap().failed(&trouble(TroubleKind::AuthRefused))
            else {
                panic!("opens")
            };
            waits.push(wait.as_secs() / 60);
            clock.advance(wait);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn three_lost_sessions_in_a_row_open_it_and_a_success_between_starts_anew() {
        let (_, health) = fresh();
        let up = Arc::new(upstream("a"));
        let lose = || health.take(&up).unwrap().failed(&trouble(TroubleKind::Lost));
        assert_eq!((lose(), lose()), (None, None));
        assert_eq!(health.take(&up).unwrap().succeeded(), None);
        assert_eq!((lose(), lose()), (None, None));
        assert_eq!(lose(), Some(Change::Opened(FIRST_WAIT)));
    }

    #[test]
    fn a_session_from_before_does_not_close_the_circuit_that_a_new_connection_opened() {
        let (clock, health) = fresh();
        let up = Arc::new(upstream("a"));
        let (mut old, mut new) = (health.take(&up).unwrap(), health.take(&up).unwrap());
        assert!(new.failed(&trouble(TroubleKind::Connect)).is_some());
        assert_eq!(old.succeeded(), None);
        drop((old, new));
        assert!(health.take(&up).is_none(), "left alone for its wait all the same");
        clock.advance(FIRST_WAIT);
        let mut probe = health.take(&up).unwrap();
        assert_eq!(probe.failed(&trouble(TroubleKind::Connect)), Some(Change::Opened(2 * FIRST_WAIT)));
    }

    #[test]
    fn a_probe_that_found_nothing_out_leaves_room_for_the_next() {
        let (clock, health) = fresh();
        let up = Arc::new(upstream("a"));
        health.take(&up).unwrap().failed(&trouble(TroubleKind::Connect));
        clock.advance(FIRST_WAIT);
        drop(health.take(&up).unwrap());
        assert!(health.take(&up).is_some());
    }

    #[test]
    fn an_operator_gets_a_probe_at_once() {
        let (_, health) = fresh();
        let up = Arc::new(upstream("a"));
        health.take(&up).unwrap().failed(&trouble(TroubleKind::AuthRefused));
        assert!(health.take(&up).is_none());
        health.probe_now();
        assert!(health.take(&up).is_some());
    }

    #[test]
    fn beyond_the_connection_limit_and_the_rate_it_is_not_available() {
        let (clock, health) = fresh();
        let mut limited = upstream("a");
        limited.rate_limit = Some(RateLimit { messages: 3, time: Duration::from_secs(60) });
        let up = Arc::new(limited);
        let mut slots: Vec<Slot> = (0..2).map(|_| health.take(&up).unwrap()).collect();
        assert_eq!(health.free(&up), None, "connection limit is 2");
        slots.iter_mut().for_each(Slot::began);
        drop(slots);
        drop(health.take(&up).unwrap()); // unused: does not count
        health.take(&up).unwrap().began();
        assert_eq!(health.free(&up), None);
        assert_eq!(health.standing(&up).state, "limited");
        let next = || health.next_change(std::slice::from_ref(&up), clock.monotonic());
        assert_eq!(next(), Some(Duration::from_secs(60)));
        clock.advance(Duration::from_secs(60));
        assert_eq!(next(), None);
        assert_eq!(health.free(&up), Some(2));
    }
}
