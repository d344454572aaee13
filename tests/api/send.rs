//! `POST /api/v1/send`: a test message through the queue, under the modes in force.

use super::*;
use crate::support::recorder::Recorder;
use serde_json::json;

#[test]
fn a_test_message_goes_through_the_queue_as_mail_of_a_client() {
    let recorder = Recorder::start();
    let file = format!("{}[site.shop]\nsenders = [\"@shop.test\"]\n", recorder.upstream("only"));
    let proxy = Proxy::start(&file);
    let body = json!({
        "from": "orders@shop.test",
        "to": ["ann@example.com", "bob@example.com"],
        "subject": (["Grüße: does it arrive?"; 8].join(" ")),
        "text": "One line\n.\nAnd ünother",
    });
    let answer = ask(&proxy, "POST", "/api/v1/send", &body);
    let message = answer.json();
    assert_eq!(answer.status, 200, "{message}");
    assert_eq!(message["site"], "shop");
    assert_eq!(message["subject"], body["subject"]);
    let got = &recorder.wait(1)[0];
    assert_eq!((got.mail.split(' ').next(), got.rcpt.len()), (Some("<orders@shop.test>"), 2));
    let content = String::from_utf8_lossy(&got.content).into_owned();
    assert!(content.contains(&format!("id {}", message["id"].as_str().unwrap())), "{content}");
    assert!(content.contains("To: <ann@example.com>, <bob@example.com>\r\n"), "{content}");
    let lines_fit = content.split("\r\n").all(|line| line.len() <= 100 && !line.contains('\n'));
    assert!(lines_fit, "{content}");
    let events = proxy.cli(&["events", "--json", "--code", "QUEUED"]);
    let text = events[0]["message"].as_str().unwrap();
    assert!(
        text.contains("from <orders@shop.test> for 2 recipients") && text.contains("by admin.send ("),
        "{text}"
    );
}

#[test]
fn who_says_nothing_gets_a_sender_a_subject_and_a_text() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&format!("default_domain = \"own.test\"\n{}", recorder.upstream("only")));
    assert_eq!(ask(&proxy, "POST", "/api/v1/send", &json!({ "to": "ann@example.com" })).status, 200);
    let got = &recorder.wait(1)[0];
    assert!(got.mail.starts_with("<postmaster@own.test>"), "{}", got.mail);
    let content = String::from_utf8_lossy(&got.content).into_owned();
    assert!(content.contains("Subject: Test message from Postroom\r\n"), "{content}");
}

#[test]
fn redirect_keeps_a_test_message_from_whom_it_keeps_mail() {
    let recorder = Recorder::start();
    let file = format!(
        "{}[redirect]\nenabled = true\nreport_emails = [\"qa@own.test\"]\nallow = [\"@allowed.test\"]\n\
         [site.live.redirect]\nenabled = false\n[listener.live]\naddress = \"127.0.0.1:0\"\nsite = \"live\"\n",
        recorder.upstream("only")
    );
    let proxy = Proxy::start(&file);
    let send = |body: &Value| ask(&proxy, "POST", "/api/v1/send", body);
    let (status, detail) = send(&json!({ "to": "ann@example.com" })).problem();
    assert_eq!(status, 409);
    assert!(detail.contains("redirect is on") && detail.contains("qa@own.test"), "{detail}");
    assert_eq!(
        send(&json!({ "to": ["qa@own.test", "ann@example.com"] })).problem().0,
        409,
        "not even one of them"
    );
    let queue = proxy.cli(&["queue", "list", "--json"]);
    assert_eq!(queue, json!([]), "nothing of what was refused is queued");

    assert_eq!(send(&json!({ "to": "qa@own.test" })).status, 200);
    assert_eq!(send(&json!({ "to": "x@allowed.test" })).status, 200);
    // Where redirect is off, it keeps nobody from anything.
    assert_eq!(send(&json!({ "to": "ann@example.com", "site": "live" })).status, 200);
    assert_eq!(send(&json!({ "to": "bob@example.com", "listener": "live" })).status, 200);
    let mut to: Vec<String> = recorder.wait(4).iter().flat_map(|one| one.rcpt.clone()).collect();
    to.sort();
    assert_eq!(to, ["<ann@example.com>", "<bob@example.com>", "<qa@own.test>", "<x@allowed.test>"]);
}

#[test]
fn what_cannot_be_sent_is_refused_and_queued_nowhere() {
    let proxy = Proxy::start(
        "[queue]\nmax_messages = 1\n[limits]\nrecipients = 100\nmessage_size = \"64KiB\"\n[sending]\nenabled = false\n",
    );
    let send = |body: &Value| ask(&proxy, "POST", "/api/v1/send", body);
    let many: Vec<String> = (0..101).map(|number| format!("a{number}@b.test")).collect();
    for (body, status, hint) in [
        (json!({ "to": "nobody" }), 400, "`nobody` is no address"),
        (json!({ "to": [] }), 400, "`to` has 0 addresses"),
        (json!({ "to": many }), 400, "name one, or up to 100"),
        (json!({ "to": "a@b.test", "from": "x" }), 400, "`x` is no address"),
        (json!({ "to": "a@b.test", "subject": "a\r\nBcc: c@d.test" }), 400, "`subject` is one line"),
        (json!({ "to": "a@b.test", "site": "gone" }), 400, "there is no site `gone`"),
        (json!({ "to": "a@b.test", "listener": "gone" }), 400, "there is no listener `gone`"),
        (json!({ "to": "a@b.test", "text": "x".repeat(100_000) }), 413, "limits.message_size"),
    ] {
        let (got, detail) = send(&body).problem();
        assert_eq!(got, status, "{detail}");
        assert!(detail.contains(hint), "{hint} is not in {detail}");
    }
    assert_eq!(send(&json!({ "to": "a@b.test" })).status, 200);
    let (status, detail) = send(&json!({ "to": "a@b.test" })).problem();
    assert_eq!(status, 507);
    assert!(detail.contains("max_messages"), "{detail}");
    assert_eq!(get(&proxy, "/api/v1/stats").json()["queued"], 1);
}
