//! What is sent: which events, in which words, signed.

use super::receiver::Receiver;
use super::{DEBUG, send};
use crate::support::eventually;
use crate::support::free_address;
use crate::support::proxy::Proxy;
use crate::support::scripted::Scripted;
use crate::support::talk::Talk;
use crate::support::token_server::TokenServer;
use serde_json::Value;
use std::collections::BTreeSet;

fn topics(requests: &[Value]) -> BTreeSet<&str> {
    requests.iter().map(|request| request["header"]["x-postroom-event"].as_str().unwrap()).collect()
}

#[test]
fn an_event_is_the_json_of_the_event_log_signed_and_without_content() {
    let receiver = Receiver::start();
    let proxy = Proxy::start(&(DEBUG.to_owned() + &receiver.webhook("ops", "\"delivered\"")));
    let mut client = Talk::hello(proxy.address());
    client.begin_data("<shop@a.test>", &["<ann@b.test>"]);
    client.send("Subject: private words\r\nX-Private: header\r\n\r\nprivate words\r\n.\r\n");
    let reply = client.hear("250");
    let request = &receiver.wait(1)[0];
    let events = proxy.cli(&["events", "--json", "--code", "ann@b.test"]);
    assert_eq!(request["body"], events[0]);
    assert!(reply.contains(request["body"]["queue_id"].as_str().unwrap()), "{reply}");
    assert_eq!(request["body"]["recipient"], "ann@b.test");
    let header = &request["header"];
    assert_eq!(request["path"], "/hook?key=s3cret");
    assert_eq!(header["content-type"], "application/json");
    assert_eq!(header["user-agent"], concat!("postroom/", env!("CARGO_PKG_VERSION")));
    assert_eq!(header["x-postroom-event"], "delivered");
    let id = header["x-postroom-event-id"].as_str().unwrap();
    assert!(id.ends_with(&format!("-{}", events[0]["id"])) && id.len() > 17, "{id}");
    assert_eq!(request["verified"], true);
    assert!(!request.to_string().to_lowercase().contains("private"), "{request}");
}

#[test]
fn without_a_secret_nothing_is_signed() {
    let receiver = Receiver::start();
    let url = receiver.url();
    let proxy = Proxy::start(&format!("{DEBUG}[webhook.ops]\nurl = \"{url}\"\non = [\"delivered\"]\n"));
    send(&proxy, "ann@b.test");
    assert!(receiver.wait(1)[0]["header"].get("x-postroom-signature").is_none());
}

/// Each word of `on` is told of what it says, to those who want it alone, in the order of the event log.
#[test]
fn each_topic_is_told_to_those_who_want_it() {
    let (all, failures, circuits) = (Receiver::start(), Receiver::start(), Receiver::start());
    let server = Scripted::start(|script| {
        script.on("RCPT TO:<later", "451 4.2.0 later").on("RCPT TO:<never", "550 5.1.1 no such user")
    });
    let config = format!(
        "[queue]\nretry = [\"1s\"]\nexpire_after = \"1s\"\n[upstream.up]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\npriority = \"low\"\n\
         [upstream.down]\nhost = \"{}\"\ntls = \"none\"\n{}{}{}",
        server.port(),
        free_address(),
        all.webhook(
            "all",
            "\"delivered\", \"deferred\", \"failed\", \"expired\", \"bounced\", \"held\", \"circuit\", \"mode\", \"token\""
        ),
        failures.webhook("failures", "\"failed\", \"expired\""),
        circuits.webhook("circuits", "\"circuit\""),
    );
    let proxy = Proxy::start(&config);
    for recipient in ["ann@b.test", "later@b.test", "never@b.test"] {
        send(&proxy, recipient);
    }
    let seen = |requests: &[Value], topic: &str| topics(requests).contains(topic);
    all.wait_until("an expired recipient", |requests| {
        ["delivered", "deferred", "failed", "expired", "bounced", "circuit"]
            .iter()
            .all(|one| seen(requests, one))
    });
    // Switched by a reload; held by an operator, and because the mode ended.
    proxy.configure(&format!("{config}[sending]\nenabled = false\n"));
    proxy.command(&["reload"]);
    send(&proxy, "held@b.test");
    proxy.command(&["queue", "hold", "--all", "--yes"]);
    let requests =
        all.wait_until("a held message", |requests| seen(requests, "held") && seen(requests, "mode"));
    let log = proxy.cli(&["events", "--json", "--limit", "10000"]);
    let log = log.as_array().unwrap();
    for request in &requests {
        let (topic, body) = (request["header"]["x-postroom-event"].as_str().unwrap(), &request["body"]);
        assert!(log.contains(body), "{body}");
        let code = body["code"].as_str().unwrap();
        match topic {
            "delivered" => assert!(code == "ann@b.test" || code == "shop@a.test", "{body}"),
            "deferred" => assert_eq!((code, &body["type"]), ("later@b.test", &"Warning".into())),
            "failed" => assert_eq!((code, &body["type"]), ("never@b.test", &"Error".into())),
            "expired" => assert_eq!((code, &body["type"]), ("later@b.test", &"Error".into())),
            "bounced" => assert_eq!(code, "BOUNCED"),
            "held" => assert_eq!(code, "HELD"),
            "mode" => assert_eq!(code, "MODE"),
            "circuit" => assert!(code.starts_with("CIRCUIT_"), "{body}"),
            other => panic!("{other}: {body}"),
        }
    }
    let ids: Vec<u64> = requests.iter().map(|request| request["body"]["id"].as_u64().unwrap()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    failures.wait_until("both", |requests| topics(requests) == BTreeSet::from(["expired", "failed"]));
    circuits.wait(1);
    assert_eq!(topics(&circuits.requests()), BTreeSet::from(["circuit"]));
}

#[test]
fn a_token_that_cannot_be_had_is_told() {
    let (receiver, tokens) = (Receiver::start(), TokenServer::start());
    tokens.state().refuses = Some("invalid_grant");
    let server = Scripted::start(|script| script.ehlo(&["AUTH XOAUTH2"]));
    let proxy = Proxy::start(&format!(
        "[upstream.only]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\n{}{}",
        server.port(),
        tokens.keys("first"),
        receiver.webhook("ops", "\"token\""),
    ));
    send(&proxy, "ann@b.test");
    let request = &receiver.wait(1)[0];
    assert_eq!((&request["body"]["code"], &request["body"]["upstream"]), (&"TOKEN".into(), &"only".into()));
    assert!(!request["text"].as_str().unwrap().contains("first"), "no token is in it: {request}");
    eventually("its event", || {
        proxy
            .cli(&["events", "--json", "--code", "TOKEN"])
            .as_array()
            .unwrap()
            .contains(&request["body"])
            .then_some(())
    });
}
