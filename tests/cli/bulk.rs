//! Verbs on many messages, what they ask first, and what a terminal shows.

use crate::support::clients::{Envelope, smtplib, succeeded};
use crate::support::proxy::{BINARY, Proxy};
use crate::support::{eventually, free_address};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};

/// An upstream that is not there: mail stays.
pub(super) fn stuck(more: &str) -> Proxy {
    Proxy::start(&format!("{more}\n[upstream.only]\nhost = \"{}\"\ntls = \"none\"\n", free_address()))
}

pub(super) fn send(proxy: &Proxy, from: &str, to: &str) {
    smtplib(proxy.address(), &Envelope { from, to: &[to] }, b"Subject: Invoice\r\n\r\nhello\r\n", &[]);
}

pub(super) fn list(proxy: &Proxy, arguments: &[&str]) -> Vec<Value> {
    let all = [&["queue", "list", "--json"], arguments].concat();
    proxy.cli(&all).as_array().expect("an array").clone()
}

pub(super) fn addresses(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["recipients"][0]["address"].as_str().unwrap()).collect()
}

pub(super) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A POST to the control socket: status and answer.
pub(super) fn post(proxy: &Proxy, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(proxy.data_dir().join("control.sock")).unwrap();
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn deleting_many_asks_first_and_without_a_terminal_does_nothing() {
    let proxy = stuck("");
    for to in ["ann@b.test", "bob@b.test", "carol@c.test"] {
        send(&proxy, "shop@a.test", to);
    }
    for which in [&["--all"][..], &["--filter", "to:@b.test"], &["--filter", "-to:@c.test"]] {
        let refused = proxy.try_command(&[&["queue", "delete"], which].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        let count = if which[0] == "--all" { 3 } else { 2 };
        assert!(said(&refused).contains(&format!("Delete {count} messages for good?")), "{}", said(&refused));
        assert!(said(&refused).contains("--yes"), "{}", said(&refused));
    }
    assert_eq!(list(&proxy, &[]).len(), 3);
    // What nobody would miss is not asked about.
    proxy.command(&["queue", "delete", "--filter", "to:@d.test"]);
    proxy.command(&["queue", "hold", "--all"]);
    proxy.command(&["queue", "release", "--all"]);
    proxy.command(&["queue", "delete", "--yes", "--filter", "-to:@c.test"]);
    assert_eq!(addresses(&list(&proxy, &[])), ["carol@c.test"]);
    let by_id = list(&proxy, &[])[0]["id"].as_str().unwrap().to_owned();
    proxy.command(&["queue", "delete", &by_id]);
    assert!(list(&proxy, &[]).is_empty());
}

#[test]
fn a_filter_that_cannot_be_read_says_where_and_why() {
    let proxy = stuck("");
    for verb in ["list", "retry", "hold", "release", "delete"] {
        let refused = proxy.try_command(&["queue", verb, "--filter", "a -stat:failed"]);
        assert_eq!(refused.status.code(), Some(2));
        let said = said(&refused);
        assert!(said.contains("at character 4: `stat:` is not known; did you mean `state:`?"), "{said}");
        assert!(said.contains("\n    a -stat:failed\n       ^^^^\n"), "{said}");
    }
    assert_eq!(proxy.try_command(&["queue", "delete", "--yes", "--filter", " "]).status.code(), Some(2));
    assert_eq!(proxy.try_command(&["queue", "delete", "--all", "--filter", "x"]).status.code(), Some(2));
    let (status, problem) =
        post(&proxy, "/api/v1/messages/bulk", &json!({"action": "hold", "filter": "older:x"}));
    assert_eq!((status, &problem["errors"][0]["column"]), (400, &json!(7)), "{problem}");
    assert_eq!(proxy.http_status("/api/v1/messages?q=stat:x"), Some(400));
    assert_eq!(post(&proxy, "/api/v1/messages/bulk", &json!({"action": "delete", "filter": ""})).0, 400);
    assert_eq!(post(&proxy, "/api/v1/messages/bulk", &json!({"action": "delete"})).0, 400);
}

#[test]
fn the_route_takes_the_filter_language() {
    let proxy = stuck("");
    for to in ["ann@b.test", "bob@c.test"] {
        send(&proxy, "shop@a.test", to);
    }
    let page = proxy.get("/api/v1/messages?q=-to:%40b.test%20subject:invoice&state=queued,deferred").unwrap();
    assert_eq!(addresses(page["messages"].as_array().unwrap()), ["bob@c.test"]);
    let (status, done) = post(
        &proxy,
        "/api/v1/messages/bulk",
        &json!({"action": "delete", "filter": "to:@b.test", "dry_run": true}),
    );
    assert_eq!((status, &done["matching"], &done["changed"]), (200, &json!(1), &json!(0)));
    assert_eq!(list(&proxy, &[]).len(), 2);
}

/// What came in between the question and its answer is not meant.
#[test]
fn what_was_counted_is_what_is_meant() {
    let proxy = stuck("");
    send(&proxy, "shop@a.test", "ann@b.test");
    let query = json!({"action": "delete", "all": true, "dry_run": true});
    let counted = post(&proxy, "/api/v1/messages/bulk", &query).1;
    assert_eq!(counted["matching"], 1);
    send(&proxy, "shop@a.test", "late@b.test");
    let query = json!({"action": "delete", "all": true, "until": counted["until"]});
    assert_eq!(post(&proxy, "/api/v1/messages/bulk", &query).1["changed"], 1);
    assert_eq!(addresses(&list(&proxy, &[])), ["late@b.test"]);
}

#[test]
fn an_id_says_why_there_was_nothing_to_do() {
    let proxy = stuck("");
    send(&proxy, "shop@a.test", "ann@b.test");
    let id = list(&proxy, &[])[0]["id"].as_str().unwrap().to_owned();
    let run = |verb: &str| String::from_utf8(proxy.command(&["queue", verb, &id]).stdout).unwrap();
    assert!(run("release").contains(&format!("{id} is not held: it is ")));
    assert_eq!(run("hold"), "hold: 1 changed, 0 had nothing to do\n");
    assert!(run("hold").contains(&format!("{id} is held already")));
    assert!(run("retry").contains(&format!("{id} is held: release it first")));
}

#[test]
fn what_nothing_has_is_said_to_be_unknown() {
    let proxy = stuck("[site.shop]\nsenders = [\"@shop.test\"]\n");
    send(&proxy, "shop@a.test", "ann@b.test");
    let warned = |arguments: &[&str]| {
        let output = proxy.try_command(arguments);
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    for verb in [&["queue", "list"][..], &["sent", "list"], &["queue", "hold"]] {
        let list = |filter: &str| warned(&[verb, &["--filter", filter]].concat());
        assert!(list("upstream:onyl").contains("no upstream `onyl` is configured"));
        assert!(!list("upstream:ONLY from:nobody@").contains("configured"));
        assert!(
            list("site:intranet")
                .contains("no site `intranet` is configured, and no such mail was found; configured: shop")
        );
        assert!(!list("site:shop").contains("configured"));
    }
    assert!(
        !warned(&["queue", "list", "--filter", "-site:intranet"]).contains("configured"),
        "mail was found"
    );
    assert!(warned(&["events", "--code", "QUEUE"]).contains("no event that is kept has the code `QUEUE`"));
    assert!(warned(&["events", "--source", "Male"]).contains("has the source `Male`"));
    assert_eq!(warned(&["events", "--code", "queued", "--since", "2100-01-01"]), "");
}

#[test]
fn wrong_usage_names_the_help_of_its_verb() {
    let proxy = stuck("");
    for (arguments, help) in [
        (&["queue", "list", "--filter", "stat:x"][..], "See `postroom queue list --help`."),
        (&["events", "--since", "soon"], "See `postroom events --help`."),
        (&["sent", "resend", "short"], "See `postroom sent resend --help`."),
    ] {
        let refused = proxy.try_command(arguments);
        assert!(said(&refused).contains(help), "{}", said(&refused));
    }
}

#[test]
fn what_a_mode_holds_is_released_only_when_that_is_confirmed() {
    let proxy =
        stuck("[redirect]\nenabled = true\nreport_emails = [{ email = \"qa@a.test\", enabled = false }]\n");
    send(&proxy, "shop@a.test", "ann@b.test");
    let held = || list(&proxy, &["--filter", "state:held"]);
    let id = eventually("a message that is held", || Some(held().first()?["id"].as_str()?.to_owned()));
    assert_eq!(held()[0]["held_because"], json!(["nobody_to_report_to"]));
    let shown = String::from_utf8(proxy.command(&["queue", "show", &id]).stdout).unwrap();
    assert!(shown.contains("Held      redirect is on and no report address is enabled"), "{shown}");

    for which in [&[id.as_str()][..], &["--all"], &["--filter", "state:held"]] {
        let refused = proxy.try_command(&[&["queue", "release"], which].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains("Release 1 message?"), "{}", said(&refused));
    }
    let path = format!("/api/v1/messages/{id}/release");
    let bulk = json!({"action": "release", "ids": [id]});
    for (status, problem) in [
        post(&proxy, &path, &Value::Null),
        post(&proxy, &path, &json!({"confirm": false})),
        post(&proxy, "/api/v1/messages/bulk", &bulk),
        post(&proxy, "/api/v1/messages/bulk", &json!({"action": "release", "filter": "ann"})),
    ] {
        assert_eq!((status, &problem["status"]), (409, &json!(409)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("\"confirm\": true"), "{problem}");
    }
    let released = || {
        let events = proxy.cli(&["events", "--json", "--code", "released"]);
        events.as_array().unwrap().len()
    };
    assert_eq!(released(), 0);
    proxy.command(&["queue", "release", "--yes", &id]);
    assert_eq!(released(), 1);
    // The mode is still in force, so it is held again.
    eventually("a message that is held again", || (!held().is_empty()).then_some(()));
    assert_eq!(post(&proxy, &path, &json!({"confirm": true})).0, 200);
    assert_eq!(released(), 2);
}

#[test]
fn ids_that_do_not_exist_are_named_and_the_others_are_done() {
    let proxy = stuck("");
    send(&proxy, "shop@a.test", "ann@b.test");
    let id = list(&proxy, &[])[0]["id"].as_str().unwrap().to_owned();
    let unknown = "01JD3Z5T8E3W6Q9Y0V7N2K4M1B";
    for verb in ["hold", "release", "retry", "delete"] {
        let output = proxy.try_command(&["queue", verb, unknown, &id]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(unknown) && !said(&output).contains(&id), "{}", said(&output));
        let hint = format!("neither in the queue nor in the archive; `postroom events --id {unknown}` says");
        assert!(said(&output).contains(&hint), "{}", said(&output));
        assert_eq!(list(&proxy, &[]).is_empty(), verb == "delete");
    }
}

#[test]
fn events_are_filtered_by_the_proxy_and_without_one() {
    let mut proxy = stuck("");
    for to in ["ann@b.test", "bob@b.test"] {
        send(&proxy, "shop@a.test", to);
    }
    let id = list(&proxy, &["-q", "ann"])[0]["id"].as_str().unwrap().to_owned();
    proxy.command(&["queue", "hold", &id]);
    let check = |proxy: &Proxy| {
        let events = |arguments: &[&str]| {
            let all = [&["events", "--json"], arguments].concat();
            proxy.cli(&all).as_array().unwrap().clone()
        };
        let codes = |arguments: &[&str]| {
            let events = events(arguments);
            events.iter().map(|event| event["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(codes(&["--id", &id, "--type", "information"]), ["QUEUED", "HELD"]);
        assert_eq!(codes(&["--id", &id, "--limit", "1"]), ["HELD"]);
        assert_eq!(codes(&["--code", "queued"]), ["QUEUED", "QUEUED"]);
        assert_eq!(codes(&["--code", "QUEUE"]), [""; 0]);
        assert_eq!(codes(&["--source", "queue", "--code", "held"]), ["HELD"]);
        assert!(events(&["--type", "Warning,Error"]).iter().all(|event| event["type"] != "Information"));
        assert_eq!(codes(&["--since", "2100-01-01"]), [""; 0]);
        assert_eq!(codes(&["--since", "1h", "--code", "HELD"]), ["HELD"]);
        for wrong in [["--type", "loud"], ["--since", "soon"], ["--id", "short"]] {
            assert_eq!(proxy.try_command(&[&["events"], &wrong[..]].concat()).status.code(), Some(2));
        }
    };
    check(&proxy);
    assert_eq!(proxy.http_status("/api/v1/events?type=loud"), Some(400));
    assert_eq!(proxy.http_status("/api/v1/events/stream?since=soon"), Some(400));
    proxy.kill();
    check(&proxy);
}

/// Runs `postroom` on a terminal of 90 columns and answers what it asks; what the terminal got.
fn on_terminal(proxy: &Proxy, arguments: &[&str], answer: &str, no_color: bool) -> String {
    let script = r#"
import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    os.execv(sys.argv[2], sys.argv[2:])
os.write(terminal, sys.argv[1].encode())
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data:
        break
    sys.stdout.buffer.write(data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;
    let mut command = Command::new("python3");
    command.args(["-c", script, answer, BINARY, "--config"]).arg(proxy.config_file()).args(arguments);
    command.env_remove("COLUMNS").env_remove("LINES").env("TERM", "xterm").env_remove("NO_COLOR");
    if no_color {
        command.env("NO_COLOR", "1");
    }
    String::from_utf8(succeeded(&mut command, b"").stdout).unwrap().replace("\r\n", "\n")
}

#[test]
fn a_terminal_gets_a_table_that_fits_colours_and_a_question() {
    let proxy = stuck("");
    for number in 0..30 {
        send(&proxy, "a-sender-with-a-long-name@shop.a.test", &format!("a-long-recipient-{number}@b.test"));
    }
    proxy.command(&["queue", "hold", "--filter", "to:-7@"]);
    let shown = on_terminal(&proxy, &["queue", "list"], "", true);
    assert!(shown.lines().all(|line| line.chars().count() <= 90), "{shown}");
    assert_eq!(shown.lines().filter(|line| line.starts_with("ID ")).count(), 2, "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let shown = on_terminal(&proxy, &["queue", "list"], "", false);
    assert!(shown.contains("\u{1b}[33mheld\u{1b}[0m"), "{shown:?}");
    let asked = on_terminal(&proxy, &["queue", "delete", "--filter", "state:held"], "y\n", true);
    assert!(asked.contains("Delete 1 message for good? [y/N]"), "{asked}");
    assert!(asked.contains("delete: 1 changed"), "{asked}");
    assert_eq!(list(&proxy, &[]).len(), 29);
}
