//! Backlog and news: what comes in while much waits.

use super::stage::Stage;
use crate::support::free_address;
use crate::support::recorder::Recorder;
use postroom::mail::{Class, QueueId};
use std::time::{Duration, Instant};

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

/// Claimed mail waits in the order in which it was claimed: with as much of it as each of many sites may claim, news would wait
/// behind all of that.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::await_holding_lock, reason = "whoever waits for it is a thread of the recorder's")]
async fn urgent_mail_leaves_within_ten_however_many_sites_share_an_upstream() {
    const SITES: usize = 40;
    let only = Recorder::start();
    let sites: String = (0..SITES).map(|site| format!("[site.s{site}]\n")).collect();
    let config = format!("{sites}{}connection_limit = 1\n", only.upstream("only"));
    let stage = Stage::start(&(config.clone() + "[sending]\nenabled = false\n")).await;
    for site in 0..SITES {
        let bulk = |_| {
            stage.put_changed(&["reader@y.test"], |message| {
                (message.class, message.site) = (Class::Bulk, format!("s{site}"));
            })
        };
        let _: Vec<QueueId> = futures_util::future::join_all((0..20).map(bulk)).await;
    }
    let gate = only.hold_final_replies();
    stage.configure(&config);
    only.wait(1);
    stage.clock.advance(Duration::from_secs(1));
    stage
        .put_changed(&["reset@y.test"], |message| {
            (message.class, message.site) = (Class::Urgent, "s7".to_owned());
            // Its clock stood still while sending was off.
            message.due = Some(stage.queue.now_of("s7"));
        })
        .await;
    drop(gate);
    let taken = only.wait(12);
    let place = taken.iter().position(|message| message.rcpt == ["<reset@y.test>"]);
    assert!(place.is_some_and(|place| place <= 10), "{place:?}");
    stage.abandon().await;
}

/// A site that is down delays no other, however much of its mail waits (rule 2): the other's mail leaves with 100,000 of its
/// messages in the queue, which never do. How long that takes is shown, not judged: docs/benchmarks.md has figures.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_messages_of_a_site_that_is_down_delay_no_other() {
    const OTHERS: usize = 1_000;
    let well = Recorder::start();
    let sites = "[site.down]\nglobal_upstreams = false\n[site.other]\n";
    let down =
        format!("[upstream.down]\nhost = \"{}\"\ntls = \"none\"\nsites = [\"down\"]\n", free_address());
    let stage = Stage::start(&format!("{sites}{down}{}", well.upstream("well"))).await;
    let put = async |site: &'static str, count: usize| {
        let one = |_| stage.put_changed(&["b@y.test"], move |message| message.site = site.to_owned());
        let _: Vec<QueueId> = futures_util::future::join_all((0..count).map(one)).await;
    };
    let mut taken = 0;
    let mut time_of_others = async || {
        let start = Instant::now();
        put("other", OTHERS).await;
        taken += OTHERS;
        well.wait(taken);
        start.elapsed()
    };
    time_of_others().await;
    let alone = time_of_others().await;
    for _ in 0..100 {
        put("down", 1_000).await;
    }
    let beside = time_of_others().await.min(time_of_others().await);
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    println!(
        "{OTHERS} messages: {alone:?} alone, {beside:?} beside 100,000 of a site that is down: {ratio:.2}"
    );
    let only_they_wait = async || (stage.queue.status().queued == 100_000).then_some(());
    stage.until("nothing to wait but the mail of the site that is down", only_they_wait).await;
    stage.abandon().await;
}
