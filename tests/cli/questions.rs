//! What is asked before a verb that cannot be taken back, and what was meant by it when the answer comes.

use super::bulk::{addresses, list, post, send, stuck};
use crate::support::eventually;
use crate::support::proxy::{BINARY, Proxy};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Ages count from the time of the count, however long somebody thinks about it.
#[test]
fn ages_count_from_when_it_was_counted() {
    let proxy = stuck("");
    send(&proxy, "shop@a.test", "ann@b.test");
    let bulk = |query: Value| post(&proxy, "/api/v1/messages/bulk", &query).1;
    let old = json!({"action": "delete", "filter": "older:1h", "dry_run": true});
    let counted = bulk(old.clone());
    assert_eq!(counted["matching"], 0);
    let mut later = old;
    later["now"] = json!("2100-01-01T00:00:00Z");
    assert_eq!(bulk(later.clone())["matching"], 1);
    assert_eq!(bulk(later)["now"], "2100-01-01T00:00:00Z");
    for (now, changed) in [(counted["now"].clone(), 0), (json!("2100-01-01T00:00:00Z"), 1)] {
        assert!(now.is_string(), "{counted}");
        let query = json!({"action": "delete", "filter": "older:1h", "now": now, "until": counted["until"]});
        assert_eq!(bulk(query)["changed"], changed);
    }
}

/// A filter may mean more mail after a question than before it.
#[test]
fn more_than_was_counted_is_refused() {
    let proxy = stuck("");
    for to in ["ann@b.test", "bob@b.test", "carol@b.test"] {
        send(&proxy, "shop@a.test", to);
    }
    proxy.command(&["queue", "hold", "--filter", "to:ann@"]);
    let query = json!({"action": "delete", "filter": "state:held", "dry_run": true});
    let counted = post(&proxy, "/api/v1/messages/bulk", &query).1;
    proxy.command(&["queue", "hold", "--filter", "to:bob@"]);
    let query = json!({
        "action": "delete", "filter": "state:held", "until": counted["until"], "now": counted["now"],
        "counted": {"matching": counted["matching"]}
    });
    let (status, problem) = post(&proxy, "/api/v1/messages/bulk", &query);
    assert_eq!(status, 409, "{problem}");
    assert!(
        problem["detail"].as_str().unwrap().contains("2 messages are meant by now, and 1 were"),
        "{problem}"
    );
    assert_eq!(list(&proxy, &[]).len(), 3);

    // The same on a terminal.
    let (asked, code) = answered_late(&proxy, &["queue", "delete", "--filter", "state:held"], || {
        proxy.command(&["queue", "hold", "--filter", "to:carol@"]);
    });
    assert!(asked.contains("Delete 2 messages for good?"), "{asked}");
    assert!(asked.contains("nothing was changed: 3 messages are meant by now"), "{asked}");
    assert_eq!((code, list(&proxy, &[]).len()), (Some(1), 3));
    // Fewer are no reason.
    let (asked, code) = answered_late(&proxy, &["queue", "delete", "--filter", "state:held"], || {
        proxy.command(&["queue", "release", "--filter", "to:carol@"]);
    });
    assert!(asked.contains("delete: 2 changed"), "{asked}");
    assert_eq!((code, addresses(&list(&proxy, &[]))), (Some(0), vec!["carol@b.test"]));
}

/// As many as were counted, but others.
#[test]
fn mail_that_has_changed_since_the_question_is_left_alone() {
    let proxy = stuck("");
    for to in ["ann@b.test", "bob@b.test", "carol@b.test"] {
        send(&proxy, "shop@a.test", to);
    }
    proxy.command(&["queue", "hold", "--filter", "-to:carol@"]);
    let (asked, code) = answered_late(&proxy, &["queue", "delete", "--filter", "state:held"], || {
        proxy.command(&["queue", "release", "--filter", "to:bob@"]);
        proxy.command(&["queue", "hold", "--filter", "to:carol@"]);
    });
    assert!(asked.contains("delete: 1 changed, 1 had nothing to do"), "{asked}");
    assert_eq!((code, addresses(&list(&proxy, &[]))), (Some(0), vec!["carol@b.test", "bob@b.test"]));
}

/// What comes to be held by a mode after the question is not released by its answer.
#[test]
fn a_release_is_refused_where_a_mode_holds_more_than_was_counted() {
    let nobody = "[redirect]\nenabled = true\nreport_emails = [{ email = \"qa@a.test\", enabled = false }]\n";
    let proxy = stuck(nobody);
    let is_held = |count: usize| {
        let held = || list(&proxy, &["--filter", "state:held"]);
        eventually("messages that are held", || (held().len() == count).then_some(()));
    };
    send(&proxy, "shop@a.test", "ann@b.test");
    is_held(1);
    let all = json!({"action": "release", "all": true, "dry_run": true});
    let counted = post(&proxy, "/api/v1/messages/bulk", &all).1;
    assert_eq!(counted["held_by_mode"], 1);
    send(&proxy, "shop@a.test", "bob@b.test");
    is_held(2);
    let mut query = json!({"action": "release", "all": true, "confirm": true});
    query["counted"] = json!({"matching": 2, "held_by_mode": counted["held_by_mode"]});
    assert_eq!(post(&proxy, "/api/v1/messages/bulk", &query).0, 409);
    query["until"] = counted["until"].clone();
    assert_eq!(post(&proxy, "/api/v1/messages/bulk", &query).1["changed"], 1);
}

/// Runs `postroom` on a terminal and answers its question with yes after something else has happened: what the terminal got, and
/// the exit code.
fn answered_late(proxy: &Proxy, arguments: &[&str], meanwhile: impl FnOnce()) -> (String, Option<i32>) {
    let script = r#"
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
def read():
    global shown
    try:
        data = os.read(terminal, 65536)
    except OSError:
        data = b""
    shown += data
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return data
while b"[y/N]" not in shown and read():
    pass
sys.stdin.readline()
os.write(terminal, b"y\n")
while read():
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;
    let mut command = Command::new("python3");
    command.args(["-c", script, BINARY, "--config"]).arg(proxy.config_file()).args(arguments);
    let mut asking = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut shown, mut out) = (Vec::new(), asking.stdout.take().unwrap());
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&shown).contains("[y/N]") {
        let read = out.read(&mut piece).unwrap();
        assert!(read > 0, "no question: {}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&piece[..read]);
    }
    meanwhile();
    asking.stdin.take().unwrap().write_all(b"\n").unwrap();
    out.read_to_end(&mut shown).unwrap();
    (String::from_utf8_lossy(&shown).into_owned(), asking.wait().unwrap().code())
}
