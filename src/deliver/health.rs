//! Health of the upstreams: which have a free connection, an open circuit, a used up rate limit.
//!
//! A circuit opens when a new connection yields no usable session while none works, or after three sessions in a row were
//! lost with no success between; then one message probes on a new connection (`circuit.rs`). A new connection
//! that fails while others work only lowers the number of connections (`effective_limit.rs`). Nothing of this
//! outlives the process (rule 3).

use super::circuit::Circuit;
use super::effective_limit::EffectiveLimit;
use super::rate_limit::SentTimes;
use super::slot::Slot;
use crate::clock::Clock;
use crate::config::settings::Upstream;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What is known of all upstreams, shared by engine and attempts.
pub struct UpstreamHealth {
    states: Mutex<BTreeMap<String, UpstreamState>>,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
}

#[derive(Default)]
pub(super) struct UpstreamState {
    pub(super) slots: Slots,
    /// Transactions that were answered.
    pub(super) answered: u64,
    pub(super) lost_in_a_row: u32,
    pub(super) circuit: Circuit,
    pub(super) limit: EffectiveLimit,
    pub(super) last_error: Option<String>,
    /// By the wall clock.
    pub(super) last_error_at: Option<Timestamp>,
    pub(super) sent: SentTimes,
}

/// Slots in use, by what is known of their connections.
#[derive(Default, Clone, Copy)]
pub(super) struct Slots {
    pub(super) all: usize,
    /// Their connection is being opened.
    pub(super) opening: usize,
    /// Have a session.
    pub(super) usable: usize,
}

/// A change of a circuit, which the caller records as an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// No connection to the upstream is tried for that long.
    Opened(Duration),
    /// It works again.
    Closed,
}

/// The state of an upstream as the admin API shows it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// `ok`, `busy`, `open` (circuit), `probing` or `limited` (rate).
    pub state: &'static str,
    /// Connections in use by attempts.
    pub in_flight: usize,
    /// Connections that the server is known to allow at a time: `connection_limit`, or fewer.
    pub effective_limit: usize,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When, by the wall clock.
    pub last_error_at: Option<Timestamp>,
}

impl UpstreamHealth {
    /// Every upstream is available until a session with it fails.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<UpstreamHealth> {
        Arc::new(UpstreamHealth { states: Mutex::default(), clock, changed: Arc::default() })
    }

    /// Notified when an upstream may have become available.
    pub fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// Connections still free, or none if the upstream is not available now: busy, circuit open, rate used up.
    pub fn free(&self, upstream: &Upstream) -> Option<usize> {
        self.update(&upstream.name, |state, now| {
            let limit = state.limit.at(now, upstream.connection_limit);
            state.is_available(upstream, now).then(|| limit.saturating_sub(state.slots.all))
        })
    }

    /// Takes a connection's place; none if there is none after all. The place is given back by dropping the slot.
    pub fn take(self: &Arc<UpstreamHealth>, upstream: &Arc<Upstream>) -> Option<Slot> {
        self.update(&upstream.name, |state, now| {
            if !state.is_available(upstream, now) {
                return None;
            }
            let probing = state.circuit.begin_probe();
            state.slots.all += 1;
            if upstream.rate_limit.is_some() {
                state.sent.add(now);
            }
            Some(Slot::new(upstream, self, probing, now))
        })
    }

    /// When the next upstream becomes available by time alone, later than `after` (both monotonic); none if no upstream
    /// waits for a time. Those whose time came before `after` are available already.
    pub fn next_change(&self, upstreams: &[Arc<Upstream>], after: Duration) -> Option<Duration> {
        let states = self.lock();
        let waits = |upstream: &Arc<Upstream>| {
            let state = states.get(&upstream.name)?;
            let rate = upstream.rate_limit.and_then(|limit| state.sent.allow_another_at(limit));
            Some([state.circuit.probe_at().max(rate), state.limit.rises_at()])
        };
        let enabled = upstreams.iter().filter(|upstream| upstream.enabled);
        enabled.filter_map(waits).flatten().flatten().filter(|at| *at > after).min()
    }

    /// Every open circuit gets one probe at once, every lowered limit one trial: an operator asked for a retry.
    pub fn probe_now(&self) {
        let now = self.clock.monotonic();
        for state in self.lock().values_mut() {
            state.circuit.hasten(now);
            state.limit.hasten(now);
        }
        self.changed.notify_one();
    }

    /// Forgets what is known of upstreams that a reload changed or removed; their connections under way still count.
    pub fn forget(&self, names: &[String]) {
        let mut states = self.lock();
        for name in names {
            if let Some(state) = states.get_mut(name) {
                *state = UpstreamState { slots: state.slots, ..UpstreamState::default() };
            }
        }
        drop(states);
        self.changed.notify_one();
    }

    /// For listings.
    pub fn status(&self, upstream: &Upstream) -> UpstreamStatus {
        self.update(&upstream.name, |state, now| {
            let limit = state.limit.at(now, upstream.connection_limit);
            let available = state.is_available(upstream, now);
            let word = match state.circuit {
                Circuit::Open { .. } => "open",
                Circuit::Probing { .. } => "probing",
                Circuit::Closed if available => "ok",
                Circuit::Closed if state.slots.all >= limit => "busy",
                Circuit::Closed => "limited",
            };
            UpstreamStatus {
                state: word,
                in_flight: state.slots.all,
                effective_limit: state.limit.known(upstream.connection_limit),
                last_error: state.last_error.clone(),
                last_error_at: state.last_error_at,
            }
        })
    }

    /// Changes what is known of that upstream.
    pub(super) fn update<T>(
        &self,
        upstream: &str,
        change: impl FnOnce(&mut UpstreamState, Duration) -> T,
    ) -> T {
        let now = self.clock.monotonic();
        change(self.lock().entry(upstream.to_owned()).or_default(), now)
    }

    pub(super) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Notifies that an upstream may have become available.
    pub(super) fn announce(&self) {
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, UpstreamState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UpstreamState {
    pub(super) fn note_error(&mut self, text: String, at: Timestamp) {
        (self.last_error, self.last_error_at) = (Some(text), Some(at));
    }

    fn is_available(&mut self, upstream: &Upstream, now: Duration) -> bool {
        self.circuit.admits(now)
            && self.slots.all < self.limit.at(now, upstream.connection_limit)
            && upstream.rate_limit.is_none_or(|limit| self.sent.allow_another(limit, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::config::settings::RateLimit;
    use crate::deliver::route::tests::upstream;
    use crate::deliver::session_error::{SessionError, SessionErrorKind};
    use jiff::Timestamp;

    const FIRST_WAIT: Duration = Duration::from_secs(1);

    fn session_error(kind: SessionErrorKind) -> SessionError {
        SessionError { kind, text: "no".into() }
    }

    fn connecting(health: &Arc<UpstreamHealth>, upstream: &Arc<Upstream>) -> Slot {
        let mut slot = health.take(upstream).unwrap();
        slot.connecting();
        slot
    }

    fn fresh() -> (Arc<ManualClock>, Arc<UpstreamHealth>) {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let health = UpstreamHealth::new(clock.clone());
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
            let Some(Change::Opened(wait)) = slot.failed(&session_error(SessionErrorKind::Connect), 0) else {
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
        assert_eq!(health.status(&up).state, "ok");
    }

    #[test]
    fn refused_auth_opens_for_five_minutes_to_an_hour() {
        let (clock, health) = fresh();
        let up = Arc::new(upstream("a"));
        let mut waits = Vec::new();
        for _ in 0..6 {
            let Some(Change::Opened(wait)) =
                health.take(&up).unwrap().failed(&session_error(SessionErrorKind::AuthRefused), 0)
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
        let lose = || health.take(&up).unwrap().failed(&session_error(SessionErrorKind::Lost), 0);
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
        let Some(Change::Opened(wait)) = new.failed(&session_error(SessionErrorKind::AuthRefused), 0) else {
            panic!("opens")
        };
        assert_eq!(old.succeeded(), None);
        drop((old, new));
        assert!(health.take(&up).is_none(), "left alone for its wait all the same");
        clock.advance(wait);
        let mut probe = health.take(&up).unwrap();
        assert!(probe.is_probe());
        assert_eq!(
            probe.failed(&session_error(SessionErrorKind::AuthRefused), 0),
            Some(Change::Opened(2 * wait))
        );
    }

    /// One refused connection too many once opened the circuit for all that worked.
    #[test]
    fn a_connection_that_fails_while_another_works_lowers_the_limit_and_opens_nothing() {
        for (idle, kind) in
            [(0, SessionErrorKind::Greeting), (0, SessionErrorKind::Connect), (1, SessionErrorKind::Hello)]
        {
            let (clock, health) = fresh();
            let up = Arc::new(upstream("a"));
            let mut working = (idle == 0).then(|| health.take(&up).unwrap());
            working.iter_mut().for_each(|slot| slot.connected(true));
            let mut refused = connecting(&health, &up);
            assert_eq!(refused.failed(&session_error(kind), idle), None, "{kind:?}");
            drop(refused);
            assert_eq!(health.status(&up).effective_limit, 1);
            assert_eq!(health.free(&up).is_some(), idle == 1, "a free place only on the one that works");
            let at = health.next_change(std::slice::from_ref(&up), clock.monotonic()).unwrap();
            clock.advance(at - clock.monotonic());
            assert_eq!(health.free(&up), Some(1 + idle), "one more is tried");
        }
    }

    #[test]
    fn connections_begun_together_that_all_fail_open_the_circuit_with_the_last_one() {
        let (clock, health) = fresh();
        let up = Arc::new(upstream("a"));
        let mut slots = [connecting(&health, &up), connecting(&health, &up)];
        let changes = slots.each_mut().map(|slot| slot.failed(&session_error(SessionErrorKind::Greeting), 0));
        assert_eq!(changes, [None, Some(Change::Opened(FIRST_WAIT))]);
        drop(slots);
        assert_eq!(health.status(&up).state, "open");
        clock.advance(FIRST_WAIT);
        let mut probe = health.take(&up).unwrap();
        probe.connected(true);
        assert_eq!(probe.succeeded(), Some(Change::Closed));
        assert_eq!(health.status(&up).effective_limit, 2, "it took nobody, so it told no limit");
        assert!(health.take(&up).is_some());
    }

    /// The server counted the one that worked; when the refusal is read that one has ended and nobody is left.
    #[test]
    fn a_session_that_ended_while_another_was_refused_has_worked() {
        let (_, health) = fresh();
        let up = Arc::new(upstream("a"));
        let (mut working, mut refused) = (connecting(&health, &up), connecting(&health, &up));
        working.connected(true);
        working.succeeded();
        drop(working);
        assert_eq!(refused.failed(&session_error(SessionErrorKind::Greeting), 0), None);
        drop(refused);
        assert_eq!(health.status(&up).effective_limit, 1);
        let again = connecting(&health, &up).failed(&session_error(SessionErrorKind::Greeting), 0);
        assert_eq!(again, Some(Change::Opened(FIRST_WAIT)), "now none works");
    }

    /// Each failed while another was still on its way, and made room for the next: it never came out that none works.
    #[test]
    fn a_dead_server_is_found_out_though_connections_to_it_begin_one_after_the_other() {
        let (clock, health) = fresh();
        let up = Arc::new(upstream("a"));
        let mut first = connecting(&health, &up);
        clock.advance(20 * FIRST_WAIT);
        let mut second = connecting(&health, &up);
        clock.advance(10 * FIRST_WAIT);
        assert_eq!(first.failed(&session_error(SessionErrorKind::Connect), 0), None);
        drop(first);
        clock.advance(20 * FIRST_WAIT);
        assert!(health.take(&up).is_none(), "nobody else is sent before the second is known");
        assert_eq!(
            second.failed(&session_error(SessionErrorKind::Connect), 0),
            Some(Change::Opened(FIRST_WAIT))
        );
    }

    #[test]
    fn a_probe_that_found_nothing_out_leaves_room_for_the_next() {
        let (clock, health) = fresh();
        let up = Arc::new(upstream("a"));
        health.take(&up).unwrap().failed(&session_error(SessionErrorKind::Connect), 0);
        clock.advance(FIRST_WAIT);
        drop(health.take(&up).unwrap());
        assert!(health.take(&up).is_some());
    }

    #[test]
    fn an_operator_gets_a_probe_at_once() {
        let (_, health) = fresh();
        let up = Arc::new(upstream("a"));
        health.take(&up).unwrap().failed(&session_error(SessionErrorKind::AuthRefused), 0);
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
        assert_eq!(health.status(&up).state, "limited");
        let next = || health.next_change(std::slice::from_ref(&up), clock.monotonic());
        assert_eq!(next(), Some(Duration::from_secs(60)));
        clock.advance(Duration::from_secs(60));
        assert_eq!(next(), None);
        assert_eq!(health.free(&up), Some(2));
    }
}
