//! Time as a parameter: what decides about mail asks a [`Clock`], so that tests can move it. This is the only place that asks the
//! wall clock. Deadlines of reads, writes and waits are plain timers of tokio and std.
//!
//! Three kinds of time are kept apart. *Wall* time ([`jiff::Timestamp`]) is shown to people. *Monotonic* time measures.
//! A [`Moment`] is a point on the queue's own timeline, on which retries and expiry are planned: it runs with the
//! monotonic clock, so a wall clock that jumps neither expires mail nor makes all of it due.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Milliseconds on the queue's own timeline. It starts out as milliseconds since 1970 and then runs steadily: the
/// queue keeps the difference to the wall clock (see [`crate::queue`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment so much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The moment so much earlier.
    #[must_use]
    pub fn before(self, time: Duration) -> Moment {
        Moment(self.0.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this moment; zero if this is not later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Tells the time, and waits.
pub trait Clock: Send + Sync + 'static {
    /// What the wall clock shows, to the millisecond. May jump either way at any time.
    fn wall(&self) -> Timestamp;

    /// Time since some fixed point. Never goes back.
    fn monotonic(&self) -> Duration;

    /// Waits until [`Clock::monotonic`] has reached `until`.
    fn sleep_until(&self, until: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    fn wall(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep_until(&self, until: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep_until((self.start + until).into()))
    }
}

/// A clock that stands still until it is advanced: for tests that go through days in a second.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<(Timestamp, Duration)>,
    moved: tokio::sync::watch::Sender<Duration>,
}

impl ManualClock {
    /// Stands at `wall`.
    pub fn at(wall: Timestamp) -> ManualClock {
        ManualClock {
            now: Mutex::new((wall, Duration::ZERO)),
            moved: tokio::sync::watch::Sender::new(Duration::ZERO),
        }
    }

    /// Advances both clocks and wakes the sleepers whose time has come.
    pub fn advance(&self, time: Duration) {
        let mut now = self.lock();
        now.0 += time;
        now.1 += time;
        self.moved.send_replace(now.1);
    }

    /// Sets the wall clock; no time passes.
    pub fn set_wall(&self, wall: Timestamp) {
        self.lock().0 = wall;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Timestamp, Duration)> {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        self.lock().0
    }

    fn monotonic(&self) -> Duration {
        self.lock().1
    }

    fn sleep_until(&self, until: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut moved = self.moved.subscribe();
        Box::pin(async move {
            // The sender lives in self, so waiting ends only by the time having come.
            let _ = moved.wait_for(|now| *now >= until).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_when_their_time_has_come_and_not_when_the_wall_clock_is_set() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let mut sleep = clock.sleep_until(Duration::from_secs(60));
        let early =
            std::future::poll_fn(|context| std::task::Poll::Ready(sleep.as_mut().poll(context))).await;
        assert!(early.is_pending());
        clock.set_wall(Timestamp::from_second(32_000_000_000).unwrap());
        let set = std::future::poll_fn(|context| std::task::Poll::Ready(sleep.as_mut().poll(context))).await;
        assert!(set.is_pending());
        clock.advance(Duration::from_secs(60));
        sleep.await;
        assert_eq!(clock.monotonic(), Duration::from_secs(60));
    }
}
