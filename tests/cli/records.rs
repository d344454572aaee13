//! What is written down about an attempt: logemails.log, events, the log line.

use crate::support::clients::{Envelope, smtplib};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;

const MESSAGE: &str = "To: ann@example.com\r\nCc: Carol <carol@example.com>\r\nFrom: \"Shop\" <noreply@example.com>\r\n\
    Subject: =?utf-8?q?Your_order_4711_=E2=9C=93?=\r\nX-Campaign: autumn\r\nX-Mailer: shop 1.2\r\n\r\nhello\r\n";

#[test]
fn every_attempt_is_in_logemails_log_as_the_application_sent_it() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&(recorder.upstream("only") + "[log_emails]\nenabled = true\n"));
    let to = ["ann@example.com", "carol@example.com", "dave@example.net"];
    smtplib(proxy.address(), &Envelope { from: "bounce@example.com", to: &to }, MESSAGE.as_bytes(), &[]);
    recorder.wait(1);
    let log = std::fs::read_to_string(proxy.data_dir().join("logemails.log")).unwrap();
    let (timestamp, rest) = log.split_once('\n').unwrap();
    let time = timestamp.strip_prefix("Timestamp: ").unwrap();
    assert!(time.len() == 25 && time.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
    assert_eq!(
        rest,
        "Rcpt: ann@example.com\nCc: carol@example.com\nBcc: dave@example.net\nFrom: \"Shop\" <noreply@example.com>\n\
         Subject: Your order 4711 ✓\nHeaders:\n    X-Campaign: autumn\n    X-Mailer: shop 1.2\nHeadersEncoding: utf-8\n\n"
    );
}

#[test]
fn one_event_and_one_line_for_each_recipient() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&recorder.upstream("only"));
    let to = ["ann@example.com", "carol@example.com"];
    smtplib(proxy.address(), &Envelope { from: "bounce@example.com", to: &to }, MESSAGE.as_bytes(), &[]);
    recorder.wait(1);
    let about = |address: &str| {
        let events = proxy.cli(&["events", "--json"]);
        events.as_array().unwrap().iter().find(|event| event["code"] == address).cloned()
    };
    let event = eventually("the event", || about("carol@example.com"));
    assert_eq!(event["type"], "Information");
    assert_eq!(event["source"], "Mail");
    assert_eq!(event["upstream"], "only");
    assert_eq!(event["recipient"], "carol@example.com");
    assert!(event["reply"].as_str().unwrap().starts_with("250 2.0.0"), "{event}");
    assert_eq!(event["queue_id"].as_str().unwrap().len(), 26);
    proxy.wait_until_said("carol@example.com");
    let said = proxy.said();
    let line = said.lines().find(|line| line.contains("to=\"carol@example.com\"")).expect("its line");
    for part in [
        "from=\"bounce@example.com\"",
        "upstream=\"only\"",
        "delays=",
        "dsn=\"2.0.0\"",
        "status=\"delivered\"",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

/// A full disk made an Error event of each attempt.
#[test]
fn a_log_of_mails_that_cannot_be_written_is_told_once() {
    let recorder = Recorder::start();
    let proxy =
        Proxy::start(&(recorder.upstream("only") + "[log_emails]\nenabled = true\npath = \"/dev/full\"\n"));
    for _ in 0..3 {
        smtplib(proxy.address(), &Envelope { from: "a@x.test", to: &["b@y.test"] }, MESSAGE.as_bytes(), &[]);
    }
    recorder.wait(3);
    eventually("all to be settled", || (proxy.get("/api/v1/stats")?["in_flight"] == 0).then_some(()));
    let events = proxy.cli(&["events", "--json", "--code", "STORAGE"]);
    let told: Vec<&str> =
        events.as_array().unwrap().iter().map(|one| one["message"].as_str().unwrap()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("cannot be written in /dev/full: "), "{told:?}");
}
