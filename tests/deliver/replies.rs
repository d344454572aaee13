//! What a reply means for the message that met it: rule 3's table, row by row, in the words of real servers.

use super::stage::{Stage, outcomes, server, upstream};
use crate::support::scripted::{Act, Script, Scripted};
use postroom::event::code;
use postroom::mail::{MessageState, RecipientState};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HIGH: &str = "priority = \"high\"";

async fn stage(first: &Scripted, second: &Scripted) -> Stage {
    Stage::start(&(upstream("first", first, HIGH) + &upstream("second", second, ""))).await
}

fn count(server: &Scripted, command: &str) -> usize {
    let sessions = server.sessions();
    sessions.iter().flat_map(|one| &one.commands).filter(|line| line.starts_with(command)).count()
}

/// Every queued message failed for good when the administrator of the upstream began to require TLS.
// CASES H1
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_protection_at_mail_is_no_usable_session() {
    for reply in [
        "530 5.7.0 Must issue a STARTTLS command first",
        "530 5.7.57 Client was not authenticated to send anonymous mail during MAIL FROM",
        "534 5.7.9 Authentication mechanism is too weak",
        "538 5.7.11 Encryption required for requested authentication mechanism",
    ] {
        let (first, second) = (server(|s| s.on("MAIL", reply)), server(|s| s));
        let both = stage(&first, &second).await;
        let id = both.put(&["b@y.test"]).await;
        both.delivered(id).await;
        assert_eq!((first.transactions().len(), second.transactions().len()), (0, 1), "{reply}");
        assert_eq!(
            (both.count(code::CIRCUIT_OPEN).await, both.count(code::DEFERRED).await),
            (1, 0),
            "{reply}"
        );

        // With nobody else it waits, uncounted, until the server takes mail again.
        both.configure(&upstream("first", &first, ""));
        both.health.forget(&["first".into()]);
        let id = both.put(&["c@y.test"]).await;
        both.wait_for_event(code::CIRCUIT_OPEN, 2).await;
        let message = both.queue.show(id).await.unwrap();
        assert_eq!((message.state(), message.attempts), (MessageState::Queued, 0), "{reply}");
        let mended = server(|s| s);
        both.configure(&upstream("first", &mended, ""));
        both.health.forget(&["first".into()]);
        both.delivered(id).await;
        both.stop().await;
    }
}

// CASES H1, H3
#[tokio::test(flavor = "multi_thread")]
async fn protection_wanted_later_is_deferred_and_counted_and_never_final() {
    for step in ["RCPT", "DATA", "<dot>"] {
        let only = server(|s| s.on(step, "530 5.7.0 Authentication required"));
        let stage = Stage::start(&upstream("only", &only, "")).await;
        let id = stage.put(&["b@y.test"]).await;
        let message = stage.when_attempted(id, 1).await;
        assert_eq!(outcomes(&message)[0].0, RecipientState::Deferred, "{step}");
        assert_eq!(stage.count(code::CIRCUIT_OPEN).await, 0, "{step}");
        stage.stop().await;
    }
}

/// hMailServer takes mail for its own domains from anybody and says 530 for all others.
// CASES H3
#[tokio::test(flavor = "multi_thread")]
async fn one_recipient_that_needs_authentication_harms_no_other() {
    let first = server(|s| s.on("RCPT TO:<far", "530 SMTP authentication is required."));
    let second = server(|s| s.on("RCPT TO:<far2", "451 4.3.0 later"));
    let both = stage(&first, &second).await;
    let id = both.put(&["near@y.test", "far1@y.test", "far2@y.test"]).await;
    let message = both.when_attempted(id, 1).await;
    use RecipientState::{Deferred, Delivered};
    let states: Vec<RecipientState> = outcomes(&message).into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, [Delivered, Delivered, Deferred]);
    assert_eq!(first.transactions()[0].recipients, ["<near@y.test>"]);
    assert_eq!(second.transactions()[0].recipients, ["<far1@y.test>"]);
    assert_eq!(both.count(code::CIRCUIT_OPEN).await, 0);
    both.stop().await;
}

/// The first upstream's refusal to relay once failed mail that the second would have taken.
// CASES H2
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_relay_is_passed_over_and_it_is_final_when_nobody_relays() {
    for reply in ["554 5.7.1 <b@y.test>: Relay access denied", "550 relay not permitted"] {
        let (first, second) = (server(|s| s.on("RCPT", reply)), server(|s| s));
        let both = stage(&first, &second).await;
        let id = both.put(&["b@y.test"]).await;
        both.delivered(id).await;
        assert_eq!(
            (both.count(code::DEFERRED).await, both.count(code::CIRCUIT_OPEN).await),
            (0, 0),
            "{reply}"
        );
        second.change(|s| s.on("RCPT", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain"));
        let id = both.put(&["b@y.test"]).await;
        let message = both.when(id, |message| message.state() == MessageState::Failed).await;
        assert!(outcomes(&message)[0].1.starts_with("550 5.7.54"), "{:?}", outcomes(&message));
        both.stop().await;
    }
}

// CASES F17
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_refused_goes_to_the_next_and_fails_when_all_say_so() {
    let (first, second) = (server(|s| s.on("MAIL", "550 5.7.1 not you")), server(|s| s));
    let both = stage(&first, &second).await;
    let id = both.put(&["b@y.test"]).await;
    both.delivered(id).await;
    second.change(|s| s.on("MAIL", "553 5.1.8 unknown domain"));
    let id = both.put(&["b@y.test"]).await;
    let message = both.when(id, |message| message.state() == MessageState::Failed).await;
    assert_eq!(outcomes(&message)[0].1, "553 5.1.8 unknown domain");
    // Not remembered: the next message is offered again.
    assert_eq!(count(&first, "MAIL"), 2);
    both.stop().await;
}

/// A daily quota says nothing of the mail, wherever in the transaction it is met.
#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_of_the_account_is_never_final() {
    for step in ["MAIL", "RCPT", "DATA", "<dot>"] {
        let first = server(|s| s.on(step, "550 5.4.5 Daily user sending limit exceeded"));
        let second = server(|s| s.on(step, "550 5.7.705 Access denied, tenant has exceeded threshold"));
        let both = stage(&first, &second).await;
        let id = both.put(&["b@y.test"]).await;
        let message = both.when_attempted(id, 1).await;
        assert_eq!(outcomes(&message)[0].0, RecipientState::Deferred, "{step}");
        second.change(|_| Script::default());
        let (one, two) = (server(|s| s), server(|s| s));
        both.configure(&(upstream("first", &one, HIGH) + &upstream("second", &two, "")));
        both.clock.advance(2 * MINUTE);
        both.delivered(id).await;
        assert_eq!(both.count(code::CIRCUIT_OPEN).await, 0, "{step}");
        both.stop().await;
    }
}

// CASES F22, F12
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_content_is_final_and_a_refused_sender_or_size_is_asked_elsewhere() {
    for (reply, second_is_asked) in [
        ("554 5.6.0 bad content", false),
        ("554 no", false),
        ("552 5.3.4 Message size exceeds fixed limit", true),
        ("554 5.2.252 SendAsDenied", true),
        ("550 5.7.60 Client does not have permissions to send as this sender", true),
        ("550 5.1.8 Access denied, bad outbound sender", true),
    ] {
        for step in ["DATA", "<dot>"] {
            let (first, second) = (server(|s| s.on(step, reply)), server(|s| s.on(step, reply)));
            let both = stage(&first, &second).await;
            let id = both.put(&["b@y.test"]).await;
            let message = both.when(id, |message| message.state() == MessageState::Failed).await;
            assert_eq!(outcomes(&message)[0].1, reply);
            assert_eq!(!second.sessions().is_empty(), second_is_asked, "{step} {reply}");
            both.stop().await;
        }
    }
}

/// An explicit 421 to the final dot refuses the message and the session: it is not unknown, so the next upstream may have
/// it at once.
// CASES F34
#[tokio::test(flavor = "multi_thread")]
async fn a_421_is_a_lost_session_at_every_step() {
    for step in ["MAIL", "RCPT", "DATA", "<dot>"] {
        let first = server(|s| s.on(step, Act::last("421 4.3.2 shutting down")));
        let second = server(|s| s);
        let both = stage(&first, &second).await;
        let id = both.put(&["b@y.test"]).await;
        both.delivered(id).await;
        assert_eq!((first.transactions().len(), second.transactions().len()), (0, 1), "{step}");
        assert_eq!(both.count(code::DEFERRED).await, 0, "{step}");
        both.stop().await;
    }
}

// CASES F34, F28
#[tokio::test(flavor = "multi_thread")]
async fn the_third_session_lost_with_the_same_message_defers_and_counts_it() {
    for act in [Act::last("421 4.3.2 bye"), "850 NONSENSE".into(), Act::Close] {
        let servers: Vec<Scripted> = (0..3).map(|_| server(|s| s.on("RCPT", act.clone()))).collect();
        let config = |count: usize| -> String {
            let all = servers.iter().take(count).enumerate();
            all.map(|(number, server)| upstream(&format!("up{number}"), server, "")).collect()
        };
        let stage = Stage::start(&config(3)).await;
        let id = stage.put(&["b@y.test"]).await;
        let message = stage.when_attempted(id, 1).await;
        assert_eq!(outcomes(&message)[0].0, RecipientState::Deferred);
        let mails: usize = servers.iter().map(|server| count(server, "MAIL")).sum();
        assert_eq!((mails, message.attempts), (3, 1), "{act:?}");
        stage.stop().await;
    }
}

/// The rest was once asked again at an upstream that had deferred those it took, and they with it.
// CASES F20
#[tokio::test(flavor = "multi_thread")]
async fn only_those_that_were_too_many_are_offered_again_whatever_became_of_the_content() {
    let first = server(|s| {
        let s = s.once("RCPT", "250 ok").once("RCPT", "250 ok").once("RCPT", "452 4.5.3 Too many recipients");
        s.once("<dot>", "451 4.3.0 later")
    });
    let stage = Stage::start(&upstream("first", &first, "")).await;
    let id = stage.put(&["a@y.test", "b@y.test", "c@y.test"]).await;
    let message = stage.when_attempted(id, 1).await;
    use RecipientState::{Deferred, Delivered};
    let states: Vec<RecipientState> = outcomes(&message).into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, [Deferred, Deferred, Delivered]);
    assert_eq!(first.transactions()[0].recipients, ["<c@y.test>"]);
    assert_eq!((count(&first, "MAIL"), count(&first, "RCPT")), (2, 4));
    stage.stop().await;
}

/// 454 at AUTH brought four logins in 12 seconds, which is how accounts get locked.
// CASES H9
#[tokio::test(flavor = "multi_thread")]
async fn a_454_to_auth_waits_as_long_as_a_535() {
    let login = "auth = \"basic\"\nusername = \"u\"\npassword = \"sesame-4711\"";
    let only = server(|s| s.ehlo(&["AUTH PLAIN"]).on("AUTH", "454 4.7.0 Temporary authentication failure"));
    let stage = Stage::start(&upstream("only", &only, login)).await;
    let id = stage.put(&["b@y.test"]).await;
    for (number, wait) in [(1, 5), (2, 10), (3, 20)] {
        stage.wait_for_event(code::CIRCUIT_OPEN, number).await;
        assert_eq!(count(&only, "AUTH"), number);
        stage.clock.advance((wait * MINUTE) - Duration::from_secs(20));
        // Long enough for a login that must not come, were it on its way.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(count(&only, "AUTH"), number, "left alone for {wait} minutes");
        stage.clock.advance(Duration::from_secs(20));
    }
    let message = stage.queue.show(id).await.unwrap();
    assert_eq!((message.state(), message.attempts), (MessageState::Queued, 0));
    stage.stop().await;
}
