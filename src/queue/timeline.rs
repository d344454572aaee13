//! The timeline that due times and lifetimes are planned on.

use crate::clock::Moment;
use jiff::Timestamp;

/// A clock of the queue's own. It runs with the monotonic clock and goes on over a restart, so that a wall clock which
/// somebody sets neither expires mail nor makes all of it due.
pub trait Timeline: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Moment;

    /// What the wall clock shows, or will show, at that moment.
    fn wall(&self, moment: Moment) -> Timestamp;

    /// Stops (`true`) or restarts the timeline: while sending is off, waiting mail does not age.
    fn freeze(&self, frozen: bool);
}
