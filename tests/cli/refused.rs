//! Clients that were refused are events, for an operator who wonders why mail does not come.

use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use serde_json::Value;

/// The events about refused clients, oldest first.
fn refused(proxy: &Proxy) -> Vec<Value> {
    let events = proxy.cli(&["events", "--json", "--limit", "1000"]);
    events.as_array().unwrap().iter().filter(|event| event["code"] == "REFUSED").cloned().collect()
}

/// What one client does that is refused, on a proxy of its own, and what the event says of it.
#[track_caller]
fn is_told(config: &str, client: impl FnOnce(&Proxy), why: &str) {
    let proxy = Proxy::start(config);
    client(&proxy);
    let event = eventually("an event", || refused(&proxy).pop());
    let message = event["message"].as_str().unwrap();
    let expected = format!("127.0.0.1 was refused by listener test: {why}");
    assert!(message.starts_with(&expected), "{expected:?} expected, {message:?} told");
    assert_eq!((&event["type"], &event["source"]), (&"Warning".into(), &"Listener".into()));
    assert_eq!(refused(&proxy).len(), 1, "one event");
}

#[test]
fn sessions_that_are_refused_or_ended() {
    let nobody = "[listener.test]\naddress = \"@LISTEN@\"\nallow = []\n";
    is_told(
        nobody,
        |proxy| {
            // The DATA behind it is refused as well, which is no news.
            let mut client = Talk::hello(proxy.address());
            client.send("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n");
            client.hear("250");
            client.hear("554 5.7.1");
            client.hear("503");
        },
        "554 5.7.1 relaying for 127.0.0.1 is not allowed",
    );
    is_told(
        "[limits]\nconnections = 1\n",
        |proxy| {
            let _first = Talk::connect(proxy.address());
            Talk::connect_only(proxy.address()).hear("421 4.7.0");
        },
        "421 4.7.0 ",
    );
    is_told(
        "",
        |proxy| Talk::hello(proxy.address()).send("GET / HTTP/1.1\r\n"),
        "554 5.5.1 this is a mail server",
    );
    is_told(
        "",
        |proxy| {
            let mut client = Talk::hello(proxy.address());
            client.send("x".repeat(1 << 20));
            client.hear("500 5.5.2");
        },
        "500 5.5.2 the line does not end",
    );
    is_told(
        "[limits]\nerrors_per_session = 2\n",
        |proxy| {
            let mut client = Talk::hello(proxy.address());
            // Two commands that are unknown are nothing to look at.
            for reply in ["500", "500", "421 4.7.0"] {
                client.say("XYZZY", reply);
            }
        },
        "421 4.7.0 too many refused commands",
    );
}

#[test]
fn mail_that_is_refused_for_good() {
    is_told(
        "[limits]\nmessage_size = \"1KiB\"\n",
        |proxy| drop(Talk::hello(proxy.address()).say("MAIL FROM:<a@x.test> SIZE=2000", "552")),
        "552 5.3.4 ",
    );
    is_told(
        "[limits]\nmessage_size = \"1KiB\"\n",
        |proxy| assert!(Talk::hello(proxy.address()).mail("b@y.test", 4_000).starts_with("552")),
        "552 5.3.4 ",
    );
    is_told(
        "",
        |proxy| {
            let mut client = Talk::hello(proxy.address());
            client.say("MAIL FROM:<a@x.test>", "250");
            client.say("RCPT TO:<b@@y.test>", "5");
        },
        "5",
    );
    is_told(
        "[limits]\nreceived_hops = 1\n",
        |proxy| {
            let looping = "Received: from x by y; z\r\n".repeat(2) + "\r\n.\r\n";
            assert!(Talk::hello(proxy.address()).transact(looping.as_bytes()).starts_with("554 5.4.6"));
        },
        "554 5.4.6 the message goes round in a loop",
    );
    is_told(
        "",
        |proxy| {
            let mut client = Talk::hello(proxy.address());
            client.say("MAIL FROM:<a@x.test>", "250");
            client.say("RCPT TO:<b@y.test>", "250");
            client.send("BDAT 1\r\n\0");
            client.hear("550 5.6.0");
        },
        "550 5.6.0 ",
    );
}

/// What one client did within a minute is one event, and what was counted is told when the proxy stops. Deliveries push it out
/// of the event log no more than they push out any warning.
#[test]
fn refusals_of_one_client_are_one_event_and_none_is_lost_at_a_stop() {
    let mut proxy =
        Proxy::start("[limits]\nmessage_size = \"1KiB\"\n[events]\nkeep = 3\n[sending]\nenabled = false\n");
    let mut client = Talk::hello(proxy.address());
    for _ in 0..5 {
        client.say("MAIL FROM:<a@x.test> SIZE=2000", "552");
    }
    for _ in 0..10 {
        assert!(client.mail("b@y.test", 100).starts_with("250"));
    }
    client.say("QUIT", "221");
    assert!(proxy.terminate().success());
    let told = refused(&proxy);
    assert!((2..=3).contains(&told.len()), "three where all this takes a minute: {told:?}");
    let times = |event: &Value| {
        let (_, count) = event["message"].as_str().unwrap().split_once(" (")?;
        count.strip_suffix(" times since the event before)")?.parse().ok()
    };
    assert_eq!(told.iter().map(|event| times(event).unwrap_or(1)).sum::<u32>(), 5, "{told:?}");
    let events = proxy.cli(&["events", "--json"]);
    assert_eq!(events.as_array().unwrap().last().unwrap()["code"], "STOPPED");
}
