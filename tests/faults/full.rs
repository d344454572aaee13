//! A disk without room: what cannot be stored is refused, what was accepted stays, and work goes on by itself when there
//! is room again.

use super::disk::{SmallDisk, where_mounting_is_allowed};
use super::process::{Failing, can_trace};
use crate::support::eventually;
use crate::support::proxy::{Launch, Proxy};
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use std::collections::BTreeMap;

/// No floor under the free space: the queue itself has to find out.
const NO_FLOOR: &str = "[queue]\nmin_free_space = \"0\"\n";

/// A proxy whose data folder lies there.
pub fn on(disk: &SmallDisk, config: &str) -> Proxy {
    Proxy::start_with(config, Launch::default().data_dir(&disk.path().join("data")))
}

/// Sends mail of that size, one message after the other, until one is refused. Returns the refusal.
#[track_caller]
fn send_until_refused(client: &mut Talk, size: usize, acknowledged: &mut Vec<String>) -> String {
    loop {
        let recipient = format!("r{}@b.test", acknowledged.len());
        let reply = client.mail(&recipient, size);
        match reply.starts_with("250 2.0.0 queued as ") {
            true => acknowledged.push(recipient),
            false => return reply,
        }
    }
}

/// Every acknowledged recipient gets its message, once, and nobody else gets any.
#[track_caller]
fn assert_arrives(proxy: &Proxy, recorder: &Recorder, acknowledged: &[String]) {
    recorder.wait(acknowledged.len());
    wait_until_empty(proxy);
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for message in recorder.wait(0) {
        *times.entry(message.rcpt.concat()).or_default() += 1;
    }
    let expected = acknowledged.iter().map(|recipient| (format!("<{recipient}>"), 1)).collect();
    assert_eq!(times, expected);
}

/// Waits until the queue has nothing left.
#[track_caller]
pub fn wait_until_empty(proxy: &Proxy) {
    eventually("the queue to be empty", || {
        // For a moment, while its file is opened again, it cannot be listed.
        let listed = proxy.get("/api/v1/messages")?;
        listed["messages"].as_array().unwrap().is_empty().then_some(())
    });
}

/// Small messages and such as need chunks to be staged ahead.
// CASES E1
#[test]
fn what_does_not_fit_is_refused_and_the_rest_arrives_when_there_is_room_again() {
    where_mounting_is_allowed(|| {
        for size in [2_000, 400_000] {
            let disk = SmallDisk::of(16 * 1024);
            let recorder = Recorder::start();
            let proxy = on(&disk, NO_FLOOR);
            let mut client = Talk::hello(proxy.address());
            let mut acknowledged = vec!["r0@b.test".to_owned()];
            assert!(client.mail("r0@b.test", size).starts_with("250"));
            disk.fill_but(1_000_000);
            for _ in 0..3 {
                let refusal = send_until_refused(&mut client, size, &mut acknowledged);
                assert!(refusal.starts_with("452 4.3.1 ") || refusal.starts_with("451 4.3.0 "), "{refusal}");
            }
            assert!(proxy.http_status("/livez") == Some(200));
            // Looking goes on.
            let listed = proxy.cli(&["queue", "list", "--json"]);
            assert_eq!(listed.as_array().unwrap().len(), acknowledged.len());

            disk.empty();
            eventually("the proxy to be ready again", || {
                (proxy.http_status("/readyz") == Some(200)).then_some(())
            });
            // The same session, the same process.
            let late = "late@b.test".to_owned();
            assert!(client.mail(&late, size).starts_with("250"), "there is room");
            acknowledged.push(late);
            proxy.configure(&format!("{NO_FLOOR}{}", recorder.upstream("only")));
            proxy.command(&["reload"]);
            assert_arrives(&proxy, &recorder, &acknowledged);
            println!("{size} bytes each: {} acknowledged, all arrived", acknowledged.len());
        }
    });
}

/// Killed while the disk is full: with or without room again the start finds all that was acknowledged, or refuses
/// in words and leaves the file for the next one.
// CASES E1, E2
#[test]
fn killed_on_a_full_disk_it_opens_again_and_has_everything() {
    where_mounting_is_allowed(|| {
        for left in [0, 100_000, 3_000_000] {
            let disk = SmallDisk::of(16 * 1024);
            let mut proxy = on(&disk, NO_FLOOR);
            let mut client = Talk::hello(proxy.address());
            let mut acknowledged = vec!["r0@b.test".to_owned()];
            assert!(client.mail("r0@b.test", 50_000).starts_with("250"));
            disk.fill_but(left);
            // Each large one makes the file grow; small ones fill what is left.
            for size in [300_000, 2_000] {
                let refusal = send_until_refused(&mut client, size, &mut acknowledged);
                assert!(refusal.starts_with("45"), "{refusal}");
            }
            proxy.kill();
            proxy.launch_again();
            // It starts, whether it can write or not, or it ends and says why.
            eventually("a start or its refusal", || {
                (proxy.http_status("/livez") == Some(200) || proxy.has_ended()).then_some(())
            });
            match proxy.has_ended() {
                true => {
                    let (code, said) = proxy.refused();
                    assert_eq!(code, Some(1), "{said}");
                    assert!(said.contains("No space left on device"), "{said}");
                }
                false => proxy.kill(),
            }
            disk.empty();
            let recorder = Recorder::start();
            proxy.configure(&format!("{NO_FLOOR}{}", recorder.upstream("only")));
            proxy.start_again();
            assert_arrives(&proxy, &recorder, &acknowledged);
            println!("{left} bytes left: {} acknowledged, all arrived", acknowledged.len());
        }
    });
}

/// The upstream has taken it, and that cannot be written down: it is written down when there is room again, and
/// the message is not sent a second time.
// CASES E3
#[test]
fn an_outcome_that_finds_no_room_is_recorded_later_and_nothing_is_sent_again() {
    if !can_trace("faults::full::an_outcome_that_finds_no_room_is_recorded_later_and_nothing_is_sent_again") {
        return;
    }
    let recorder = Recorder::start();
    let proxy = Proxy::start(&recorder.upstream("only"));
    let hold = recorder.hold_final_replies();
    assert!(Talk::hello(proxy.address()).mail("r0@b.test", 500).starts_with("250"));
    recorder.wait(1);
    let no_room = no_room(&proxy);
    drop(hold);
    eventually("the proxy to notice", || (proxy.http_status("/readyz") == Some(503)).then_some(()));
    let refusal = Talk::hello(proxy.address()).mail("r1@b.test", 500);
    assert!(refusal.starts_with("452 4.3.1 "), "{refusal}");
    drop(no_room);
    wait_until_empty(&proxy);
    assert!(Talk::hello(proxy.address()).mail("r2@b.test", 500).starts_with("250"));
    assert_arrives(&proxy, &recorder, &["r0@b.test".to_owned(), "r2@b.test".to_owned()]);
}

/// The machine dies before there is room: one repeat, no loss.
// CASES E3
#[test]
fn killed_before_the_outcome_could_be_recorded_it_repeats_that_message_once() {
    if !can_trace("faults::full::killed_before_the_outcome_could_be_recorded_it_repeats_that_message_once") {
        return;
    }
    let recorder = Recorder::start();
    let mut proxy = Proxy::start(&recorder.upstream("only"));
    let hold = recorder.hold_final_replies();
    assert!(Talk::hello(proxy.address()).mail("r0@b.test", 500).starts_with("250"));
    recorder.wait(1);
    let no_room = no_room(&proxy);
    drop(hold);
    eventually("the proxy to notice", || (proxy.http_status("/readyz") == Some(503)).then_some(()));
    proxy.kill();
    drop(no_room);
    proxy.start_again();
    recorder.wait(2);
    wait_until_empty(&proxy);
    assert_eq!(recorder.wait(0).len(), 2, "the one repeat that cannot be avoided");
}

fn no_room(proxy: &Proxy) -> Failing {
    let faults = ["pwrite64:error=ENOSPC", "ftruncate:error=ENOSPC"];
    Failing::on(proxy.pid(), &proxy.data_dir().join("queue.redb"), &faults)
}
