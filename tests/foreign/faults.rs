//! Other people's servers that are at fault, or that we have set up wrongly: mail goes to the next one, nothing leaves in clear
//! text, and what is wrong is said.

use super::login::{last_error, send_one, with};
use super::outcome::{all_delivered, events, queue};
use super::upstreams::{borrowed, exim_tls, first_then, postfix_tls};
use crate::support::certificate::CertificateFiles;
use crate::support::proxy::Proxy;
use crate::support::real::{Certificate, Dovecot, Exim, Postfix};
use crate::support::recorder::Recorder;
use std::path::Path;

/// An upstream that is asked for STARTTLS; `ca`: what it is trusted by.
fn starttls(name: &str, host: &str, port: u16, ca: &Path) -> String {
    format!("[upstream.{name}]\nhost = \"{host}:{port}\"\ntls = \"starttls\"\ntls_ca = {ca:?}\n")
}

/// The first upstream is passed over, the second takes the mail, and nothing is decided about it.
#[track_caller]
fn is_passed_over(first: &str, error: &str) {
    let second = Recorder::start();
    let proxy = Proxy::start(&first_then(first, &second.upstream("second")));
    send_one(&proxy);
    all_delivered(&proxy, "second");
    assert_eq!(second.wait(1).len(), 1);
    let told = proxy.cli(&["upstream", "list", "--json"])[0]["last_error"].as_str().unwrap().to_owned();
    assert!(told.contains(error), "{told}");
    assert_eq!(events(&proxy, "CIRCUIT_OPEN"), 1);
}

// CASES F8
#[test]
fn exim_that_offers_starttls_and_has_no_certificate() {
    let certificate = Certificate::self_signed();
    let mut settings = exim_tls(&certificate);
    settings.retain(|(key, _)| !matches!(*key, "tls_certificate" | "tls_privatekey" | "REQUIRE_TLS"));
    settings.push(("tls_certificate", "/nonexistent/certificate.pem".to_owned()));
    let Some(exim) = Exim::start(&borrowed(&settings)) else { return };
    let required = starttls("first", "127.0.0.1", exim.address().port(), &certificate.chain());
    is_passed_over(&required, "STARTTLS refused: 454");
    assert!(exim.messages().is_empty(), "nothing in clear text");
    let opportunistic = exim.upstream("exim").replace("tls = \"none\"", "tls = \"opportunistic\"");
    let proxy = Proxy::start(&opportunistic);
    send_one(&proxy);
    exim.wait(1);
}

/// The settings of a Postfix whose logins a Dovecot knows.
pub fn logins_by(dovecot: &Dovecot) -> Vec<(&'static str, String)> {
    vec![
        ("smtpd_sasl_auth_enable", "yes".to_owned()),
        ("smtpd_sasl_type", "dovecot".to_owned()),
        ("smtpd_sasl_path", dovecot.auth_socket()),
        ("mynetworks", String::new()),
        ("smtpd_relay_restrictions", "permit_sasl_authenticated, reject".to_owned()),
    ]
}

// CASES F9
#[test]
fn postfix_that_offers_auth_and_no_starttls_gets_no_password() {
    let Some(dovecot) = Dovecot::start("plain login", None) else { return };
    let Some(postfix) = Postfix::start(&borrowed(&logins_by(&dovecot))) else { return };
    let certificate = Certificate::self_signed();
    let first = starttls("first", "127.0.0.1", postfix.address().port(), &certificate.chain());
    is_passed_over(&(first + &with("basic", "app", "s3cret")), "does not offer STARTTLS");
    assert!(!postfix.log().contains("sasl_"), "{}", postfix.log());
    assert!(!dovecot.log().contains("app"), "{}", dovecot.log());
}

// CASES F10
#[test]
fn postfix_with_a_certificate_that_does_not_do() {
    let certificate = Certificate::self_signed();
    let Some(postfix) = Postfix::start(&borrowed(&postfix_tls(&certificate, "may"))) else { return };
    let port = postfix.address().port();
    let other = Certificate::self_signed();
    is_passed_over(&starttls("first", "127.0.0.1", port, &other.chain()), "the server's certificate");
    is_passed_over(&starttls("first", "localhost", port, &certificate.chain()), "and not for localhost");
    assert!(postfix.messages().is_empty());

    let expired = CertificateFiles::that_ends_in(-1);
    let key = expired.chain().with_file_name("key.pem").display().to_string();
    let (chain, level) = (expired.chain().display().to_string(), "may".to_owned());
    let settings =
        [("smtpd_tls_security_level", level), ("smtpd_tls_cert_file", chain), ("smtpd_tls_key_file", key)];
    let Some(postfix) = Postfix::start(&borrowed(&settings)) else { return };
    let port = postfix.address().port();
    is_passed_over(&starttls("first", "127.0.0.1", port, &expired.chain()), "has expired on");
    assert!(postfix.messages().is_empty());
    let anyway =
        starttls("only", "127.0.0.1", port, &expired.chain()) + "danger_accept_invalid_certificate = true\n";
    let proxy = Proxy::start(&anyway);
    send_one(&proxy);
    postfix.wait(1);
}

// CASES F14
#[test]
fn postfix_that_refuses_the_login_is_left_alone_and_no_mail_fails() {
    let Some(dovecot) = Dovecot::start("plain login scram-sha-256", None) else { return };
    let Some(postfix) = Postfix::start(&borrowed(&logins_by(&dovecot))) else { return };
    is_passed_over(&(postfix.upstream("first") + &with("basic", "app", "wrong")), "AUTH PLAIN refused: 535");
    let proxy = Proxy::start(&(postfix.upstream("only") + &with("basic", "app", "wrong")));
    send_one(&proxy);
    let error = last_error(&proxy);
    assert!(error.contains("535"), "{error}");
    let message = queue(&proxy).unwrap().pop().expect("it waits");
    assert_eq!((&message["state"], &message["attempts"]), (&"queued".into(), &0.into()), "{message:#}");
}
