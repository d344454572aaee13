//! What upstreams were asked about a message and said, through the running binary.

use crate::support::clients::{Envelope, smtplib};
use crate::support::eventually;
use crate::support::proxy::{Proxy, postroom};
use crate::support::samples::sample;
use crate::support::scripted::{Act, Scripted};
use serde_json::Value;

const ENVELOPE: Envelope<'static> =
    Envelope { from: "ann@client.test", to: &["bob@upstream.test", "eve@upstream.test"] };
const PASSWORD: &str = "correct horse battery staple";

fn upstream(name: &str, priority: &str, server: &Scripted, more: &str) -> String {
    let port = server.port();
    format!(
        "[upstream.{name}]\nhost = \"127.0.0.1:{port}\"\ntls = \"none\"\npriority = \"{priority}\"\n{more}\n"
    )
}

/// The only message, once it was attempted.
fn attempted(proxy: &Proxy) -> String {
    let listed = eventually("an attempt", || {
        let listed = proxy.cli(&["queue", "list", "--json"]);
        (listed[0]["attempts"].as_u64()? > 0).then_some(listed)
    });
    listed[0]["id"].as_str().unwrap().to_owned()
}

fn answers(attempt: &Value) -> Vec<(&str, &str, u64)> {
    let all = attempt["answers"].as_array().unwrap();
    all.iter()
        .map(|one| {
            (
                one["recipient"].as_str().unwrap(),
                one["stage"].as_str().unwrap_or_default(),
                one["code"].as_u64().unwrap_or(0),
            )
        })
        .collect()
}

#[test]
fn each_upstream_that_was_asked_is_told_with_its_reason_its_answers_and_the_dialogue() {
    let first = Scripted::start(|s| {
        s.ehlo(&["AUTH PLAIN LOGIN"])
            .on("AUTH", "235 2.7.0 welcome")
            .on("RCPT TO:<eve", "451 4.2.1 not now")
            .at_dot("451 4.3.0 later")
    });
    let second = Scripted::start(|s| s.ehlo(&[]).on("MAIL", "450 4.1.0 nor here"));
    let third = Scripted::start(|s| s.greeting(Act::from("421 busy")));
    let login = format!("auth = \"basic\"\nusername = \"u\"\npassword = \"{PASSWORD}\"");
    let config = [
        upstream("first", "high", &first, &login),
        upstream("second", "normal", &second, ""),
        upstream("third", "low", &third, ""),
    ];
    let mut proxy = Proxy::start(&config.concat());
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    let id = attempted(&proxy);
    let history = proxy.get(&format!("/api/v1/messages/{id}/attempts")).unwrap();
    let history = history.as_array().unwrap();
    let names: Vec<&str> = history.iter().map(|one| one["upstream"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "second", "third"], "{history:?}");
    assert_eq!(
        answers(&history[0]),
        [("bob@upstream.test", "content", 451), ("eve@upstream.test", "RCPT", 451)]
    );
    assert_eq!(history[0]["answers"][1]["enhanced"], "4.2.1");
    assert_eq!(history[0]["why"], "priority high");
    assert_eq!(answers(&history[1])[0], ("bob@upstream.test", "MAIL", 450));
    assert_eq!(history[1]["why"], "priority normal; first was asked before in this attempt");
    assert!(history[2]["session_error"].as_str().unwrap().contains("421"), "{history:?}");

    let said = String::from_utf8(proxy.raw(&format!("/api/v1/messages/{id}/transcript"))).unwrap();
    assert!(said.contains("C: AUTH PLAIN ***") && said.contains("S: 235 2.7.0 welcome"), "{said}");
    assert!(said.contains("C: RCPT TO:<eve@upstream.test>\nS: "), "{said}");
    assert!(said.contains(" bytes>\nS: 451 4.3.0 later"), "{said}");
    assert!(said.contains("S: 450 4.1.0 nor here"), "{said}");
    let content = String::from_utf8(sample("dots.eml")).unwrap();
    let line = content.lines().rev().find(|line| line.len() > 10).unwrap();
    assert!(!said.contains(line), "content: {said}");

    // For people, and without a proxy, too.
    let shown = proxy.command(&["queue", "show", &id, "--transcript"]).stdout;
    proxy.terminate();
    let mut reader = postroom();
    reader.arg("-c").arg(proxy.config_file()).args(["queue", "show", &id, "--transcript"]);
    let read = reader.output().unwrap().stdout;
    for text in [shown, read].map(|bytes| String::from_utf8(bytes).unwrap()) {
        assert!(text.contains("eve@upstream.test  RCPT: 451 4.2.1 not now"), "{text}");
        assert!(text.contains("priority high") && text.contains("C: AUTH PLAIN ***"), "{text}");
    }
    assert_eq!(proxy.try_command(&["sent", "show", &id]).status.code(), Some(0), "it is found where it is");
}

#[test]
fn the_history_stays_with_archived_mail_and_goes_with_other() {
    let server = Scripted::start(|s| s.once("MAIL", "451 4.3.0 later"));
    let queue = "[queue]\narchive_days = 1\nretry = [\"100ms\"]\n";
    let proxy = Proxy::start(&(queue.to_owned() + &upstream("only", "normal", &server, "")));
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    let sent = eventually("sent mail", || {
        let sent = proxy.cli(&["sent", "list", "--json"]);
        (!sent.as_array()?.is_empty()).then_some(sent)
    });
    let shown = proxy.cli(&["sent", "show", sent[0]["id"].as_str().unwrap(), "--transcript", "--json"]);
    let history = shown["history"].as_array().unwrap();
    assert_eq!(history.len(), 2, "{shown}");
    assert_eq!(answers(&history[0])[0].1, "MAIL");
    assert_eq!(answers(&history[1])[0].1, "content");
    assert!(history[1]["why"].as_str().unwrap().starts_with("priority normal"), "{shown}");
    let said = shown["transcript"].as_str().unwrap();
    assert_eq!(said.matches("-- 20").count(), 1, "the last dialogue alone: {said}");
    assert!(said.contains("S: 250"), "{said}");
    let none = proxy.http_status("/api/v1/messages/01JD3Z5T8E3W6Q9Y0V7N2K4M1B/attempts");
    assert_eq!(none, Some(404));
}

fn history(proxy: &Proxy, id: &str) -> Vec<Value> {
    proxy.get(&format!("/api/v1/messages/{id}/attempts")).unwrap().as_array().unwrap().clone()
}

fn only(proxy: &Proxy) -> String {
    proxy.cli(&["queue", "list", "--json"])[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn while_nothing_answers_it_is_told_who_was_asked_what_was_said_and_what_is_waited_for() {
    let refused = format!("535 5.7.8 not with {PASSWORD}");
    let first = Scripted::start(|s| s.ehlo(&["AUTH PLAIN"]).on("AUTH", refused.as_str()));
    let second = Scripted::start(|s| s.on("EHLO", Act::Close).on("HELO", Act::Close));
    let login = format!("auth = \"basic\"\nusername = \"u\"\npassword = \"{PASSWORD}\"");
    let config = [upstream("first", "high", &first, &login), upstream("second", "normal", &second, "")];
    let proxy = Proxy::start(&config.concat());
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    let id = only(&proxy);
    let told = eventually("records of both", || {
        let told = history(&proxy, &id);
        (told.len() == 2).then_some(told)
    });
    assert_eq!((&told[0]["upstream"], &told[1]["upstream"]), (&"first".into(), &"second".into()));
    assert!(told[0]["session_error"].as_str().unwrap().contains("535"), "{told:?}");
    let message = proxy.get(&format!("/api/v1/messages/{id}")).unwrap();
    assert_eq!(
        (&message["state"], &message["attempts"]),
        (&"queued".into(), &0.into()),
        "nothing is counted"
    );
    let said = String::from_utf8(proxy.raw(&format!("/api/v1/messages/{id}/transcript"))).unwrap();
    assert!(said.contains("C: EHLO") && said.contains("C: AUTH PLAIN ***\nS: 535 5.7.8 not with"), "{said}");
    assert!(said.contains("-- the server closed the connection"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");

    // The circuit of a refused login stays open for minutes; the other one is probed every few seconds.
    let shown = eventually("what it waits for", || {
        let shown = String::from_utf8(proxy.command(&["queue", "show", &id]).stdout).unwrap();
        shown.contains("Waits     second: circuit open until ").then_some(shown)
    });
    assert!(shown.contains("Waits     first: circuit open until ") && shown.contains("535 5.7.8"), "{shown}");
    let message = proxy.get(&format!("/api/v1/messages/{id}")).unwrap();
    assert_eq!(message["waits_for"][0]["upstream"], "first", "{message}");
    // Asked again and again it leaves no record each time.
    let asked = second.sessions().len();
    eventually("a probe", || {
        proxy.command(&["queue", "retry", &id]);
        (second.sessions().len() > asked + 2).then_some(())
    });
    assert_eq!(history(&proxy, &id).len(), 2);
}

/// A hundred recipients with 56 KB each, kept for each attempt, made a queue file of 800 MB.
#[test]
fn what_a_server_says_at_length_is_cut() {
    let long = "451-".to_owned() + &"x".repeat(900) + "\r\n";
    let long = long.repeat(20) + "451 that was it";
    let server = Scripted::start(|s| s.on("RCPT", long.as_str()));
    let proxy = Proxy::start(&upstream("only", "normal", &server, ""));
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    let id = attempted(&proxy);
    let text = history(&proxy, &id)[0]["answers"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.chars().count() == 513 && text.ends_with('…'), "{}", text.len());
    let message = proxy.get(&format!("/api/v1/messages/{id}")).unwrap();
    let reply = message["recipients"][0]["reply"].as_str().unwrap();
    assert!(reply.chars().count() == 1025 && reply.ends_with('…'), "{}", reply.len());
}
