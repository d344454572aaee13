//! How upstreams fare: when one took a message last, how long that took, and by which reply it failed.

use super::*;
use crate::support::clients::{Envelope, smtplib};
use crate::support::scripted::{Act, Script, Scripted};
use crate::support::{eventually, free_address, plain_upstream};
use std::time::Duration;

const ENVELOPE: Envelope<'static> = Envelope { from: "a@a.test", to: &["b@b.test"] };

fn upstream(proxy: &Proxy) -> Value {
    get(proxy, "/api/v1/upstreams").json()[0].clone()
}

#[test]
fn an_upstream_that_takes_mail_again_says_since_when_and_what_was_wrong() {
    let server = Scripted::start(|script| script.greeting(Act::last("554 5.7.1 not from there")));
    let address = SocketAddr::from(([127, 0, 0, 1], server.port()));
    let proxy = Proxy::start(&plain_upstream("only", address));
    smtplib(proxy.address(), &ENVELOPE, b"Subject: s\r\n\r\nb\r\n", &[]);
    let failing =
        eventually("an error", || Some(upstream(&proxy)).filter(|one| one["last_error"].is_string()));
    assert_eq!(
        (&failing["last_error_code"], &failing["last_error_enhanced"]),
        (&554.into(), &"5.7.1".into())
    );
    assert_eq!(
        (&failing["last_success_at"], &failing["latency_ms"]),
        (&Value::Null, &Value::Null),
        "{failing}"
    );

    // At least that long, however busy the machine is.
    let pause = Duration::from_millis(200);
    server.change(|_| Script::default().ehlo(&[]).at_dot(Act::later(pause, "250 2.0.0 taken")));
    proxy.command(&["queue", "retry", "--all"]);
    let works =
        eventually("a success", || Some(upstream(&proxy)).filter(|one| one["last_success_at"].is_string()));
    let time = |key: &str| {
        works[key].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).expect("a time")
    };
    assert!(time("last_success_at") >= time("last_error_at"), "{works}");
    assert!(works["latency_ms"].as_u64().is_some_and(|latency| latency >= 200), "{works}");
    assert_eq!(works["last_error_code"], 554, "the last error stays: {works}");
}

#[test]
fn an_error_that_was_no_reply_has_no_code_and_a_refused_recipient_is_no_success() {
    let proxy = Proxy::start(&plain_upstream("only", free_address()));
    smtplib(proxy.address(), &ENVELOPE, b"Subject: s\r\n\r\nb\r\n", &[]);
    let failing =
        eventually("an error", || Some(upstream(&proxy)).filter(|one| one["last_error"].is_string()));
    assert_eq!((&failing["last_error_code"], &failing["last_error_enhanced"]), (&Value::Null, &Value::Null));

    let server = Scripted::start(|script| script.ehlo(&[]).on("RCPT", "550 5.1.1 no such user"));
    let proxy = Proxy::start(&plain_upstream("only", SocketAddr::from(([127, 0, 0, 1], server.port()))));
    smtplib(proxy.address(), &ENVELOPE, b"Subject: s\r\n\r\nb\r\n", &[]);
    let failed =
        |proxy: &Proxy| get(proxy, "/api/v1/stats").json()["since_start"]["failed"].as_u64() >= Some(1);
    eventually("the refusal", || failed(&proxy).then_some(()));
    let shown = upstream(&proxy);
    assert_eq!((&shown["last_success_at"], &shown["last_error"]), (&Value::Null, &Value::Null), "{shown}");
}

#[test]
fn what_passes_through_counts_as_taken() {
    let server = Scripted::start(|script| script.ehlo(&[]));
    let address = SocketAddr::from(([127, 0, 0, 1], server.port()));
    let proxy = Proxy::start(&format!("[queue]\nenabled = false\n{}", plain_upstream("only", address)));
    smtplib(proxy.address(), &ENVELOPE, b"Subject: s\r\n\r\nb\r\n", &[]);
    let works =
        eventually("a success", || Some(upstream(&proxy)).filter(|one| one["last_success_at"].is_string()));
    assert!(works["latency_ms"].is_u64(), "{works}");
}
