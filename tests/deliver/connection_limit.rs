//! Upstreams that allow fewer connections at a time than `connection_limit` (rule 3, CASES H4).
//!
//! The clock stands still while mail leaves, so nothing here waited for a circuit or a trial.

use super::stage::{Stage, server, upstream};
use super::{connected, open, send, upstream_at};
use crate::support::scripted::{Act, Scripted};
use postroom::config::settings::Auth;
use postroom::deliver::session_error::{SessionError, SessionErrorKind};
use postroom::deliver::slot::Slot;
use postroom::event::code;
use postroom::mail::MessageState;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn too_many() -> Act {
    Act::last("421 4.7.0 scripted.test Error: too many connections from 127.0.0.1")
}

/// A server that allows so many sessions.
fn allows(sessions: usize) -> Scripted {
    server(|s| s.sessions(sessions, too_many()))
}

fn limit(stage: &Stage, server: &Scripted, configured: usize) -> usize {
    let upstream = upstream_at(server.port(), |upstream| {
        upstream.name = "only".to_owned();
        upstream.connection_limit = configured;
    });
    stage.health.status(&upstream).effective_limit
}

fn refused(server: &Scripted) -> usize {
    server.sessions().iter().filter(|session| session.commands.is_empty()).count()
}

async fn put(stage: &Stage, count: usize) {
    for _ in 0..count {
        stage.put(&["b@y.test"]).await;
    }
}

/// The circuit once opened for all: an eighth of the rate, an 85th with Postfix.
// CASES H4
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_allows_one_session_gets_the_mail_as_fast_as_with_a_limit_of_one() {
    for configured in [1, 2, 20] {
        let only = allows(1);
        let more = format!("connection_limit = {configured}\nmessages_per_connection = 10");
        let stage = Stage::start(&upstream("only", &only, &more)).await;
        put(&stage, 100).await;
        let taken = only.wait_for(100);
        assert_eq!(taken.len(), 100);
        assert_eq!((stage.count(code::CIRCUIT_OPEN).await, stage.count(code::DEFERRED).await), (0, 0));
        // Each refusal lowers the limit at once; the clock stands still, so none of them was a trial.
        let (refused, limit) = (refused(&only), limit(&stage, &only, configured));
        assert!(refused < configured && limit <= configured - refused, "{refused} of {configured}: {limit}");
        stage.stop().await;
    }
}

/// The refusal of the second connection is known before the first has become a session.
// CASES H4
#[tokio::test(flavor = "multi_thread")]
async fn of_two_connections_begun_together_the_refused_one_waits_for_the_other() {
    let slow = Act::later(Duration::from_millis(300), "250 scripted.test");
    let only = server(|s| s.sessions(1, too_many()).once("EHLO", slow));
    let stage = Stage::start(&upstream("only", &only, "")).await;
    put(&stage, 2).await;
    only.wait_for(2);
    assert_eq!(stage.count(code::CIRCUIT_OPEN).await, 0);
    assert_eq!(only.sessions().len(), 1 + refused(&only), "one session for both");
    stage.stop().await;
}

// CASES H4
#[tokio::test(flavor = "multi_thread")]
async fn after_a_while_one_connection_more_is_tried_and_ever_more_seldom_while_it_is_refused() {
    let only = allows(1);
    let stage = Stage::start(&upstream("only", &only, "")).await;
    let mut tried = Vec::new();
    for minute in 0..12_usize {
        // Two at a time, so that a second connection is wanted.
        let before = (refused(&only), only.transactions().len());
        only.change(|s| s.once("<dot>", Act::later(Duration::from_millis(50), "250 2.0.0 taken")));
        put(&stage, 2).await;
        only.wait_for(before.1 + 2);
        stage
            .until("both to be settled", async || (stage.queue.status().messages() == 0).then_some(()))
            .await;
        if refused(&only) > before.0 {
            tried.push(minute);
        }
        stage.clock.advance(MINUTE);
    }
    assert!(tried.len() <= 4, "a trial in each of these minutes: {tried:?}");
    assert_eq!(stage.count(code::CIRCUIT_OPEN).await, 0);

    only.change(|s| s.sessions(2, too_many()));
    stage.clock.advance(60 * MINUTE);
    stage
        .until("the limit to rise", async || {
            only.change(|s| s.once("<dot>", Act::later(Duration::from_millis(50), "250 2.0.0 taken")));
            put(&stage, 2).await;
            (limit(&stage, &only, 2) == 2).then_some(())
        })
        .await;
    stage.stop().await;
}

// CASES H4
#[tokio::test(flavor = "multi_thread")]
async fn the_message_whose_connection_was_refused_goes_at_once_to_another_upstream() {
    let first = server(|s| s.sessions(1, too_many()).once("DATA", Act::Hang));
    let second = server(|s| s);
    let config = upstream("only", &first, "priority = \"high\"") + &upstream("second", &second, "");
    let stage = Stage::start(&config).await;
    put(&stage, 1).await;
    stage.until("the first to hang", async || (first.sessions().len() == 1).then_some(())).await;
    put(&stage, 3).await;
    assert_eq!(second.wait_for(3).len(), 3);
    assert_eq!(refused(&first), 1, "the others are not offered to it");
    assert_eq!((stage.count(code::CIRCUIT_OPEN).await, stage.count(code::DEFERRED).await), (0, 0));
}

/// Nobody is taken: that is no limit but a sick server.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_everybody_opens_the_circuit_and_has_its_full_limit_afterwards() {
    let only = allows(0);
    let stage = Stage::start(&upstream("only", &only, "connection_limit = 4")).await;
    put(&stage, 4).await;
    stage.wait_for_event(code::CIRCUIT_OPEN, 1).await;
    only.change(|s| s.sessions(4, too_many()));
    stage
        .until("all four to arrive", async || {
            // However long its circuit stays open: a probe of before may fail meanwhile.
            stage.clock.advance(Duration::from_secs(2));
            (only.transactions().len() == 4).then_some(())
        })
        .await;
    assert_eq!(limit(&stage, &only, 4), 4);
    stage.stop().await;
}

/// The probe once took an old session, which the server had closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_goes_on_a_new_connection_after_the_old_ones_are_closed() {
    let only = allows(1);
    let stage = Stage::start(&upstream("only", &only, "")).await;
    put(&stage, 1).await;
    only.wait_for(1);
    stage
        .until("its session to be idle", async || (stage.queue.status().messages() == 0).then_some(()))
        .await;
    let settings = upstream_at(only.port(), |upstream| upstream.name = "only".to_owned());
    let mut slot = Slot::take(&stage.health, &settings).unwrap();
    slot.failed(&SessionError::new(SessionErrorKind::AuthRefused, "535 no".into()), 1);
    drop(slot);
    put(&stage, 1).await;
    stage.clock.advance(6 * MINUTE);
    stage.wait_for_event(code::CIRCUIT_CLOSED, 1).await;
    let sessions = only.sessions();
    assert_eq!((sessions.len(), refused(&only)), (2, 0), "{sessions:?}");
    assert_eq!(sessions[0].commands.last().unwrap(), "QUIT");
    stage.stop().await;
}

/// Office 365 says it at the final dot.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_at_the_final_dot_lower_the_limit_too() {
    let only = server(|s| s.once("DATA", Act::Hang));
    let stage = Stage::start(&upstream("only", &only, "connection_limit = 3")).await;
    put(&stage, 1).await;
    stage.until("the first to hang", async || (only.sessions().len() == 1).then_some(())).await;
    only.change(|s| s.once("<dot>", "432 4.3.2 Concurrent connections limit exceeded."));
    let id = stage.put(&["b@y.test"]).await;
    let message = stage.when_attempted(id, 1).await;
    assert_eq!(message.state(), MessageState::Deferred, "a 4xx as any other");
    assert_eq!(limit(&stage, &only, 3), 1);
}

/// Nobody's account is locked for it, and the session was not lost.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_are_known_at_auth_and_by_a_late_421() {
    let reply = "432 4.3.2 Concurrent connections limit exceeded.";
    let at_auth = Scripted::start(|s| s.ehlo(&["AUTH PLAIN"]).on("AUTH", reply));
    let settings = upstream_at(at_auth.port(), |upstream| {
        upstream.auth = Auth::Basic { username: "app".to_owned(), password: "s3cret".to_owned().into() };
        upstream.danger_allow_plaintext_auth = true;
    });
    assert_eq!(open(&settings).await.err().unwrap().kind, SessionErrorKind::TooManyConnections);
    let late = server(|s| s.on("MAIL", too_many()));
    let done = send(&mut connected(&late).await, &["b@y.test"]).await;
    assert_eq!(done.lost.unwrap().kind, SessionErrorKind::TooManyConnections);
}
