//! Tests of the stage itself: what the clients send is what the upstreams keep, with no proxy between them. When one of
//! these fails, the relay is not to blame.

use super::clients::{Envelope, curl_smtp, smtp_source, smtp_source_file, smtplib, swaks};
use super::lax::LaxUpstream;
use super::recorder::Recorder;
use super::samples::{long_lines, one_line, sample, with_attachment};
use super::smtp_sink::SmtpSink;
use super::talk::Talk;

const ENVELOPE: Envelope<'static> = Envelope { from: "ann@client.test", to: &["bob@upstream.test"] };

#[track_caller]
fn keeps(send: impl Fn(std::net::SocketAddr, &[u8]), content: &[u8]) {
    let recorder = Recorder::start();
    send(recorder.address(), content);
    let messages = recorder.wait(1);
    let [message] = &messages[..] else { panic!("{messages:#?}") };
    assert!(message.content == content, "{message:?}");
    assert!(message.mail.starts_with("<ann@client.test>"), "{message:?}");
    assert_eq!(message.rcpt, ["<bob@upstream.test>"]);
}

#[test]
fn swaks_sends_what_it_is_given() {
    for content in [sample("multipart.eml"), sample("dots.eml"), one_line()] {
        keeps(|server, content| swaks(server, &ENVELOPE, content, &[]), &content);
        keeps(|server, content| swaks(server, &ENVELOPE, content, &["--pipeline"]), &content);
    }
}

#[test]
fn smtplib_sends_what_it_is_given() {
    for content in [sample("eight-bit.eml"), sample("dots.eml"), long_lines(), with_attachment(1 << 20)] {
        keeps(|server, content| smtplib(server, &ENVELOPE, content, &["BODY=8BITMIME"]), &content);
    }
}

#[test]
fn curl_sends_what_it_is_given() {
    for content in [sample("multipart.eml"), sample("dots.eml"), long_lines(), one_line()] {
        keeps(|server, content| curl_smtp(server, &ENVELOPE, content), &content);
    }
}

#[test]
fn smtp_source_sends_what_it_is_given() {
    for content in [sample("multipart.eml"), sample("dots.eml")] {
        let recorder = Recorder::start();
        let sent = smtp_source_file(recorder.address(), &ENVELOPE, &content);
        assert!(recorder.wait(1)[0].content == sent);
    }
}

#[test]
fn an_envelope_may_be_null_quoted_or_utf8() {
    let recorder = Recorder::start();
    let to = ["\"odd..local part\"@upstream.test", "bob@upstream.test"];
    swaks(recorder.address(), &Envelope { from: "", to: &to }, &one_line(), &[]);
    let envelope = Envelope { from: "jörg@bücher.test", to: &["用户@例子.test"] };
    smtplib(recorder.address(), &envelope, &sample("smtputf8.eml"), &["SMTPUTF8"]);
    let messages = recorder.wait(2);
    assert!(messages[0].mail.starts_with("<>"), "{:?}", messages[0]);
    assert_eq!(messages[0].rcpt, to.map(|address| format!("<{address}>")));
    assert!(messages[1].mail.starts_with("<jörg@bücher.test> "), "{:?}", messages[1]);
    assert!(messages[1].mail.ends_with(" SMTPUTF8"), "{:?}", messages[1]);
    assert_eq!(messages[1].rcpt, ["<用户@例子.test>"]);
}

#[test]
fn smtp_sink_keeps_every_message() {
    let sink = SmtpSink::keeping(&[]);
    smtp_source(sink.address(), &["-s", "5", "-m", "50", "-l", "1000", "-N"]);
    assert_eq!(sink.wait(50).len(), 50);
}

#[test]
fn the_lax_upstream_is_really_lax() {
    let evil = "MAIL FROM:<evil@x.test>\r\nRCPT TO:<evil@y.test>\r\nDATA\r\nevil";
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r\r\n"] {
        let lax = LaxUpstream::start();
        let mut client = Talk::hello(lax.address());
        client.transact(format!("x{end}{evil}\r\n.\r\n").as_bytes());
        let smuggled = lax.wait_for(2).remove(1);
        assert_eq!(
            (smuggled.mail.as_slice(), smuggled.raw.as_slice()),
            (&b"<evil@x.test>"[..], &b"evil\r\n"[..])
        );
    }
}
