//! Mail that is claimed and waits for an upstream: it is neither forgotten nor deferred without need, and what operators
//! and reloads do to it meanwhile holds.

use super::stage::{Stage, at, outcomes, refused_by, server, upstream};
use crate::support::free_address;
use crate::support::recorder::Recorder;
use crate::support::scripted::{Act, Session};
use jiff::Timestamp;
use postroom::clock::{Clock, ManualClock};
use postroom::mail::{MessageState, RecipientState};
use postroom::queue::{ActionResult, OperatorAction, QueueError};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::await_holding_lock, reason = "whoever waits for it is a thread of the recorder's")]
async fn what_is_held_or_deleted_while_it_waits_does_not_leave() {
    for action in [OperatorAction::Hold, OperatorAction::Delete] {
        let only = Recorder::start();
        let config = only.upstream("only") + "connection_limit = 1\n";
        let stage = Stage::start(&(config.clone() + "[sending]\nenabled = false\n")).await;
        let first = stage.put(&["first@y.test"]).await;
        stage.clock.advance(Duration::from_millis(1));
        let second = stage.put(&["second@y.test"]).await;
        // Both are claimed at once; the second one waits for the first one's connection.
        let gate = only.hold_final_replies();
        stage.configure(&config);
        stage.until("both to be claimed", async || (stage.queue.status().claimed == 2).then_some(())).await;
        only.wait(1);
        stage.clock.advance(MINUTE / 10);
        stage.queue.act(action, vec![second]).await.unwrap();
        drop(gate);
        stage.delivered(first).await;
        stage.until("its claim to end", async || (stage.queue.status().claimed == 0).then_some(())).await;
        let mut expected = vec!["<first@y.test>"];
        if action == OperatorAction::Delete {
            assert!(matches!(stage.queue.show(second).await, Err(QueueError::NotFound(_))));
        } else {
            assert_eq!(stage.queue.show(second).await.unwrap().state(), MessageState::Held);
            stage.queue.act(OperatorAction::Release, vec![second]).await.unwrap();
            stage.delivered(second).await;
            expected.push("<second@y.test>");
        }
        let taken: Vec<String> = only.wait(1).into_iter().flat_map(|one| one.rcpt).collect();
        assert_eq!(taken, expected, "{action:?}");
        stage.stop().await;
    }
}

/// One upstream has the message while that happens, and puts it off; nobody else gets it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_or_deleted_under_way_goes_to_no_other_upstream() {
    for action in [OperatorAction::Hold, OperatorAction::Delete, OperatorAction::Retry] {
        let gate = Arc::new(Semaphore::new(0));
        let slow = server(|s| s.on("RCPT", Act::gated(&gate, "451 4.2.0 later")));
        let good = Recorder::start();
        let config = upstream("slow", &slow, "priority = \"high\"") + &good.upstream("good");
        let stage = Stage::start(&config).await;
        let id = stage.put(&["b@y.test"]).await;
        let asked = |session: Session| session.commands.iter().any(|line| line.starts_with("RCPT"));
        stage.until("RCPT", async || slow.sessions().into_iter().any(asked).then_some(())).await;
        assert_eq!(stage.queue.act(action, vec![id]).await.unwrap(), [ActionResult::Done]);
        gate.add_permits(100);
        stage.until("its claim to end", async || (stage.queue.status().claimed == 0).then_some(())).await;
        match action {
            OperatorAction::Hold => {
                let held = stage.queue.show(id).await.unwrap();
                assert_eq!((held.state(), held.attempts), (MessageState::Held, 1));
                assert_eq!(outcomes(&held), [(RecipientState::Held, "451 4.2.0 later".to_owned())]);
            }
            OperatorAction::Delete => {
                assert!(matches!(stage.queue.show(id).await, Err(QueueError::NotFound(_))));
                assert_eq!(stage.count("DEFERRED").await, 0);
            }
            _ => stage.delivered(id).await,
        }
        assert_eq!(good.messages().len(), usize::from(action == OperatorAction::Retry), "{action:?}");
        stage.stop().await;
    }
}

/// Refused by the one that is up, waiting for the one that is down: it once waited for ever.
#[tokio::test(flavor = "multi_thread")]
async fn mail_that_waits_for_the_only_upstream_left_is_looked_at_and_expires() {
    let up = server(|s| s.on("MAIL", "550 5.7.1 not through us"));
    let down = free_address();
    let config = upstream("up", &up, "priority = \"high\"") + &at("down", down.port(), "");
    let stage = Stage::start(&config).await;
    let id = stage.put(&["b@y.test"]).await;
    let first = stage.when_attempted(id, 1).await;
    assert_eq!(refused_by(&first), ["up"]);
    // Its retries come due; nobody whom it could ask is there, though somebody else is.
    let rounds = std::cell::Cell::new(0);
    let message = stage
        .until("the end of its life", async || {
            let message = stage.queue.show(id).await.unwrap();
            if message.due.is_some() {
                stage.clock.advance(HOUR / 2);
                rounds.set(rounds.get() + 1);
            }
            message.due.is_none().then_some(message)
        })
        .await;
    let rounds = rounds.get();
    assert_eq!(outcomes(&message), [(RecipientState::Expired, "550 5.7.1 not through us".to_owned())]);
    assert!(rounds >= 240, "after {rounds} half hours, and not after five days");
    assert_eq!((message.attempts, up.sessions().len()), (1, 1), "up is not asked again");
    stage.stop().await;
}

/// All that are left have refused it before: once it was tried again and again without asking anybody.
#[tokio::test(flavor = "multi_thread")]
async fn when_a_reload_leaves_only_those_that_refused_they_are_asked_once_more() {
    let refuse = |s: crate::support::scripted::Script| s.on("MAIL", "550 5.7.1 not through us");
    let up = server(refuse);
    let alone = upstream("up", &up, "priority = \"high\"");
    let stage = Stage::start(&(alone.clone() + &at("down", free_address().port(), ""))).await;
    let id = stage.put(&["b@y.test"]).await;
    stage.when_attempted(id, 1).await;
    stage.configure(&alone);
    stage.clock.advance(2 * MINUTE);
    let message = stage.when(id, |message| message.state() == MessageState::Failed).await;
    assert_eq!((message.attempts, outcomes(&message)[0].1.as_str()), (2, "550 5.7.1 not through us"));
    let sessions = up.sessions();
    let commands = sessions.iter().flat_map(|session| &session.commands);
    assert_eq!(commands.filter(|line| line.starts_with("MAIL")).count(), 2);
    stage.stop().await;
}

/// Panics when it is asked for the time of day, so many times.
struct PanickingClock(Arc<ManualClock>, AtomicU32);

impl Clock for PanickingClock {
    fn wall(&self) -> Timestamp {
        let left = self.1.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(left.is_err(), "a panic that a test asked for");
        self.0.wall()
    }
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
    fn sleep_until(&self, until: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.sleep_until(until)
    }
}

/// Given back at once, it would be tried again at once, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_attempt_panics_is_put_off_and_harms_no_other() {
    let only = server(|s| s);
    let config = upstream("only", &only, "");
    let stage = Stage::start_by(&config, |clock| Arc::new(PanickingClock(clock, 1.into()))).await;
    let unlucky = stage.put(&["b@y.test"]).await;
    let message = stage.when_attempted(unlucky, 1).await;
    assert_eq!(message.state(), MessageState::Deferred);
    assert!(outcomes(&message)[0].1.contains("a bug in Postroom"), "{:?}", outcomes(&message));
    let other = stage.put(&["c@y.test"]).await;
    stage.delivered(other).await;
    stage.clock.advance(2 * MINUTE);
    stage.delivered(unlucky).await;
    stage.stop().await;
}
