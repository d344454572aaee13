//! A pickup folder as an upstream, through the running binary: what its files hold, and whose fault a bad folder is.

use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// An upstream that is this folder.
pub fn upstream(name: &str, folder: &Path) -> String {
    format!("[upstream.{name}]\ndelivery = \"pickup\"\npickup_directory = \"{}\"\n", folder.display())
}

/// All that is in it, by name.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The files that are to be picked up, once there are that many.
#[track_caller]
pub fn files(folder: &Path, count: usize) -> Vec<PathBuf> {
    eventually("files to be picked up", || {
        let all = names(folder);
        let ready: Vec<PathBuf> =
            all.iter().filter(|name| name.ends_with(".eml")).map(|name| folder.join(name)).collect();
        (ready.len() >= count).then_some(ready)
    })
}

#[track_caller]
fn text(file: &Path) -> String {
    String::from_utf8(std::fs::read(file).unwrap()).unwrap()
}

/// The head with the envelope, and the rest.
#[track_caller]
fn parts(file: &Path) -> (Vec<String>, String) {
    let text = text(file);
    let at = text.find("Received: ").expect("a field of ours");
    (text[..at].lines().map(str::to_owned).collect(), text[at..].to_owned())
}

#[track_caller]
fn wait_until_empty(proxy: &Proxy) {
    eventually("the queue to be empty", || {
        let listed = proxy.get("/api/v1/messages")?;
        listed["messages"].as_array().unwrap().is_empty().then_some(())
    });
}

fn standing(proxy: &Proxy, place: usize) -> Value {
    proxy.cli(&["upstream", "list", "--json"])[place].clone()
}

#[test]
fn a_file_has_the_envelope_and_the_message_as_a_server_would_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = "[log_emails]\nenabled = true\n[queue]\narchive_days = 1\n";
    let proxy = Proxy::start(&format!("{log}{}", upstream("files", folder.path())));
    let mut talk = Talk::hello(proxy.address());
    talk.begin_data("<shop@a.test>", &["<ann@b.test>", "<secret@c.test>"]);
    talk.send("From: shop@a.test\r\nTo: ann@b.test\r\nBcc: secret@c.test\r\nDate: now\r\nMessage-ID: <1@a.test>\r\n\r\n");
    talk.send("..a line with a dot\r\n...\r\nlast\r\n.\r\n");
    let id = talk.hear("250 2.0.0 queued as ").rsplit(' ').next().unwrap().to_owned();

    let file = files(folder.path(), 1).remove(0);
    let (head, rest) = parts(&file);
    assert_eq!(head, ["x-sender: shop@a.test", "x-receiver: ann@b.test", "x-receiver: secret@c.test"]);
    let expected = "From: shop@a.test\r\nTo: ann@b.test\r\nDate: now\r\nMessage-ID: <1@a.test>\r\n\r\n\
                    .a line with a dot\r\n..\r\nlast\r\n";
    assert!(rest.contains(&format!("id {id};\r\n")) && rest.ends_with(expected), "{rest}");
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(&id) && name.ends_with(".eml"), "sorts by time: {name}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(file.metadata().unwrap().gid(), folder.path().metadata().unwrap().gid());

    wait_until_empty(&proxy);
    assert_eq!(names(folder.path()), [name], "no temporary file stays");
    let events = proxy.cli(&["events", "--json", "--id", &id]);
    let told = events.as_array().unwrap().iter().find(|event| event["code"] == "ann@b.test").unwrap();
    assert!(told["upstream"] == "files" && told["reply"].as_str().unwrap().contains(name), "{told}");
    let attempts = proxy.get(&format!("/api/v1/messages/{id}/attempts")).unwrap();
    assert!(attempts.to_string().contains(name), "{attempts}");
    let log = std::fs::read_to_string(proxy.data_dir().join("logemails.log")).unwrap();
    assert!(log.contains("Bcc: secret@c.test\n"), "{log}");
}

/// `<>` and not nothing: a picker takes a file without a sender for one that its From wrote.
#[test]
fn the_null_reverse_path_and_addresses_in_utf_8_survive() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&upstream("files", folder.path()));
    let mut talk = Talk::hello(proxy.address());
    talk.begin_data("<>", &["<\"a b\"@c.test>"]);
    talk.send("From: MAILER-DAEMON@a.test\r\n\r\nx\r\n.\r\n");
    talk.hear("250");
    talk.begin_data("<\u{fc}@a.test> SMTPUTF8", &["<\u{65e5}\u{672c}@c.test>"]);
    talk.send("Subject: s\r\n\r\nx\r\n.\r\n");
    talk.hear("250");
    let files = files(folder.path(), 2);
    assert_eq!(parts(&files[0]).0, ["x-sender: <>", "x-receiver: \"a b\"@c.test"]);
    assert_eq!(parts(&files[1]).0, ["x-sender: \u{fc}@a.test", "x-receiver: \u{65e5}\u{672c}@c.test"]);
    assert!(parts(&files[1]).1.contains("From: \u{fc}@a.test\r\n"));
}

/// A field of the message's own must not make a customer a recipient again, under redirect least of all.
#[test]
fn fields_of_the_message_that_look_like_an_envelope_get_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let redirect = "[redirect]\nenabled = true\nreport_emails = [\"qa@report.test\"]\n";
    let proxy = Proxy::start(&(redirect.to_owned() + &upstream("files", folder.path())));
    let mut talk = Talk::hello(proxy.address());
    talk.begin_data("<a@a.test>", &["<customer@b.test>"]);
    talk.send("X-Sender: a@a.test\r\nx-receiver: customer@b.test\r\nSubject: s\r\n\r\nX-Receiver: y@y.test\r\n.\r\n");
    talk.hear("250");
    let (head, rest) = parts(&files(folder.path(), 1)[0]);
    assert_eq!(head, ["x-sender: qa@report.test", "x-receiver: qa@report.test"]);
    let renamed = "X-Original-X-Sender: a@a.test\r\nX-Original-X-Receiver: customer@b.test\r\nSubject: s\r\n\r\nX-Receiver: y";
    assert!(rest.contains("X-Original-To: customer@b.test\r\n") && rest.contains(renamed), "{rest}");
}

/// A report address that `allow` names gets its own mail, and a copy of what others do not get.
#[test]
fn a_report_copy_does_not_take_the_place_of_its_readers_own_mail() {
    let folder = tempfile::tempdir().unwrap();
    let redirect =
        "[redirect]\nenabled = true\nreport_emails = [\"qa@report.test\"]\nallow = [\"qa@report.test\"]\n";
    let sender = "sender = \"account@up.test\"\n";
    let proxy = Proxy::start(&(redirect.to_owned() + &upstream("files", folder.path()) + sender));
    let mut talk = Talk::hello(proxy.address());
    talk.begin_data("<a@a.test>", &["<qa@report.test>", "<customer@b.test>"]);
    talk.send("Subject: s\r\n\r\nx\r\n.\r\n");
    talk.hear("250");
    wait_until_empty(&proxy);
    let copies: Vec<bool> =
        files(folder.path(), 2).iter().map(|file| parts(file).1.contains("X-Original-To:")).collect();
    assert_eq!(copies.iter().filter(|is_copy| **is_copy).count(), 1, "{copies:?}");
}

/// No attempt is counted, the next upstream has it at once, and the folder is used as soon as it is there.
#[test]
fn a_missing_folder_is_the_upstreams_fault() {
    let place = tempfile::tempdir().unwrap();
    let (folder, recorder) = (place.path().join("pickup"), Recorder::start());
    let first = upstream("a-files", &folder) + "priority = \"high\"\n";
    let proxy = Proxy::start(&(first.clone() + &recorder.upstream("server")));
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    recorder.wait(1);
    let files = standing(&proxy, 0);
    assert!(matches!(files["state"].as_str(), Some("open" | "probing")), "{files}");
    let error = files["last_error"].as_str().unwrap();
    assert!(error.contains("No such file") && error.contains("create the folder"), "{error}");
    let events = proxy.cli(&["events", "--json", "--code", "CIRCUIT_OPEN"]);
    assert_eq!(events[0]["upstream"], "a-files");

    proxy.configure(&first);
    proxy.command(&["reload"]);
    assert!(Talk::hello(proxy.address()).mail("c@b.test", 100).starts_with("250"));
    let waits = proxy.cli(&["queue", "list", "--json"])[0].clone();
    assert_eq!((waits["state"].as_str(), waits["attempts"].as_u64()), (Some("queued"), Some(0)), "{waits}");
    std::fs::create_dir(&folder).unwrap();
    let (head, _) = parts(&self::files(&folder, 1)[0]);
    assert_eq!(head[1], "x-receiver: c@b.test");
    wait_until_empty(&proxy);
    assert_eq!(standing(&proxy, 0)["state"], "ok");
}

/// `rate_limit`, and `sender`, hold for a folder as for a server.
#[test]
fn the_limits_and_the_sender_of_the_upstream_hold() {
    let folder = tempfile::tempdir().unwrap();
    let keys = "rate_limit = \"1/1h\"\nconnection_limit = 1\nsender = \"account@up.test\"\n";
    let proxy = Proxy::start(&(upstream("files", folder.path()) + keys));
    for recipient in ["b@b.test", "c@b.test"] {
        assert!(Talk::hello(proxy.address()).mail(recipient, 100).starts_with("250"));
    }
    let (head, rest) = parts(&files(folder.path(), 1)[0]);
    assert_eq!(head[0], "x-sender: account@up.test");
    assert!(rest.contains("\r\nFrom: account@up.test\r\n"), "{rest}");
    eventually("the other to wait", || (standing(&proxy, 0)["state"] == "limited").then_some(()));
    assert_eq!(names(folder.path()).len(), 1);
}

/// What an earlier process of this installation left half-written goes; files of others stay.
#[test]
fn temporary_files_of_a_process_that_was_killed_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut proxy = Proxy::start(&upstream("files", folder.path()));
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    let first = files(folder.path(), 1).remove(0);
    let instance = parts(&first).1.split("(Postroom ").nth(1).unwrap().split(')').next().unwrap().to_owned();
    proxy.kill();
    let leftover = format!(".postroom-{instance}-0123456789abcdef-0.tmp");
    for name in [&leftover, ".postroom-other-0-0.tmp", "x.tmp"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    proxy.start_again();
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    files(folder.path(), 2);
    wait_until_empty(&proxy);
    let left = names(folder.path());
    assert!(!left.contains(&leftover) && left.len() == 4, "{left:?}");
}

/// Large content goes through in pieces.
#[test]
fn a_large_message_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&upstream("files", folder.path()));
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 3_000_000).starts_with("250"));
    let whole = text(&files(folder.path(), 1)[0]);
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n";
    assert!(whole.ends_with(&format!("\r\n\r\n{}", line.repeat(3_000_000 / line.len()))), "{}", whole.len());
}
