//! Real programs send real mail through the running proxy: it arrives once, byte for byte but for the `Received:`
//! that is added (rule 8), with the envelope as it was given.

use crate::support::clients::{Envelope, curl_smtp, smtp_source, smtp_source_file, smtplib, swaks};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::{Recorded, Recorder, added, assert_one_received};
use crate::support::samples::{long_lines, one_line, sample, with_attachment};
use crate::support::scripted::Scripted;
use crate::support::smtp_sink::SmtpSink;

const ENVELOPE: Envelope<'static> = Envelope { from: "ann@client.test", to: &["bob@upstream.test"] };

/// A proxy in front of a recorder.
fn stage() -> (Proxy, Recorder) {
    let recorder = Recorder::start();
    let proxy =
        Proxy::start(&format!("[limits]\nmessage_size = \"40MiB\"\n{}", recorder.upstream("recorder")));
    (proxy, recorder)
}

/// The one message that came, after its content was compared with what was sent.
#[track_caller]
fn arrived(recorder: &Recorder, sent: &[u8]) -> Recorded {
    let messages = recorder.wait(1);
    let [message] = &messages[..] else { panic!("{messages:#?}") };
    assert_one_received(added(&message.content, sent));
    message.clone()
}

/// The path of a MAIL or RCPT argument.
fn path(argument: &str) -> &str {
    argument.split_inclusive('>').next().unwrap_or(argument)
}

#[test]
fn swaks_sends_a_multipart_message_to_two_recipients() {
    let (proxy, recorder) = stage();
    let content = sample("multipart.eml");
    let envelope = Envelope { to: &["bob@upstream.test", "\"odd..local part\"@upstream.test"], ..ENVELOPE };
    swaks(proxy.address(), &envelope, &content, &[]);
    let message = arrived(&recorder, &content);
    assert_eq!(path(&message.mail), "<ann@client.test>");
    assert_eq!(message.rcpt, ["<bob@upstream.test>", "<\"odd..local part\"@upstream.test>"]);
}

// CASES A11
#[test]
fn swaks_sends_dots_everywhere() {
    let (proxy, recorder) = stage();
    let content = sample("dots.eml");
    swaks(proxy.address(), &ENVELOPE, &content, &["--pipeline"]);
    arrived(&recorder, &content);
}

// CASES B13
#[test]
fn the_null_reverse_path_stays_null() {
    let (proxy, recorder) = stage();
    let content = one_line();
    swaks(proxy.address(), &Envelope { from: "", ..ENVELOPE }, &content, &[]);
    assert_eq!(path(&arrived(&recorder, &content).mail), "<>");
}

#[test]
fn smtplib_sends_eight_bit_text() {
    let (proxy, recorder) = stage();
    let content = sample("eight-bit.eml");
    smtplib(proxy.address(), &ENVELOPE, &content, &["BODY=8BITMIME"]);
    let message = arrived(&recorder, &content);
    assert!(message.mail.to_ascii_uppercase().contains(" BODY=8BITMIME"), "{}", message.mail);
}

/// What a client says of every message is not what the message needs.
// CASES B39, B40
#[test]
fn what_a_client_declares_and_an_upstream_does_not_offer_is_no_reason_to_refuse() {
    let old = Scripted::start(|script| script.on("EHLO", "502 5.5.1 what?"));
    let bare = Scripted::start(|script| script.ehlo(&["PIPELINING"]));
    for server in [old, bare] {
        let proxy = Proxy::start(&format!(
            "[upstream.only]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\n",
            server.port()
        ));
        for (number, sample) in
            [one_line(), sample("eight-bit.eml"), sample("smtputf8.eml")].iter().enumerate()
        {
            smtplib(proxy.address(), &ENVELOPE, sample, &["BODY=8BITMIME", "SMTPUTF8"]);
            let message = server.wait_for(number + 1).remove(number);
            assert_eq!(message.mail, "<ann@client.test>");
            assert_one_received(added(&message.content, sample));
        }
    }
}

#[test]
fn smtplib_sends_to_addresses_that_are_not_ascii() {
    let (proxy, recorder) = stage();
    let content = sample("smtputf8.eml");
    let envelope = Envelope { from: "jörg@bücher.test", to: &["用户@例子.test"] };
    smtplib(proxy.address(), &envelope, &content, &["SMTPUTF8", "BODY=8BITMIME"]);
    let message = arrived(&recorder, &content);
    assert_eq!(path(&message.mail), "<jörg@bücher.test>");
    assert!(message.mail.to_ascii_uppercase().contains(" SMTPUTF8"), "{}", message.mail);
    assert_eq!(message.rcpt, ["<用户@例子.test>"]);
}

#[test]
fn smtplib_sends_an_attachment_of_20_mib() {
    let (proxy, recorder) = stage();
    let content = with_attachment(20 << 20);
    smtplib(proxy.address(), &ENVELOPE, &content, &[]);
    arrived(&recorder, &content);
}

// CASES B5
#[test]
fn curl_sends_lines_of_100_kb() {
    let (proxy, recorder) = stage();
    let content = long_lines();
    curl_smtp(proxy.address(), &ENVELOPE, &content);
    arrived(&recorder, &content);
}

#[test]
fn curl_sends_a_message_of_one_line() {
    let (proxy, recorder) = stage();
    let content = one_line();
    curl_smtp(proxy.address(), &ENVELOPE, &content);
    arrived(&recorder, &content);
}

#[test]
fn smtp_source_sends_a_file() {
    let (proxy, recorder) = stage();
    let sent = smtp_source_file(proxy.address(), &ENVELOPE, &sample("dots.eml"));
    arrived(&recorder, &sent);
}

#[test]
fn what_is_missing_is_added_and_bcc_is_removed() {
    let (proxy, recorder) = stage();
    let sent = "Subject: t\r\nBcc: secret@client.test,\r\n more@client.test\r\n\
                Resent-Bcc: secret@client.test\r\nX-Last: 1\r\n\r\nbody\r\n";
    smtplib(proxy.address(), &ENVELOPE, sent.as_bytes(), &[]);
    let [message] = &recorder.wait(1)[..] else { panic!("one message") };
    let added = added(&message.content, b"X-Last: 1\r\n\r\nbody\r\n");
    let names: Vec<&str> = added
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .filter_map(|line| line.split(':').next())
        .collect();
    let count = |name| names.iter().filter(|one| **one == name).count();
    assert_eq!(names.len(), 5, "{added}");
    for name in ["Received", "Date", "Message-ID", "From", "Subject"] {
        assert_eq!(count(name), 1, "{name} in {added}");
    }
    assert!(
        added.contains("From: <ann@client.test>\r\n") || added.contains("From: ann@client.test\r\n"),
        "{added}"
    );
    assert!(!added.contains("secret") && !added.contains("more@"), "{added}");
}

#[test]
fn a_thousand_messages_of_smtp_source_reach_smtp_sink() {
    let sink = SmtpSink::keeping(&[]);
    let upstream = sink.upstream("sink");
    let proxy = Proxy::start(&format!("{upstream}connection_limit = 20\n"));
    smtp_source(
        proxy.address(),
        &["-s", "20", "-m", "1000", "-l", "4096", "-N", "-f", "ann@client.test", "-t", "bob@upstream.test"],
    );
    assert_eq!(sink.wait(1000).len(), 1000);
    // What was delivered is gone from the queue.
    eventually("an empty queue", || {
        let listed = proxy.cli(&["queue", "list", "--json"]);
        listed.as_array().expect("an array").is_empty().then_some(())
    });
}

#[test]
fn every_outcome_is_an_event() {
    let (proxy, recorder) = stage();
    let content = sample("multipart.eml");
    let envelope = Envelope { to: &["bob@upstream.test", "carol@upstream.test"], ..ENVELOPE };
    swaks(proxy.address(), &envelope, &content, &[]);
    recorder.wait(1);
    let delivered = |address: &str| {
        eventually("the event of a delivery", || {
            let events = proxy.cli(&["events", "--json"]);
            let mut events = events.as_array().expect("an array").iter();
            events.find(|event| event["code"] == address && event["type"] == "Information").cloned()
        })
    };
    for address in envelope.to {
        let event = delivered(address);
        assert_eq!(event["source"], "Mail");
        assert_eq!(event["upstream"], "recorder");
        assert_eq!(event["recipient"], *address);
        assert_eq!(event["message"], "delivered through recorder");
        assert_eq!(event["reply"], "250 2.0.0 recorded");
    }
    proxy.wait_until_said("status=\"delivered\"");
}
