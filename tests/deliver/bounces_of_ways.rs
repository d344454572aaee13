//! Notices where the way out is special: a folder, an upstream with a sender of its own, a mode that is switched on meanwhile; and
//! those that come too late (rule 9).

use super::bounces::{HOUR, ask, field, of, one_bounce, parsed, stage, unsaid};
use super::pickup_folder;
use super::stage::{Stage, at, server, upstream};
use crate::support::free_address;
use crate::support::scripted::{Act, Scripted};
use postroom::event::code;
use postroom::mail::{MessageState, Notify};
use postroom::queue::OperatorAction;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_no_mail_server_and_its_path_stays_here() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(&pickup_folder::upstream("files", folder.path())).await;
    let id = stage.put_changed(&["b@y.test"], |message| ask(message, of(true, false, false))).await;
    stage.delivered(id).await;
    let files = pickup_folder::files(folder.path(), 2);
    let notice = std::fs::read(&files[1]).unwrap();
    let text = String::from_utf8(notice).unwrap();
    assert!(text.contains("\r\nAction: relayed\r\n"), "{text}");
    assert!(text.contains("\r\nDiagnostic-Code: x-postroom; handed to the program"), "{text}");
    for wrong in ["Remote-MTA", ") said:", folder.path().to_str().unwrap()] {
        assert!(!text.contains(wrong), "{wrong}: {text}");
    }
    stage.stop().await;
}

/// The server there reports to the account.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_reports_to_another_mailbox_is_asked_for_nothing_in_the_senders_name() {
    let only = Scripted::start(|s| s.ehlo(&["PIPELINING", "DSN"]));
    let stage = Stage::start(&upstream("only", &only, "sender = \"account@own.test\"")).await;
    let id = stage
        .put_changed(&["b@y.test", "c@y.test", "d@y.test"], |message| {
            message.envelope_id = Some("QQ1".to_owned());
            message.recipients[0].notify = of(true, true, true);
            message.recipients[0].original_recipient = Some("rfc822;B@y.test".to_owned());
            message.recipients[1].notify = of(true, false, false);
            message.recipients[2].notify = Notify::Unsaid;
        })
        .await;
    stage.delivered(id).await;
    let notice = one_bounce(&stage, &only).await;
    let sent = only.wait_for(1).remove(0);
    assert_eq!(sent.mail, "<account@own.test>");
    let expected = ["<b@y.test> NOTIFY=FAILURE", "<c@y.test> NOTIFY=NEVER", "<d@y.test>"];
    assert_eq!(sent.recipients, expected);
    let report = parsed(&notice.content);
    assert_eq!(report["status"].as_array().unwrap().len(), 3, "of both that asked");
    assert_eq!(field(&report, 1, "Action"), ["relayed"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_that_is_switched_on_while_the_server_answers_holds_for_the_notice() {
    let only = server(|s| s.on("RCPT", Act::later(Duration::from_millis(500), "550 5.1.1 who?")));
    let plain = upstream("only", &only, "");
    let stage = Stage::start(&plain).await;
    let id = stage.put_changed(&["b@y.test"], unsaid).await;
    stage
        .until("RCPT to be sent", async || {
            let sessions = only.sessions();
            let asked = sessions.iter().flat_map(|one| &one.commands).any(|line| line.starts_with("RCPT"));
            asked.then_some(())
        })
        .await;
    let off = "[sending]\nenabled = false\n[redirect]\nenabled = true\nreport_emails = [\"qa@own.test\"]\n";
    stage.configure(&(plain.clone() + off));
    stage.when(id, |message| message.state() == MessageState::Failed).await;
    // When redirect ends, nobody gets what was queued under it.
    stage.configure(&plain);
    stage.wait_for_event(code::HELD, 1).await;
    assert!(only.transactions().is_empty());
    stage.abandon().await;
}

/// Of whom redirect keeps mail from nobody is told; the others are.
#[tokio::test(flavor = "multi_thread")]
async fn under_redirect_those_hear_that_it_is_late_whose_recipients_are_allowed() {
    let redirect = "[redirect]\nenabled = true\nreport_emails = [\"qa@own.test\"]\nallow = [\"d@y.test\"]\n";
    let stage = Stage::start(&(at("only", free_address().port(), "") + redirect)).await;
    let mut put = Vec::new();
    for recipients in [&["c@y.test", "d@y.test"][..], &["c@y.test"]] {
        let late = stage.put_changed(recipients, |message| {
            ask(message, of(false, true, true));
            message.under_mode = true;
        });
        put.push(late.await);
    }
    stage
        .until("the circuit is open", async || (stage.count(code::CIRCUIT_OPEN).await > 0).then_some(()))
        .await;
    stage.clock.advance(4 * HOUR);
    stage
        .until("the notice", async || {
            // While it probes it is not looked at, and a minute later it is.
            stage.clock.advance(Duration::from_secs(2));
            stage.queue.show(put[0]).await.unwrap().delay_told.then_some(())
        })
        .await;
    for _ in 0..3 {
        stage.clock.advance(HOUR);
    }
    let events = stage.events().await;
    let told: Vec<&str> = events
        .iter()
        .filter(|event| event.fact.code == code::BOUNCED)
        .map(|event| event.fact.message.as_str())
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("<a@x.test> is told of 1 recipient (1 delayed) by message "), "{told:?}");
    assert!(!stage.when(put[1], |_| true).await.delay_told);
    stage.abandon().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_that_a_message_is_late_when_it_is_so_no_more() {
    let only = server(|s| s.on("RCPT TO:<c@", "451 4.2.0 later").on("RCPT TO:<a@", "451 4.2.0 later"));
    let stage = stage(&only, "").await;
    let late = stage.put_changed(&["c@y.test"], |message| ask(message, of(false, true, true))).await;
    stage.when_attempted(late, 1).await;
    stage.clock.advance(5 * HOUR);
    stage.wait_for_event(code::BOUNCED, 1).await;
    // Its sender's mailbox is not there for a while, and meanwhile the message goes.
    stage.wait_for_event("a@x.test", 1).await;
    stage.queue.act(OperatorAction::Delete, vec![late]).await.unwrap();
    stage.clock.advance(HOUR);
    stage
        .until("the notice to be dropped", async || (stage.queue.status().messages() == 0).then_some(()))
        .await;
    assert!(only.transactions().is_empty());
    let events = stage.events().await;
    assert!(events.iter().any(|event| event.fact.message.starts_with("this notice is not sent")));
    stage.stop().await;
}
