//! The ledger: what clients offered and were told, what upstreams took, when the proxy was ended. Judged at the end by
//! `judgement.rs`.

use postroom::mail::QueueId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a client knows of one numbered message. A message may be offered again until it is acknowledged.
#[derive(Clone, Default, Debug)]
pub struct Offered {
    /// 250 to the end of the content was read: the queue id that it named, where the client looks at it.
    pub acknowledged: Option<Option<QueueId>>,
    /// How often the connection was lost before the reply: it may have been taken or not.
    pub unknown: u32,
    /// How often the answer was no.
    pub refused: u32,
}

/// One message that an upstream read to its end.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "which upstream it was is shown where something is wrong")]
pub struct Arrival {
    /// Its number, or that of the message that it tells of.
    pub number: u64,
    /// From the `Received` field.
    pub queue_id: QueueId,
    /// It is a notice: the id of the message that it tells of.
    pub about: Option<QueueId>,
    /// When 354 was said: the process that sent it was alive then. What it sent may be read after its end.
    pub begun: Instant,
    /// When its last byte was read.
    pub at: Instant,
    /// When 250 had been written; none where the upstream failed before.
    pub replied: Option<Instant>,
    /// It was for the report address.
    pub is_copy: bool,
    /// Which upstream.
    pub upstream: &'static str,
}

/// How the proxy's process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// SIGKILL.
    Kill,
    /// SIGTERM, and time enough.
    Stop,
}

/// Everything that is noted, from all threads.
#[derive(Default)]
pub struct Ledger {
    next: AtomicU64,
    offered: Mutex<BTreeMap<u64, Offered>>,
    arrivals: Mutex<Vec<Arrival>>,
    ends: Mutex<Vec<(Instant, End)>>,
    wrong: Mutex<Vec<String>>,
    counters: Mutex<BTreeMap<&'static str, u64>>,
    acknowledged: AtomicU64,
}

impl Ledger {
    /// That many numbers in a row that nobody has used.
    pub fn numbers(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Ordering::Relaxed)
    }

    /// Notes what a client was told.
    pub fn offer(&self, number: u64, note: impl FnOnce(&mut Offered)) {
        let mut offered = lock(&self.offered);
        let entry = offered.entry(number).or_default();
        let before = entry.acknowledged.is_some();
        note(entry);
        if !before && entry.acknowledged.is_some() {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that a message was read to its end; the result is for [`Ledger::replied`].
    pub fn arrive(&self, arrival: Arrival) -> usize {
        let mut arrivals = lock(&self.arrivals);
        arrivals.push(arrival);
        arrivals.len() - 1
    }

    /// Notes that the upstream's 250 was written.
    pub fn replied(&self, place: usize) {
        lock(&self.arrivals)[place].replied = Some(Instant::now());
    }

    /// Notes that the process was ended.
    pub fn end(&self, how: End) {
        lock(&self.ends).push((Instant::now(), how));
    }

    /// Notes what may never be: the run fails.
    pub fn wrong(&self, what: String) {
        lock(&self.wrong).push(what);
    }

    /// Counts something for the figures.
    pub fn count(&self, what: &'static str) {
        *lock(&self.counters).entry(what).or_default() += 1;
    }

    /// How many messages were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// How often the process was killed so far.
    pub fn kills(&self) -> usize {
        lock(&self.ends).iter().filter(|(_, how)| *how == End::Kill).count()
    }

    /// What was counted.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.counters).clone()
    }

    /// Everything, for the judgement.
    pub fn take(&self) -> Book {
        Book {
            offered: std::mem::take(&mut *lock(&self.offered)),
            arrivals: std::mem::take(&mut *lock(&self.arrivals)),
            ends: lock(&self.ends).clone(),
            wrong: std::mem::take(&mut *lock(&self.wrong)),
        }
    }
}

/// The ledger, closed.
pub struct Book {
    /// By number.
    pub offered: BTreeMap<u64, Offered>,
    /// In no order.
    pub arrivals: Vec<Arrival>,
    /// In order.
    pub ends: Vec<(Instant, End)>,
    /// Found wrong on the way.
    pub wrong: Vec<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
