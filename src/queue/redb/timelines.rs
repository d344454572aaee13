//! One timeline for each site whose clock was ever stopped, and one for all others.

use super::timeline::{PersistentTimeline, SavedTimeline};
use crate::clock::{Clock, Moment};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// By site, as the file has them.
pub(super) type SavedSites = BTreeMap<String, SavedTimeline>;

/// The running timelines.
pub(super) struct Timelines {
    clock: Arc<dyn Clock>,
    common: PersistentTimeline,
    /// `""` is mail of no site.
    sites: Mutex<BTreeMap<String, PersistentTimeline>>,
}

impl Timelines {
    /// Go on from what was saved.
    pub(super) fn resume(clock: Arc<dyn Clock>, common: SavedTimeline, sites: &SavedSites) -> Timelines {
        let resume = |saved: SavedTimeline| PersistentTimeline::resume(clock.clone(), saved);
        let mut sites: BTreeMap<_, _> =
            sites.iter().map(|(site, saved)| (site.clone(), resume(*saved))).collect();
        if common.is_frozen() {
            // Written when there were no sites: what stopped was the time of all mail.
            sites.entry(String::new()).or_insert_with(|| resume(common));
        }
        let common = resume(common);
        common.freeze(false);
        Timelines { clock, common, sites: Mutex::new(sites) }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// On the timeline that is never stopped.
    pub(super) fn common_now(&self) -> Moment {
        self.common.now()
    }

    /// What the wall clock shows at that moment of it.
    pub(super) fn common_wall(&self, moment: Moment) -> Timestamp {
        self.common.wall(moment)
    }

    pub(super) fn now_of(&self, site: &str) -> Moment {
        self.lock().get(site).unwrap_or(&self.common).now()
    }

    pub(super) fn wall_of(&self, site: &str, moment: Moment) -> Timestamp {
        self.lock().get(site).unwrap_or(&self.common).wall(moment)
    }

    /// Returns whether that changed anything.
    pub(super) fn freeze(&self, site: &str, frozen: bool) -> bool {
        let mut sites = self.lock();
        match sites.get(site) {
            Some(timeline) => timeline.freeze(frozen),
            None if frozen => {
                // From here on its time is its own.
                let timeline = PersistentTimeline::resume(self.clock.clone(), self.common.saved());
                timeline.freeze(true);
                sites.insert(site.to_owned(), timeline);
                true
            }
            None => false,
        }
    }

    pub(super) fn saved(&self) -> SavedTimeline {
        self.common.saved()
    }

    pub(super) fn saved_sites(&self) -> SavedSites {
        self.lock().iter().map(|(site, timeline)| (site.clone(), timeline.saved())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PersistentTimeline>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()))
    }

    #[test]
    fn a_site_that_is_stopped_stops_alone_over_a_restart_too() {
        let clock = clock();
        let timelines = Timelines::resume(clock.clone(), SavedTimeline::default(), &SavedSites::new());
        let start = timelines.now_of("a");
        assert_eq!(start, timelines.now_of(""));
        assert!(!timelines.freeze("a", false) && timelines.freeze("a", true) && !timelines.freeze("a", true));
        clock.advance(HOUR);
        assert_eq!((timelines.now_of("a"), timelines.now_of("b")), (start, start.after(HOUR)));

        let resumed = Timelines::resume(clock.clone(), timelines.saved(), &timelines.saved_sites());
        clock.advance(HOUR);
        assert_eq!((resumed.now_of("a"), resumed.now_of("")), (start, start.after(2 * HOUR)));
        assert!(resumed.freeze("a", false));
        clock.advance(HOUR);
        assert_eq!((resumed.now_of("a"), resumed.now_of("")), (start.after(HOUR), start.after(3 * HOUR)));
        let again = Timelines::resume(clock, resumed.saved(), &resumed.saved_sites());
        assert_eq!((again.now_of("a"), again.now_of("")), (start.after(HOUR), start.after(3 * HOUR)));
    }

    #[test]
    fn what_was_stopped_when_there_were_no_sites_is_the_time_of_mail_of_none() {
        let clock = clock();
        let old = PersistentTimeline::resume(clock.clone(), SavedTimeline::default());
        let start = old.now();
        old.freeze(true);
        clock.advance(HOUR);
        let timelines = Timelines::resume(clock, old.saved(), &SavedSites::new());
        assert_eq!(timelines.now_of(""), start);
        assert!(timelines.freeze("", false));
    }
}
