//! Proved under fault: numbered messages at full speed through the built binary, while it is killed and stopped and
//! its configuration changed, its upstreams fail and its disk fills; then the ledger is judged (`judgement.rs`).
//!
//! Runs in the suite until it has seen enough kills and messages. `scripts/soak` runs the release binary for as long
//! as it is told, through these variables: `SOAK_BINARY`, `SOAK_MINUTES`, `SOAK_SEED`.

mod chaos;
mod client;
mod disk;
mod event_log;
mod figures;
mod house;
mod judgement;
mod ledger;
mod letter;
mod upstream;
mod webhook;

use chaos::Chaos;
use client::Sender;
use disk::Disk;
use figures::Figures;
use house::{House, Start};
use ledger::Ledger;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use upstream::Upstream;
use webhook::EventReceiver;

/// What the run in the suite has seen at least.
const KILLS: usize = 30;
const ACKNOWLEDGED: u64 = 50_000;
const SHORTEST: Duration = Duration::from_secs(120);
/// When a run in the suite that has not seen it has failed: ten times what it needs on two idle cores.
const LONGEST: Duration = Duration::from_secs(20 * 60);
/// Own clients.
const CLIENTS: usize = 6;
/// The disk's size in MiB: room for events and for a full queue.
const DISK: u32 = 2048;
/// How long the queue may stand still at the end, all faults gone: longer than a circuit stays open.
const STANDSTILL: Duration = Duration::from_secs(180);

// CASES D7
#[test]
fn nothing_acknowledged_is_lost_and_nothing_doubled_without_a_reason() {
    if disk::reborn("soak::nothing_acknowledged_is_lost_and_nothing_doubled_without_a_reason") {
        return;
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let minutes = variable("SOAK_MINUTES").map(|minutes| minutes.parse::<u64>().expect("SOAK_MINUTES"));
    let seed = variable("SOAK_SEED").map(|seed| seed.parse().expect("SOAK_SEED"));
    let binary = variable("SOAK_BINARY").unwrap_or_else(|| crate::support::proxy::BINARY.to_owned());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("soak: seed {seed}, {}", if minutes.is_some() { "long run" } else { "run of the suite" });
    let figures = soak(PathBuf::from(binary), minutes.map(|minutes| Duration::from_secs(60 * minutes)), seed);
    println!("{figures}");
}

fn soak(binary: PathBuf, length: Option<Duration>, seed: u64) -> Figures {
    let mut dice = fastrand::Rng::with_seed(seed);
    // Kept where the run fails.
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    println!("soak: in {}", folder.display());
    let ledger = Arc::new(Ledger::default());
    let upstreams = ["first", "second"].map(|name| Upstream::start(name, lasting().0, Arc::clone(&ledger)));
    let disk = Disk::mount(&folder.join("data"), DISK);
    let mut house = House {
        folder: folder.clone(),
        address: lasting().1,
        binary,
        ledger: &ledger,
        upstreams: upstreams.clone(),
        receiver: EventReceiver::start(lasting().0, dice.fork()),
        process: None,
        event_log: Default::default(),
        event_log_read: Instant::now(),
    };
    house.configure(&mut dice, chaos::SITE);
    house.spawn();
    assert_eq!(house.wait_until_up(), Start::Up, "see {}", house.log_file().display());

    let start = Instant::now();
    let (calm, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut longest_silence = Duration::ZERO;
    let sender = &Sender { server: house.address, ledger: &ledger, stop: &stop };
    let chaos = &Chaos { ledger: &ledger, calm: &calm };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let dice = dice.fork();
            scope.spawn(move || sender.send(dice));
        }
        scope.spawn(move || sender.burst());
        let mut troubles = Vec::new();
        for upstream in &upstreams {
            let dice = dice.fork();
            troubles.push(scope.spawn(move || chaos.of_an_upstream(upstream, dice)));
        }
        if let Some(disk) = &disk {
            let dice = dice.fork();
            troubles.push(scope.spawn(move || chaos.of_the_disk(disk, dice)));
        }
        // Whatever panics: everybody comes home.
        let _home = Home([&calm, &stop]);
        let (mut last, mut last_change) = (0, Instant::now());
        while !enough(start.elapsed(), length, &ledger) {
            chaos.of_the_house(&mut house, &mut dice);
            if ledger.acknowledged() != last {
                longest_silence = longest_silence.max(last_change.elapsed());
                (last, last_change) = (ledger.acknowledged(), Instant::now());
            }
        }
        calm.store(true, Ordering::Relaxed);
        for trouble in troubles {
            trouble.join().expect("a fault that is no mistake of its maker");
        }
        chaos.bring_up(&mut house, &mut dice);
        stop.store(true, Ordering::Relaxed);
    });
    let busy = start.elapsed();
    drain(&house);
    if !house.stop(Duration::from_secs(60)) {
        ledger.wrong("at the end it did not stop well".to_owned());
    }
    let mut counters = ledger.counters();
    let kills = ledger.kills();
    let mut found = judgement::judge(ledger.take(), &house.event_log);
    let (requests, told, wrong) = house.receiver.judge(&house.event_log);
    found.wrong.extend(wrong);
    counters.insert("requests of webhooks", requests);
    counters.insert("events that webhooks were told of", told as u64);
    let figures = Figures { seed, found, counters, kills, busy, longest_silence, small_disk: disk.is_some() };
    let log = house.log_file();
    if !figures.found.wrong.is_empty() {
        // The disk goes away; what somebody will want to look at stays.
        let _ = std::fs::copy(house.data_dir().join("queue.redb"), folder.join("queue.redb"));
    }
    assert!(figures.found.wrong.is_empty(), "{figures}\nseed {seed}, the log is {}", log.display());
    drop(disk);
    drop(house);
    let _ = std::fs::remove_dir_all(folder);
    figures
}

fn enough(elapsed: Duration, length: Option<Duration>, ledger: &Ledger) -> bool {
    if let Some(length) = length {
        return elapsed >= length;
    }
    assert!(
        elapsed < LONGEST,
        "in {elapsed:?} only {} messages and {} kills",
        ledger.acknowledged(),
        ledger.kills()
    );
    elapsed >= SHORTEST && ledger.kills() >= KILLS && ledger.acknowledged() >= ACKNOWLEDGED
}

/// An address that stays ours while nobody listens on it: below the ports that the system gives to clients, one of
/// which could otherwise be given it, or even be connected with itself.
fn lasting() -> (TcpListener, SocketAddr) {
    loop {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", fastrand::u16(15_000..32_000))) {
            let address = listener.local_addr().expect("the address just bound");
            return (listener, address);
        }
    }
}

/// Waits until everything is delivered or has failed.
fn drain(house: &House<'_>) {
    let (mut last, mut last_change) = (None, Instant::now());
    loop {
        let stats = house.stats();
        if let Some((0, damaged)) = stats {
            return assert_eq!(damaged, 0, "messages damaged; see {}", house.log_file().display());
        }
        if stats != last {
            (last, last_change) = (stats, Instant::now());
        }
        house.release_all();
        assert!(last_change.elapsed() < STANDSTILL, "{stats:?} left; see {}", house.log_file().display());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Tells all threads to end when it is dropped, so that a panic is not waited for in vain.
struct Home<'a>([&'a AtomicBool; 2]);

impl Drop for Home<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
    }
}
