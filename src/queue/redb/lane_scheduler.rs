//! Which lane of the due index is served next.
//!
//! Urgent goes before normal, normal before bulk, within a class first attempts before retries; groups (sites) take turns. While
//! lower ranks wait they get every tenth message, so that none of them waits for ever behind a stream of better mail.

use super::due_key::{Lane, RANKS};

/// So many messages in a row are of the best rank before one of a lower rank goes.
const PREFERRED_IN_A_ROW: u32 = 9;

/// Remembers from one claim to the next what was served.
#[derive(Default, Debug)]
pub(super) struct LaneScheduler {
    /// Messages of the best rank in a row while lower ranks waited.
    preferred_in_a_row: u32,
    /// The lower rank that was served last.
    last_lower: u8,
    /// The group that was served last, by rank.
    last_group: [u64; RANKS],
}

impl LaneScheduler {
    /// The lane that the next message is taken from, of those that have messages; none only for no lanes.
    pub(super) fn next(&mut self, lanes: &[Lane]) -> Option<Lane> {
        let best = lanes.iter().map(|lane| lane.rank).min()?;
        let rank = match self.lower_rank(lanes, best) {
            Some(lower) => {
                (self.preferred_in_a_row, self.last_lower) = (0, lower);
                lower
            }
            None => best,
        };
        let last = self.last_group.get_mut(usize::from(rank))?;
        let groups = || lanes.iter().filter(|lane| lane.rank == rank).map(|lane| lane.group);
        let group = groups().filter(|group| *group > *last).min().or_else(|| groups().min())?;
        *last = group;
        Some(Lane { group, rank })
    }

    /// The lower rank that is served now, if it is the turn of one.
    fn lower_rank(&mut self, lanes: &[Lane], best: u8) -> Option<u8> {
        let lower = || lanes.iter().map(|lane| lane.rank).filter(|rank| *rank > best);
        let next = lower().filter(|rank| *rank > self.last_lower).min().or_else(|| lower().min());
        if next.is_none() {
            self.preferred_in_a_row = 0;
        } else if self.preferred_in_a_row < PREFERRED_IN_A_ROW {
            self.preferred_in_a_row += 1;
            return None;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(group: u64, rank: u8) -> Lane {
        Lane { group, rank }
    }

    fn served(scheduler: &mut LaneScheduler, lanes: &[Lane], count: usize) -> Vec<Lane> {
        (0..count).map(|_| scheduler.next(lanes).unwrap()).collect()
    }

    #[test]
    fn the_best_goes_first_and_what_is_behind_gets_every_tenth() {
        let (mut scheduler, lanes) = (LaneScheduler::default(), [lane(0, 4), lane(0, 0), lane(0, 3)]);
        let ranks: Vec<u8> = served(&mut scheduler, &lanes, 30).into_iter().map(|lane| lane.rank).collect();
        for (number, rank) in ranks.iter().enumerate() {
            let expected = match number {
                9 | 29 => 3,
                19 => 4,
                _ => 0,
            };
            assert_eq!(*rank, expected, "message {number}: {ranks:?}");
        }
    }

    #[test]
    fn what_comes_in_urgently_goes_within_ten_whatever_was_served_before() {
        for before in 0..40 {
            let mut scheduler = LaneScheduler::default();
            served(&mut scheduler, &[lane(0, 4), lane(0, 5)], before);
            let until =
                (1..).find(|_| scheduler.next(&[lane(0, 4), lane(0, 5), lane(0, 0)]) == Some(lane(0, 0)));
            assert!(until <= Some(2), "after {before}: {until:?}");
        }
    }

    #[test]
    fn sites_take_turns() {
        let (mut scheduler, lanes) = (LaneScheduler::default(), [lane(7, 2), lane(0, 2), lane(9, 2)]);
        let sites: Vec<u64> = served(&mut scheduler, &lanes, 6).into_iter().map(|lane| lane.group).collect();
        assert_eq!(sites, [7, 9, 0, 7, 9, 0]);
        assert_eq!(scheduler.next(&[lane(7, 2)]), Some(lane(7, 2)), "alone it need not wait for its turn");
        assert_eq!(scheduler.next(&[]), None);
    }

    #[test]
    fn nothing_behind_costs_nobody_a_turn() {
        let mut scheduler = LaneScheduler::default();
        served(&mut scheduler, &[lane(0, 2)], 100);
        let ranks: Vec<u8> =
            served(&mut scheduler, &[lane(0, 2), lane(0, 4)], 10).into_iter().map(|lane| lane.rank).collect();
        assert_eq!(ranks, [2, 2, 2, 2, 2, 2, 2, 2, 2, 4]);
    }
}
