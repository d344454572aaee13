//! What is counted is what has happened.

use super::stage::{Busy, Series, series, sum};
use crate::support::certificate::CertificateFiles;
use crate::support::proxy::Proxy;
use crate::support::smtp_sink::SmtpSink;
use crate::support::talk::Talk;
use crate::support::{eventually, free_address};

#[test]
fn what_has_happened_is_counted_once_and_where_it_belongs() {
    let busy = Busy::start();
    let series = series(&busy.proxy);
    let is = |name: &str, labels: &[&str], value: f64| {
        assert_eq!(sum(&series, name, labels), value, "{name} {labels:?} in {series:#?}");
    };
    let local = "listener=\"local\"";
    is("postroom_accepted_messages_total", &[local, "site=\"\""], 3.0);
    is("postroom_accepted_messages_total", &[local, "site=\"qa\""], 1.0);
    is("postroom_accepted_recipients_total", &[local], 4.0);
    is("postroom_accepted_messages_total", &["listener=\"pickup.folder\""], 1.0);
    is("postroom_sessions_total", &[local], 6.0);
    is("postroom_tls_handshakes_total", &[local, "result=\"done\""], 4.0);
    is("postroom_logins_total", &[local, "result=\"accepted\""], 4.0);
    is("postroom_refusals_total", &[local, "reason=\"command\""], 2.0);
    is("postroom_refusals_total", &["listener=\"pickup.folder\"", "reason=\"file\""], 1.0);
    let relay = "upstream=\"relay\"";
    is("postroom_recipients_total", &[relay, "result=\"failed\"", "site=\"\"", "mode=\"\""], 1.0);
    is("postroom_recipients_total", &[relay, "result=\"deferred\""], 1.0);
    is(
        "postroom_recipients_total",
        &[relay, "result=\"delivered\"", "site=\"qa\"", "mode=\"redirect\""],
        1.0,
    );
    is("postroom_delivery_seconds_count", &["site=\"qa\""], 1.0);
    is("postroom_notices_total", &["result=\"bounced\""], 1.0);
    is("postroom_upstream_up", &[relay], 1.0);
    is("postroom_upstream_token_error", &[relay], 0.0);
    is("postroom_queue_messages", &["state=\"deferred\""], 1.0);
    is("postroom_mode", &["site=\"qa\"", "mode=\"redirect\""], 1.0);
    is("postroom_mode", &[], 1.0);
    is("postroom_reloads_total", &["result=\"done\""], 1.0);
    assert!(sum(&series, "postroom_upstream_failures_total", &["upstream=\"down\"", "connect"]) >= 1.0);
    assert!(sum(&series, "postroom_queue_oldest_age_seconds", &["state=\"deferred\""]) > 0.0);
    assert!(sum(&series, "postroom_queue_commit_seconds_count", &[]) >= 5.0);
    assert!(sum(&series, "process_resident_memory_bytes", &[]) > 1_000_000.0);
    assert!(sum(&series, "postroom_queue_file_bytes", &[]) > 1_000.0);
}

fn send(proxy: &Proxy, count: usize) {
    for _ in 0..count {
        assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    }
}

fn delivered(series: &Series) -> f64 {
    sum(series, "postroom_recipients_total", &["result=\"delivered\""])
}

#[test]
fn a_reload_resets_nothing_and_series_of_what_it_takes_away_stop() {
    let (one, other) = (SmtpSink::start(&[]), SmtpSink::start(&[]));
    let proxy = Proxy::start(&one.upstream("one"));
    send(&proxy, 3);
    eventually("three deliveries", || (delivered(&series(&proxy)) == 3.0).then_some(()));
    proxy.configure(&other.upstream("two"));
    proxy.command(&["reload"]);
    let after = series(&proxy);
    assert_eq!(sum(&after, "postroom_accepted_messages_total", &["listener="]), 3.0);
    assert_eq!(sum(&after, "postroom_reloads_total", &["result=\"done\""]), 1.0);
    assert!(after.keys().all(|key| !key.contains("upstream=\"one\"")), "{after:#?}");
    send(&proxy, 1);
    eventually("another one", || (delivered(&series(&proxy)) == 1.0).then_some(()));
    // Back again, it goes on.
    proxy.configure(&(one.upstream("one") + &other.upstream("two")));
    proxy.command(&["reload"]);
    assert_eq!(delivered(&series(&proxy)), 4.0);
}

#[test]
fn mail_that_nobody_can_take_grows_overdue() {
    let proxy = Proxy::start("[upstream.down]\nhost = \"127.0.0.1:1\"\ntls = \"none\"\n");
    let none = series(&proxy);
    assert_eq!(none["postroom_queue_overdue_seconds{site=\"\"}"], 0.0);
    send(&proxy, 2);
    let overdue = eventually("mail to be overdue", || {
        let series = series(&proxy);
        let overdue = series["postroom_queue_overdue_seconds{site=\"\"}"];
        let is_down = series["postroom_upstream_up{upstream=\"down\"}"] == 0.0;
        (overdue > 0.5 && is_down).then_some(series)
    });
    assert_eq!(overdue["postroom_queue_messages{state=\"queued\"}"], 2.0);
    assert!(overdue["postroom_queue_oldest_age_seconds{state=\"queued\"}"] >= 0.5);
}

#[test]
fn what_is_passed_through_is_counted_as_what_is_queued() {
    let upstream = SmtpSink::start(&[]);
    let proxy = Proxy::start(&format!("[queue]\nenabled = false\n{}", upstream.upstream("one")));
    send(&proxy, 2);
    let series = eventually("two deliveries", || Some(series(&proxy)).filter(|now| delivered(now) == 2.0));
    assert_eq!(sum(&series, "postroom_accepted_messages_total", &["listener="]), 2.0);
    assert_eq!(sum(&series, "postroom_accepted_recipients_total", &["listener="]), 2.0);
    // A field of 19 bytes, an empty line, and 66 bytes of text.
    assert_eq!(sum(&series, "postroom_accepted_bytes_total", &["listener="]), 2.0 * 87.0);
    assert_eq!(sum(&series, "postroom_upstream_transactions_total", &["upstream=\"one\""]), 2.0);
    assert_eq!(sum(&series, "postroom_attempt_seconds_count", &["upstream=\"one\""]), 2.0);
    assert_eq!(sum(&series, "postroom_queue_messages", &[]), 0.0);
}

#[test]
fn open_connections_are_counted_while_they_are_open() {
    let proxy = Proxy::start("[upstream.down]\nhost = \"127.0.0.1:1\"\ntls = \"none\"\n");
    let open = || sum(&series(&proxy), "postroom_open_sessions", &["listener="]);
    let clients = [Talk::hello(proxy.address()), Talk::hello(proxy.address())];
    assert_eq!(open(), 2.0);
    drop(clients);
    eventually("nobody to be connected", || (open() == 0.0).then_some(()));
    assert_eq!(sum(&series(&proxy), "postroom_sessions_total", &["listener="]), 2.0);
}

#[test]
fn the_certificate_of_the_admin_listener_is_watched_too() {
    let (certificate, address) = (CertificateFiles::that_ends_in(30), free_address());
    let proxy = Proxy::start(&format!(
        "[admin]\nlisten = \"{address}\"\n{}[sending]\nenabled = false\n",
        certificate.config()
    ));
    let name = "postroom_listener_certificate_expiry_timestamp_seconds";
    let ends = sum(&series(&proxy), name, &["listener=\"admin.listen\""]);
    let started = sum(&series(&proxy), "process_start_time_seconds", &[]);
    let days = (ends - started) / 86_400.0;
    assert!((28.0..31.0).contains(&days), "{days}");
}
