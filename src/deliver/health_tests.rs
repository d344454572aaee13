//! What slots learn of an upstream, and what its health makes of that.

use super::circuit::CircuitChange;
use super::health::{Availability, UpstreamHealth};
use super::route::tests::upstream;
use super::session_error::{SessionError, SessionErrorKind};
use super::slot::Slot;
use crate::clock::{Clock, ManualClock};
use crate::config::settings::{RateLimit, Upstream};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_secs(1);

fn session_error(kind: SessionErrorKind) -> SessionError {
    SessionError::new(kind, "no".into())
}

fn connecting(health: &Arc<UpstreamHealth>, upstream: &Arc<Upstream>) -> Slot {
    let mut slot = Slot::take(health, upstream).unwrap();
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
        let mut slot = Slot::take(&health, &up).unwrap();
        assert!(waits.is_empty() || Slot::take(&health, &up).is_none(), "one probe only");
        let Some(CircuitChange::Opened(wait)) = slot.failed(&session_error(SessionErrorKind::Connect), 0)
        else {
            panic!("opens")
        };
        drop(slot);
        assert!(Slot::take(&health, &up).is_none());
        let next = || health.next_change(std::slice::from_ref(&up), clock.monotonic());
        assert_eq!(next(), Some(clock.monotonic() + wait));
        waits.push(wait.as_secs());
        clock.advance(wait);
        assert_eq!(next(), None, "it may be asked: there is nothing to wait for");
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(Slot::take(&health, &up).unwrap().succeeded(), Some(CircuitChange::Closed));
    assert_eq!(health.status(&up).availability, Availability::Ok);
}

#[test]
fn refused_auth_opens_for_five_minutes_to_an_hour() {
    let (clock, health) = fresh();
    let up = Arc::new(upstream("a"));
    let mut waits = Vec::new();
    for _ in 0..6 {
        let Some(CircuitChange::Opened(wait)) =
            Slot::take(&health, &up).unwrap().failed(&session_error(SessionErrorKind::AuthRefused), 0)
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
    let lose = || Slot::take(&health, &up).unwrap().failed(&session_error(SessionErrorKind::Lost), 0);
    assert_eq!((lose(), lose()), (None, None));
    assert_eq!(Slot::take(&health, &up).unwrap().succeeded(), None);
    assert_eq!((lose(), lose()), (None, None));
    assert_eq!(lose(), Some(CircuitChange::Opened(FIRST_WAIT)));
}

#[test]
fn a_session_from_before_does_not_close_the_circuit_that_a_new_connection_opened() {
    let (clock, health) = fresh();
    let up = Arc::new(upstream("a"));
    let (mut old, mut new) = (Slot::take(&health, &up).unwrap(), Slot::take(&health, &up).unwrap());
    let Some(CircuitChange::Opened(wait)) = new.failed(&session_error(SessionErrorKind::AuthRefused), 0)
    else {
        panic!("opens")
    };
    assert_eq!(old.succeeded(), None);
    drop((old, new));
    assert!(Slot::take(&health, &up).is_none(), "left alone for its wait all the same");
    clock.advance(wait);
    let mut probe = Slot::take(&health, &up).unwrap();
    assert!(probe.is_probe());
    assert_eq!(
        probe.failed(&session_error(SessionErrorKind::AuthRefused), 0),
        Some(CircuitChange::Opened(2 * wait))
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
        let mut working = (idle == 0).then(|| Slot::take(&health, &up).unwrap());
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
    assert_eq!(changes, [None, Some(CircuitChange::Opened(FIRST_WAIT))]);
    drop(slots);
    assert_eq!(health.status(&up).availability, Availability::Open);
    clock.advance(FIRST_WAIT);
    let mut probe = Slot::take(&health, &up).unwrap();
    probe.connected(true);
    assert_eq!(probe.succeeded(), Some(CircuitChange::Closed));
    assert_eq!(health.status(&up).effective_limit, 2, "it took nobody, so it told no limit");
    assert!(Slot::take(&health, &up).is_some());
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
    assert_eq!(again, Some(CircuitChange::Opened(FIRST_WAIT)), "now none works");
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
    assert!(Slot::take(&health, &up).is_none(), "nobody else is sent before the second is known");
    assert_eq!(
        second.failed(&session_error(SessionErrorKind::Connect), 0),
        Some(CircuitChange::Opened(FIRST_WAIT))
    );
}

#[test]
fn a_probe_that_found_nothing_out_leaves_room_for_the_next() {
    let (clock, health) = fresh();
    let up = Arc::new(upstream("a"));
    Slot::take(&health, &up).unwrap().failed(&session_error(SessionErrorKind::Connect), 0);
    clock.advance(FIRST_WAIT);
    drop(Slot::take(&health, &up).unwrap());
    assert!(Slot::take(&health, &up).is_some());
}

#[test]
fn an_operator_gets_a_probe_at_once() {
    let (_, health) = fresh();
    let up = Arc::new(upstream("a"));
    Slot::take(&health, &up).unwrap().failed(&session_error(SessionErrorKind::AuthRefused), 0);
    assert!(Slot::take(&health, &up).is_none());
    health.probe_now();
    assert!(Slot::take(&health, &up).is_some());
}

#[test]
fn beyond_the_connection_limit_and_the_rate_it_is_not_available() {
    let (clock, health) = fresh();
    let mut limited = upstream("a");
    limited.rate_limit = Some(RateLimit { messages: 3, time: Duration::from_secs(60) });
    let up = Arc::new(limited);
    let mut slots: Vec<Slot> = (0..2).map(|_| Slot::take(&health, &up).unwrap()).collect();
    assert_eq!(health.free(&up), None, "connection limit is 2");
    slots.iter_mut().for_each(Slot::began);
    drop(slots);
    drop(Slot::take(&health, &up).unwrap()); // unused: does not count
    Slot::take(&health, &up).unwrap().began();
    assert_eq!(health.free(&up), None);
    assert_eq!(health.status(&up).availability, Availability::Limited);
    let next = || health.next_change(std::slice::from_ref(&up), clock.monotonic());
    assert_eq!(next(), Some(Duration::from_secs(60)));
    clock.advance(Duration::from_secs(60));
    assert_eq!(next(), None);
    assert_eq!(health.free(&up), Some(2));
}
