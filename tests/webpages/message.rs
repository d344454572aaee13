//! The pages of a message.

use super::reader::Reader;
use crate::support::scripted::Scripted;
use crate::support::talk::Talk;
use crate::support::{eventually, plain_upstream};
use serde_json::Value;

pub const OFF: &str = "[sending]\nenabled = false\n";

/// Sends a message and says its queue id.
#[track_caller]
pub fn sent_by(reader: &Reader, recipients: &[&str], content: &[u8]) -> String {
    let mut talk = Talk::hello(reader.admin.proxy.address());
    let recipients: Vec<String> = recipients.iter().map(|one| format!("<{one}>")).collect();
    talk.begin_data("<a@a.test>", &recipients.iter().map(String::as_str).collect::<Vec<_>>());
    talk.send(content);
    let reply = talk.say(".", "250");
    reply.split_whitespace().last().expect("an id").to_owned()
}

#[track_caller]
pub fn until_state(reader: &Reader, id: &str, state: &str) -> Value {
    eventually(state, || {
        let message = reader.admin.proxy.get(&format!("/api/v1/messages/{id}"))?;
        (message["state"] == state).then_some(message)
    })
}

#[test]
fn what_each_upstream_said_of_each_recipient_is_shown() {
    let server = Scripted::start(|script| script.on("RCPT TO:<b", "550 5.1.1 <b@b.test> & nobody \"here\""));
    let upstream = plain_upstream("primary", ([127, 0, 0, 1], server.port()).into());
    let reader = Reader::start(&upstream);
    let id =
        sent_by(&reader, &["b@b.test", "c@c.test"], b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= <b>\r\n\r\nx\r\n");
    until_state(&reader, &id, "failed");
    let page = reader.page(&format!("/messages/{id}"));
    for expected in [
        "Gr\u{fc}\u{df}e &#60;b&#62;",
        "<span class=\"badge failed\">failed</span>",
        "550 5.1.1 &#60;b@b.test&#62; &#38; nobody &#34;here&#34;",
        "<span class=\"badge delivered\">delivered</span>",
        "Why this one: priority normal",
        "What was said",
        "RCPT TO:&#60;b@b.test&#62;",
        "Without TLS",
        "Retry now",
        &format!("/api/v1/messages/{id}/raw"),
        &format!("/events?id={id}"),
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(!page.contains("<b@b.test>"), "{page}");
}

#[test]
fn a_message_is_held_released_retried_and_deleted_on_its_page() {
    let reader = Reader::start(OFF);
    let id = sent_by(&reader, &["b@b.test"], b"Subject: t\r\n\r\nx\r\n");
    let at = |act: &str| format!("/messages/{id}/{act}");
    for act in ["retry", "hold", "release", "delete", "resend"] {
        reader.is_guarded(&at(act));
    }
    let page = reader.act(&at("hold"), "");
    assert!(
        page.contains("It is held: no attempt starts") && page.contains("An operator holds it."),
        "{page}"
    );
    assert!(!page.contains("Retry now"), "{page}");
    assert!(reader.act(&at("retry"), "").contains("There was nothing to do"));
    let page = reader.act(&at("release"), "");
    assert!(page.contains("It is released") && page.contains("badge queued"), "{page}");
    assert!(reader.act(&at("retry"), "").contains("It is tried again now"));
    assert!(reader.act(&at("resend"), "confirm=true").contains("still in the queue"));
    let page = reader.page(&at("delete"));
    assert!(page.contains("Delete this message?") && page.contains("1 recipient will not get it"), "{page}");
    assert_eq!(reader.send(&at("delete"), "").header("location").map(|to| &to[..6]), Some("/queue"));
    let page = reader.page_with(404, &format!("/messages/{id}"));
    assert!(page.contains("This message is gone") && page.contains(&format!("/events?id={id}")), "{page}");
    let page = reader.page_with(404, "/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV");
    assert!(page.contains("This message is gone"), "{page}");
    assert_eq!(reader.get("/messages/nonsense").status, 400);
}

#[test]
fn what_a_mode_holds_is_released_after_a_question() {
    let reader = Reader::start("[redirect]\nenabled = true\n");
    let id = sent_by(&reader, &["b@b.test"], b"Subject: t\r\n\r\nx\r\n");
    until_state(&reader, &id, "held");
    let page = reader.page(&format!("/messages/{id}"));
    assert!(page.contains("no report address is enabled"), "{page}");
    let asked = reader.send(&format!("/messages/{id}/release"), "");
    assert_eq!(asked.header("location"), Some(&*format!("/messages/{id}/release")));
    let page = reader.page(&format!("/messages/{id}/release"));
    assert!(page.contains("Release this message?") && page.contains("it goes to its 1 recipient"), "{page}");
    assert!(reader.act(&format!("/messages/{id}/release"), "confirm=true").contains("It is released"));
}

#[test]
fn sent_mail_is_sent_again_after_a_question() {
    let server = Scripted::start(|script| script);
    let upstream = plain_upstream("primary", ([127, 0, 0, 1], server.port()).into());
    let reader = Reader::start(&format!("{upstream}\n[queue]\narchive_days = 3\n"));
    let id = sent_by(&reader, &["b@b.test"], b"Subject: t\r\n\r\nx\r\n");
    until_state(&reader, &id, "sent");
    let page = reader.page(&format!("/messages/{id}"));
    assert!(
        page.contains("Send again") && page.contains("archive/20") && !page.contains("Delete\u{2026}"),
        "{page}"
    );
    assert!(reader.page(&format!("/messages/{id}/delete")).contains("archive_days"));
    let page = reader.page(&format!("/messages/{id}/resend"));
    assert!(
        page.contains("goes to its recipient, also to those who have had") && page.contains("LIVE"),
        "{page}"
    );
    let page = reader.act(&format!("/messages/{id}/resend"), "confirm=true");
    assert!(page.contains(&format!("Message {id} is sent again, as this message.")), "{page}");
    server.wait_for(2);
    let message = reader.admin.proxy.get(&format!("/api/v1/messages/{id}")).unwrap();
    let file = message["archived"]["file"].as_str().unwrap();
    std::fs::remove_file(reader.admin.proxy.data_dir().join(file)).unwrap();
    let page = reader.page(&format!("/messages/{id}"));
    assert!(page.contains("Its content cannot be read"), "{page}");
    assert!(reader.act(&format!("/messages/{id}/resend"), "confirm=true").contains("refused"));
    for tab in ["read", "text", "headers", "parts", "raw", "sent"] {
        let page = reader.page_with(410, &format!("/messages/{id}/{tab}"));
        assert!(page.contains("Its content cannot be read") && page.contains("the file is gone"), "{page}");
    }
    assert_eq!(reader.get(&format!("/messages/{id}/parts/1")).status, 410);
}

#[test]
fn without_a_password_mail_is_worked_on_with_the_token_of_the_page() {
    let admin = crate::admin::Admin::start("");
    let mut talk = Talk::hello(admin.proxy.address());
    talk.mail("b@b.test", 100);
    let id = admin.get("/api/v1/messages", &[]).json()["messages"][0]["id"].as_str().unwrap().to_owned();
    let hold = format!("/messages/{id}/hold");
    assert_eq!(admin.form(&hold, &[], "").status, 403);
    let page = admin.get(&format!("/messages/{id}"), &[]).text();
    let token = super::csrf_token(&page);
    assert_eq!(admin.form(&hold, &[], &format!("csrf_token={token}")).status, 303);
    assert_eq!(admin.get(&format!("/api/v1/messages/{id}"), &[]).json()["state"], "held");
}

#[test]
fn what_was_sent_stands_beside_the_original() {
    let server = Scripted::start(|script| script);
    let upstream = plain_upstream("primary", ([127, 0, 0, 1], server.port()).into());
    let redirect = "[redirect]\nenabled = true\nreport_emails = [\"qa@a.test\"]\n[queue]\narchive_days = 3\n";
    let reader = Reader::start(&format!("{redirect}{upstream}"));
    let content = b"From: a@a.test\r\nBcc: secret@b.test\r\nSubject: <t>\r\nDisposition-Notification-To: a@a.test\r\n\r\nx\r\n";
    let id = sent_by(&reader, &["b@b.test"], content);
    until_state(&reader, &id, "sent");
    let page = reader.page(&format!("/messages/{id}/sent"));
    for expected in [
        "As it went to primary",
        "<del>b@b.test</del>",
        "<ins>qa@a.test</ins>",
        "X-Original-To: b@b.test</ins>",
        "<span class=\"difference\">left out</span> <del class=\"field\">Bcc: secret@b.test</del>",
        "<del class=\"field\">Disposition-Notification-To: a@a.test</del>",
        "Subject: &#60;t&#62;</span>",
        "1 left out, 1 changed",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    let off = Reader::start(&format!("{OFF}{redirect}"));
    let id = sent_by(&off, &["b@b.test"], content);
    let page = off.page(&format!("/messages/{id}/sent"));
    assert!(
        page.contains("No upstream has got this message yet.") && page.contains("Sending is off"),
        "{page}"
    );
}
