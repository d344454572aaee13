//! The page of sent mail.

use super::queue::{fields, link, rows, send};
use super::reader::Reader;
use crate::support::eventually;
use crate::support::recorder::Recorder;
use serde_json::Value;

#[track_caller]
fn sent(reader: &Reader) -> Vec<Value> {
    reader.admin.proxy.get("/api/v1/sent?limit=1000").expect("a listing")["messages"]
        .as_array()
        .unwrap()
        .clone()
}

#[track_caller]
fn until_sent(reader: &Reader, count: usize) {
    eventually("mail to be sent", || (sent(reader).len() == count).then_some(()));
}

#[test]
fn where_sent_mail_is_not_kept_the_page_says_how_it_is() {
    let reader = Reader::start("");
    let page = reader.page("/sent");
    assert!(page.contains("Sent mail is not kept") && page.contains("<code>archive_days</code>"), "{page}");
    assert!(page.contains("href=\"/settings#archive\""), "{page}");
    assert!(page.contains("Nothing is kept of sent mail yet."), "{page}");
}

#[test]
fn sent_mail_is_listed_filtered_and_goes_on_page_by_page() {
    let recorder = Recorder::start();
    let reader =
        Reader::start(&format!("{}[queue]\narchive_days = 3\n[site.shop]\n", recorder.upstream("only")));
    let recipients: Vec<String> = (0..60).map(|number| format!("r{number}@b.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let sent = send(&reader.admin, &recipients);
    let mut ids = sent.clone();
    // Two of one millisecond are in any order.
    ids.sort_unstable_by(|one, other| other.cmp(one));
    until_sent(&reader, 60);
    let first = reader.page("/sent");
    assert_eq!(rows(&first), ids[..50]);
    assert!(first.contains("Kept for 3 days") && !first.contains("not kept"), "{first}");
    for expected in [
        &*format!("href=\"/messages/{}\">r59@b.test</a>", sent[59]),
        "shop@a.test<br>→&#160;r59@b.test",
        "<td data-label=\"Upstream, reply\">only<br>",
        "250",
        "<td data-label=\"Sent\"><time datetime=",
        "<body data-live>",
    ] {
        assert!(first.contains(expected), "{expected}: {first}");
    }
    let second = reader.page(&link(&first, "Older"));
    assert_eq!(rows(&second), ids[50..]);
    assert!(second.contains("50 or more newer messages"), "{second}");
    assert_eq!(rows(&reader.page("/sent?q=to:r7@b.test")), [sent[7].clone()]);
    assert!(rows(&reader.page("/sent?site=shop")).is_empty());
    let wrong = reader.page_with(400, "/sent?q=olde:2d");
    assert!(wrong.contains("did you mean `older:`") && wrong.contains("value=\"olde:2d\""), "{wrong}");
}

#[test]
fn what_is_selected_is_sent_again_after_the_question() {
    let recorder = Recorder::start();
    let reader = Reader::start(&format!("{}[queue]\narchive_days = 3\n", recorder.upstream("only")));
    let ids = send(&reader.admin, &["ann@b.test", "bob@b.test", "eve@b.test"]);
    until_sent(&reader, 3);
    let asked = reader.send("/sent/resend", &format!("id={}&id={}&q=to:b.test", ids[0], ids[1]));
    assert_eq!(asked.status, 200, "{asked:?}");
    let asked = asked.text();
    assert!(asked.contains("Resend 2 messages?"), "{asked}");
    assert!(asked.contains("A second time to those who have had it: ann@b.test, bob@b.test."), "{asked}");
    assert!(!asked.contains("kept_back"), "{asked}");
    assert_eq!(sent(&reader).len(), 3, "asked, and not done");
    let page = reader.act("/sent/resend", &fields(&asked));
    assert!(page.contains("Sent again: 2 messages.") && page.contains("value=\"to:b.test\""), "{page}");
    until_sent(&reader, 5);
    recorder.wait(5);
}

#[test]
fn what_a_mode_kept_from_its_recipients_is_said_before_it_is_sent() {
    let recorder = Recorder::start();
    let reader = Reader::start(&format!("{}[debug]\nenabled = true\n", recorder.upstream("only")));
    let id = send(&reader.admin, &["ann@b.test"]).remove(0);
    until_sent(&reader, 1);
    let page = reader.page("/sent");
    assert!(page.contains("<span class=\"badge debug\""), "{page}");
    let off = r#"{"debug": {"enabled": false}}"#;
    reader.set(off);
    // Who says nothing of it is refused, as by the API.
    let page = reader.act("/sent/resend", &format!("id={id}&confirmed=yes"));
    assert!(page.contains("notice refused") && page.contains("kept from recipients"), "{page}");
    assert_eq!(recorder.messages().len(), 0);
    let asked = reader.send("/sent/resend", &format!("id={id}")).text();
    assert!(
        asked.contains("1 message did not reach all recipients, because of redirect or debug"),
        "{asked}"
    );
    assert!(asked.contains("LIVE: Mail goes to its recipients."), "{asked}");
    let page = reader.act("/sent/resend", &fields(&asked));
    assert!(page.contains("Sent again: 1 message."), "{page}");
    recorder.wait(1);
}

#[test]
fn what_cannot_be_sent_again_is_told_and_nothing_is_sent() {
    let recorder = Recorder::start();
    let reader = Reader::start(&format!("{}[queue]\narchive_days = 3\n", recorder.upstream("only")));
    let ids = send(&reader.admin, &["ann@b.test", "bob@b.test"]);
    until_sent(&reader, 2);
    let gone = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for (form, told) in [
        (String::new(), "No message is selected"),
        ("id=nonsense".to_owned(), "is not a queue id"),
        (format!("id={gone}"), "neither in the queue nor in the archive"),
        (format!("id={gone}&confirmed=yes"), "was not sent again"),
    ] {
        let page = reader.act("/sent/resend", &form);
        assert!(page.contains(told), "{form}: {page}");
    }
    let shown = reader.admin.proxy.get(&format!("/api/v1/messages/{}", ids[1])).unwrap();
    let file = reader.admin.proxy.data_dir().join(shown["archived"]["file"].as_str().unwrap());
    std::fs::remove_file(file).unwrap();
    let page = reader.act("/sent/resend", &format!("id={}&id={}", ids[0], ids[1]));
    assert!(page.contains("cannot be sent again, and none was"), "{page}");
    assert_eq!(sent(&reader).len(), 2);
    reader.is_guarded("/sent/resend");
}
