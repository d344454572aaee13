//! Time under modes: a site whose sending is off stands still alone, and debug, simulate and a hold expire nothing (rules 6, 7
//! and 9).

use super::stage::{Stage, server, upstream};
use postroom::mail::{HoldReason, MessageState, QueueId};
use postroom::queue::OperatorAction;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const QUEUE: &str = "[queue]\nretry = [\"1h\"]\nexpire_after = \"5d\"\n";

async fn put_of(stage: &Stage, site: &str) -> QueueId {
    stage.put_changed(&["b@y.test"], |message| message.site = site.to_owned()).await
}

/// Lets that much time go by, with an attempt each time that the message is due.
async fn pass(stage: &Stage, time: Duration, id: QueueId) {
    let mut attempts = stage.queue.show(id).await.unwrap().attempts;
    for _ in 0..time.as_secs() / (2 * HOUR).as_secs() {
        stage.clock.advance(2 * HOUR);
        attempts += 1;
        let decided = |state| matches!(state, MessageState::Failed | MessageState::Held);
        if decided(stage.when(id, |one| one.attempts >= attempts || decided(one.state())).await.state()) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_off_for_one_site_stops_the_time_of_that_site_alone() {
    let only = server(|s| s.on("RCPT", "451 4.2.0 later"));
    let config = |off: &str| format!("{QUEUE}{}[site.a]\n{off}[site.b]\n", upstream("only", &only, ""));
    let stage = Stage::start(&config("")).await;
    let (a, b, none) = (put_of(&stage, "a").await, put_of(&stage, "b").await, put_of(&stage, "").await);
    for id in [a, b, none] {
        stage.when_attempted(id, 1).await;
    }
    stage.configure(&config("[site.a.sending]\nenabled = false\n"));
    let moves = || {
        let before = stage.queue.now_of("a");
        stage.clock.advance(Duration::from_millis(1));
        stage.queue.now_of("a") != before
    };
    stage.until("the site's time to stand still", async || (!moves()).then_some(())).await;
    stage.clock.advance(2 * HOUR);
    stage.when_attempted(b, 2).await;
    pass(&stage, 6 * DAY, b).await;
    stage.when(b, |message| message.state() == MessageState::Failed).await;
    stage.when(none, |message| message.state() == MessageState::Failed).await;
    let waits = stage.queue.show(a).await.unwrap();
    assert_eq!((waits.attempts, waits.state()), (1, MessageState::Deferred));
    stage.configure(&config(""));
    stage.until("the site's time to go on", async || moves().then_some(())).await;
    // Its retry is as far away as it was, and its life goes on where it stopped.
    let before = stage.put(&["after@y.test"]).await;
    stage.when_attempted(before, 1).await;
    assert_eq!(stage.queue.show(a).await.unwrap().attempts, 1);
    stage.clock.advance(HOUR + 10 * MINUTE);
    let again = stage.when_attempted(a, 2).await;
    assert_eq!(again.state(), MessageState::Deferred);
    pass(&stage, 6 * DAY, a).await;
    assert_eq!(stage.queue.show(a).await.unwrap().state(), MessageState::Failed);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_debug_nor_simulate_nor_a_hold_uses_up_life() {
    let only = server(|s| s.on("RCPT", "451 4.2.0 later"));
    let config = |mode: &str| format!("{QUEUE}{}{mode}", upstream("only", &only, ""));
    for mode in ["[simulate]\nenabled = true\n", "[debug]\nenabled = true\nfailure_rate = 1.0\n"] {
        let stage = Stage::start(&config(mode)).await;
        let id = stage.put(&["b@y.test"]).await;
        stage.when_attempted(id, 1).await;
        pass(&stage, 8 * DAY, id).await;
        assert_eq!(stage.queue.show(id).await.unwrap().state(), MessageState::Deferred, "{mode}");
        stage.configure(&config(""));
        let held = stage.when(id, |message| message.state() == MessageState::Held).await;
        assert!(held.hold.contains(&HoldReason::ModeEnded) && held.hold.len() == 1, "{:?}", held.hold);
        stage.clock.advance(8 * DAY);
        let attempts = held.attempts;
        stage.queue.act(OperatorAction::Release, vec![id]).await.unwrap();
        let sent = stage.when_attempted(id, attempts + 1).await;
        assert_eq!(sent.state(), MessageState::Deferred, "{mode}: it has all of its life left");
        pass(&stage, 6 * DAY, id).await;
        assert_eq!(stage.queue.show(id).await.unwrap().state(), MessageState::Failed, "{mode}");
        stage.stop().await;
    }
}
