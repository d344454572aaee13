//! Faults of upstreams as a message sees them: who is asked next, what is deferred, what is final, who else is harmed.

use super::stage::{Stage, outcomes, server, upstream};
use crate::support::scripted::{Act, Script, Scripted};
use postroom::event::code;
use postroom::mail::RecipientState;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HIGH: &str = "priority = \"high\"";

/// Two upstreams, the first of them faulty and to be asked first.
async fn stage(first: &Scripted, second: &Scripted, more: &str) -> Stage {
    Stage::start(&(upstream("first", first, &format!("{HIGH}\n{more}")) + &upstream("second", second, "")))
        .await
}

// CASES F2, F8
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_before_it_is_usable_costs_its_deadline_and_nothing_else() {
    for step in ["<greeting>", "EHLO", "STARTTLS"] {
        let first = server(|s| s.ehlo(&["STARTTLS"]).on(step, Act::Hang));
        let second = server(|s| s);
        let tls = if step == "STARTTLS" { "starttls" } else { "none" };
        let config = upstream("first", &first, &format!("{HIGH}\nconnect_timeout = \"300ms\""));
        let config = config.replacen("\"none\"", &format!("\"{tls}\""), 1) + &upstream("second", &second, "");
        let stage = Stage::start(&config).await;
        let id = stage.put(&["b@y.test"]).await;
        stage.delivered(id).await;
        assert_eq!((first.transactions().len(), second.transactions().len()), (0, 1), "{step}");
        assert_eq!(
            (stage.count(code::CIRCUIT_OPEN).await, stage.count(code::DEFERRED).await),
            (1, 0),
            "{step}"
        );
        stage.stop().await;
    }
}

// CASES F17
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_put_off_goes_to_the_next_and_is_deferred_when_all_say_so() {
    let (first, second) = (server(|s| s.on("MAIL", "451 4.3.0 later")), server(|s| s));
    let both = stage(&first, &second, "").await;
    let id = both.put(&["b@y.test"]).await;
    both.delivered(id).await;
    assert_eq!(both.count(code::DEFERRED).await, 0);
    second.change(|s| s.on("MAIL", "452 4.3.1 full"));
    let id = both.put(&["b@y.test"]).await;
    let message = both.when_attempted(id, 1).await;
    assert_eq!(outcomes(&message), [(RecipientState::Deferred, "452 4.3.1 full".to_owned())]);
    assert_eq!(message.failed_upstream.as_deref(), Some("second"));
    // Nobody's session was lost and nobody is sick: the next message is offered to both again.
    assert_eq!(both.count(code::CIRCUIT_OPEN).await, 0);
    both.stop().await;
}

// CASES F20
#[tokio::test(flavor = "multi_thread")]
async fn the_recipients_that_were_too_many_go_at_once_in_a_transaction_of_their_own() {
    for reply in
        ["452 4.5.3 too many recipients", "452 too many", "552 5.5.3 too many", "552 too many recipients"]
    {
        // Four, then a5, then a6, then a7.
        let say = |s: Script, times: usize, what: &str| (0..times).fold(s, |s, _| s.once("RCPT", what));
        let only = server(|s| {
            let s = say(say(s, 4, "250 ok"), 3, reply);
            let s = say(say(s, 1, "250 ok"), 2, reply);
            say(say(s, 1, "250 ok"), 1, reply)
        });
        let stage = Stage::start(&upstream("only", &only, "")).await;
        let recipients: Vec<String> = (1..=7).map(|number| format!("a{number}@y.test")).collect();
        let id = stage.put(&recipients.iter().map(String::as_str).collect::<Vec<_>>()).await;
        stage.delivered(id).await;
        let counts: Vec<usize> = only.transactions().iter().map(|one| one.recipients.len()).collect();
        assert_eq!(counts, [4, 1, 1, 1], "{reply}");
        let mut all: Vec<String> = only.transactions().into_iter().flat_map(|one| one.recipients).collect();
        all.dedup();
        assert_eq!(all.len(), 7, "each once: {all:?}");
        assert_eq!(stage.count(code::DEFERRED).await, 0, "{reply}");
        stage.stop().await;
    }
}

/// RFC 5321 section 4.5.3.1.10: 552 means 452 there. It was once taken for a refusal for good when nobody at all was
/// taken.
// CASES F20
#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_is_taken_too_many_is_deferred_once_and_nobody_is_refused_for_good() {
    for reply in ["452 4.5.3 too many recipients", "552 5.5.3 too many this hour"] {
        let only = server(|s| s.on("RCPT", reply));
        let stage = Stage::start(&upstream("only", &only, "")).await;
        let id = stage.put(&["a@y.test", "b@y.test"]).await;
        let message = stage.when_attempted(id, 1).await;
        let expected = (RecipientState::Deferred, reply.to_owned());
        assert_eq!(outcomes(&message), [expected.clone(), expected]);
        let sessions = only.sessions();
        let mails =
            sessions.iter().flat_map(|one| &one.commands).filter(|line| line.starts_with("MAIL")).count();
        assert_eq!(mails, 1, "it does not run in circles");
        stage.stop().await;
    }
}

// CASES F25
#[tokio::test(flavor = "multi_thread")]
async fn silence_after_the_dot_is_waited_out_and_the_next_upstream_gets_it_at_the_retry_only() {
    let (first, second) = (server(|s| s.at_dot(Act::Hang)), server(|s| s));
    let stage = stage(&first, &second, "final_timeout = \"300ms\"").await;
    let id = stage.put(&["b@y.test"]).await;
    let message = stage.when_attempted(id, 1).await;
    assert!(outcomes(&message)[0].1.contains("may be sent twice"), "{:?}", outcomes(&message));
    assert!(second.sessions().is_empty(), "not at once to another one");
    stage.clock.advance(2 * MINUTE);
    stage.delivered(id).await;
    assert_eq!(second.transactions().len(), 1, "the one that failed last goes behind all others");
    stage.stop().await;
}

// CASES F34
#[tokio::test(flavor = "multi_thread")]
async fn a_421_at_any_step_harms_no_other_message() {
    for step in ["EHLO", "MAIL", "RCPT", "DATA", "<dot>"] {
        let only = server(|s| s.once(step, Act::last("421 4.3.2 shutting down")));
        let stage = Stage::start(&upstream("only", &only, "connection_limit = 1")).await;
        stage.put(&["one@y.test"]).await;
        stage.put(&["two@y.test"]).await;
        stage
            .until("both to be delivered", async || {
                stage.clock.advance(Duration::from_secs(1));
                (stage.queue.status().messages() == 0).then_some(())
            })
            .await;
        let mut taken: Vec<String> = only.transactions().into_iter().flat_map(|one| one.recipients).collect();
        taken.sort();
        assert_eq!(taken, ["<one@y.test>", "<two@y.test>"], "{step}");
        assert_eq!(stage.count(code::DEFERRED).await, 0, "{step}: a lost session is not counted");
        stage.stop().await;
    }
}
