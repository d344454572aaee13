//! Backlog and news: what comes in while much waits.

use super::stage::Stage;
use crate::support::recorder::Recorder;
use postroom::mail::{Class, QueueId};
use std::time::Duration;

/// After an outage a password reset waited behind the whole backlog, for hours.
// CASES H10
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::await_holding_lock, reason = "whoever waits for it is a thread of the recorder's")]
async fn a_password_reset_that_finds_a_hundred_thousand_waiting_leaves_within_ten() {
    let only = Recorder::start();
    let config = only.upstream("only") + "connection_limit = 1\n";
    let stage = Stage::start(&(config.clone() + "[sending]\nenabled = false\n")).await;
    for _ in 0..100 {
        let bulk = |_| stage.put_changed(&["reader@y.test"], |message| message.class = Class::Bulk);
        let _: Vec<QueueId> = futures_util::future::join_all((0..1_000).map(bulk)).await;
    }
    let gate = only.hold_final_replies();
    stage.configure(&config);
    // One is under way, a few are claimed: now the news comes in, of a class that says nothing of itself.
    only.wait(1);
    stage.clock.advance(Duration::from_secs(1));
    stage.put(&["reset@y.test"]).await;
    drop(gate);
    let taken = only.wait(12);
    let place = taken.iter().position(|message| message.rcpt == ["<reset@y.test>"]);
    assert!(place.is_some_and(|place| place <= 10), "{place:?}");
    stage.abandon().await;
}
