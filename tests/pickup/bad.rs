//! Files that are no messages, or not yet, or cannot be removed.

use super::{OFF, events, file, messages, pickup, queued, rename_in, wait_until_gone};
use crate::deliver::pickup_folder::names;
use crate::faults::disk::{SmallDisk, where_mounting_is_allowed};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// What the file beside it says, once it lies in badmail.
#[track_caller]
fn reason(folder: &Path, name: &OsStr) -> String {
    let bad = folder.join("badmail");
    let beside = [name.as_bytes(), b".txt"].concat();
    eventually("the file in badmail", || {
        bad.join(name).symlink_metadata().ok()?;
        std::fs::read_to_string(bad.join(OsStr::from_bytes(&beside))).ok()
    })
}

// CASES A24
#[test]
fn what_is_no_message_goes_to_badmail_with_the_reason() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    let limits = "[limits]\nmessage_size = \"10KiB\"\nrecipients = 100\n";
    let proxy = Proxy::start(&(pickup("web1", &folder) + OFF + limits));
    let many: Vec<String> = (0..101).map(|number| format!("r{number}@b.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (name, content, words) in [
        (&b"no-recipient.eml"[..], "From: a@a.test\r\n\r\nx\r\n".to_owned(), "no recipient"),
        (b"no-sender.eml", "To: b@b.test\r\n\r\nx\r\n".to_owned(), "no sender"),
        (b"no-header.eml", "just a text\r\n".to_owned(), "no recipient"),
        (b"no-address.eml", file(&["b@b.test", "not an address"], "\r\nx\r\n"), "not an address"),
        (b"large.eml", file(&["b@b.test"], &"0123456789abcde\r\n".repeat(1000)), "limits.message_size"),
        (b"huge.eml", file(&["b@b.test"], &"0123456789abcde\r\n".repeat(100_000)), "limits.message_size"),
        (b"many.eml", file(&many, "\r\nx\r\n"), "limits.recipients"),
        (b"nul.eml", file(&["b@b.test"], "\r\n\0\r\n"), "NUL"),
        (b"name-\xff\xfe\n.eml", "x".to_owned(), "no recipient"),
    ] {
        std::fs::write(folder.join(OsStr::from_bytes(name)), &content).unwrap();
        let why = reason(&folder, OsStr::from_bytes(name));
        assert!(why.contains(words), "{}: {why}", String::from_utf8_lossy(name));
        let moved = std::fs::read(folder.join("badmail").join(OsStr::from_bytes(name))).unwrap();
        assert!(moved == content.as_bytes(), "it is as it was");
    }
    // A second one of that name.
    std::fs::write(folder.join("nul.eml"), file(&["b@b.test"], "\r\n\0\r\n")).unwrap();
    reason(&folder, OsStr::new("nul.eml.1"));
    assert!(messages(&proxy).is_empty());
    // Those of one minute are one event, and another at the end.
    assert_eq!(events(&proxy, "REFUSED").len(), 1, "{:?}", events(&proxy, "REFUSED"));
    assert_eq!(names(&folder), ["badmail"]);
    // In any encoding, a good one is good.
    let name = OsStr::from_bytes(b"good-\xff.eml");
    rename_in(&folder, name, file(&["b@b.test"], "\r\nx\r\n").as_bytes());
    queued(&proxy, 1);
    wait_until_gone(&folder.join(name));
}

/// A link would have the proxy read what its user may read, and whoever dropped it may not.
// CASES A25
#[test]
fn links_and_pipes_are_moved_aside_and_never_read() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    let secret = place.path().join("secret");
    std::fs::write(&secret, file(&["thief@b.test"], "\r\nthe secret\r\n")).unwrap();
    let proxy = Proxy::start(&(pickup("web1", &folder) + OFF));
    std::os::unix::fs::symlink(&secret, place.path().join("link")).unwrap();
    std::fs::rename(place.path().join("link"), folder.join("link.eml")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("pipe.eml"), mode).unwrap();
    std::fs::hard_link(&secret, folder.join("hard.eml")).unwrap();
    // A folder of that name is somebody's folder.
    std::fs::create_dir(folder.join("folder.eml")).unwrap();
    for (name, words) in [("link.eml", "link"), ("pipe.eml", "no regular file"), ("hard.eml", "hard links")] {
        let why = reason(&folder, OsStr::new(name));
        assert!(why.contains(words), "{name}: {why}");
    }
    assert!(messages(&proxy).is_empty() && secret.exists());
    assert!(folder.join("badmail/link.eml").symlink_metadata().unwrap().is_symlink());
    assert_eq!(names(&folder), ["badmail", "folder.eml"]);
    // Whoever may write there may try to lead the proxy elsewhere with badmail itself.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::remove_dir_all(folder.join("badmail")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), folder.join("badmail")).unwrap();
    std::fs::write(folder.join("bad.eml"), "x").unwrap();
    proxy.wait_until_said("nor moved to badmail");
    assert!(names(elsewhere.path()).is_empty() && folder.join("bad.eml").exists());
}

/// A writer that rests for less than ten seconds at a time, and closes at last; hidden and other files are left alone.
// CASES A26
#[test]
fn a_half_written_file_is_not_taken_before_its_writer_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&(pickup("web1", folder.path()) + OFF));
    for name in ["other.txt", ".hidden.eml", "a.eml.tmp"] {
        std::fs::write(folder.path().join(name), file(&["no@b.test"], "\r\nx\r\n")).unwrap();
    }
    let mut slow = std::fs::File::create(folder.path().join("slow.eml")).unwrap();
    slow.write_all(file(&["ann@b.test"], "Subject: s\r\n\r\n").as_bytes()).unwrap();
    for _ in 0..6 {
        std::thread::sleep(Duration::from_secs(2));
        assert!(messages(&proxy).is_empty(), "half a message was taken");
        slow.write_all(b"a line\r\n").unwrap();
    }
    drop(slow);
    let message = queued(&proxy, 1).remove(0);
    let whole = proxy.command(&["queue", "export", message["id"].as_str().unwrap()]).stdout;
    assert_eq!(String::from_utf8(whole).unwrap(), format!("Subject: s\r\n\r\n{}", "a line\r\n".repeat(6)));
    eventually("it to be gone", || (names(folder.path()).len() == 3).then_some(()));
}

/// Their writers take them away again at any moment: each is a message once, or none.
#[test]
fn files_that_vanish_are_no_trouble() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    let proxy = Proxy::start(&(pickup("web1", &folder) + OFF));
    for number in 0..300 {
        let path = folder.join(format!("{number}.eml"));
        rename_in(&folder, path.file_name().unwrap(), file(&["b@b.test"], "\r\nx\r\n").as_bytes());
        if number % 3 > 0 {
            std::thread::sleep(Duration::from_micros(200 * (number % 7)));
            let _ = std::fs::remove_file(&path);
        }
    }
    eventually("the folder to be empty", || names(&folder).is_empty().then_some(()));
    let stored = messages(&proxy).len();
    assert!((100..=300).contains(&stored), "{stored}");
    assert!(events(&proxy, "REFUSED").is_empty() && events(&proxy, "STORAGE").is_empty());
    assert_eq!(proxy.get("/readyz").unwrap()["pickups"], serde_json::json!({}));
}

/// Stored once, said once: not again in the next round, nor after a restart; removed as soon as that can be done.
// CASES E16
#[test]
fn a_file_that_cannot_be_removed_is_stored_once_and_told_once() {
    where_mounting_is_allowed(|| {
        let disk = SmallDisk::of(256);
        for name in ["a.eml", "b.eml"] {
            std::fs::write(disk.path().join(name), file(&["ann@b.test"], "\r\nx\r\n")).unwrap();
        }
        assert!(disk.read_only(true));
        let mut proxy = Proxy::start(&(pickup("web1", disk.path()) + OFF));
        queued(&proxy, 2);
        let told = eventually("it to be told", || events(&proxy, "STORAGE").pop());
        assert!(told.contains(".eml is stored and cannot be removed: Read-only"), "{told}");
        assert!(told.contains("(and 1 more)"), "{told}");
        // Two rounds more, then a restart and two rounds.
        std::thread::sleep(Duration::from_secs(11));
        assert!(proxy.terminate().success());
        proxy.start_again();
        std::thread::sleep(Duration::from_secs(16));
        assert_eq!((messages(&proxy).len(), events(&proxy, "STORAGE").len()), (2, 1));
        // Other rights change its times, and it is the same file.
        assert!(disk.read_only(false));
        eventually("the folder to be empty", || names(disk.path()).is_empty().then_some(()));
        assert_eq!(messages(&proxy).len(), 2);
    });
}

/// A full queue leaves the files where they are; that is told once, by `ready` too.
// CASES E17
#[test]
fn what_cannot_be_stored_now_stays_and_is_taken_later() {
    let folder = tempfile::tempdir().unwrap();
    let full = "[queue]\nmax_messages = 1\n";
    let proxy = Proxy::start(&(pickup("web1", folder.path()) + OFF + full));
    for name in ["a.eml", "b.eml"] {
        std::fs::write(folder.path().join(name), file(&["ann@b.test"], "\r\nx\r\n")).unwrap();
    }
    let trouble = eventually("the trouble", || {
        proxy.get("/readyz").and_then(|ready| Some(ready["pickups"]["web1"].as_str()?.to_owned()))
    });
    assert!(trouble.contains("queue.max_messages"), "{trouble}");
    assert!(folder.path().join("b.eml").exists());
    let said = proxy.command(&["ready"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("pickup.web1: files stay there"), "{said:?}");
    proxy.command(&["queue", "delete", "--all", "--yes"]);
    wait_until_gone(&folder.path().join("b.eml"));
    eventually("the end of it to be told", || {
        events(&proxy, "STORAGE").iter().any(|text| text.contains("again")).then_some(())
    });
    assert_eq!(events(&proxy, "STORAGE").len(), 2, "{:?}", events(&proxy, "STORAGE"));
}
