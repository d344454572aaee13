//! The engine with scripted upstreams: rules 2 to 5, 9, 12 and 13, CASES F at the level of the message.

use super::stage::{Stage, at, outcomes, refused_by, server, upstream};
use crate::support::free_address;
use crate::support::scripted::Act;
use postroom::clock::Clock;
use postroom::event::code;
use postroom::mail::{MessageState, RecipientState};
use postroom::queue::OperatorAction;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test(flavor = "multi_thread")]
async fn the_best_rank_gets_the_mail() {
    let (low, main) = (server(|s| s), server(|s| s));
    let stage = Stage::start(
        &(upstream("a-low", &low, "priority = \"low\"") + &upstream("main", &main, "priority = \"default\"")),
    )
    .await;
    for _ in 0..3 {
        let id = stage.put(&["b@y.test"]).await;
        stage.delivered(id).await;
    }
    assert_eq!((main.transactions().len(), low.transactions().len()), (3, 0));
    assert_eq!(main.sessions().len(), 1, "the connection is used again");
    stage.stop().await;
}

// CASES F1, F3, F4
#[tokio::test(flavor = "multi_thread")]
async fn who_gives_no_usable_session_is_left_out_at_once_and_the_message_loses_no_attempt() {
    let faults = [
        server(|s| s.greeting("554 no")),
        server(|s| s.greeting("bogus")),
        server(|s| s.greeting(Act::Close)),
        server(|s| s.on("EHLO", "550 no").on("HELO", "550 no")),
        server(|s| s.on("EHLO", Act::last("421 4.3.2 not now"))),
    ];
    let good = server(|s| s);
    let mut config = upstream("good", &good, "priority = \"low\"")
        + &at("refuses", free_address().port(), "priority = \"default\"");
    for (number, fault) in faults.iter().enumerate() {
        config += &upstream(&format!("fault{number}"), fault, "priority = \"high\"");
    }
    let stage = Stage::start(&config).await;
    let id = stage.put(&["b@y.test"]).await;
    stage.delivered(id).await;
    assert_eq!(good.transactions().len(), 1);
    assert_eq!(stage.count(code::CIRCUIT_OPEN).await, 6);
    assert_eq!(stage.count(code::DEFERRED).await, 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lost_under_way_sends_the_message_on_at_once() {
    for command in ["MAIL", "RCPT", "DATA"] {
        let bad = server(|s| s.on(command, Act::Close));
        let good = server(|s| s);
        let stage =
            Stage::start(&(upstream("bad", &bad, "priority = \"high\"") + &upstream("good", &good, "")))
                .await;
        let id = stage.put(&["b@y.test"]).await;
        stage.delivered(id).await;
        assert_eq!(good.transactions().len(), 1, "{command}");
        assert_eq!(stage.count(code::DEFERRED).await, 0, "{command}");
        stage.stop().await;
    }
}

// CASES F18, F22
#[tokio::test(flavor = "multi_thread")]
async fn every_recipient_has_its_own_outcome() {
    let only = server(|s| s.on("RCPT TO:<later", "451 4.2.0 later").on("RCPT TO:<never", "550 5.1.1 who?"));
    let stage = Stage::start(&upstream("only", &only, "")).await;
    let id = stage.put(&["one@y.test", "later@y.test", "never@y.test", "two@y.test"]).await;
    let message = stage.when_attempted(id, 1).await;
    let states: Vec<RecipientState> = outcomes(&message).into_iter().map(|(state, _)| state).collect();
    use RecipientState::{Deferred, Delivered, Failed};
    assert_eq!(states, [Delivered, Deferred, Failed, Delivered]);
    assert_eq!(outcomes(&message)[2].1, "550 5.1.1 who?");
    assert_eq!(message.state(), MessageState::Deferred);

    only.change(|s| s);
    let changed = server(|s| s);
    stage.configure(&upstream("only", &changed, ""));
    stage.clock.advance(2 * MINUTE);
    let message = stage.when(id, |message| message.state() == MessageState::Failed).await;
    assert_eq!(changed.wait_for(1)[0].recipients, ["<later@y.test>"], "the others are not repeated");
    assert_eq!((message.attempts, message.due), (2, None));
    stage.stop().await;
}

// CASES F18
#[tokio::test(flavor = "multi_thread")]
async fn what_one_upstream_puts_off_the_next_one_may_take() {
    let first = server(|s| s.on("RCPT TO:<later", "451 4.2.0 later"));
    let second = server(|s| s);
    let stage =
        Stage::start(&(upstream("first", &first, "priority = \"high\"") + &upstream("second", &second, "")))
            .await;
    let id = stage.put(&["one@y.test", "later@y.test"]).await;
    stage.delivered(id).await;
    assert_eq!(first.transactions()[0].recipients, ["<one@y.test>"]);
    assert_eq!(second.transactions()[0].recipients, ["<later@y.test>"]);
    stage.stop().await;
}

// CASES F26, F27, F28
#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_to_the_dot_it_is_put_off_and_not_sent_elsewhere_at_once() {
    for act in [Act::Close, "354 go on".into(), Act::last("250-half"), "850 NONSENSE".into()] {
        let first = server(|s| s.at_dot(act.clone()));
        let second = server(|s| s);
        let stage = Stage::start(
            &(upstream("first", &first, "priority = \"high\"") + &upstream("second", &second, "")),
        )
        .await;
        let id = stage.put(&["b@y.test"]).await;
        let message = stage.when_attempted(id, 1).await;
        assert_eq!(message.state(), MessageState::Deferred, "{act:?}");
        assert!(outcomes(&message)[0].1.contains("may be sent twice"), "{act:?}: {:?}", outcomes(&message));
        assert!(second.sessions().is_empty(), "{act:?}");
        stage.stop().await;
    }
}

// CASES F17
#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_of_the_account_is_final_only_when_every_candidate_said_so() {
    let refuse = |s: crate::support::scripted::Script| s.on("MAIL", "550 5.7.1 not through us");
    let (first, second) = (server(refuse), server(|s| s.at_dot("554 5.7.60 not as this sender")));
    let third = free_address();
    let two = upstream("first", &first, "priority = \"high\"") + &upstream("second", &second, "");
    let stage = Stage::start(&(two.clone() + &at("third", third.port(), "priority = \"low\""))).await;
    let id = stage.put(&["b@y.test"]).await;
    let message = stage.when_attempted(id, 1).await;
    assert_eq!(message.state(), MessageState::Deferred, "the third one has not been heard");
    assert_eq!(refused_by(&message), ["first", "second"]);

    // The third one is back: only it is asked.
    let back = server(|s| s);
    let asked = (first.sessions().len(), second.sessions().len());
    stage.configure(&(two.clone() + &upstream("third", &back, "priority = \"low\"")));
    stage.health.forget(&["third".into()]);
    stage.clock.advance(2 * MINUTE);
    stage.delivered(id).await;
    assert_eq!((first.sessions().len(), second.sessions().len()), asked);

    stage.configure(&two);
    let id = stage.put(&["b@y.test"]).await;
    let message = stage.when_attempted(id, 1).await;
    assert_eq!(message.state(), MessageState::Failed, "all candidates said so");
    stage.stop().await;
}

// CASES F12
#[tokio::test(flavor = "multi_thread")]
async fn too_small_an_upstream_is_passed_over_and_all_too_small_is_final() {
    let small = crate::support::scripted::Scripted::start(|s| s.ehlo(&["SIZE 10"]));
    let big = server(|s| s);
    let stage =
        Stage::start(&(upstream("small", &small, "priority = \"high\"") + &upstream("big", &big, ""))).await;
    let id = stage.put(&["b@y.test"]).await;
    stage.delivered(id).await;
    assert_eq!(big.transactions().len(), 1);
    stage.configure(&upstream("small", &small, ""));
    let id = stage.put(&["b@y.test"]).await;
    let message = stage.when(id, |message| message.state() == MessageState::Failed).await;
    assert!(outcomes(&message)[0].1.contains("the upstream takes 10 at most"), "{:?}", outcomes(&message));
    assert!(small.transactions().is_empty());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_recipients_for_one_transaction_go_in_several_at_once() {
    let only = server(|s| {
        (0..3)
            .fold(s, |s, _| s.once("RCPT TO:<a", "250 ok"))
            .on("RCPT TO:<a", "452 4.5.3 too many")
            .on("RCPT", "250 ok")
    });
    let stage = Stage::start(&upstream("only", &only, "")).await;
    let id = stage.put(&["a1@y.test", "a2@y.test", "a3@y.test", "a4@y.test"]).await;
    // The first three are taken; then the server takes again.
    only.wait_for(1);
    only.change(|_| crate::support::scripted::Script::default().ehlo(&["PIPELINING"]));
    let deferred_or_gone = stage.until("an outcome", async || match stage.queue.show(id).await {
        Ok(message) if message.attempts == 0 => None,
        Ok(message) => Some(Some(message)),
        Err(_) => Some(None),
    });
    if let Some(message) = deferred_or_gone.await {
        // The second transaction came before the change: nothing was accepted in it, so the rest is deferred.
        assert_eq!(outcomes(&message)[3].0, RecipientState::Deferred);
        stage.clock.advance(2 * MINUTE);
        stage.delivered(id).await;
    }
    let mut taken: Vec<String> = only.transactions().into_iter().flat_map(|one| one.recipients).collect();
    taken.sort();
    assert_eq!(taken, ["<a1@y.test>", "<a2@y.test>", "<a3@y.test>", "<a4@y.test>"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn load_spills_over_when_the_better_one_is_busy() {
    let busy = server(|s| s.on("MAIL", Act::Hang));
    let spare = server(|s| s);
    let stage = Stage::start(
        &(upstream("busy", &busy, "priority = \"high\"\nconnection_limit = 1")
            + &upstream("spare", &spare, "")),
    )
    .await;
    stage.put(&["stuck@y.test"]).await;
    stage.until("the first to be taken", async || (!busy.sessions().is_empty()).then_some(())).await;
    let id = stage.put(&["free@y.test"]).await;
    stage.delivered(id).await;
    assert_eq!(spare.transactions()[0].recipients, ["<free@y.test>"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_rate_mail_waits_and_never_fails() {
    let only = server(|s| s);
    let stage = Stage::start(&upstream("only", &only, "rate_limit = \"2/1m\"")).await;
    for _ in 0..5 {
        stage.put(&["b@y.test"]).await;
    }
    for (taken, left) in [(2, 3), (4, 1), (5, 0)] {
        stage.until("what may leave", async || (only.transactions().len() >= taken).then_some(())).await;
        stage
            .until("the rest to wait", async || (stage.queue.status().messages() == left).then_some(()))
            .await;
        assert_eq!(only.transactions().len(), taken);
        stage.clock.advance(MINUTE);
    }
    assert_eq!(stage.count(code::DEFERRED).await, 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_everything_down_mail_waits_uncounted_and_leaves_with_the_probe() {
    let address = free_address();
    let stage = Stage::start(&at("only", address.port(), "")).await;
    let id = stage.put(&["b@y.test"]).await;
    for opened in 1..=3 {
        stage.wait_for_event(code::CIRCUIT_OPEN, opened).await;
        stage.clock.advance(MINUTE);
    }
    // No probe is under way when the server comes back: one that failed later would wait for a time that never comes.
    stage.wait_for_event(code::CIRCUIT_OPEN, 4).await;
    let message = stage.queue.show(id).await.unwrap();
    assert_eq!((message.state(), message.attempts), (MessageState::Queued, 0));
    let back = server(|s| s);
    stage.configure(&upstream("only", &back, ""));
    stage.clock.advance(MINUTE);
    stage.delivered(id).await;
    stage.wait_for_event(code::CIRCUIT_CLOSED, 1).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_days_of_retries_end_in_expired_and_the_message_stays_listed() {
    let only = server(|s| s.on("RCPT", "451 4.2.0 later"));
    let stage = Stage::start(&upstream("only", &only, "")).await;
    let id = stage.put(&["b@y.test"]).await;
    let mut attempts = 0;
    let message = loop {
        let message = stage.when_attempted(id, attempts + 1).await;
        attempts = message.attempts;
        let Some(due) = message.due else { break message };
        stage.clock.advance(due.since(stage.queue.now()));
    };
    // 1, 5, 15 and 30 minutes, then hourly, each within a tenth: about 121 attempts in five days.
    assert!((108..=136).contains(&attempts), "{attempts}");
    assert_eq!(outcomes(&message)[0], (RecipientState::Expired, "451 4.2.0 later".into()));
    assert_eq!(message.state(), MessageState::Failed);
    assert_eq!(stage.count(code::EXPIRED).await, 1);
    stage.clock.advance(DAY);
    assert_eq!(stage.queue.act(OperatorAction::Retry, vec![id]).await.unwrap().len(), 1);
    let again =
        stage.when(id, |message| message.state() == MessageState::Deferred && message.attempts > 0).await;
    assert_eq!(again.attempts, 1, "a fresh schedule and life");
    stage.stop().await;
}

// CASES F40
#[tokio::test(flavor = "multi_thread")]
async fn down_for_longer_than_the_life_time_it_expires_without_an_attempt() {
    let stage = Stage::start(&at("only", free_address().port(), "")).await;
    let id = stage.put(&["b@y.test", "c@y.test"]).await;
    stage.wait_for_event(code::CIRCUIT_OPEN, 1).await;
    stage.clock.advance(4 * DAY);
    stage.wait_for_event(code::CIRCUIT_OPEN, 2).await;
    assert_eq!(stage.queue.show(id).await.unwrap().state(), MessageState::Queued);
    // Six hours at a time, whenever a probe has failed; else in steps in which its circuit stays open for a while.
    let opened_before = std::cell::Cell::new(0);
    let is_over = async || {
        let now_opened = stage.count(code::CIRCUIT_OPEN).await;
        let has_failed = now_opened > opened_before.replace(now_opened);
        stage.clock.advance(if has_failed { 6 * HOUR } else { Duration::from_secs(2) });
        let message = stage.queue.show(id).await.unwrap();
        message.due.is_none().then_some(message)
    };
    let message = stage.until("the end of its life", is_over).await;
    assert_eq!((message.state(), message.attempts), (MessageState::Failed, 0));
    for (state, reply) in outcomes(&message) {
        assert_eq!(state, RecipientState::Expired);
        // By itself, or behind "no upstream was available": a probe may have been under way when its life ended.
        assert!(reply.contains("Connection refused"), "{reply}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_is_set_expires_nothing_and_starts_no_storm() {
    let only = server(|s| s.on("RCPT", "451 4.2.0 later"));
    let stage = Stage::start(&upstream("only", &only, "")).await;
    let id = stage.put(&["b@y.test"]).await;
    let before = stage.when_attempted(id, 1).await;
    for days in [6, -7] {
        use postroom::clock::Clock;
        stage.clock.set_wall(stage.clock.wall() + jiff::SignedDuration::from_hours(24 * days));
        stage.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(stage.queue.show(id).await.unwrap().due, before.due);
    stage.clock.advance(2 * MINUTE);
    assert_eq!(stage.when_attempted(id, 2).await.state(), MessageState::Deferred);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sending_off_nothing_leaves_and_no_time_passes_for_the_mail() {
    let only = server(|s| s);
    let on = upstream("only", &only, "");
    let stage = Stage::start(&(on.clone() + "[sending]\nenabled = false\n")).await;
    let id = stage.put(&["b@y.test"]).await;
    let now = stage.queue.now();
    stage.clock.advance(10 * DAY);
    assert_eq!(stage.queue.now(), now);
    assert!(only.sessions().is_empty());
    stage.configure(&on);
    stage.delivered(id).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_upstreams_choke_on_does_not_run_in_circles() {
    let only = server(|s| s.on("RCPT TO:<poison", Act::Close));
    let stage = Stage::start(&upstream("only", &only, "")).await;
    let id = stage.put(&["poison@y.test"]).await;
    let message = stage.when_attempted(id, 1).await;
    assert_eq!(message.state(), MessageState::Deferred);
    assert_eq!(only.sessions().len(), 3, "three sessions were lost with it before it was deferred");
    stage.stop().await;
}

// CASES F35
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_was_closed_costs_nothing() {
    let only = server(|s| s);
    let stage = Stage::start(&upstream("only", &only, "")).await;
    let id = stage.put(&["b@y.test"]).await;
    stage.delivered(id).await;
    // From the next command on the server closes without a word, once.
    only.change(|s| s.once("MAIL", Act::Close));
    let id = stage.put(&["c@y.test"]).await;
    stage.delivered(id).await;
    assert_eq!(stage.count(code::DEFERRED).await, 0);
    assert_eq!(stage.count(code::CIRCUIT_OPEN).await, 0);
    assert_eq!(only.transactions().len(), 2);
    stage.stop().await;
}

// CASES F14
#[tokio::test(flavor = "multi_thread")]
async fn refused_auth_is_the_upstreams_fault_and_nobodys_mail_bounces() {
    let bad = server(|s| s.ehlo(&["AUTH PLAIN LOGIN"]).on("AUTH", "535 5.7.8 wrong password"));
    let good = server(|s| s);
    let auth = "priority = \"high\"\nauth = \"basic\"\nusername = \"u\"\npassword = \"sesame-4711\"";
    let stage = Stage::start(&(upstream("bad", &bad, auth) + &upstream("good", &good, ""))).await;
    let id = stage.put(&["b@y.test"]).await;
    stage.delivered(id).await;
    let events = stage.events().await;
    let opened = events.iter().find(|event| event.fact.code == code::CIRCUIT_OPEN).unwrap();
    assert!(opened.fact.message.contains("5m") && opened.fact.message.contains("535"), "{:?}", opened.fact);
    assert!(!format!("{events:?}").contains("sesame"), "a password in the events");
    stage.stop().await;
}

/// A clock that somebody sets forward once removed all failed mail for good.
#[tokio::test(flavor = "multi_thread")]
async fn failed_mail_is_kept_for_its_days_whatever_the_wall_clock_shows() {
    let only = server(|s| s.on("RCPT", "550 5.1.1 nobody of that name"));
    let stage = Stage::start(&upstream("only", &only, "")).await;
    let id = stage.put(&["b@y.test"]).await;
    stage.when(id, |message| message.state() == MessageState::Failed).await;
    stage.clock.set_wall(stage.clock.wall() + 60 * DAY);
    for _ in 0..20 {
        stage.clock.advance(2 * MINUTE);
        tokio::time::sleep(Duration::from_millis(5)).await;
        stage.queue.show(id).await.unwrap();
    }
    stage.clock.advance(31 * DAY);
    stage.delivered(id).await;
    stage.wait_for_event(code::DELETED, 1).await;
    let deleted = stage.events().await.into_iter().find(|event| event.fact.code == code::DELETED).unwrap();
    assert!(
        deleted.fact.message.contains("to b@y.test was deleted because it failed 31 days ago"),
        "{deleted:?}"
    );
    stage.stop().await;
}
