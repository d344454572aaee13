//! What became of the mail, as the proxy says it.

use crate::support::eventually;
use crate::support::proxy::Proxy;
use serde_json::Value;

/// The messages that are not delivered.
pub fn queue(proxy: &Proxy) -> Option<Vec<Value>> {
    Some(proxy.get("/api/v1/messages")?["messages"].as_array()?.clone())
}

/// Waits until every message is delivered. Panics where one is deferred or failed; `upstream` says at which.
#[track_caller]
pub fn all_delivered(proxy: &Proxy, upstream: &str) {
    eventually("the queue to be empty", || {
        let messages = queue(proxy)?;
        let stuck = messages.iter().find(|message| message["state"] != "queued");
        assert!(stuck.is_none(), "{upstream}: not delivered: {stuck:#?}");
        messages.is_empty().then_some(())
    });
}

/// How many events have that code.
#[track_caller]
pub fn events(proxy: &Proxy, code: &str) -> usize {
    let events = proxy.cli(&["events", "--json", "--limit", "1000"]);
    events.as_array().expect("an array").iter().filter(|event| event["code"] == code).count()
}
