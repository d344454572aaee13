//! `postroom demo`: what its first minute shows.

use crate::support::clients::{Envelope, smtplib, succeeded};
use crate::support::proxy::postroom;
use crate::support::{Ended, eventually, spawn};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

/// A demo on free ports, and what it says.
struct Demo {
    process: Ended,
    lines: Lines<BufReader<ChildStdout>>,
    first_line: String,
}

impl Demo {
    fn start(data_dir: &Path, arguments: &[&str]) -> Demo {
        Demo::of(
            command(data_dir).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).args(arguments),
        )
    }

    fn of(command: &mut Command) -> Demo {
        let mut child = spawn(command.stdout(Stdio::piped()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Ended(child);
        let first_line = lines.next().expect("a line").expect("text");
        Demo { process, lines, first_line }
    }

    /// The next line with that in it.
    #[track_caller]
    fn until(&mut self, what: &str) -> String {
        let mut lines = self.lines.by_ref().map(|line| line.expect("text"));
        lines.find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what} is never said"))
    }

    /// Ctrl-C, and its end.
    fn stop(mut self) {
        let pid = Pid::from_child(&self.process.0);
        kill_process(pid, Signal::INT).unwrap();
        // What it says meanwhile has to go somewhere.
        self.lines.by_ref().for_each(drop);
        assert!(self.process.0.wait().unwrap().success());
    }
}

fn command(data_dir: &Path) -> Command {
    let mut command = postroom();
    command.arg("demo").arg("--data-dir").arg(data_dir);
    command
}

/// What a verb lists of a running demo.
fn listed(data_dir: &Path, verb: &[&str]) -> Vec<Value> {
    let output =
        succeeded(postroom().args(verb).arg("--json").arg("-c").arg(data_dir.join("demo.toml")), b"");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until so many messages are in that state.
fn in_state(data_dir: &Path, state: &str, number: usize) -> Vec<Value> {
    let list = || listed(data_dir, &["queue", "list", "--state", state]);
    eventually(state, || Some(list()).filter(|messages| messages.len() == number))
}

#[test]
fn mail_sent_to_the_demo_arrives_and_the_flaky_upstream_shows() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(folder.path(), &["--no-mail", "--refuse", "1"]);
    let told = demo.until("swaks --server");
    let address = told.split_whitespace().nth(2).unwrap().parse().unwrap();
    demo.until("Ctrl-C");
    smtplib(address, &Envelope { from: "a@a.test", to: &["ann@b.test"] }, b"Subject: t\r\n\r\nx\r\n", &[]);
    demo.until("[flaky]");
    demo.until("[steady]");
    demo.until("delivered through steady");
}

#[test]
fn the_first_minute_of_the_demo_shows_mail_in_every_state() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing is refused by chance, so that nothing waits but for a mailbox that is full.
    let _demo = Demo::start(folder.path(), &["--mail-every", "1d", "--refuse", "0"]);
    let failed = in_state(folder.path(), "failed", 2);
    assert!(
        failed.iter().any(|message| message["recipients"].as_array().is_some_and(|all| all.len() == 4)),
        "{failed:?}"
    );
    let deferred = in_state(folder.path(), "deferred", 1);
    assert!(deferred[0].to_string().contains("4.2.2"), "{deferred:?}");
    in_state(folder.path(), "held", 1);
    // Eight of the twelve, and the bounces of the two that failed.
    let sent = eventually("the rest to be sent", || {
        Some(listed(folder.path(), &["sent", "list"])).filter(|sent| sent.len() == 10)
    });
    let of_staging = sent.iter().filter(|message| message["site"] == "staging");
    assert!(of_staging.clone().all(|message| message.to_string().contains("qa@shop.example")), "{sent:?}");
    assert_eq!(of_staging.count(), 2);
    assert!(sent.iter().any(|message| message["site"] == "shop" && message["class"] == "urgent"), "{sent:?}");
    assert!(sent.iter().any(|message| message["class"] == "bulk"), "{sent:?}");
    let states = listed(folder.path(), &["upstream", "list"]);
    let state =
        |name: &str| states.iter().find(|one| one["name"] == name).unwrap()["state"].as_str().unwrap();
    assert_eq!((state("steady"), state("retired")), ("ok", "disabled"));
    assert_ne!(state("backup"), "ok", "nobody listens there");
}

#[test]
fn a_demo_that_starts_again_sends_the_mail_of_the_start_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(folder.path(), &["--mail-every", "1d"]);
    in_state(folder.path(), "held", 1);
    demo.stop();
    let mut demo = Demo::start(folder.path(), &["--mail-every", "10ms"]);
    assert!(
        demo.first_line.contains("/login?token="),
        "mail that waited leaves behind it: {}",
        demo.first_line
    );
    // By turns: what is accepted first is no password reset, the second message of the start, but the second of those in turn.
    let accepted = |demo: &mut Demo| {
        let mut lines = demo.lines.by_ref().map(|line| line.expect("text"));
        lines.find(|line| line.contains(" QUEUED from <") && !line.contains("<>")).unwrap()
    };
    let first = [accepted(&mut demo), accepted(&mut demo), accepted(&mut demo)];
    let senders = ["<orders@shop.example>", "<orders@shop.example>", "<no-reply@shop.example>"];
    assert!(first.iter().zip(senders).all(|(line, sender)| line.contains(sender)), "{first:?}");
}

#[test]
fn a_folder_that_is_no_demos_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("queue.redb"), "somebody's").unwrap();
    let output = command(folder.path()).args(["--listen", "127.0.0.1:0"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a queue that is no demo's"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_port_that_is_taken_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for arguments in
        [["--listen", &address, "--admin", "127.0.0.1:0"], ["--listen", "127.0.0.1:0", "--admin", &address]]
    {
        let output = command(folder.path()).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&address), "{said}");
    }
    // Held by this test, or by somebody else.
    let _port = TcpListener::bind("127.0.0.1:8025");
    let demo = Demo::of(command(folder.path()).args(["--no-mail", "--listen", "127.0.0.1:0"]));
    assert!(demo.first_line.contains("somebody else has port 8025"), "{}", demo.first_line);
}

#[test]
fn an_interval_of_nothing_is_refused() {
    let output = postroom().args(["demo", "--mail-every", "0s"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
