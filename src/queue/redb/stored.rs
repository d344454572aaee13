//! What the records of the file hold.

use super::super::QueueStatus;
use super::timeline::SavedTimeline;
use super::timelines::SavedSites;
use super::usage::FileUsage;
use crate::clock::Moment;
use crate::mail::Message;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A message as the file keeps it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct StoredMessage {
    /// In milliseconds, of mail in the queue: the moment of the last change of its outcome, on the timeline that is never
    /// stopped (older programs wrote the wall clock's time, which that began with); of sent mail: the wall clock's time.
    pub(super) changed_at: u64,
    pub(super) message: Message,
}

/// What changes with every commit and is therefore kept in one small record.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct Metadata {
    /// Number of this commit: tells, after a commit that failed, whether it is in the file.
    pub(super) serial: u64,
    pub(super) counts: StateCounts,
    /// The id that the next event gets, whatever its type.
    pub(super) next_event: u64,
    pub(super) timeline: SavedTimeline,
    /// Of the sites whose clocks were ever stopped.
    pub(super) site_timelines: SavedSites,
    /// All sites that there was ever mail of.
    pub(super) sites: BTreeSet<String>,
    /// How much of the file is in use; none where an older program wrote it last.
    pub(super) usage: Option<FileUsage>,
}

impl Metadata {
    /// What the wall clock shows at a moment of a site, as far as the file knows.
    pub(super) fn wall_of(&self, site: &str, moment: Moment) -> Timestamp {
        self.site_timelines.get(site).unwrap_or(&self.timeline).wall(moment)
    }
}

/// Messages by state, numbered by [`super::layout::state_number`], and those set aside. A damaged file may hold any number:
/// counting on from it does not overflow.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct StateCounts {
    pub(super) states: [u64; 4],
    pub(super) damaged: u64,
}

impl StateCounts {
    pub(super) fn add(&mut self, state: u8) {
        let count = &mut self.states[usize::from(state)];
        *count = count.saturating_add(1);
    }

    pub(super) fn subtract(&mut self, state: u8) {
        let count = &mut self.states[usize::from(state)];
        *count = count.saturating_sub(1);
    }

    /// The part of [`QueueStatus`] that the counters know.
    pub(super) fn status(&self) -> QueueStatus {
        let [queued, deferred, held, failed] = self.states;
        QueueStatus { queued, deferred, held, failed, damaged: self.damaged, ..QueueStatus::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_on_from_the_largest_number_does_not_overflow() {
        let mut counts = StateCounts { states: [u64::MAX, 0, 0, 0], damaged: 0 };
        counts.add(0);
        counts.subtract(1);
        assert_eq!(counts.states, [u64::MAX, 0, 0, 0]);
    }
}
