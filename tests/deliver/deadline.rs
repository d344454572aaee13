//! An attempt ends within two hours in all, whatever each of its steps may take (rule 3, last sentence).

use super::stage::{Stage, outcomes, server, upstream};
use crate::support::scripted::{Act, Scripted, Session};
use postroom::mail::{QueueId, RecipientState};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Less than an attempt may take, and the time that passes while a test waits.
const NEARLY: Duration = Duration::from_secs(2 * 60 * 60 - 300);

/// Two upstreams, the first of them slow; returns when a message has come to `step` there.
async fn stuck_at(step: &str, slow: &Scripted, other: &Scripted) -> (Stage, QueueId) {
    let config = upstream("slow", slow, "priority = \"high\"") + &upstream("other", other, "");
    let stage = Stage::start(&config).await;
    let id = stage.put(&["a@y.test", "never@y.test", "b@y.test"]).await;
    let came = |session: &Session| session.commands.iter().any(|line| line.starts_with(step));
    stage.until(step, async || slow.sessions().iter().any(came).then_some(())).await;
    (stage, id)
}

/// A thousand recipients and five minutes for each answer: it once took 83 hours, the lease is 24.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_takes_two_hours_is_ended_and_what_was_decided_stays() {
    let slow = server(|s| s.on("RCPT TO:<never", "550 5.1.1 who?").on("RCPT TO:<b", Act::Hang));
    let other = server(|s| s);
    let (stage, id) = stuck_at("RCPT TO:<b", &slow, &other).await;
    stage.clock.advance(NEARLY);
    tokio::time::sleep(super::SHORT).await;
    assert_eq!(stage.queue.show(id).await.unwrap().attempts, 0, "its time is not over");
    stage.clock.advance(HOUR);
    let message = stage.when_attempted(id, 1).await;
    let states: Vec<RecipientState> = outcomes(&message).into_iter().map(|(state, _)| state).collect();
    use RecipientState::{Deferred, Failed};
    assert_eq!(states, [Deferred, Failed, Deferred]);
    assert!(outcomes(&message)[2].1.contains("took too long in all"), "{:?}", outcomes(&message));
    assert_eq!(message.failed_upstream.as_deref(), Some("slow"));
    assert!(other.sessions().is_empty(), "there is no time for another one in this attempt");
    stage.clock.advance(HOUR);
    stage.when_attempted(id, 2).await;
    assert_eq!(other.wait_for(1)[0].recipients, ["<a@y.test>", "<b@y.test>"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_the_final_dot_it_may_be_sent_and_goes_nowhere_else_at_once() {
    let slow = server(|s| s.on("RCPT TO:<never", "550 5.1.1 who?").at_dot(Act::Hang));
    let other = server(|s| s);
    let (stage, id) = stuck_at("DATA", &slow, &other).await;
    stage.until("the final dot", async || slow.sessions()[0].raw.ends_with(b"\r\n.\r\n").then_some(())).await;
    stage.clock.advance(2 * HOUR);
    let message = stage.when_attempted(id, 1).await;
    assert!(outcomes(&message)[0].1.contains("may be sent twice"), "{:?}", outcomes(&message));
    assert!(other.sessions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_it_is_put_off_uncounted() {
    let (slow, other) = (server(|s| s.on("EHLO", Act::Hang)), server(|s| s));
    let (stage, id) = stuck_at("EHLO", &slow, &other).await;
    stage.clock.advance(2 * HOUR);
    let message = stage.when(id, |message| message.recipients[0].reply.is_some()).await;
    assert_eq!((message.attempts, outcomes(&message)[0].0), (0, RecipientState::Deferred));
    assert!(outcomes(&message)[0].1.contains("had to end"), "{:?}", outcomes(&message));
}
