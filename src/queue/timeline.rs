//! The timelines that due times and lifetimes are planned on.

use crate::clock::Moment;
use jiff::Timestamp;

/// Clocks of the queue's own, one for each site and one for mail of no site (`""`). They run with the monotonic clock and go
/// on over a restart, so that a wall clock which somebody sets neither expires mail nor makes all of it due. All moments of a
/// message are of its site's clock.
pub trait Timeline: Send + Sync + 'static {
    /// The present moment of a site.
    fn now_of(&self, site: &str) -> Moment;

    /// What the wall clock shows, or will show, at that moment of a site.
    fn wall_of(&self, site: &str, moment: Moment) -> Timestamp;

    /// The present moment of a timeline that is never stopped: by it the age of failed and of archived mail counts.
    fn common_now(&self) -> Moment;

    /// Stops (`true`) or restarts the clock of a site: while sending is off, its waiting mail does not age.
    fn freeze(&self, site: &str, frozen: bool);

    /// The present moment of mail of no site.
    fn now(&self) -> Moment {
        self.now_of("")
    }

    /// As [`Timeline::wall_of`], for mail of no site.
    fn wall(&self, moment: Moment) -> Timestamp {
        self.wall_of("", moment)
    }
}
