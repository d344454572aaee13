//! The servers take what the proxy relays, and pass it on as it came; their ways of saying no are understood.

use super::letters::{Letter, letters};
use super::outcome::{all_delivered, events, queue};
use crate::support::clients::{Envelope, smtp_source, smtplib};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::real::{Aiosmtpd, Certificate, Exim, OpenSmtpd, Postfix};
use crate::support::recorder::{Recorded, Recorder, added};
use std::net::SocketAddr;

/// Sends a message of each kind.
fn send_all(server: SocketAddr) {
    for Letter { from, to, content } in letters() {
        smtplib(server, &Envelope { from, to }, &content, &[]);
    }
}

/// Sends one small message.
fn send_one(server: SocketAddr) {
    let Letter { from, to, content } = letters().remove(0);
    smtplib(server, &Envelope { from, to }, &content, &[]);
}

/// A message of each kind goes through a proxy to that upstream, and from there on, unchanged behind the fields that
/// proxy and server add.
#[track_caller]
fn takes_all(upstream: &str, wait: impl Fn(usize) -> Vec<Recorded>) {
    let proxy = Proxy::start(upstream);
    send_all(proxy.address());
    all_delivered(&proxy, "upstream");
    let letters = letters();
    let arrived = wait(letters.len());
    assert_eq!(arrived.len(), letters.len());
    for letter in letters {
        let same = |one: &&Recorded| one.content.ends_with(&letter.content);
        let Some(found) = arrived.iter().find(same) else {
            let subject = |content: &[u8]| {
                let text = String::from_utf8_lossy(content).into_owned();
                text.lines().find(|line| line.starts_with("Subject:")).map(str::to_owned)
            };
            let other = arrived.iter().find(|one| subject(&one.content) == subject(&letter.content));
            added(&other.expect("a message with that subject").content, &letter.content);
            unreachable!("added() panics where the contents differ");
        };
        assert!(found.mail.starts_with(&format!("<{}>", letter.from)), "{}", found.mail);
        let mut rcpt: Vec<&str> = found.rcpt.iter().filter_map(|rcpt| rcpt.split('>').next()).collect();
        rcpt.sort();
        assert_eq!(rcpt, letter.to.iter().map(|to| format!("<{to}")).collect::<Vec<_>>());
    }
}

/// Two upstreams of which the first is asked first.
pub fn first_then(first: &str, second: &str) -> String {
    format!("{first}priority = \"high\"\n{second}")
}

#[test]
fn postfix_takes_everything() {
    let Some(postfix) = Postfix::start(&[]) else { return };
    takes_all(&postfix.upstream("postfix"), |count| postfix.wait(count));
}

// CASES B35, B40
#[test]
fn postfix_without_extensions_takes_everything() {
    let keywords = "pipelining, size, vrfy, etrn, enhancedstatuscodes, 8bitmime, dsn, smtputf8, chunking";
    let discard = [("smtputf8_enable", "no"), ("smtpd_discard_ehlo_keywords", keywords)];
    let Some(postfix) = Postfix::start(&discard) else { return };
    takes_all(&postfix.upstream("postfix"), |count| postfix.wait(count));
}

#[test]
fn postfix_that_knows_helo_only_takes_everything() {
    let filter = "regexp:{ {/^EHLO/ UNKNOWN} }";
    let settings = [("smtputf8_enable", "no"), ("smtpd_command_filter", filter)];
    let Some(postfix) = Postfix::start(&settings) else { return };
    takes_all(&postfix.upstream("postfix"), |count| postfix.wait(count));
}

#[test]
fn exim_takes_everything() {
    let Some(exim) = Exim::start(&[]) else { return };
    takes_all(&exim.upstream("exim"), |count| exim.wait(count));
}

// CASES B35, B40
#[test]
fn exim_without_extensions_takes_everything() {
    let none = "";
    let settings = [
        ("smtputf8_advertise_hosts", none),
        ("pipelining_advertise_hosts", none),
        ("chunking_advertise_hosts", none),
        ("accept_8bitmime", "false"),
    ];
    let Some(exim) = Exim::start(&settings) else { return };
    takes_all(&exim.upstream("exim"), |count| exim.wait(count));
}

// CASES B39
#[test]
fn opensmtpd_takes_everything() {
    let Some(opensmtpd) = OpenSmtpd::start() else { return };
    takes_all(&opensmtpd.upstream("opensmtpd"), |count| opensmtpd.wait(count));
}

#[test]
fn aiosmtpd_takes_everything() {
    let Some(aiosmtpd) = Aiosmtpd::start(&[]) else { return };
    takes_all(&aiosmtpd.upstream("aiosmtpd"), |count| aiosmtpd.wait(count));
}

// CASES B35, B40
#[test]
fn aiosmtpd_without_smtputf8_takes_everything() {
    let Some(aiosmtpd) = Aiosmtpd::start(&["--no-smtputf8"]) else { return };
    takes_all(&aiosmtpd.upstream("aiosmtpd"), |count| aiosmtpd.wait(count));
}

/// A server that wants TLS says so at MAIL: that is not the message's fault. It waits, and a second upstream takes it.
#[track_caller]
fn wants_starttls(first: &str) {
    let alone = Proxy::start(first);
    send_one(alone.address());
    let message = eventually("the circuit to open", || {
        let message = queue(&alone)?.pop()?;
        let waits = message["state"] == "queued" && events(&alone, "CIRCUIT_OPEN") == 0;
        (!waits).then_some(message)
    });
    assert_eq!(message["state"], "queued", "{message:#}");
    assert_eq!(message["attempts"], 0, "{message:#}");

    let second = Recorder::start();
    let both = Proxy::start(&first_then(first, &second.upstream("second")));
    send_one(both.address());
    all_delivered(&both, "second");
    assert_eq!(second.wait(1).len(), 1);
    assert!(events(&both, "CIRCUIT_OPEN") > 0);
}

/// The settings of a Postfix with that certificate.
pub fn postfix_tls(certificate: &Certificate, level: &'static str) -> Vec<(&'static str, String)> {
    vec![
        ("smtpd_tls_security_level", level.to_owned()),
        ("smtpd_tls_cert_file", certificate.chain().display().to_string()),
        ("smtpd_tls_key_file", certificate.key().display().to_string()),
        ("smtpd_tls_loglevel", "1".to_owned()),
    ]
}

/// The settings of an Exim with that certificate.
pub fn exim_tls(certificate: &Certificate) -> Vec<(&'static str, String)> {
    vec![
        ("tls_advertise_hosts", "*".to_owned()),
        ("tls_certificate", certificate.chain().display().to_string()),
        ("tls_privatekey", certificate.key().display().to_string()),
        ("REQUIRE_TLS", "yes".to_owned()),
    ]
}

/// As the servers take them.
pub fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(key, value)| (*key, value.as_str())).collect()
}

// CASES H1
// Every message failed for good, although nothing was wrong with any of them.
#[test]
fn postfix_that_wants_starttls_is_passed_over() {
    let certificate = Certificate::self_signed();
    let settings = postfix_tls(&certificate, "encrypt");
    let Some(postfix) = Postfix::start(&borrowed(&settings)) else { return };
    wants_starttls(&postfix.upstream("postfix"));
    assert!(postfix.messages().is_empty());
}

// CASES H1
#[test]
fn exim_that_wants_starttls_is_passed_over() {
    let certificate = Certificate::self_signed();
    let settings = exim_tls(&certificate);
    let Some(exim) = Exim::start(&borrowed(&settings)) else { return };
    wants_starttls(&exim.upstream("exim"));
    assert!(exim.messages().is_empty());
}

// CASES H1
#[test]
fn aiosmtpd_that_wants_starttls_is_passed_over() {
    let certificate = Certificate::self_signed();
    let (chain, key) = (certificate.chain().display().to_string(), certificate.key().display().to_string());
    let arguments = ["--certificate", &chain, "--key", &key, "--require-starttls"];
    let Some(aiosmtpd) = Aiosmtpd::start(&arguments) else { return };
    wants_starttls(&aiosmtpd.upstream("aiosmtpd"));
    assert!(aiosmtpd.messages().is_empty());
}

/// A server that relays for others only says so at RCPT. The second upstream takes the mail; it fails only where every
/// upstream refuses.
#[track_caller]
fn refuses_to_relay(first: &str, second_too: &str, words: &str, refused: impl Fn() -> usize) {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&first_then(first, &recorder.upstream("second")));
    send_one(proxy.address());
    all_delivered(&proxy, "upstream");
    assert_eq!(recorder.wait(1).len(), 1);
    assert_eq!(refused(), 1);

    // A bounce would be refused like the mail.
    let proxy = Proxy::start(&(first_then(first, second_too) + "[queue]\nbounce = \"none\"\n"));
    send_one(proxy.address());
    let failed = eventually("the message to fail", || {
        queue(&proxy)?.into_iter().find(|message| message["state"] == "failed")
    });
    let reply = failed["recipients"][0]["reply"].as_str().expect("a reply");
    assert!(reply.contains(words), "{reply}");
    assert_eq!(refused(), 3, "each of the two was asked once");
}

// CASES H2
// The mail failed at the first upstream's word, although the second would have taken it.
#[test]
fn relay_access_denied_by_postfix_is_not_final() {
    let strangers = [("mynetworks", "192.0.2.1/32")];
    let Some(postfix) = Postfix::start(&strangers) else { return };
    let refused = || postfix.log().matches("reject: RCPT").count();
    refuses_to_relay(&postfix.upstream("first"), &postfix.upstream("second"), "Relay access denied", refused);
}

// CASES H2
#[test]
fn relay_not_permitted_by_exim_is_not_final() {
    let Some(exim) = Exim::start(&[("hostlist relay_from", "192.0.2.1")]) else { return };
    let refused = || exim.log().matches("rejected RCPT").count();
    refuses_to_relay(&exim.upstream("first"), &exim.upstream("second"), "relay not permitted", refused);
}

// CASES F12
#[test]
fn mail_too_large_for_postfix_goes_to_the_second() {
    let Some(postfix) = Postfix::start(&[("message_size_limit", "2000")]) else { return };
    let recorder = Recorder::start();
    let proxy = Proxy::start(&first_then(&postfix.upstream("first"), &recorder.upstream("second")));
    send_all(proxy.address());
    all_delivered(&proxy, "upstream");
    let (taken, passed_on) = eventually("Postfix to pass on what it took", || {
        let (taken, passed_on) = (postfix.messages(), recorder.messages());
        (taken.len() + passed_on.len() >= letters().len()).then_some((taken, passed_on))
    });
    // Some are just below the limit: Postfix counts what it adds, and finds out at the final dot.
    assert!(taken.iter().all(|message| message.content.len() < 2000), "{taken:#?}");
    assert!(passed_on.iter().all(|message| message.content.len() > 800), "{passed_on:#?}");
}

// CASES H4
// The refused second connection opened the circuit for all, and the probe took the working session and closed
// it: an 85th of the rate.
#[test]
fn postfix_that_allows_one_connection_gets_the_mail_through_one() {
    let limit = [("smtpd_client_connection_count_limit", "1"), ("smtpd_client_event_limit_exceptions", "")];
    let Some(postfix) = Postfix::start(&limit) else { return };
    let upstream = postfix.upstream("postfix");
    let proxy = Proxy::start(&format!("{upstream}connection_limit = 2\nmessages_per_connection = 1000\n"));
    let envelope = ["-f", "ann@client.test", "-t", "bob@upstream.test"];
    smtp_source(proxy.address(), &[&["-s", "10", "-m", "100", "-l", "1000"][..], &envelope].concat());
    all_delivered(&proxy, "postfix");
    assert_eq!(postfix.wait(100).len(), 100);
    let refused = postfix.log().matches("concurrency limit exceeded").count();
    let opened = events(&proxy, "CIRCUIT_OPEN");
    assert!(refused > 0, "Postfix refused no connection, so that nothing was tried");
    // One, where the refusal came before the other connection had proved itself.
    assert!(opened <= 1, "the circuit opened {opened} times, Postfix refused {refused} connections");
}

/// What an upstream needs to be reached with STARTTLS under that certificate.
pub fn with_starttls(name: &str, address: SocketAddr, certificate: &Certificate) -> String {
    let authority = certificate.chain();
    format!("[upstream.{name}]\nhost = \"{address}\"\ntls = \"starttls\"\ntls_ca = {authority:?}\n")
}

// CASES H7
// rustls refused a certificate of `openssl req -x509` named in `tls_ca`: CaUsedAsEndEntity.
#[test]
fn postfix_with_a_self_signed_certificate_is_trusted() {
    let certificate = Certificate::self_signed();
    let settings = postfix_tls(&certificate, "encrypt");
    let Some(postfix) = Postfix::start(&borrowed(&settings)) else { return };
    let upstream = with_starttls("postfix", postfix.address(), &certificate);
    takes_all(&upstream, |count| postfix.wait(count));
    assert!(postfix.log().contains("TLS connection established"), "{}", postfix.log());
}

// CASES H7
#[test]
fn exim_with_a_self_signed_certificate_is_trusted() {
    let certificate = Certificate::self_signed();
    let settings = exim_tls(&certificate);
    let Some(exim) = Exim::start(&borrowed(&settings)) else { return };
    takes_all(&with_starttls("exim", exim.address(), &certificate), |count| exim.wait(count));
    assert!(exim.log().contains("X=TLS"), "{}", exim.log());
}
