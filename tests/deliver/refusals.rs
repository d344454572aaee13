//! What an upstream has refused for the account or the server: how long that keeps it from being asked, and what waits for
//! the others meanwhile.

use super::stage::{Stage, at, refused_by, server, upstream};
use crate::support::free_address;
use crate::support::scripted::{Script, Scripted};
use postroom::event::code;
use postroom::mail::{MessageState, QueueId, ReversePath};
use postroom::queue::OperatorAction;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const REFUSAL: &str = "550 5.7.1 not through us";

/// A server that refuses at MAIL, and one that nobody answers at.
async fn refused_by_one(more: &str) -> (Scripted, String, Stage, QueueId) {
    let up = server(|s| s.on("MAIL", REFUSAL));
    let down = at("down", free_address().port(), "");
    let config = upstream("up", &up, "priority = \"high\"") + &down + more;
    let stage = Stage::start(&config).await;
    let id = stage.put(&["b@y.test"]).await;
    let message = stage.when_attempted(id, 1).await;
    assert_eq!(refused_by(&message), ["up"]);
    (up, down, stage, id)
}

fn repair(up: &Scripted) {
    up.change(|_| Script::default().ehlo(&["PIPELINING"]));
}

/// Reported "1 changed", and the upstream that had refused once was never asked again.
// CASES H6
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_asks_who_has_refused() {
    let (up, _, stage, id) = refused_by_one("").await;
    repair(&up);
    stage.queue.act(OperatorAction::Retry, vec![id]).await.unwrap();
    stage.delivered(id).await;
    assert_eq!(up.transactions().len(), 1);
    stage.stop().await;
}

/// An operator who sets the upstream up anew need not know of the mail that waits, nor wait for its due time.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_changes_the_upstream_asks_it_again_at_once() {
    let (up, down, stage, id) = refused_by_one("").await;
    repair(&up);
    let due = stage.queue.show(id).await.unwrap().due;
    stage.configure(&(upstream("up", &up, "priority = \"high\"\nmax_idle_time = \"50s\"") + &down));
    stage.delivered(id).await;
    assert!(Some(stage.queue.now()) < due, "before its time");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_changes_nothing_about_it_leaves_the_refusal_as_it_is() {
    let (up, down, stage, id) = refused_by_one("").await;
    let asked = up.sessions().len();
    stage.configure(
        &(upstream("up", &up, "priority = \"high\"") + &down + "[limits]\nmessage_size = \"7MiB\"\n"),
    );
    stage.clock.advance(2 * MINUTE);
    stage.when(id, |message| message.deferrals >= 2).await;
    assert_eq!(up.sessions().len(), asked);
    stage.stop().await;
}

/// It was settled and recorded anew about once a minute, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn mail_that_waits_for_the_others_backs_off_and_says_so_once() {
    let (up, _, stage, id) = refused_by_one("[queue]\nretry = [\"1m\", \"10m\", \"100m\"]\n").await;
    let told = |events: Vec<postroom::event::Event>| {
        let about = |fact: &postroom::event::Fact| fact.queue_id == Some(id) && fact.code != code::QUEUED;
        events
            .into_iter()
            .filter(|event| about(&event.fact))
            .map(|event| event.fact.message)
            .collect::<Vec<_>>()
    };
    let begun = told(stage.events().await);
    assert_eq!(begun.len(), 2, "the recipient's outcome, and when it goes on: {begun:#?}");
    assert!(begun[1].contains("up refused"), "{begun:#?}");
    let mut waits = Vec::new();
    for deferrals in 2..=5 {
        let before = stage.queue.show(id).await.unwrap().due.unwrap();
        stage.clock.advance(before.since(stage.queue.now()));
        let message = stage.when(id, |message| message.deferrals >= deferrals).await;
        waits.push(message.due.unwrap().since(before).as_secs_f64() / 60.0);
        assert_eq!(message.attempts, 1, "nobody was asked");
    }
    for (waited, planned) in waits.iter().zip([10.0, 100.0, 100.0, 100.0]) {
        assert!((planned * 0.85..planned * 1.15).contains(waited), "{waits:?}");
    }
    assert_eq!(told(stage.events().await), begun, "nothing is said of a wait that goes on");

    // One more event when it ends.
    repair(&up);
    stage.queue.act(OperatorAction::Retry, vec![id]).await.unwrap();
    stage.delivered(id).await;
    assert!(told(stage.events().await).iter().any(|text| text == "delivered through up"));
    stage.stop().await;
}

/// With its only upstream left busy it waits for a connection, and not for its next due time.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::await_holding_lock, reason = "whoever waits for it is a thread of the recorder's")]
async fn mail_that_waits_for_a_busy_upstream_goes_as_soon_as_that_is_free() {
    let up = server(|s| s.on("MAIL", REFUSAL));
    let slow = crate::support::recorder::Recorder::start();
    let config =
        upstream("up", &up, "priority = \"high\"") + &slow.upstream("slow") + "connection_limit = 1\n";
    let stage = Stage::start(&config).await;
    let gate = slow.hold_final_replies();
    stage.put(&["first@y.test"]).await;
    slow.wait(1);
    let second = stage.put(&["second@y.test"]).await;
    let deferred = stage.when_attempted(second, 1).await;
    stage.clock.advance(2 * MINUTE);
    stage.until("it to be claimed", async || (stage.queue.status().claimed == 2).then_some(())).await;
    drop(gate);
    stage.delivered(second).await;
    assert_eq!((deferred.attempts, slow.wait(2).len()), (1, 2));
    stage.stop().await;
}

async fn put_from(stage: &Stage, sender: &str) -> QueueId {
    let path = ReversePath::Address(sender.parse().unwrap());
    stage.put_changed(&["b@y.test"], |message| message.reverse_path = path).await
}

/// A server that rejects one sender with 530: its mail was offered again and again, ahead of all other mail.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_answered_530_harms_no_other_mail() {
    let only = server(|s| s.on("MAIL FROM:<bad", "530 5.7.0 Sender rejected"));
    let stage = Stage::start(&upstream("only", &only, "")).await;
    // Nothing else has ever been taken: it might be the upstream's settings, so the circuit opens; but not for ever.
    let bad = put_from(&stage, "bad@x.test").await;
    let good = stage.put(&["good@y.test"]).await;
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while stage.queue.show(good).await.is_ok() {
        assert!(tokio::time::Instant::now() < end, "{:#?}", stage.events().await);
        stage.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // It works: from here on such an answer speaks of the sender alone.
    let circuits = stage.count(code::CIRCUIT_OPEN).await;
    stage.queue.act(OperatorAction::Delete, vec![bad]).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(put_from(&stage, "bad@x.test").await);
    }
    let good = stage.put(&["good@y.test"]).await;
    stage.delivered(good).await;
    for bad in all {
        let message = stage.when_attempted(bad, 1).await;
        assert_eq!(message.state(), MessageState::Deferred);
        assert!(message.recipients[0].reply.as_ref().unwrap().contains("530 5.7.0"), "{message:?}");
    }
    assert_eq!(stage.count(code::CIRCUIT_OPEN).await, circuits);
    stage.stop().await;
}

/// Each such message kept the upstream closed for minutes, though everything else would have gone through.
#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_answered_421_keeps_the_upstream_closed_for_seconds() {
    let only = server(|s| s.on("RCPT TO:<bad", "421 4.3.0 not now"));
    let stage = Stage::start(&upstream("only", &only, "connection_limit = 1")).await;
    for _ in 0..4 {
        stage.put(&["bad@y.test"]).await;
    }
    let good = stage.put(&["good@y.test"]).await;
    let began = stage.queue.now();
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while stage.queue.show(good).await.is_ok() {
        assert!(tokio::time::Instant::now() < end, "{:#?}", stage.events().await);
        stage.clock.advance(Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let waited = stage.queue.now().since(began);
    assert!(waited < Duration::from_secs(30), "{waited:?}");
    stage.stop().await;
}
