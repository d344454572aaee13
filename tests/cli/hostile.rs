//! What strangers wrote, wherever it is shown: it stays on its line, steers no terminal and turns no writing. A right-to-left
//! override (U+202E) in an address once reached the terminal by `queue list`, because three places cleaned text and none
//! like the others.

use crate::support::eventually;
use crate::support::proxy::{Proxy, postroom};
use crate::support::scripted::{Act, Scripted};
use crate::support::talk::Talk;
use postroom::mail::printable::is_printable;
use serde_json::Value;
use std::process::Output;

const FROM: &str = "\"evil\u{202e}from\"@a.test";
const TO: &str = "rcpt\u{202e}\u{200b}\u{2028}to@b.test";
const REPLY: &[u8] = b"550 5.1.1 no \xe2\x80\xae \x1b[2J \xc2\x9b31m \xfc\r\n";
const CONTENT: &str = "To: \"a\u{202e}b\" <x\u{202e}y@b.test>\r\nX-Own: =?utf-8?q?x=1B=E2=80=AEy?=\r\nX-Raw: z\u{9b}2J\r\n\
    Subject: one\u{202e}two =?utf-8?q?=0D=0AFrom:_forged=1B[2J?=\r\n\
    Content-Disposition: attachment; filename=\"gpj\u{202e}exe.txt\"\r\n\r\nx\r\n";

/// Holds a message with all of that which an upstream has refused for good, with a reply like it.
fn proxy(more: &str) -> (Proxy, Scripted, String) {
    let server =
        Scripted::start(|s| s.ehlo(&["SMTPUTF8", "8BITMIME"]).on("RCPT TO", Act::Say(REPLY.to_vec())));
    let proxy = Proxy::start(&format!(
        "[log_emails]\nenabled = true\n[upstream.only]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\n{more}",
        server.port()
    ));
    let mut talk = Talk::connect(proxy.address());
    talk.say("EHLO evil\u{202e}name", "501");
    talk.say("HELO evil\u{9b}name", "501");
    talk.say("EHLO c.test", "250");
    talk.say(&format!("MAIL FROM:<{FROM}> SMTPUTF8"), "250");
    talk.say(&format!("RCPT TO:<{TO}>"), "250");
    talk.say("DATA", "354");
    talk.send(format!("{CONTENT}.\r\n"));
    let queued = talk.reply();
    let id = queued.rsplit(' ').next().unwrap().to_owned();
    eventually("a failed message", || {
        let list = proxy.cli(&["queue", "list", "--json"]);
        (list[0]["state"] == "failed").then_some(())
    });
    (proxy, server, id)
}

#[track_caller]
fn is_harmless(what: &str, shown: &[u8]) {
    let shown = std::str::from_utf8(shown).unwrap_or_else(|_| panic!("{what} is no UTF-8"));
    let bad = shown.chars().find(|character| *character != '\n' && !is_printable(*character));
    assert_eq!(bad, None, "{what}: {shown}");
    assert!(!shown.lines().any(|line| line.starts_with("From: forged")), "{what}: {shown}");
}

#[track_caller]
fn both(what: &str, output: &Output) {
    is_harmless(what, &output.stdout);
    is_harmless(what, &output.stderr);
    assert!(!output.stdout.is_empty() || !output.stderr.is_empty(), "{what} says nothing");
}

// CASES F36
#[test]
fn every_listing_is_harmless() {
    let (mut proxy, _server, id) = proxy("");
    let verbs: &[&[&str]] = &[
        &["queue", "list"],
        &["queue", "list", "--json"],
        &["queue", "show", &id],
        &["queue", "show", &id, "--json"],
        &["events"],
        &["events", "--json"],
        &["upstream", "list"],
        &["upstream", "list", "--json"],
        &["check"],
        &["check", "--json"],
    ];
    for verb in verbs {
        both(&verb.join(" "), &proxy.command(verb));
    }
    for path in ["/api/v1/messages".to_owned(), format!("/api/v1/messages/{id}"), "/api/v1/events".to_owned()]
    {
        is_harmless(&path, &proxy.raw(&path));
    }
    // Programs get what was written, character by character.
    let shown = proxy.cli(&["queue", "show", &id, "--json"]);
    assert_eq!(shown["reverse_path"], FROM);
    assert_eq!(shown["recipients"][0]["address"], TO);
    let reply = shown["recipients"][0]["reply"].as_str().unwrap();
    assert_eq!(reply, "550 5.1.1 no    [2J  31m \\xfc");

    proxy.wait_until_said("status=");
    is_harmless("the log", proxy.said().as_bytes());
    assert!(proxy.said().contains(&format!("queue_id=\"{id}\"")), "{}", proxy.said());
    let log = std::fs::read(proxy.data_dir().join("logemails.log")).unwrap();
    is_harmless("logemails.log", &log);
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("Rcpt: x y@b.test\n") && log.contains("Subject: one two"), "{log}");
    assert!(log.contains("    X-Own: x  y\n") && log.contains("    X-Raw: z 2J\n"), "{log}");

    proxy.kill();
    for verb in [&["queue", "list"][..], &["queue", "show", &id], &["events"]] {
        both(&format!("without a proxy: {}", verb.join(" ")), &proxy.command(verb));
    }
}

#[test]
fn a_log_in_json_is_harmless_too() {
    let (proxy, _server, _) = proxy("[log]\nformat = \"json\"\nlevel = \"debug\"\n");
    proxy.wait_until_said("\"status\"");
    let said = proxy.said();
    is_harmless("the log", said.as_bytes());
    // Of the last line perhaps only the beginning has come.
    let (whole, _) = said.rsplit_once('\n').unwrap();
    for line in whole.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn names_of_files_and_arguments_are_harmless_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("post\u{202e}\u{1b}[2Jroom.toml");
    let run = |arguments: &[&str]| {
        let mut command = postroom();
        command.current_dir(folder.path()).env("POSTROOM_HOSTNAME", "proxy.test").arg("-c").arg(&file);
        command.args(arguments).output().unwrap()
    };
    std::fs::write(&file, "data_dir = \"d\u{202e}\"\n").unwrap();
    for arguments in
        [&["check"][..], &["check", "--json"], &["queue", "list"], &["queue", "show", "\u{202e}"]]
    {
        both(&arguments.join(" "), &run(arguments));
    }
    let shown = String::from_utf8(run(&["check"]).stdout).unwrap();
    let toml: toml_edit::DocumentMut = shown.parse().unwrap();
    assert!(toml["data_dir"].as_str().unwrap().ends_with("/d\u{202e}"), "{shown}");
    std::fs::write(&file, "[upstream.\"a\u{202e}\"]\nhost = \"b\u{202e}\"\ntls_ca = \"c\u{202e}\"\n")
        .unwrap();
    for arguments in [&["check"][..], &["check", "--json"], &["serve"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(78));
        both(&format!("wrong: {}", arguments.join(" ")), &output);
    }
    std::fs::write(&file, "[upstream.a]\nhost = \"b.test\"\ntls_ca = \"c\u{202e}.pem\"\n").unwrap();
    both("wrong: a file that is not there", &run(&["check"]));
}
