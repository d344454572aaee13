//! A queue that has filled its disk down to `min_free_space` and was drained takes mail again: what the mail has left
//! inside the queue file counts. Once it refused for ever, after a restart too.

use super::disk::{SmallDisk, where_mounting_is_allowed};
use super::full::{on, wait_until_empty};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use std::collections::BTreeMap;
use std::net::SocketAddr;

const MIB: u64 = 1024 * 1024;
const DISK: u64 = 96 * MIB;
const FLOOR: u64 = 32 * MIB;
const CONFIG: &str = "[queue]\nmin_free_space = \"32MiB\"\n";
/// Many at the same time, so that what one is promised is not promised to another.
const CLIENTS: usize = 8;

/// Sends mail of these sizes in turns, from several clients, until none is taken any more. Returns who got a
/// 250, and for how many bytes.
fn fill(server: SocketAddr, round: usize, sizes: &[usize]) -> BTreeMap<String, usize> {
    let client = |number: usize| {
        let mut client = Talk::hello(server);
        let (mut acknowledged, mut refused) = (Vec::new(), 0);
        for (message, size) in sizes.iter().cycle().enumerate() {
            let recipient = format!("r{round}-{number}-{message}@b.test");
            let reply = client.mail(&recipient, *size);
            if reply.starts_with("250") {
                acknowledged.push((format!("<{recipient}>"), *size));
                refused = 0;
                continue;
            }
            assert!(reply.starts_with("452 4.3.1 ") && reply.contains("min_free_space"), "{reply}");
            client.say("RSET", "250");
            refused += 1;
            if refused == sizes.len() {
                break;
            }
        }
        acknowledged
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    })
}

/// Everything that was acknowledged arrives, once, and nothing else; the queue is empty then.
fn drain(proxy: &Proxy, acknowledged: &BTreeMap<String, usize>) {
    let recorder = Recorder::start();
    proxy.configure(&format!("{CONFIG}{}", recorder.upstream("only")));
    proxy.command(&["reload"]);
    let arrived = recorder.wait(acknowledged.len());
    wait_until_empty(proxy);
    assert_eq!(arrived.len(), acknowledged.len(), "each once");
    assert!(arrived.iter().all(|one| acknowledged.contains_key(&one.rcpt.concat())), "no other, none lost");
    proxy.configure(CONFIG);
    proxy.command(&["reload"]);
}

fn low_disk(proxy: &Proxy) -> Vec<String> {
    let events = proxy.cli(&["events", "list", "--limit", "100000", "--json"]);
    let low = events.as_array().unwrap().iter().filter(|event| event["code"] == "LOW_DISK");
    low.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// `least`: bytes that are free on the disk, however full the queue is.
fn fill_and_drain(sizes: &[usize], rounds: usize, least: u64) {
    let disk = SmallDisk::of(DISK / 1024);
    let mut proxy = on(&disk, CONFIG);
    for round in 1..=rounds {
        let mut acknowledged = fill(proxy.address(), round, sizes);
        let taken = acknowledged.values().sum::<usize>() as u64;
        let free = disk.free();
        println!("round {round}: {} messages, {taken} bytes taken, {free} free", acknowledged.len());
        assert!(free >= least, "{free} bytes are free");
        assert!(taken > (DISK - FLOOR) / 3 * 2, "only {taken} bytes were taken");
        if round % 2 == 0 {
            // Started again while it is full.
            proxy.terminate();
            proxy.start_again();
            let more = fill(proxy.address(), round + 100, sizes);
            assert!(disk.free() >= least, "{} bytes are free", disk.free());
            acknowledged.extend(more);
        }
        drain(&proxy, &acknowledged);
        if round % 3 == 0 {
            proxy.terminate();
            proxy.start_again();
        }
        assert!(Talk::hello(proxy.address()).mail(&format!("early{round}@b.test"), 1_000).starts_with("250"));
        drain(&proxy, &BTreeMap::from([(format!("<early{round}@b.test>"), 1_000)]));
    }
    let low = low_disk(&proxy);
    println!("{low:?}");
}

/// What a commit writes beside the mail itself may take some pages of the floor, nothing more.
// CASES H5, E6, E1
#[test]
fn a_queue_that_filled_the_disk_and_was_drained_takes_mail_again() {
    where_mounting_is_allowed(|| fill_and_drain(&[30_000], 4, FLOOR - MIB));
}

/// Pages that mail of all sizes has left may be too scattered for the next large message: then the file grows, at the
/// most by half of what is to be kept free.
// CASES H5, E6
#[test]
fn so_it_does_with_large_messages_and_small_ones_among_them() {
    where_mounting_is_allowed(|| fill_and_drain(&[3_000_000, 700, 150_000, 4_200, 20_000], 6, FLOOR / 2));
}

/// The room is that of the disk where the queue file is, wherever data_dir may be; a start without it says so at once.
// CASES E6
#[test]
fn a_start_below_min_free_space_says_so_at_once_and_looks_at_the_disk_of_the_queue() {
    where_mounting_is_allowed(|| {
        let disk = SmallDisk::of(DISK / 1024);
        let config = format!("{CONFIG}path = {:?}\n", disk.path().join("elsewhere.redb"));
        let mut proxy = Proxy::start(&config);
        assert!(low_disk(&proxy).is_empty());
        proxy.terminate();
        disk.fill_but(FLOOR / 2);
        proxy.start_again();
        proxy.wait_until_said("elsewhere.redb, and min_free_space keeps 33554432 free: no mail is accepted");
        assert_eq!(low_disk(&proxy), ["Warning"]);
        let refusal = Talk::hello(proxy.address()).mail("r@b.test", 1_000);
        assert!(refusal.starts_with("452 4.3.1 ") && refusal.contains("min_free_space"), "{refusal}");
        // Nobody sends mail; it is noticed all the same.
        disk.empty();
        eventually("the end of the episode", || (low_disk(&proxy).len() > 1).then_some(()));
        assert_eq!(low_disk(&proxy), ["Warning", "Information"]);
        assert!(Talk::hello(proxy.address()).mail("r@b.test", 1_000).starts_with("250"));
    });
}
