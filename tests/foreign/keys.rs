//! Keys of upstreams, as servers of other people's see them.

use super::login::{last_error, send_one, with};
use super::outcome::{all_delivered, queue};
use super::upstreams::{borrowed, first_then, postfix_tls};
use crate::support::clients::{Envelope, smtp_source, smtplib};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::real::{Certificate, Dovecot, Exim, Postfix, wait_for_log};
use crate::support::recorder::{Recorded, Recorder};
use serde_json::Value;

fn upstreams(proxy: &Proxy) -> Vec<Value> {
    proxy.cli(&["upstream", "list", "--json"]).as_array().expect("an array").clone()
}

/// Ten messages, one after the other on one connection.
fn send_ten(proxy: &Proxy) {
    smtp_source(
        proxy.address(),
        &["-s", "1", "-m", "10", "-f", "ann@client.test", "-t", "bob@upstream.test"],
    );
}

#[test]
fn postfix_that_is_disabled_gets_nothing() {
    let Some(postfix) = Postfix::start(&[]) else { return };
    let second = Recorder::start();
    let first = postfix.upstream("first") + "enabled = false\n";
    let proxy = Proxy::start(&first_then(&first, &second.upstream("second")));
    send_one(&proxy);
    second.wait(1);
    assert!(postfix.messages().is_empty());
}

#[test]
fn postfix_of_this_machine_is_a_local_delivery() {
    let Some(postfix) = Postfix::start(&[]) else { return };
    let address = postfix.address();
    let proxy = Proxy::start(&format!("[upstream.local]\ndelivery = \"local\"\nhost = \"{address}\"\n"));
    send_one(&proxy);
    postfix.wait(1);
}

#[test]
fn postfix_with_tls_from_the_first_byte() {
    let certificate = Certificate::self_signed();
    let mut settings = postfix_tls(&certificate, "encrypt");
    settings.push(("smtpd_tls_wrappermode", "yes".to_owned()));
    let Some(postfix) = Postfix::start(&borrowed(&settings)) else { return };
    let upstream = postfix.upstream("upstream").replace("tls = \"none\"", "tls = \"implicit\"");
    let proxy = Proxy::start(&format!("{upstream}tls_ca = {:?}\n", certificate.chain()));
    send_one(&proxy);
    postfix.wait(1);
    wait_for_log(|| postfix.log(), "TLS connection established");
}

/// The most connections that were open at a time, by its log.
fn most_at_a_time(log: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for line in log.lines() {
        if line.contains("]: disconnect from") {
            open = open.saturating_sub(1);
        } else if line.contains("]: connect from") {
            open += 1;
            most = most.max(open);
        }
    }
    most
}

#[test]
fn postfix_gets_no_more_connections_and_no_more_messages_on_each_than_are_allowed() {
    let Some(postfix) = Postfix::start(&[]) else { return };
    let keys = "connection_limit = 1\nmessages_per_connection = 5\nmax_idle_time = \"10m\"\n";
    let proxy = Proxy::start(&(postfix.upstream("upstream") + keys));
    send_ten(&proxy);
    postfix.wait(10);
    let log = eventually("both connections to end", || {
        let log = postfix.log();
        (log.matches(" mail=5 rcpt=5 data=5 quit=1 ").count() == 2).then_some(log)
    });
    assert_eq!(most_at_a_time(&log), 1, "{log}");
}

#[test]
fn postfix_is_left_when_nothing_is_to_be_said_for_a_while() {
    let Some(postfix) = Postfix::start(&[]) else { return };
    let proxy = Proxy::start(&(postfix.upstream("upstream") + "max_idle_time = \"1s\"\n"));
    send_one(&proxy);
    postfix.wait(1);
    eventually("QUIT", || postfix.log().contains(" mail=1 rcpt=1 data=1 quit=1 ").then_some(()));
}

#[test]
fn postfix_sees_the_source_address() {
    let Some(postfix) = Postfix::start(&[]) else { return };
    let proxy = Proxy::start(&(postfix.upstream("upstream") + "source_address = \"127.0.0.9\"\n"));
    send_one(&proxy);
    postfix.wait(1);
    wait_for_log(|| postfix.log(), "[127.0.0.9]");
}

#[test]
fn postfix_sees_the_sender_of_the_upstream() {
    let Some(postfix) = Postfix::start(&[]) else { return };
    let proxy = Proxy::start(&(postfix.upstream("upstream") + "sender = \"shop@upstream.test\"\n"));
    send_one(&proxy);
    let Recorded { mail, content, .. } = postfix.wait(1).remove(0);
    assert!(mail.starts_with("<shop@upstream.test>"), "{mail}");
    let content = String::from_utf8(content).unwrap();
    assert!(content.contains("\nFrom: shop@upstream.test\r\n"), "{content}");
}

#[test]
fn postfix_of_one_site_gets_the_mail_of_that_site() {
    let Some(postfix) = Postfix::start(&[]) else { return };
    let others = Recorder::start();
    let site = "[site.shop]\nsenders = [\"@shop.test\"]\n";
    let first = postfix.upstream("first") + "sites = [\"shop\"]\n";
    let proxy = Proxy::start(&(first_then(&first, &others.upstream("second")) + site));
    for from in ["ann@client.test", "web@shop.test"] {
        smtplib(
            proxy.address(),
            &Envelope { from, to: &["bob@upstream.test"] },
            b"Subject: s\r\n\r\nx\r\n",
            &[],
        );
    }
    let sender = |messages: Vec<Recorded>| messages[0].mail.split('>').next().unwrap().to_owned();
    assert_eq!(sender(others.wait(1)), "<ann@client.test");
    assert_eq!(sender(postfix.wait(1)), "<web@shop.test");
    all_delivered(&proxy, "either");
}

#[test]
fn postfix_gets_no_more_than_the_rate() {
    let Some(postfix) = Postfix::start(&[]) else { return };
    let proxy = Proxy::start(&(postfix.upstream("upstream") + "rate_limit = \"4/1d\"\n"));
    send_ten(&proxy);
    postfix.wait(4);
    eventually("the limit", || (upstreams(&proxy)[0]["state"] == "limited").then_some(()));
    assert_eq!(queue(&proxy).expect("the queue").len(), 6);
    assert_eq!(postfix.messages().len(), 4);
}

/// A step that takes longer than it may: what is said of it.
#[track_caller]
fn too_slow(delay: &str, key: &str) -> Option<(Proxy, Exim)> {
    let exim = Exim::start(&[(delay, "1h")])?;
    let proxy = Proxy::start(&(exim.upstream("upstream") + &format!("{key} = \"1s\"\n")));
    send_one(&proxy);
    Some((proxy, exim))
}

#[test]
fn exim_that_is_slow_to_greet_and_to_answer() {
    let Some((proxy, _exim)) = too_slow("CONNECT_DELAY", "connect_timeout") else { return };
    let error = last_error(&proxy);
    assert!(error.contains("greeting: nothing came within 1s"), "{error}");
    let Some((proxy, _exim)) = too_slow("RCPT_DELAY", "command_timeout") else { return };
    let error = last_error(&proxy);
    assert!(error.contains("nothing came within 1s"), "{error}");
}

// CASES F25
#[test]
fn exim_that_is_silent_behind_the_final_dot() {
    let Some((proxy, _exim)) = too_slow("DATA_DELAY", "final_timeout") else { return };
    let reply = eventually("the message to be deferred", || {
        let message = queue(&proxy)?.pop()?;
        message["recipients"][0]["reply"].as_str().map(str::to_owned)
    });
    assert!(reply.contains("may be sent twice"), "{reply}");
}

#[test]
fn dovecot_takes_the_shared_credentials() {
    let Some(dovecot) = Dovecot::start("plain", None) else { return };
    let shared = "[credentials.default]\nusername = \"app\"\npassword = \"s3cret\"\n";
    let proxy = Proxy::start(&(dovecot.upstream("upstream") + "auth = \"default\"\n" + shared));
    send_one(&proxy);
    dovecot.wait(1);
    wait_for_log(|| dovecot.log(), "user=<app>, method=PLAIN");
}

/// `postroom test` says what a real server says.
#[test]
fn tests_of_real_servers() {
    let certificate = Certificate::self_signed();
    let Some(dovecot) = Dovecot::start("plain scram-sha-256", None) else { return };
    let mut settings = postfix_tls(&certificate, "encrypt");
    settings.extend(super::faults::logins_by(&dovecot));
    let Some(postfix) = Postfix::start(&borrowed(&settings)) else { return };
    let upstream = super::upstreams::with_starttls("upstream", postfix.address(), &certificate);
    let proxy = Proxy::start(&(upstream.clone() + &with("basic", "app", "s3cret")));
    let result = proxy.cli(&["test", "upstream", "--to", "bob@upstream.test", "--json"]);
    let detail = |place: usize| result[0]["steps"][place]["detail"].as_str().unwrap_or_default();
    assert!(detail(2).starts_with("220 postfix.test ESMTP"), "{result:#}");
    assert!(detail(4).contains("it is for 127.0.0.1"), "{result:#}");
    assert_eq!(detail(6), "SCRAM-SHA-256 as app", "{result:#}");
    assert!(detail(7).contains("250 2.0.0 Ok: queued as"), "{result:#}");
    postfix.wait(1);
    proxy.configure(&(upstream + &with("basic", "app", "wrong")));
    proxy.command(&["reload"]);
    let output = proxy.try_command(&["test", "upstream"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("AUTH PLAIN refused: 535 5.7.8") && text.contains("check `username`"), "{text}");
}
