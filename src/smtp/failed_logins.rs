//! Failed tries of AUTH: each costs whoever tries more time than the one before, and in the end nobody listens any more.
//!
//! They are counted by client address and by user name. A client that has given the right password for a name is not kept out
//! by others who try that name. Loopback is not kept out by its address: there one wrong application would lock out all
//! others. Everything is forgotten after [`FORGET_AFTER`] without another failure.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

/// Failures of one client address before it is not listened to any more.
const MAX_BY_ADDRESS: u32 = 20;
/// Failures for one name, whoever tries, before only those are listened to who have given its password before.
const MAX_BY_NAME: u32 = 100;
/// Failures of one session before it ends.
pub(super) const MAX_BY_SESSION: u32 = 3;
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// The wait after a first failure; it doubles with each one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How many addresses and how many names are remembered; beyond, those that failed longest ago are forgotten.
const MAX_REMEMBERED: usize = 1024;

/// Monotonic time is given to each method.
#[derive(Debug, Default)]
pub(super) struct FailedLogins {
    by_address: HashMap<IpAddr, Failures>,
    by_name: HashMap<String, Failures>,
    /// Who has given the right password, and for which name.
    proven: HashSet<(IpAddr, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Duration,
}

impl FailedLogins {
    /// Whether no password of this client for this name is looked at.
    pub(super) fn are_too_many(&self, now: Duration, client: IpAddr, name: &str) -> bool {
        let count = |failures: Option<&Failures>| failures.map_or(0, |failures| failures.count_at(now));
        if self.is_proven(client, name) {
            return false;
        }
        count(self.by_name.get(name)) >= MAX_BY_NAME
            || !client.is_loopback() && count(self.by_address.get(&client)) >= MAX_BY_ADDRESS
    }

    /// Whether this client has given the right password for this name.
    pub(super) fn is_proven(&self, client: IpAddr, name: &str) -> bool {
        self.proven.contains(&(client, name.to_owned()))
    }

    /// A failure. Answers how long the reply waits.
    pub(super) fn add(&mut self, now: Duration, client: IpAddr, name: &str) -> Duration {
        let count =
            fail(&mut self.by_address, client, now).max(fail(&mut self.by_name, name.to_owned(), now));
        FIRST_WAIT.saturating_mul(1 << count.saturating_sub(1).min(16)).min(LONGEST_WAIT)
    }

    /// The right password.
    pub(super) fn succeeded(&mut self, client: IpAddr, name: &str) {
        self.by_address.remove(&client);
        if self.proven.len() >= MAX_REMEMBERED {
            self.proven.clear();
        }
        self.proven.insert((client, name.to_owned()));
    }
}

impl Failures {
    fn count_at(self, now: Duration) -> u32 {
        if now.saturating_sub(self.last) < FORGET_AFTER { self.count } else { 0 }
    }
}

/// One more failure; answers how many there are.
fn fail<K: Hash + Eq + Clone>(all: &mut HashMap<K, Failures>, key: K, now: Duration) -> u32 {
    if all.len() >= MAX_REMEMBERED && !all.contains_key(&key) {
        all.retain(|_, failures| failures.count_at(now) > 0);
        let oldest = all.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| key.clone());
        if let (Some(oldest), true) = (oldest, all.len() >= MAX_REMEMBERED) {
            all.remove(&oldest);
        }
    }
    let failures = all.entry(key).or_insert(Failures { count: 0, last: now });
    *failures = Failures { count: failures.count_at(now).saturating_add(1), last: now };
    failures.count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn client(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn each_failure_waits_longer_until_nobody_listens_for_a_while() {
        let mut failed = FailedLogins::default();
        let waits: Vec<Duration> =
            (0..MAX_BY_ADDRESS).map(|_| failed.add(seconds(1), client(1), "a")).collect();
        assert_eq!(waits[..3], [100, 200, 400].map(Duration::from_millis));
        assert!(waits.is_sorted() && waits[19] == LONGEST_WAIT);
        assert!(
            failed.are_too_many(seconds(1), client(1), "a")
                && failed.are_too_many(seconds(1), client(1), "b")
        );
        assert!(!failed.are_too_many(seconds(1), client(2), "a"), "another address");
        assert!(!failed.are_too_many(seconds(601), client(1), "a"), "ten minutes later");
        assert_eq!(failed.add(seconds(601), client(1), "a"), FIRST_WAIT);
    }

    #[test]
    fn a_name_that_many_try_is_still_its_owners() {
        let mut failed = FailedLogins::default();
        failed.succeeded(client(200), "shop");
        (0..MAX_BY_NAME).for_each(|number| _ = failed.add(seconds(1), client((number % 50) as u8), "shop"));
        assert!(failed.are_too_many(seconds(1), client(100), "shop"));
        assert!(!failed.are_too_many(seconds(1), client(100), "other"));
        assert!(!failed.are_too_many(seconds(1), client(200), "shop"));
    }

    #[test]
    fn one_wrong_application_locks_out_no_other_on_this_machine() {
        let mut failed = FailedLogins::default();
        let here = IpAddr::from([127, 0, 0, 1]);
        (0..MAX_BY_ADDRESS).for_each(|_| _ = failed.add(seconds(1), here, "wrong"));
        assert!(!failed.are_too_many(seconds(1), here, "right"));
    }

    #[test]
    fn those_who_failed_longest_ago_are_forgotten_first_and_memory_stays_small() {
        let mut failed = FailedLogins::default();
        (0..5000).for_each(|number| {
            failed.add(Duration::from_millis(number), client(1), &number.to_string());
        });
        assert_eq!((failed.by_address.len(), failed.by_name.len()), (1, MAX_REMEMBERED));
        assert!(failed.by_name.contains_key("4999") && !failed.by_name.contains_key("0"));
    }
}
