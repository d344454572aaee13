//! What a message needs of an upstream, and what it only says or is said of it.

use super::stage::{Stage, outcomes, server, upstream};
use crate::support::scripted::{Script, Scripted};
use postroom::event::code;
use postroom::mail::{BodyType, Message, MessageState, RecipientState, ReversePath};

const HIGH: &str = "priority = \"high\"";
const UTF8_SUBJECT: &[u8] = "Subject: Grüße ✓\r\n\r\nfür dich\r\n".as_bytes();

/// What Go's net/smtp says of every message where both are offered.
fn declared(message: &mut Message) {
    (message.body, message.smtp_utf8) = (BodyType::EightBitMime, true);
}

fn eight_bit(message: &mut Message) {
    message.header.has_eight_bit = true;
}

/// Knows HELO only.
fn old(script: Script) -> Script {
    script.on("EHLO", "502 5.5.1 what?")
}

fn offering(extensions: &[&str]) -> Scripted {
    Scripted::start(|script| script.ehlo(extensions))
}

/// Plain mail from Go's net/smtp once failed for good, 4 ms after its 250, at an upstream without SMTPUTF8.
// CASES B39
#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_and_not_needed_is_passed_on_where_offered_and_dropped_where_not() {
    for (only, parameters) in [
        (offering(&["PIPELINING"]), ""),
        (offering(&["8BITMIME"]), " BODY=8BITMIME"),
        (offering(&["SMTPUTF8"]), " SMTPUTF8"),
        (offering(&["8BITMIME", "SMTPUTF8", "PIPELINING"]), " BODY=8BITMIME SMTPUTF8"),
        (Scripted::start(old), ""),
    ] {
        let stage = Stage::start(&upstream("only", &only, "")).await;
        let id = stage.put_changed(&["b@y.test"], declared).await;
        stage.delivered(id).await;
        let received = only.wait_for(1).remove(0);
        assert_eq!(received.mail, format!("<a@x.test>{parameters}"));
        assert!(received.content.ends_with(b"Subject: t\r\n\r\nhello\r\n"));
        assert_eq!(stage.count(code::DEFERRED).await, 0);
        stage.stop().await;
    }
}

// CASES B35, B40
#[tokio::test(flavor = "multi_thread")]
async fn eight_bit_header_and_content_go_as_they_are_whatever_was_declared_or_is_offered() {
    for (only, plain, said) in [
        (offering(&["PIPELINING", "SIZE"]), "", ""),
        (Scripted::start(old), "", ""),
        (offering(&["8BITMIME"]), " BODY=8BITMIME", " BODY=8BITMIME"),
        (offering(&["8BITMIME", "SMTPUTF8"]), " BODY=8BITMIME", " BODY=8BITMIME SMTPUTF8"),
    ] {
        let stage = Stage::start(&upstream("only", &only, "")).await;
        for (number, parameters) in [plain, said].into_iter().enumerate() {
            let id = stage
                .put_content(&["b@y.test"], UTF8_SUBJECT, |message| {
                    eight_bit(message);
                    if number == 1 {
                        declared(message);
                    }
                })
                .await;
            stage.delivered(id).await;
            let received = only.wait_for(number + 1).remove(number);
            assert!(received.content.ends_with(UTF8_SUBJECT), "neither stripped nor encoded anew");
            let mail = received.mail.split(" SIZE=").next().unwrap_or_default();
            assert_eq!(mail, format!("<a@x.test>{parameters}"));
        }
        stage.stop().await;
    }
}

// CASES B39
#[tokio::test(flavor = "multi_thread")]
async fn only_the_recipients_that_need_smtputf8_go_elsewhere() {
    let (first, second) = (offering(&["PIPELINING"]), offering(&["SMTPUTF8", "8BITMIME"]));
    let both = Stage::start(&(upstream("first", &first, HIGH) + &upstream("second", &second, ""))).await;
    let id = both.put_changed(&["b@y.test", "ü@y.test", "c@y.test"], declared).await;
    both.delivered(id).await;
    let (one, other) = (first.wait_for(1).remove(0), second.wait_for(1).remove(0));
    assert_eq!((&*one.mail, one.recipients), ("<a@x.test>", vec!["<b@y.test>".into(), "<c@y.test>".into()]));
    assert_eq!(other.mail, "<a@x.test> BODY=8BITMIME SMTPUTF8");
    assert_eq!(other.recipients, ["<ü@y.test>"]);
    assert_eq!(both.count(code::DEFERRED).await + both.count(code::CIRCUIT_OPEN).await, 0);

    // With a reverse-path that is not ASCII all of them need it.
    let foreign = |message: &mut Message| {
        declared(message);
        message.reverse_path = ReversePath::Address("ü@x.test".parse().unwrap());
    };
    let id = both.put_changed(&["b@y.test"], foreign).await;
    both.delivered(id).await;
    let received = second.wait_for(2).remove(1);
    assert_eq!(received.mail, "<ü@x.test> BODY=8BITMIME SMTPUTF8");
    assert!(String::from_utf8_lossy(&received.content).contains("\r\nFrom: ü@x.test\r\n"));
    assert_eq!(first.transactions().len(), 1);
    both.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_no_upstream_can_take_fails_and_the_others_do_not() {
    let (first, second) = (offering(&["PIPELINING"]), Scripted::start(old));
    let stage = Stage::start(&(upstream("first", &first, HIGH) + &upstream("second", &second, ""))).await;
    let id = stage.put_changed(&["b@y.test", "ü@y.test"], declared).await;
    let message = stage.when(id, |message| message.state() == MessageState::Failed).await;
    let [(taken, _), (refused, why)] = &outcomes(&message)[..] else { panic!("two recipients") };
    assert_eq!((*taken, *refused), (RecipientState::Delivered, RecipientState::Failed));
    assert!(why.contains("SMTPUTF8"), "{why}");
    assert_eq!((first.wait_for(1).len(), second.transactions().len()), (1, 0));
    stage.stop().await;
}

/// What a client called itself stands in the Received field of a transaction that says SMTPUTF8, and only there.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_follows_what_this_transaction_says() {
    let (plain, utf8) = (offering(&["8BITMIME"]), offering(&["SMTPUTF8", "8BITMIME"]));
    let stage = Stage::start(&upstream("plain", &plain, "")).await;
    let named = |message: &mut Message| {
        declared(message);
        message.origin.helo = "bücher.test".into();
        message.origin.protocol = "UTF8SMTP".into();
        message.body = BodyType::SevenBit;
    };
    let id = stage.put_changed(&["b@y.test"], named).await;
    stage.delivered(id).await;
    stage.configure(&upstream("utf8", &utf8, ""));
    let id = stage.put_changed(&["b@y.test"], named).await;
    stage.delivered(id).await;
    let (plain, utf8) = (plain.wait_for(1).remove(0), utf8.wait_for(1).remove(0));
    let text = |content: &[u8]| String::from_utf8(content.to_vec()).unwrap();
    assert!(text(&plain.content).is_ascii() && text(&plain.content).contains("from b?cher.test"));
    assert!(text(&utf8.content).contains("from bücher.test"));
    assert!(text(&utf8.content).contains("with UTF8SMTP id"), "how it came in does not change");
    assert_eq!((&*plain.mail, &*utf8.mail), ("<a@x.test>", "<a@x.test> BODY=8BITMIME SMTPUTF8"));
    stage.stop().await;
}

/// The first version's records call `Resent-Bcc:` no reason to filter: what is stored of a header is not asked any more.
#[tokio::test(flavor = "multi_thread")]
async fn blind_recipients_stay_here_whatever_the_record_says_of_the_header() {
    let only = server(|s| s);
    let stage = Stage::start(&upstream("only", &only, "")).await;
    let content =
        b"Subject: t\r\nResent-Bcc: secret@x.test,\r\n secret@y.test\r\nBcc: secret@x.test\r\n\r\nhello\r\n";
    let facts = |message: &mut postroom::mail::Message| assert!(!message.header.has_bcc);
    let id = stage.put_content(&["b@y.test"], content, facts).await;
    stage.delivered(id).await;
    let arrived = String::from_utf8(only.wait_for(1).remove(0).content).unwrap();
    assert!(arrived.contains("Subject: t\r\n\r\nhello\r\n") && !arrived.contains("secret"), "{arrived}");
    stage.stop().await;
}
