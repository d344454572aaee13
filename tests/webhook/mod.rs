//! Webhooks, through the running binary: what is sent when, and what becomes of it where receivers are slow, wrong or gone.

mod burst;
mod faults;
mod payload;
pub mod receiver;
pub mod reload;
mod tls;
mod verify;

use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;

/// Debug takes all mail: each recipient is an event, and nothing connects anywhere.
const DEBUG: &str = "[debug]\nenabled = true\nfailure_rate = 0\n";

fn send(proxy: &Proxy, recipient: &str) {
    assert!(Talk::hello(proxy.address()).mail(recipient, 100).starts_with("250"));
}

/// What the event log says of webhooks.
fn told(proxy: &Proxy) -> Vec<String> {
    let events = proxy.cli(&["events", "--json", "--code", "WEBHOOK"]);
    events.as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn wait_until_told(proxy: &Proxy, what: &str) -> Vec<String> {
    eventually(what, || Some(told(proxy)).filter(|told| told.iter().any(|text| text.contains(what))))
}
