//! Real clients through the proxy to real servers, with no queue in between.

use super::{PASS, nothing_is_stored};
use crate::foreign::letters::{Letter, letters};
use crate::support::clients::{Envelope, curl_smtp, smtp_source, smtplib, swaks};
use crate::support::proxy::Proxy;
use crate::support::real::{Aiosmtpd, Exim, Postfix};
use crate::support::recorder::{Recorded, Recorder};
use crate::support::samples::{sample, with_attachment};
use crate::support::smtp_sink::SmtpSink;
use crate::support::talk::Talk;

const ENVELOPE: Envelope<'static> = Envelope { from: "ann@client.test", to: &["bob@upstream.test"] };

/// A message of each kind by smtplib, and one by each other client; each arrives as it was sent.
#[track_caller]
fn takes_all(upstream: &str, wait: impl Fn(usize) -> Vec<Recorded>) {
    let proxy = Proxy::start(&format!("{PASS}{upstream}"));
    let letters = letters();
    for Letter { from, to, content } in &letters {
        smtplib(proxy.address(), &Envelope { from, to }, content, &[]);
    }
    let others = [sample("dots.eml"), sample("multipart.eml"), with_attachment(300_000)];
    swaks(proxy.address(), &ENVELOPE, &others[0], &["--pipeline"]);
    swaks(proxy.address(), &ENVELOPE, &others[1], &[]);
    curl_smtp(proxy.address(), &ENVELOPE, &others[2]);
    let arrived = wait(letters.len() + others.len());
    assert_eq!(arrived.len(), letters.len() + others.len());
    for content in letters.iter().map(|letter| &letter.content).chain(&others) {
        assert!(
            arrived.iter().any(|one| one.content.ends_with(content)),
            "{}",
            String::from_utf8_lossy(content)
        );
    }
    nothing_is_stored(&proxy);
}

#[test]
fn postfix_is_passed_everything() {
    let Some(postfix) = Postfix::start(&[]) else { return };
    takes_all(&postfix.upstream("postfix"), |count| postfix.wait(count));
}

#[test]
fn exim_is_passed_everything() {
    // Beyond ten messages of one connection it waits for its next queue run to pass them on.
    let Some(exim) = Exim::start(&[("smtp_accept_queue_per_connection", "0")]) else { return };
    takes_all(&exim.upstream("exim"), |count| exim.wait(count));
}

#[test]
fn aiosmtpd_is_passed_everything() {
    let Some(aiosmtpd) = Aiosmtpd::start(&[]) else { return };
    takes_all(&aiosmtpd.upstream("aiosmtpd"), |count| aiosmtpd.wait(count));
}

/// What Postfix says of a recipient, of the size and of the end is what the client hears.
#[test]
fn what_postfix_says_is_what_the_client_hears() {
    let settings = [
        ("message_size_limit", "20000"),
        (
            "smtpd_recipient_restrictions",
            "check_recipient_access inline:{nobody@upstream.test=REJECT, late@upstream.test=DEFER}, permit_mynetworks, reject",
        ),
    ];
    let Some(postfix) = Postfix::start(&settings) else { return };
    let proxy = Proxy::start(&format!("{PASS}{}", postfix.upstream("postfix")));
    let mut talk = Talk::hello(proxy.address());
    talk.say("MAIL FROM:<a@x.test> SIZE=30000", "250");
    talk.say("RCPT TO:<bob@upstream.test>", "552 5.3.4");
    talk.say("RSET", "250");
    talk.say("MAIL FROM:<a@x.test>", "250");
    let reply = talk.say("RCPT TO:<nobody@upstream.test>", "554 5.7.1");
    assert!(reply.contains("<nobody@upstream.test>: Recipient address rejected"), "{reply}");
    talk.say("RCPT TO:<late@upstream.test>", "450 4.7.1");
    talk.say("RCPT TO:<bob@upstream.test>", "250 2.1.5 Ok");
    talk.say("DATA", "354");
    talk.send("Subject: s\r\n\r\nhello\r\n");
    let reply = talk.say(".", "250 2.0.0");
    assert!(reply.contains("queued as"), "{reply}");
    talk.say("MAIL FROM:<a@x.test>", "250");
    talk.say("RCPT TO:<bob@upstream.test>", "250");
    talk.say("DATA", "354");
    talk.send(format!("Subject: s\r\n\r\n{}", "0123456789abcdef\r\n".repeat(2_000)));
    talk.say(".", "552 5.3.4");
    assert_eq!(postfix.wait(1).len(), 1);
}

#[test]
fn many_clients_at_the_same_time_share_few_connections() {
    let sink = SmtpSink::keeping(&[]);
    let upstream =
        format!("[upstream.sink]\nhost = \"{}\"\ntls = \"none\"\nconnection_limit = 3\n", sink.address());
    let proxy = Proxy::start(&format!("{PASS}{upstream}"));
    smtp_source(proxy.address(), &["-s", "12", "-m", "200", "-l", "20000", "-N"]);
    assert_eq!(sink.wait(200).len(), 200);
    nothing_is_stored(&proxy);
}

/// Python's smtplib says what it heard of each recipient.
#[test]
fn a_client_learns_which_recipients_were_refused() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&format!("{PASS}{}", recorder.upstream("only")));
    smtplib(
        proxy.address(),
        &Envelope { to: &["a@y.test", "b@y.test"], ..ENVELOPE },
        b"Subject: s\r\n\r\nx\r\n",
        &[],
    );
    let message = recorder.wait(1).remove(0);
    assert_eq!(message.rcpt, ["<a@y.test>", "<b@y.test>"]);
}
