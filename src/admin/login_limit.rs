//! Wrong passwords are counted, by client address and all together: beyond a number of them, the next try waits.
//!
//! Each count is a row of permits that come back with time, so that nothing has to be swept up. A try takes one before it is
//! looked at, so that many at the same time are counted, too; the right password gives it back.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// How many tries at once, and the time after which one more may be made.
struct Rate {
    at_once: u32,
    every: Duration,
}

const OF_ADDRESS: Rate = Rate { at_once: 10, every: Duration::from_secs(30) };
const OF_ALL: Rate = Rate { at_once: 100, every: Duration::from_secs(3) };
/// How many addresses are remembered; beyond, those that tried longest ago are forgotten.
const MAX_ADDRESSES: usize = 1024;

/// Monotonic time is given to each method.
#[derive(Default)]
pub(super) struct LoginLimit {
    /// The time at which all permits are back.
    by_address: HashMap<IpAddr, Duration>,
    all: Duration,
}

impl Rate {
    /// The time at which all permits are back when one more is taken now.
    fn take(&self, all_back: Duration, now: Duration) -> Result<Duration, Duration> {
        let taken = all_back.max(now) + self.every;
        let longest = now + self.every * self.at_once;
        if taken > longest { Err(taken - longest) } else { Ok(taken) }
    }
}

impl LoginLimit {
    /// One more try of this client.
    ///
    /// # Errors
    /// How long it has to wait: nobody looks at the password.
    pub(super) fn take(&mut self, now: Duration, client: IpAddr) -> Result<(), Duration> {
        let client = network(client);
        let back = self.by_address.get(&client).copied().unwrap_or_default();
        let (of_address, all) = (OF_ADDRESS.take(back, now)?, OF_ALL.take(self.all, now)?);
        if self.by_address.len() >= MAX_ADDRESSES && !self.by_address.contains_key(&client) {
            self.by_address.retain(|_, back| *back > now);
            let oldest = self.by_address.iter().min_by_key(|(_, back)| **back).map(|(client, _)| *client);
            if let (Some(oldest), true) = (oldest, self.by_address.len() >= MAX_ADDRESSES) {
                self.by_address.remove(&oldest);
            }
        }
        self.by_address.insert(client, of_address);
        self.all = all;
        Ok(())
    }

    /// The password was right.
    pub(super) fn give_back(&mut self, client: IpAddr) {
        self.by_address.remove(&network(client));
        self.all = self.all.saturating_sub(OF_ALL.every);
    }
}

/// Whoever has one address of an IPv6 network has all of them.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn client(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    #[test]
    fn an_address_has_ten_tries_and_one_more_every_half_minute() {
        let mut limit = LoginLimit::default();
        assert!((0..10).all(|_| limit.take(seconds(100), client(1)).is_ok()));
        assert_eq!(limit.take(seconds(100), client(1)), Err(seconds(30)));
        assert_eq!(limit.take(seconds(120), client(1)), Err(seconds(10)), "a refused one costs nothing");
        assert!(limit.take(seconds(100), client(2)).is_ok(), "another address");
        assert!(limit.take(seconds(130), client(1)).is_ok());
        assert!(limit.take(seconds(130), client(1)).is_err());
        limit.give_back(client(1));
        assert!(limit.take(seconds(130), client(1)).is_ok(), "it has shown who it is");
    }

    #[test]
    fn all_together_have_a_hundred_tries() {
        let mut limit = LoginLimit::default();
        assert!((0..100).all(|number| limit.take(seconds(1), client(number)).is_ok()));
        assert_eq!(limit.take(seconds(1), client(100)), Err(seconds(3)));
        assert!(limit.take(seconds(4), client(100)).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let mut limit = LoginLimit::default();
        let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, last, last, last, last]);
        assert!((0..10).all(|last| limit.take(seconds(1), address(last)).is_ok()));
        assert!(limit.take(seconds(1), address(10)).is_err());
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert!((0..10).all(|_| limit.take(seconds(1), mapped).is_ok()));
        assert!(limit.take(seconds(1), client(1)).is_err());
    }

    #[test]
    fn a_number_of_addresses_is_remembered() {
        let mut limit = LoginLimit::default();
        for number in 0..10_000 {
            let _ = limit.take(seconds(u64::from(number) * 4), client(number));
        }
        assert!(limit.by_address.len() <= MAX_ADDRESSES);
    }
}
