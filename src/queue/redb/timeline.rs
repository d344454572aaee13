//! The queue's own timeline: runs with the monotonic clock, goes on where it stopped over a restart.
//!
//! What is saved is the skew between the timeline and the wall clock and the last moment seen. While the proxy does not
//! run only the wall clock can tell how much time goes by; so a wall clock that is set in between moves the timeline
//! forward with it, but never back.

use crate::clock::{Clock, Moment};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The timeline as the file has it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct SavedTimeline {
    /// Timeline minus wall clock, in milliseconds.
    skew_ms: i64,
    /// The moment at which this was saved.
    last: u64,
    /// Whether the timeline was stopped there.
    frozen: bool,
}

impl SavedTimeline {
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// What the wall clock shows at `moment`, by the saved skew.
    pub(super) fn wall(&self, moment: Moment) -> Timestamp {
        let milliseconds = i64::try_from(moment.0).unwrap_or(i64::MAX).saturating_sub(self.skew_ms);
        Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
    }

    /// Whether it is worth a commit of its own that the timeline has moved away from what is in the file.
    pub(super) fn differs_from(&self, other: &SavedTimeline) -> bool {
        self.frozen != other.frozen || (!self.frozen && self.skew_ms.abs_diff(other.skew_ms) > 1_000)
    }
}

/// The running timeline.
pub(super) struct PersistentTimeline {
    clock: Arc<dyn Clock>,
    anchor: Mutex<Anchor>,
}

/// At `monotonic` it was `moment`; since then time has passed, unless frozen.
#[derive(Clone, Copy)]
struct Anchor {
    moment: Moment,
    monotonic: Duration,
    frozen: bool,
}

impl PersistentTimeline {
    /// Goes on from the saved timeline.
    pub(super) fn resume(clock: Arc<dyn Clock>, kept: SavedTimeline) -> PersistentTimeline {
        let wall = clock.wall().as_millisecond().saturating_add(kept.skew_ms);
        let moment = match kept.frozen {
            true => kept.last,
            false => u64::try_from(wall).unwrap_or(0).max(kept.last),
        };
        let anchor = Anchor { moment: Moment(moment), monotonic: clock.monotonic(), frozen: kept.frozen };
        PersistentTimeline { clock, anchor: Mutex::new(anchor) }
    }

    pub(super) fn now(&self) -> Moment {
        let anchor = *self.lock();
        match anchor.frozen {
            true => anchor.moment,
            false => anchor.moment.after(self.clock.monotonic().saturating_sub(anchor.monotonic)),
        }
    }

    /// What the wall clock shows at `moment`, if nobody sets it and the timeline is not stopped until then.
    pub(super) fn wall(&self, moment: Moment) -> Timestamp {
        let away = i128::from(moment.0) - i128::from(self.now().0);
        let away = SignedDuration::from_millis(i64::try_from(away).unwrap_or(i64::MAX));
        let wall = self.clock.wall();
        let end = if away.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
        wall.checked_add(away).unwrap_or(end)
    }

    /// Stops the timeline, or lets it run on from where it stopped. Returns whether that changed anything.
    pub(super) fn freeze(&self, frozen: bool) -> bool {
        let now = self.now();
        let mut anchor = self.lock();
        if anchor.frozen == frozen {
            return false;
        }
        *anchor = Anchor { moment: now, monotonic: self.clock.monotonic(), frozen };
        true
    }

    /// The timeline to be saved now.
    pub(super) fn saved(&self) -> SavedTimeline {
        let now = self.now();
        let moment = i64::try_from(now.0).unwrap_or(i64::MAX);
        SavedTimeline {
            skew_ms: moment.saturating_sub(self.clock.wall().as_millisecond()),
            last: now.0,
            frozen: self.lock().frozen,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Anchor> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * 3_600).unwrap()
    }

    #[test]
    fn a_wall_clock_that_jumps_moves_nothing_neither_running_nor_over_a_restart() {
        for jump in [-24, 6 * 24] {
            let clock = Arc::new(ManualClock::at(at(0)));
            let timeline = PersistentTimeline::resume(clock.clone(), SavedTimeline::default());
            let start = timeline.now();
            assert_eq!(timeline.wall(start.after(HOUR)), at(1));
            clock.set_wall(at(jump));
            clock.advance(HOUR);
            assert_eq!(timeline.now(), start.after(HOUR));
            assert_eq!(timeline.wall(start), at(jump), "in terms of the clock that people now see");
            assert!(timeline.saved().differs_from(&SavedTimeline::default()));

            // The process is away for an hour.
            let kept = timeline.saved();
            clock.advance(HOUR);
            let resumed = PersistentTimeline::resume(clock, kept);
            assert_eq!(resumed.now(), start.after(2 * HOUR));
        }
    }

    #[test]
    fn it_never_goes_back_though_the_wall_clock_was_set_back_while_nothing_ran() {
        let clock = Arc::new(ManualClock::at(at(0)));
        let timeline = PersistentTimeline::resume(clock.clone(), SavedTimeline::default());
        clock.set_wall(at(-5));
        let resumed = PersistentTimeline::resume(clock, SavedTimeline { skew_ms: 0, ..timeline.saved() });
        assert_eq!(resumed.now(), timeline.now());
    }

    #[test]
    fn frozen_it_stands_still_and_runs_on_from_there() {
        let clock = Arc::new(ManualClock::at(at(0)));
        let timeline = PersistentTimeline::resume(clock.clone(), SavedTimeline::default());
        let start = timeline.now();
        assert!(timeline.freeze(true) && !timeline.freeze(true));
        clock.advance(100 * HOUR);
        assert_eq!(timeline.now(), start);
        let resumed = PersistentTimeline::resume(clock.clone(), timeline.saved());
        clock.advance(HOUR);
        assert_eq!(resumed.now(), start);
        resumed.freeze(false);
        clock.advance(HOUR);
        assert_eq!(resumed.now(), start.after(HOUR));
        let again = PersistentTimeline::resume(clock, resumed.saved());
        assert_eq!(again.now(), start.after(HOUR));
    }
}
