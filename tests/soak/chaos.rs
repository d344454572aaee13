//! What goes wrong, when: the same seed makes the same plan, though not the same moments.

use super::disk::Disk;
use super::house::{House, Start};
use super::ledger::Ledger;
use super::letter::REPORT;
use super::upstream::{FAULTS, Mood, Upstream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// All senders belong to it.
pub const SITE: &str = "[site.soak]\nsenders = [\"@client.test\"]\n";

/// Something under which mail does not go where it is addressed: of all mail, or of the site alone; or the site is gone.
fn modes(dice: &mut fastrand::Rng) -> String {
    let (site, of) = match dice.u8(0..5) {
        0 => return String::new(),
        1 | 2 => (SITE, ""),
        _ => (SITE, "site.soak."),
    };
    let enabled = |table: &str| format!("{site}[{of}{table}]\nenabled = true\n");
    match dice.u8(0..6) {
        0 => format!("{site}[{of}sending]\nenabled = false\n"),
        1 => enabled("simulate"),
        2 => enabled("debug") + "failure_rate = 0.05\n",
        // Nobody to report to.
        3 => enabled("redirect"),
        _ => enabled("redirect") + &format!("report_emails = [\"{REPORT}\"]\n"),
    }
}

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
        house.release_all();
        house.delete_failed();
        match if patient { 20 } else { dice.u32(0..100) } {
            0..10 => return self.reload(house, dice, SITE),
            10..20 => return self.switch_modes(house, dice),
            // Stopped by somebody who waits, or who does not wait long.
            20..30 => {
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
        self.start_again(house, dice);
    }

    fn reload(&self, house: &House<'_>, dice: &mut fastrand::Rng, modes: &str) {
        house.configure(dice, modes);
        house.hang_up();
        self.ledger.count("reloads");
    }

    /// For a while mail does not go where it is addressed; the process may be killed meanwhile.
    fn switch_modes(&self, house: &mut House<'_>, dice: &mut fastrand::Rng) {
        for _ in 0..dice.usize(1..4) {
            let modes = modes(dice);
            self.reload(house, dice, &modes);
            self.ledger.count("modes, sending or sites switched");
            std::thread::sleep(Duration::from_millis(dice.u64(100..2000)));
            if dice.u8(0..4) == 0 {
                house.kill();
                self.ledger.count("kills under a mode");
                self.start_again(house, dice);
            }
        }
        self.reload(house, dice, SITE);
    }

    fn start_again(&self, house: &mut House<'_>, dice: &mut fastrand::Rng) {
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

    /// Everything is well, no mode applies, and the proxy runs.
    pub fn bring_up(&self, house: &mut House<'_>, dice: &mut fastrand::Rng) {
        house.configure(dice, SITE);
        if house.process.is_some() {
            house.hang_up();
        }
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
