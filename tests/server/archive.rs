//! Sent mail that is archived, through the running binary (rule 14).

use crate::support::clients::{Envelope, smtplib};
use crate::support::proxy::{Proxy, postroom};
use crate::support::recorder::Recorder;
use crate::support::samples::{sample, with_attachment};
use crate::support::{eventually, free_address};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const ENVELOPE: Envelope<'static> = Envelope { from: "ann@client.test", to: &["bob@upstream.test"] };
const ARCHIVE: &str = "[queue]\narchive_days = 1\n";

fn sent(proxy: &Proxy, count: usize) -> Vec<Value> {
    eventually("sent mail", || {
        let listed = proxy.cli(&["sent", "list", "--json"]).as_array().unwrap().clone();
        (listed.len() == count).then_some(listed)
    })
}

fn id(message: &Value) -> &str {
    message["id"].as_str().unwrap()
}

/// Where `sent show` says that the content is.
fn file(proxy: &Proxy, message: &Value) -> PathBuf {
    let shown = proxy.cli(&["sent", "show", id(message), "--json"]);
    proxy.data_dir().join(shown["archived"]["file"].as_str().unwrap())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn events(proxy: &Proxy, key: &str, value: &str) -> Vec<Value> {
    let all = proxy.cli(&["events", "--json"]);
    all.as_array().unwrap().iter().filter(|event| event[key] == value).cloned().collect()
}

/// Runs a verb with standard input that is no terminal: its exit code and what it said.
fn fails(proxy: &Proxy, arguments: &[&str]) -> (Option<i32>, String) {
    let output = proxy.try_command(arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_was_sent_is_kept_as_it_came_shown_and_sent_again() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&format!("{ARCHIVE}{}", recorder.upstream("only")));
    let contents = [sample("eight-bit.eml"), with_attachment(400_000)];
    for content in &contents {
        smtplib(proxy.address(), &ENVELOPE, content, &["BODY=8BITMIME"]);
    }
    let mut listed = sent(&proxy, 2);
    listed.sort_by_key(|message| message["size"].as_u64());
    assert!(proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().is_empty());
    for (message, content) in listed.iter().zip(&contents) {
        assert_eq!(
            (&message["state"], &message["recipients"][0]["upstream"]),
            (&"sent".into(), &"only".into())
        );
        let path = file(&proxy, message);
        assert!(std::fs::read(&path).unwrap() == *content, "without our own fields");
        assert!(proxy.command(&["queue", "export", id(message)]).stdout == *content);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let day = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        assert!(message["sent_at"].as_str().unwrap().starts_with(day), "{message}");
    }
    let again = proxy.command(&["sent", "resend", id(&listed[0]), id(&listed[1])]);
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    let received = recorder.wait(4);
    assert!(received[2..].iter().all(|message| message.rcpt == ["<bob@upstream.test>"]), "{received:?}");
    for content in &contents {
        assert_eq!(received.iter().filter(|message| message.content.ends_with(content)).count(), 2);
    }
    let new = said.split_whitespace().nth(5).unwrap();
    let told = events(&proxy, "queue_id", id(&listed[0]));
    assert!(told.iter().any(|event| event["message"].as_str().unwrap().contains(new)), "{said} {told:?}");
    let all = sent(&proxy, 4);
    assert!(all.iter().any(|message| id(message) == new), "{said} {all:?}");
    let filtered = proxy.cli(&["sent", "list", "--json", "--filter", new]);
    assert_eq!(filtered.as_array().unwrap().len(), 1);
}

#[test]
fn a_file_that_somebody_removed_or_changed_is_said_to_be() {
    let recorder = Recorder::start();
    let mut proxy = Proxy::start(&format!("{ARCHIVE}{}", recorder.upstream("only")));
    (0..2).for_each(|_| smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]));
    let listed = sent(&proxy, 2);
    let path = file(&proxy, &listed[0]);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(file(&proxy, &listed[1]), "cut").unwrap();
    for (message, what) in [(&listed[0], "is gone"), (&listed[1], "has 3 octets")] {
        let shown = proxy.cli(&["sent", "show", id(message), "--json"]);
        assert!(shown["archived"]["wrong"].as_str().unwrap().contains(what), "{shown}");
        for verb in [["sent", "resend"], ["queue", "export"]] {
            let (code, said) = fails(&proxy, &[&verb[..], &[id(message)]].concat());
            assert!(code == Some(1) && said.contains(what), "{said}");
        }
    }
    assert_eq!(proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().len(), 0);
    assert_eq!(fails(&proxy, &["sent", "resend", "01JD3Z5T8E3W6Q9Y0V7N2K4M1B"]).0, Some(1));
    assert_eq!(recorder.messages().len(), 2);

    // Without a proxy, too.
    proxy.terminate();
    let read = |arguments: &[&str]| {
        let config = proxy.config_file();
        postroom().arg("-c").arg(config).args(arguments).output().unwrap()
    };
    let shown = read(&["sent", "show", id(&listed[0])]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("is gone"), "{shown:?}");
    let rows = read(&["sent", "list"]);
    assert!(String::from_utf8_lossy(&rows.stdout).contains(id(&listed[1])), "{rows:?}");
}

#[test]
fn what_debug_took_is_kept_and_sent_only_when_that_is_confirmed() {
    let recorder = Recorder::start();
    let config = |debug: bool| {
        format!("{}[debug]\nenabled = {debug}\nfailure_rate = 0.0\n", recorder.upstream("only"))
    };
    let proxy = Proxy::start(&config(true));
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    let listed = sent(&proxy, 1);
    assert_eq!(listed[0]["recipients"][0]["mode"], "debug");
    assert!(std::fs::read(file(&proxy, &listed[0])).unwrap() == sample("dots.eml"));
    proxy.configure(&config(false));
    proxy.command(&["reload"]);
    let (code, said) = fails(&proxy, &["sent", "resend", id(&listed[0])]);
    assert!(code == Some(2) && said.contains("--yes"), "{said}");
    let path = format!("/api/v1/messages/{}/resend", id(&listed[0]));
    assert_eq!(post(&proxy, &path, None), 409);
    assert_eq!(post(&proxy, &path, Some("{}")), 409);
    assert!(recorder.messages().is_empty());
    proxy.command(&["sent", "resend", "--yes", id(&listed[0])]);
    assert_eq!(recorder.wait(1)[0].rcpt, ["<bob@upstream.test>"]);
    assert_eq!(post(&proxy, &path, Some("{\"confirm\": true}")), 200);
    assert_eq!(recorder.wait(2).len(), 2);
    // That was sent, and archive_days is 0.
    assert_eq!(sent(&proxy, 1)[0]["id"], listed[0]["id"]);
}

fn post(proxy: &Proxy, path: &str, body: Option<&str>) -> u16 {
    let mut curl = std::process::Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "--unix-socket"]);
    curl.arg(proxy.data_dir().join("control.sock")).arg(format!("http://postroom{path}"));
    if let Some(body) = body {
        curl.args(["-H", "content-type: application/json", "-d", body]);
    }
    String::from_utf8(curl.output().unwrap().stdout).unwrap().parse().unwrap()
}

#[test]
fn mail_goes_on_where_nothing_can_be_archived_and_that_is_said_once() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&format!("{ARCHIVE}{}", recorder.upstream("only")));
    let folder = proxy.data_dir().join("archive");
    std::fs::write(&folder, "no folder").unwrap();
    for count in 1..4 {
        smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
        recorder.wait(count);
    }
    let gone = || proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().is_empty().then_some(());
    eventually("an empty queue", gone);
    let said = || events(&proxy, "code", "STORAGE");
    eventually("one event", || (said().len() == 1).then_some(()));
    std::fs::remove_file(&folder).unwrap();
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    sent(&proxy, 1);
    eventually("a second", || (said().len() == 2).then_some(()));
    assert_eq!(recorder.messages().len(), 4, "each once");
}

#[test]
fn nothing_is_archived_while_less_than_twice_min_free_space_is_free() {
    let recorder = Recorder::start();
    let free = rustix::fs::statvfs(std::env::temp_dir()).map(|disk| disk.f_bavail * disk.f_frsize).unwrap();
    let config = |least: u64| {
        format!("{}[queue]\narchive_days = 1\nmin_free_space = \"{least}B\"\n", recorder.upstream("only"))
    };
    // Mail is accepted as long as so much is free, and archived only with twice as much.
    let proxy = Proxy::start(&config(free / 3 * 2));
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    recorder.wait(1);
    let said = eventually("an event", || events(&proxy, "code", "LOW_DISK").pop());
    assert!(said["message"].as_str().unwrap().contains("twice min_free_space"), "{said}");
    assert!(!proxy.data_dir().join("archive").join("x").exists());
    proxy.configure(&config(1));
    proxy.command(&["reload"]);
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    sent(&proxy, 1);
}

#[test]
fn nothing_is_archived_unless_it_is_asked_for() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&recorder.upstream("only"));
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    recorder.wait(1);
    let gone = || proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().is_empty().then_some(());
    eventually("an empty queue", gone);
    assert!(!proxy.data_dir().join("archive").exists());
    sent(&proxy, 0);
}

#[test]
fn what_still_waits_is_retried_and_not_sent_again() {
    let proxy = Proxy::start(&format!("[upstream.only]\nhost = \"{}\"\ntls = \"none\"\n", free_address()));
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    let waiting = proxy.cli(&["queue", "list", "--json"])[0].clone();
    let (code, said) = fails(&proxy, &["sent", "resend", id(&waiting)]);
    assert!(code == Some(1) && said.contains("still in the queue"), "{said}");
}

#[test]
fn an_action_on_what_was_sent_says_so() {
    let recorder = Recorder::start();
    let mut proxy = Proxy::start(&format!("{ARCHIVE}{}", recorder.upstream("only")));
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    let listed = sent(&proxy, 1);
    let id = id(&listed[0]);
    for verb in ["hold", "delete"] {
        let (code, said) = fails(&proxy, &["queue", verb, id]);
        assert!(code == Some(1) && said.contains(&format!("`postroom sent resend {id}`")), "{said}");
    }
    let unknown = "01JD3Z5T8E3W6Q9Y0V7N2K4M1B";
    let hint = "neither in the queue nor in the archive; `postroom events --id";
    for runs in [true, false] {
        for verb in
            [&["queue", "show", unknown][..], &["queue", "export", unknown], &["sent", "show", unknown]]
        {
            let (code, said) = fails(&proxy, verb);
            assert!(code == Some(1) && said.contains(hint), "{verb:?} {said}");
        }
        // A first character that no id has names no other message.
        let wrong = format!("8{}", &id[1..]);
        assert_eq!(fails(&proxy, &["queue", "show", &wrong]).0, Some(2));
        if runs {
            proxy.terminate();
        }
    }
}

/// Whoever opens a named pipe waits for somebody who writes into it.
#[test]
fn a_named_pipe_in_place_of_a_file_stops_nothing() {
    let recorder = Recorder::start();
    let mut proxy = Proxy::start(&format!("{ARCHIVE}{}", recorder.upstream("only")));
    (0..2).for_each(|_| smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]));
    let listed = sent(&proxy, 2);
    let paths = [file(&proxy, &listed[0]), file(&proxy, &listed[1])];
    paths.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    assert!(std::process::Command::new("mkfifo").arg(&paths[0]).status().unwrap().success());
    std::os::unix::fs::symlink(proxy.config_file(), &paths[1]).unwrap();
    for (message, path) in listed.iter().zip(&paths) {
        let shown = proxy.cli(&["sent", "show", id(message), "--json"]);
        let wrong = shown["archived"]["wrong"].as_str().unwrap();
        assert!(wrong.contains(path.to_str().unwrap()), "{shown}");
        assert_eq!(fails(&proxy, &["queue", "export", id(message)]).0, Some(1));
    }
    assert!(proxy.terminate().success());
}

#[test]
fn ids_that_come_twice_are_sent_again_once_and_a_failure_says_what_was_done() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&format!("{ARCHIVE}{}", recorder.upstream("only")));
    (0..3).for_each(|_| smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]));
    let listed = sent(&proxy, 3);
    let ids: Vec<&str> = listed.iter().map(id).collect();
    // Room for one.
    let full =
        format!("{ARCHIVE}max_messages = 1\n{}[sending]\nenabled = false\n", recorder.upstream("only"));
    proxy.configure(&full);
    proxy.command(&["reload"]);
    let output = proxy.try_command(&["sent", "resend", ids[0], ids[0], ids[1], ids[2]]);
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    assert!(out.lines().count() == 1 && out.contains(&format!("{} is sent again as ", ids[0])), "{out}");
    assert!(said.contains(&format!("{} failed: max_messages", ids[1])), "{said}");
    assert!(said.contains("1 message sent again before it, 1 not tried"), "{said}");
    assert_eq!(proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().len(), 1);
}

#[test]
fn what_redirect_took_is_shown_as_such_and_who_gets_it_twice_is_said_first() {
    let recorder = Recorder::start();
    let redirect = "[redirect]\nenabled = true\nallow = [\"ann@upstream.test\"]\nreport_emails = [\"qa@upstream.test\"]\n";
    let proxy = Proxy::start(&format!("{ARCHIVE}{redirect}{}", recorder.upstream("only")));
    let to = ["ann@upstream.test", "re3@upstream.test"];
    smtplib(proxy.address(), &Envelope { from: "shop@client.test", to: &to }, &sample("dots.eml"), &[]);
    let listed = sent(&proxy, 1);
    let row = String::from_utf8(proxy.command(&["sent", "list"]).stdout).unwrap();
    assert!(row.contains("  RECEIVED  ") && row.contains("  SENT  "), "{row}");
    assert!(row.contains("  (redirect) only  ") && row.contains("  ann@upstream.test +1  "), "{row}");
    let shown = String::from_utf8(proxy.command(&["sent", "show", id(&listed[0])]).stdout).unwrap();
    let said = "  not sent to re3@upstream.test: redirect; qa@upstream.test took it";
    assert!(shown.contains(said) && shown.contains("  ann@upstream.test  delivered by only"), "{shown}");
    let (code, said) = fails(&proxy, &["sent", "resend", id(&listed[0])]);
    assert_eq!(code, Some(2));
    let question = "a second time to those who have had it: ann@upstream.test. Send?";
    assert!(
        said.contains("1 of 1 message did not reach all recipients") && said.contains(question),
        "{said}"
    );
}

#[test]
fn all_times_that_people_see_are_in_their_zone() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&format!("{ARCHIVE}{}", recorder.upstream("only")));
    smtplib(proxy.address(), &ENVELOPE, &sample("dots.eml"), &[]);
    let listed = sent(&proxy, 1);
    let mut command = proxy.command_line(&["sent", "show", id(&listed[0]), "--transcript"]);
    let shown = String::from_utf8(command.env("TZ", "Asia/Tokyo").output().unwrap().stdout).unwrap();
    assert!(shown.split_whitespace().all(|word| word.parse::<jiff::Timestamp>().is_err()), "{shown}");
    // Received, sent, the attempt and its dialogue.
    assert_eq!(shown.matches(" +09:00").count(), 4, "{shown}");
}
