//! Pass-through (rule 15) through the running binary: what the client hears is what the upstream said, and nothing is stored.
//! docs/pass-through.md names the test of each of its lines.

mod content;
mod life;
mod modes;
mod real;
mod replies;

use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::scripted::Scripted;
use crate::support::talk::Talk;
use serde_json::Value;

const PASS: &str = "[queue]\nenabled = false\n";
/// Names, so that their order is known.
const UPSTREAMS: [&str; 3] = ["a", "b", "c"];

/// A running proxy without a queue between its clients and these upstreams, asked in this order.
#[track_caller]
fn in_front_of(upstreams: &[&Scripted], more: &str) -> Proxy {
    Proxy::start(&config(upstreams, more))
}

fn config(upstreams: &[&Scripted], more: &str) -> String {
    let mut config = format!("{PASS}{more}\n");
    for (name, upstream) in UPSTREAMS.iter().zip(upstreams) {
        config += &to(name, upstream.port());
    }
    config
}

fn to(name: &str, port: u16) -> String {
    format!("[upstream.{name}]\nhost = \"127.0.0.1:{port}\"\ntls = \"none\"\n")
}

/// A session with MAIL said.
#[track_caller]
fn mail_from(proxy: &Proxy, reverse_path: &str) -> Talk {
    let mut talk = Talk::hello(proxy.address());
    talk.say(&format!("MAIL FROM:<{reverse_path}>"), "250");
    talk
}

/// A session up to 354 for one recipient.
#[track_caller]
fn up_to_content(proxy: &Proxy, reverse_path: &str) -> Talk {
    let mut talk = mail_from(proxy, reverse_path);
    talk.say("RCPT TO:<b@y.test>", "250");
    talk.say("DATA", "354");
    talk
}

const CONTENT: &str = "From: a@x.test\r\nSubject: s\r\n\r\nhello\r\n";

/// The content and its end.
#[track_caller]
fn finish(talk: &mut Talk, expected: &str) -> String {
    talk.send(CONTENT);
    talk.say(".", expected)
}

/// Nothing is in the queue, in no state.
#[track_caller]
fn nothing_is_stored(proxy: &Proxy) {
    for listing in ["messages", "messages?state=sent", "sent"] {
        let listed = proxy.get(&format!("/api/v1/{listing}")).expect("a listing");
        assert_eq!(listed["messages"], serde_json::json!([]), "{listing}");
    }
}

/// The commands that an upstream was sent, in all sessions.
fn commands(upstream: &Scripted) -> Vec<String> {
    upstream.sessions().into_iter().flat_map(|session| session.commands).collect()
}

/// Those whom it was asked about.
fn rcpts(upstream: &Scripted) -> Vec<String> {
    let commands = commands(upstream);
    commands.iter().filter_map(|line| line.strip_prefix("RCPT TO:")).map(str::to_owned).collect()
}

/// The events about a recipient, as `type message (reply)`, once there are so many.
#[track_caller]
fn events_of(proxy: &Proxy, recipient: &str, count: usize) -> Vec<String> {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    eventually("the events", || {
        let all = proxy.cli(&["events", "--json", "--limit", "1000", "--code", recipient]);
        let all = all.as_array().expect("a list").clone();
        (all.len() >= count).then(|| {
            let tell = |event: &Value| {
                format!("{} {} ({})", text(event, "type"), text(event, "message"), text(event, "reply"))
            };
            all.iter().map(tell).collect()
        })
    })
}

#[track_caller]
fn reload(proxy: &Proxy, config: &str) -> String {
    proxy.configure(config);
    String::from_utf8(proxy.command(&["reload"]).stdout).expect("text")
}
