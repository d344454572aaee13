//! What goes wrong, when: the same seed makes the same plan, though not the same moments.

use super::disk::Disk;
use super::house::{House, Start};
use super::ledger::Ledger;
use super::upstream::{FAULTS, Mood, Upstream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Makes trouble until it is calm.
pub struct Chaos<'a> {
    /// What is noted.
    pub ledger: &'a Ledger,
    /// No more trouble.
    pub calm: &'a AtomicBool,
}

impl Chaos<'_> {
    /// Well, then not, then well again; and at last well.
    pub fn of_an_upstream(&self, upstream: &Upstream, mut dice: fastrand::Rng) {
        while self.wait(dice.u64(1000..6000)) {
            upstream.turn(FAULTS[dice.usize(0..FAULTS.len())]);
            self.ledger.count("upstream faults");
            self.wait(dice.u64(300..3000));
            upstream.turn(Mood::Well);
        }
    }

    /// Fills up, to the last byte or nearly, and is emptied again.
    pub fn of_the_disk(&self, disk: &Disk, mut dice: fastrand::Rng) {
        while self.wait(dice.u64(3000..12_000)) {
            disk.fill([0, 0, 64 << 10, 400 << 10, 1 << 20][dice.usize(0..5)]);
            self.ledger.count("disk fills");
            self.wait(dice.u64(300..2500));
            disk.empty();
        }
    }

    /// One thing that happens to the proxy.
    pub fn of_the_house(&self, house: &mut House<'_>, dice: &mut fastrand::Rng) {
        std::thread::sleep(Duration::from_millis(dice.u64(200..4500)));
        let patient = house.event_log_is_due();
        match if patient { 20 } else { dice.u32(0..100) } {
            0..15 => {
                house.configure(dice);
                house.hang_up();
                self.ledger.count("reloads");
                return;
            }
            // Stopped by somebody who waits, or who does not wait long.
            15..25 => {
                let patience = if patient || dice.bool() {
                    Duration::from_secs(60)
                } else {
                    Duration::from_millis(dice.u64(0..1500))
                };
                if house.stop(patience) {
                    self.ledger.count("stops by SIGTERM");
                }
            }
            _ => house.kill(),
        }
        house.spawn();
        while dice.u32(0..10) == 0 {
            // Killed while it starts.
            std::thread::sleep(Duration::from_millis(dice.u64(0..80)));
            if let Some(process) = &mut house.process
                && process.try_wait().expect("a child of ours").is_none()
            {
                house.kill();
                self.ledger.count("kills during a start");
            }
            house.spawn();
        }
        self.wait_for_start(house);
    }

    /// Everything is well, and the proxy runs.
    pub fn bring_up(&self, house: &mut House<'_>) {
        if house.process.is_none() {
            house.spawn();
            self.wait_for_start(house);
        }
    }

    /// A start fails where the disk is full, and only there: soon it is not.
    fn wait_for_start(&self, house: &mut House<'_>) {
        let start = Instant::now();
        while let Start::Ended(status) = house.wait_until_up() {
            self.ledger.count("starts given up for want of room");
            let ballast = house.data_dir().join("ballast");
            let patience = Duration::from_secs(if ballast.exists() { 120 } else { 60 });
            assert!(start.elapsed() < patience, "{status}; see {}", house.log_file().display());
            std::thread::sleep(Duration::from_millis(200));
            house.spawn();
        }
    }

    /// True: go on making trouble.
    fn wait(&self, milliseconds: u64) -> bool {
        let start = Instant::now();
        while !self.calm.load(Ordering::Relaxed) {
            if start.elapsed() >= Duration::from_millis(milliseconds) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}
