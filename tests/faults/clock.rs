//! The wall clock is set while the proxy runs: six days forward and one back with mail
//! queued. Nothing expires, nothing is tried before its time, and mail goes on. The days of retries themselves pass in
//! `tests/deliver/engine.rs`, on a clock that is moved.
//!
//! libfaketime sets the clock of that one process; the monotonic clock goes on as it does when somebody sets a real one.

use crate::support::eventually;
use crate::support::not_proved_here;
use crate::support::proxy::{Launch, Proxy};
use crate::support::scripted::Scripted;
use crate::support::talk::Talk;
use postroom::clock::{Clock, SystemClock};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const DAY: i64 = 86_400;
const QUEUED: usize = 30;

#[test]
fn a_clock_that_is_set_while_mail_waits_expires_nothing_and_starts_no_storm() {
    let Some(library) = libfaketime() else {
        return not_proved_here(
            "faults::clock",
            "libfaketime is not installed (Debian: faketime); tests/deliver proves it in process",
        );
    };
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    set(&offset, 0);
    let launch = faked(&library, &offset);
    let upstream = Scripted::start(|script| script.on("RCPT", "451 4.2.0 later"));
    // Retries are an hour apart, so a second attempt is one too many.
    let config = format!(
        "[queue]\nretry = [\"1h\"]\nexpire_after = \"5d\"\n[upstream.only]\nhost = \"127.0.0.1:{}\"\n\
         tls = \"none\"\n",
        upstream.port()
    );
    let mut proxy = Proxy::start_with(&config, launch);
    for number in 0..QUEUED {
        accepted(&proxy, &format!("r{number}@b.test"));
    }
    let mut expected = QUEUED;
    wait_until_deferred(&proxy, expected);
    let real = SystemClock::default().wall().as_second();
    for (number, days) in [6, -1, 6, 0, 400].into_iter().enumerate() {
        set(&offset, days * DAY);
        // What comes after the clock was set is attempted after everything that the clock might have made due.
        accepted(&proxy, &format!("after{number}@b.test"));
        expected += 1;
        wait_until_deferred(&proxy, expected);
        let events = proxy.cli(&["events", "--json"]);
        let newest = events.as_array().unwrap().last().unwrap()["time"].as_str().unwrap().to_owned();
        let seen: jiff::Timestamp = newest.parse().unwrap();
        let off = seen.as_second() - real - days * DAY;
        assert!((0..600).contains(&off), "its clock was not set: {newest}");
    }
    // The same over a restart, in a year's time: what is too old would go at its start.
    proxy.kill();
    proxy.start_again();
    accepted(&proxy, "restart@b.test");
    expected += 1;
    wait_until_deferred(&proxy, expected);
    let mut attempts = BTreeMap::<String, usize>::new();
    for command in upstream.sessions().iter().flat_map(|session| &session.commands) {
        if let Some(recipient) = command.strip_prefix("RCPT TO:") {
            *attempts.entry(recipient.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(attempts.len(), expected);
    assert!(attempts.values().all(|count| *count == 1), "{attempts:?}");
}

/// All of it was removed for good, within a minute.
#[test]
fn a_clock_that_is_set_forward_removes_no_failed_mail() {
    let Some(library) = libfaketime() else {
        return not_proved_here("faults::clock", "libfaketime is not installed (Debian: faketime)");
    };
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    set(&offset, 0);
    let upstream = Scripted::start(|script| script.on("RCPT", "550 5.1.1 nobody"));
    let config = |days: u32| {
        let port = upstream.port();
        format!(
            "[queue]\nfailed_days = {days}\nbounce = \"none\"\n[upstream.only]\nhost = \"127.0.0.1:{port}\"\ntls = \"none\"\n"
        )
    };
    let proxy = Proxy::start_with(&config(30), faked(&library, &offset));
    let failed = |count: u64| {
        eventually("failed mail", || (proxy.get("/api/v1/stats")?["failed"] == count).then_some(()));
    };
    accepted(&proxy, "one@b.test");
    failed(1);
    set(&offset, 400 * DAY);
    // A reload with another `failed_days` looks at its age at once.
    proxy.configure(&config(29));
    proxy.command(&["reload"]);
    accepted(&proxy, "two@b.test");
    failed(2);
    proxy.configure(&config(0));
    proxy.command(&["reload"]);
    failed(0);
}

fn faked(library: &Path, offset: &Path) -> Launch {
    Launch::default()
        .variable("LD_PRELOAD", library.to_str().unwrap())
        .variable("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap())
        .variable("FAKETIME_NO_CACHE", "1")
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// The library that the package `faketime` brings.
fn libfaketime() -> Option<PathBuf> {
    let mut folders = vec![PathBuf::from("/usr/lib/faketime"), PathBuf::from("/usr/lib64/faketime")];
    folders.extend(std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path().join("faketime")));
    folders.into_iter().map(|folder| folder.join("libfaketimeMT.so.1")).find(|path| path.is_file())
}

/// Moves the clock that far from the real one. At once: a file that is half written would be read, too.
fn set(offset: &Path, seconds: i64) {
    let new = offset.with_extension("new");
    std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
    std::fs::rename(new, offset).unwrap();
}

#[track_caller]
fn accepted(proxy: &Proxy, recipient: &str) {
    let reply = Talk::hello(proxy.address()).mail(recipient, 500);
    assert!(reply.starts_with("250"), "{reply}");
}

/// All of them were attempted once, and wait.
#[track_caller]
fn wait_until_deferred(proxy: &Proxy, count: usize) {
    eventually("all mail to have been attempted", || {
        let listed = proxy.get("/api/v1/messages?limit=1000")?;
        let messages = listed["messages"].as_array()?;
        for message in messages {
            let state = message["state"].as_str()?;
            assert!(["queued", "deferred"].contains(&state), "{message}");
            assert!(message["attempts"].as_u64()? <= 1, "{message}");
        }
        (messages.iter().filter(|message| message["state"] == "deferred").count() == count).then_some(())
    });
}
