//! The verbs on the queue, with the proxy running and without.

use crate::support::clients::{Envelope, smtplib};
use crate::support::proxy::{Proxy, postroom};
use crate::support::recorder::Recorder;
use crate::support::scripted::{Act, Scripted};
use crate::support::{eventually, free_address};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Semaphore;

const MESSAGE: &[u8] = b"Subject: =?utf-8?q?Order_=E2=9C=93?=\r\nX-Kept: yes\r\n\r\nhello\r\n";

/// An upstream that is not there: mail stays.
fn stuck() -> Proxy {
    Proxy::start(&format!("[upstream.only]\nhost = \"{}\"\ntls = \"none\"\n", free_address()))
}

fn send(proxy: &Proxy, from: &str, to: &[&str]) {
    smtplib(proxy.address(), &Envelope { from, to }, MESSAGE, &[]);
}

fn list(proxy: &Proxy, arguments: &[&str]) -> Vec<Value> {
    let all = [&["queue", "list", "--json"], arguments].concat();
    proxy.cli(&all).as_array().expect("an array").clone()
}

fn id(message: &Value) -> &str {
    message["id"].as_str().expect("an id")
}

#[test]
fn a_listing_has_all_that_product_pins() {
    let proxy = stuck();
    send(&proxy, "shop@a.test", &["ann@b.test", "bob@b.test"]);
    let messages = list(&proxy, &[]);
    let message = &messages[0];
    assert_eq!(id(message).len(), 26);
    assert_eq!(message["state"], "queued");
    assert_eq!(message["reverse_path"], "shop@a.test");
    assert_eq!(message["recipients"][1]["address"], "bob@b.test");
    assert_eq!(message["recipients"][1]["state"], "pending");
    assert_eq!(message["recipients"][1]["reply"], Value::Null);
    assert_eq!(message["subject"], "Order ✓");
    assert_eq!(message["size"], MESSAGE.len());
    assert_eq!(message["site"], Value::Null);
    assert_eq!(message["attempts"], 0);
    assert!(message["received_at"].as_str().unwrap().ends_with('Z'), "{message}");
    assert!(message.get("next_attempt").is_some());
    let shown = proxy.cli(&["queue", "show", id(message), "--json"]);
    for key in ["id", "state", "recipients", "subject", "size", "received_at"] {
        assert_eq!(shown[key], message[key], "{key}");
    }
}

#[test]
fn the_null_reverse_path_is_null() {
    let proxy = stuck();
    send(&proxy, "", &["ann@b.test"]);
    assert_eq!(list(&proxy, &[])[0]["reverse_path"], Value::Null);
}

#[test]
fn hold_release_delete_and_filters() {
    let proxy = stuck();
    for to in ["ann@b.test", "bob@b.test", "carol@c.test"] {
        send(&proxy, "shop@a.test", &[to]);
    }
    let messages = list(&proxy, &[]);
    assert_eq!(messages.len(), 3);
    proxy.command(&["queue", "hold", id(&messages[0]), id(&messages[1])]);
    assert_eq!(list(&proxy, &["--state", "held"]).len(), 2);
    assert_eq!(list(&proxy, &["--state", "queued"]).len(), 1);
    assert_eq!(list(&proxy, &["--state", "held"])[0]["recipients"][0]["state"], "held");
    assert_eq!(proxy.cli(&["queue", "release", "--filter", "state:held", "--json"])["changed"], 2);
    assert_eq!(list(&proxy, &["-q", "carol"]).len(), 1);
    proxy.command(&["queue", "delete", "--filter", "b.test", "--yes"]);
    assert_eq!(list(&proxy, &[]).len(), 1);
    proxy.command(&["queue", "delete", "--all", "--yes"]);
    assert_eq!(list(&proxy, &[]).len(), 0);
    let events = proxy.cli(&["events", "--json", "--limit", "1000"]);
    let count = |code| events.as_array().unwrap().iter().filter(|event| event["code"] == code).count();
    assert_eq!((count("QUEUED"), count("HELD"), count("RELEASED"), count("DELETED")), (3, 2, 2, 3));
}

#[test]
fn retry_opens_what_failed_again_and_probes_at_once() {
    let address = free_address();
    let proxy = Proxy::start(&format!("[upstream.only]\nhost = \"{address}\"\ntls = \"none\"\n"));
    send(&proxy, "shop@a.test", &["ann@b.test"]);
    let events = || proxy.cli(&["upstream", "list", "--json"]);
    eventually("an open circuit", || (events()[0]["state"] == "open").then_some(()));
    assert!(events()[0]["last_error"].as_str().unwrap().len() > 5);
    let at: jiff::Timestamp = events()[0]["last_error_at"].as_str().unwrap().parse().unwrap();
    let received: jiff::Timestamp = list(&proxy, &[])[0]["received_at"].as_str().unwrap().parse().unwrap();
    assert!(at.duration_since(received).as_mins().abs() < 5, "{at}, {received}");
    let recorder = Recorder::start_at(address);
    proxy.command(&["queue", "retry", "--all"]);
    recorder.wait(1);
    eventually("an empty queue", || list(&proxy, &[]).is_empty().then_some(()));
}

#[test]
fn the_content_is_exported_as_it_was_accepted() {
    let proxy = stuck();
    send(&proxy, "shop@a.test", &["ann@b.test"]);
    let messages = list(&proxy, &[]);
    assert_eq!(proxy.command(&["queue", "export", id(&messages[0])]).stdout, MESSAGE);
}

#[test]
fn verbs_that_only_read_work_without_a_proxy_and_the_others_say_that_none_runs() {
    let mut proxy = stuck();
    send(&proxy, "shop@a.test", &["ann@b.test"]);
    let before = list(&proxy, &[]);
    proxy.kill();
    let after = list(&proxy, &[]);
    assert_eq!(id(&after[0]), id(&before[0]));
    assert_eq!(proxy.cli(&["queue", "show", id(&after[0]), "--json"])["subject"], "Order ✓");
    assert_eq!(proxy.command(&["queue", "export", id(&after[0])]).stdout, MESSAGE);
    let events = proxy.cli(&["events", "--json"]);
    assert!(events.as_array().unwrap().iter().any(|event| event["code"] == "QUEUED"));
    let refused = proxy.try_command(&["queue", "delete", "--all"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no proxy is running"));
    assert_eq!(proxy.try_command(&["ready"]).status.code(), Some(1));
}

#[test]
fn wrong_usage_is_2_and_unknown_ids_are_1() {
    let proxy = stuck();
    assert_eq!(proxy.try_command(&["queue", "show", "nonsense"]).status.code(), Some(2));
    assert_eq!(proxy.try_command(&["queue", "list", "--state", "lost"]).status.code(), Some(2));
    assert_eq!(proxy.try_command(&["queue", "delete"]).status.code(), Some(2));
    let unknown = "01JD3Z5T8E3W6Q9Y0V7N2K4M1B";
    assert_eq!(proxy.try_command(&["queue", "show", unknown]).status.code(), Some(1));
    assert_eq!(proxy.try_command(&["queue", "retry", unknown]).status.code(), Some(1));
}

#[test]
fn ready_check_and_send() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&recorder.upstream("only"));
    proxy.command(&["ready", "--wait", "10"]);
    let check = proxy.cli(&["check", "--json"]);
    assert_eq!(check["hostname"], "proxy.test", "{check}");
    let file = proxy.data_dir().join("m.eml");
    std::fs::write(&file, "Subject: file\n\nline\n.dot\n").unwrap();
    let file = file.to_str().unwrap();
    let output = proxy.command(&["send", "--from", "a@a.test", "--to", "b@b.test", "--to", "c@b.test", file]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("b@b.test: 250 2.0.0 queued as "), "{said}");
    let arrived = recorder.wait(1).remove(0);
    assert!(arrived.content.ends_with(b"Subject: file\r\n\r\nline\r\n.dot\r\n"), "{arrived:?}");
    assert_eq!(arrived.rcpt.len(), 2);
}

// CASES D9
#[test]
fn a_second_proxy_on_the_same_folder_says_who_holds_it() {
    let proxy = stuck();
    let second =
        postroom().args(["serve", "--config"]).arg(proxy.config_file()).output().expect("the built binary");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&format!("process {}", proxy.pid())), "{said}");
    send(&proxy, "shop@a.test", &["ann@b.test"]);
    assert_eq!(list(&proxy, &[]).len(), 1, "the first one is unharmed");
}

#[test]
fn the_control_socket_and_the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let proxy = Proxy::start("[log_emails]\nenabled = true\n");
    for name in ["control.sock", "queue.redb", "logemails.log"] {
        let mode = std::fs::metadata(proxy.data_dir().join(name)).expect(name).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// It was cut as for a terminal, and showed no time.
#[test]
fn the_last_error_of_an_upstream_is_shown_whole_in_a_pipe_with_its_time() {
    let long = format!("554 5.7.1 {} the end", "go away, ".repeat(30));
    let server = Scripted::start(|s| s.greeting(long.as_str()));
    let proxy =
        Proxy::start(&format!("[upstream.only]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\n", server.port()));
    let listed = || String::from_utf8(proxy.command(&["upstream", "list"]).stdout).unwrap();
    assert!(listed().trim_end().ends_with("-         -"), "{}", listed());
    send(&proxy, "shop@a.test", &["ann@b.test"]);
    let line = eventually("an open circuit", || {
        let listed = listed();
        listed.contains("the end").then(|| listed.lines().nth(1).unwrap().to_owned())
    });
    assert!(line.contains("go away, go away,"), "{line}");
    let time: jiff::Timestamp = line.split_whitespace().nth(5).unwrap().parse().unwrap();
    let at = proxy.cli(&["upstream", "list", "--json"])[0]["last_error_at"].clone();
    let at: jiff::Timestamp = at.as_str().unwrap().parse().unwrap();
    assert!(at.duration_since(time).abs() < jiff::SignedDuration::from_secs(1), "{line}: {at}");
}

/// What an operator holds or deletes was said to be done, and was delivered a moment later.
#[test]
fn verbs_say_what_is_being_sent_at_this_moment_and_a_deleted_message_leaves_no_file() {
    let gate = Arc::new(Semaphore::new(0));
    let server = Scripted::start(|s| s.at_dot(Act::gated(&gate, "250 2.0.0 taken")));
    let proxy = Proxy::start(&format!(
        "[queue]\narchive_days = 1\n[upstream.only]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\n",
        server.port()
    ));
    send(&proxy, "shop@a.test", &["ann@b.test"]);
    eventually("DATA", || {
        server
            .sessions()
            .iter()
            .any(|session| session.commands.iter().any(|line| line == "DATA"))
            .then_some(())
    });
    let id = id(&list(&proxy, &[])[0]).to_owned();
    let said = |arguments: &[&str]| String::from_utf8(proxy.command(arguments).stdout).unwrap();
    assert!(said(&["queue", "show", &id]).contains("it is being sent to only at this moment"));
    let held = said(&["queue", "hold", &id]);
    assert!(
        held.contains("1 changed") && held.contains("1 of the changed is being sent at this moment"),
        "{held}"
    );
    let deleted = proxy.cli(&["queue", "delete", &id, "--json"]);
    assert_eq!((&deleted["changed"], &deleted["under_way"]), (&1.into(), &1.into()), "{deleted}");
    gate.add_permits(1);
    assert_eq!(server.wait_for(1).len(), 1, "it left all the same");
    let files = || {
        let days = std::fs::read_dir(proxy.data_dir().join("archive")).into_iter().flatten().flatten();
        days.flat_map(|day| std::fs::read_dir(day.path()).unwrap()).count()
    };
    eventually("the end of its attempt, and no file", || {
        let ended = proxy.get("/api/v1/stats")?["in_flight"] == 0;
        (ended && files() == 0).then_some(())
    });
    send(&proxy, "shop@a.test", &["bob@b.test"]);
    gate.add_permits(1);
    eventually("the file of another", || (files() == 1).then_some(()));
}
