//! Memory of the running proxy under large messages and long queues (see [`super::memory`]).
//!
//! Of 200 messages that are received at once, the test lets 20 come to their end: 4 GiB would take minutes. With
//! `POSTROOM_TEST_WHOLE=1` all of them do.

use super::process::{MIB, assert_within};
use super::swallow::Swallow;
use crate::support::eventually;
use crate::support::proxy::{Launch, Proxy};
use crate::support::talk::Talk;
use bytes::Bytes;
use postroom::queue::redb::{Options, RedbQueue};
use postroom::queue::{MailStore, Queue};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

const LARGE_MESSAGES: u64 = 224 * MIB;
const LONG_QUEUE: u64 = 64 * MIB;

/// Messages at once.
const LARGE: usize = 200;
/// Those of them that are relayed while the test looks on.
const RELAYED: usize = 20;
/// MiB of each message, and those of them that each has sent before any goes on.
const WHOLE: usize = 20;
const AT_ONCE: usize = 3;
const MESSAGES: usize = 20_000;

// CASES D3
#[test]
fn two_hundred_large_messages_at_once_to_a_slow_upstream() {
    let folder = roomy();
    let upstream = Swallow::start(Duration::from_millis(2));
    let proxy =
        Proxy::start_with(&relay_to(&upstream), Launch::default().data_dir(&folder.path().join("data")));
    let whole = if std::env::var_os("POSTROOM_TEST_WHOLE").is_some() { LARGE } else { RELAYED };
    let line = "0123456789abcdef".repeat(4) + "\r\n";
    let piece = line.repeat((1 << 20) / line.len());
    let all_at_once = Barrier::new(LARGE);
    std::thread::scope(|scope| {
        for number in 0..LARGE {
            let (proxy, piece, all_at_once) = (&proxy, &piece, &all_at_once);
            scope.spawn(move || {
                let mut client = Talk::hello(proxy.address());
                client.envelope(&format!("r{number}@b.test")).unwrap();
                (0..AT_ONCE).for_each(|_| client.send(piece));
                all_at_once.wait();
                if number < whole {
                    (AT_ONCE..WHOLE).for_each(|_| client.send(piece));
                    client.send(".\r\n");
                    client.hear("250 2.0.0 queued as ");
                }
            });
        }
    });
    eventually("them to be relayed", || (upstream.taken() >= RELAYED).then_some(()));
    let what = format!("{LARGE} messages of {WHOLE} MiB at once, {whole} of them to their end");
    assert_within(&proxy, LARGE_MESSAGES, &what);
}

// CASES D3
#[test]
fn a_long_queue_is_listed_and_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    fill(&data.join("queue.redb"), MESSAGES);
    let upstream = Swallow::start(Duration::ZERO);
    let proxy = Proxy::start_with("[sending]\nenabled = false\n", Launch::default().data_dir(&data));
    let listed = proxy.cli(&["queue", "list", "--json"]);
    let ids: BTreeSet<&str> =
        listed.as_array().unwrap().iter().map(|message| message["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), MESSAGES);
    // A text that nobody has makes it look at every one.
    let none = proxy.get("/api/v1/messages?q=nobody-has-this").unwrap();
    assert!(none["messages"].as_array().unwrap().is_empty());
    assert_within(&proxy, LONG_QUEUE, &format!("{MESSAGES} messages listed whole"));

    proxy.configure(&relay_to(&upstream));
    proxy.command(&["reload"]);
    eventually("some to be relayed", || (upstream.taken() > 2_000).then_some(()));
    assert_within(&proxy, LONG_QUEUE, &format!("{MESSAGES} messages under delivery"));
}

fn relay_to(upstream: &Swallow) -> String {
    format!("[upstream.only]\nhost = \"{}\"\ntls = \"none\"\nconnection_limit = 20\n", upstream.address())
}

/// A folder in memory where there is plenty of it: what is measured is not the disk.
fn roomy() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |space| space.f_bavail * space.f_frsize);
    match free > 8 << 30 {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    }
    .expect("a temporary folder")
}

/// Queues that many small messages, without a proxy.
fn fill(file: &Path, messages: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = std::sync::Arc::new(postroom::clock::SystemClock::default());
        let queue = RedbQueue::open(file, Options::new(clock)).unwrap();
        for _ in 0..messages / 1_000 {
            let put = |_| {
                let message = crate::queue::message(&queue, &["r@b.test"], 1_000);
                queue.put(message, Bytes::from(vec![b'x'; 1_000]), Vec::new())
            };
            // All of them share one commit.
            for put in (0..1_000).map(put).collect::<Vec<_>>() {
                put.await.unwrap();
            }
        }
        queue.close().await.unwrap();
    });
}
