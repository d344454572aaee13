//! What was answered 250 outlives the process.

use crate::support::clients::smtp_source;
use crate::support::free_address;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use std::collections::HashMap;

/// Issue "The main job", point 3: all upstreams down, 10,000 messages, kill -9, everything started again: all arrive, once.
// CASES D7
#[test]
fn ten_thousand_messages_survive_kill_9_and_arrive_once_each() {
    let nobody = free_address();
    let config = |address| {
        format!(
            "[upstream.only]\nhost = \"{address}\"\ntls = \"none\"\nconnection_limit = 20\nmessages_per_connection = 1000\n"
        )
    };
    let mut proxy = Proxy::start(&config(nobody));
    let arguments =
        ["-s", "20", "-m", "10000", "-l", "1024", "-N", "-f", "shop@a.test", "-t", "customer@b.test"];
    smtp_source(proxy.address(), &arguments);
    proxy.kill();

    let recorder = Recorder::start();
    proxy.configure(&config(recorder.address()));
    proxy.start_again();
    let arrived = recorder.wait(10_000);
    let empty = || proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().is_empty();
    crate::support::eventually("the queue to be empty", || empty().then_some(()));

    let mut times: HashMap<String, usize> = HashMap::new();
    for message in &recorder.wait(arrived.len()) {
        *times.entry(message.rcpt.join(" ")).or_default() += 1;
    }
    assert_eq!(times.len(), 10_000, "every numbered recipient");
    let doubled: Vec<_> = times.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubled.is_empty(), "sent more than once: {doubled:?}");
}

/// Mail that waits says so: nothing was tried, nothing is counted.
#[test]
fn with_all_upstreams_down_mail_waits_without_counting_attempts_and_leaves_when_one_is_back() {
    let address = free_address();
    let proxy = Proxy::start(&format!("[upstream.only]\nhost = \"{address}\"\ntls = \"none\"\n"));
    smtp_source(proxy.address(), &["-m", "3", "-f", "a@a.test", "-t", "b@b.test"]);
    let has_event = |code| {
        let events = proxy.cli(&["events", "--json"]);
        events.as_array().unwrap().iter().any(|event| event["code"] == code)
    };
    crate::support::eventually("the circuit to open", || has_event("CIRCUIT_OPEN").then_some(()));
    let messages = proxy.cli(&["queue", "list", "--json"]);
    assert_eq!(messages.as_array().unwrap().len(), 3);
    for message in messages.as_array().unwrap() {
        assert_eq!(
            (message["state"].as_str(), message["attempts"].as_u64()),
            (Some("queued"), Some(0)),
            "{message}"
        );
    }
    let recorder = Recorder::start_at(address);
    recorder.wait(3);
    crate::support::eventually("the circuit to close", || has_event("CIRCUIT_CLOSED").then_some(()));
}
