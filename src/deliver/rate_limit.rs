//! The rate limit of one upstream: a sliding window over the messages that were sent (`rate_limit`).

use crate::config::settings::RateLimit;
use std::collections::VecDeque;
use std::time::Duration;

/// When messages were sent (monotonic), not more of them than the limit has.
#[derive(Default)]
pub(super) struct SentTimes(VecDeque<Duration>);

impl SentTimes {
    pub(super) fn allow_another(&mut self, limit: RateLimit, now: Duration) -> bool {
        while self.0.front().is_some_and(|sent| *sent + limit.time <= now) {
            self.0.pop_front();
        }
        self.0.len() < limit.messages as usize
    }

    /// When another message may be sent, where the limit is reached.
    pub(super) fn allow_another_at(&self, limit: RateLimit) -> Option<Duration> {
        let over = self.0.len().checked_sub(limit.messages as usize)?;
        self.0.get(over).map(|sent| *sent + limit.time)
    }

    pub(super) fn add(&mut self, now: Duration) {
        self.0.push_back(now);
    }

    /// What was added at `time` was not sent after all.
    pub(super) fn take_back(&mut self, time: Duration) {
        if let Some(place) = self.0.iter().rposition(|sent| *sent == time) {
            self.0.remove(place);
        }
    }
}
