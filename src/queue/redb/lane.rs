//! Lanes: who goes first among the mail that waits, and what is behind gets its share all the same.
//!
//! A lane holds the mail of one site, one class, and either first attempts or retries. Urgent goes before normal, normal
//! before bulk, within a class first attempts before retries; sites take turns. What is behind gets every tenth message
//! while it waits, so that nothing waits for ever behind a stream of better mail.

use crate::mail::{Class, Message};
use xxhash_rust::xxh3::xxh3_64;

/// Ranks of lanes: three classes, first attempts and retries.
const RANKS: usize = 6;
/// So many messages in a row may go before one of those behind them does.
const AHEAD: u32 = 9;

/// One lane of the index of what waits. The order is that of the index, not the one in which lanes are served.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Lane {
    /// See [`site_number`].
    pub(super) site: u64,
    /// 0 goes first.
    pub(super) rank: u8,
}

impl Lane {
    /// Where a message waits.
    pub(super) fn of(message: &Message) -> Lane {
        let class = match message.class {
            Class::Urgent => 0,
            Class::Normal => 2,
            Class::Bulk => 4,
        };
        let retry = message.attempts > 0 || message.deferrals > 0;
        Lane { site: site_number(&message.site), rank: class + u8::from(retry) }
    }
}

/// A site as the index has it: of a fixed length, so that no damaged length misleads whoever reads it. Mail of no site has 0.
pub(super) fn site_number(site: &str) -> u64 {
    if site.is_empty() { 0 } else { xxh3_64(site.as_bytes()) }
}

/// Whose turn it is: remembered from one claim to the next.
#[derive(Default, Debug)]
pub(super) struct Turns {
    /// Messages of the best rank in a row while something waited behind them.
    ahead: u32,
    /// The last rank that was served from behind.
    behind: u8,
    /// By rank: the last site that was served.
    sites: [u64; RANKS],
}

impl Turns {
    /// The lane that the next message is taken from, among those that have some; none only without any.
    pub(super) fn next(&mut self, lanes: &[Lane]) -> Option<Lane> {
        let best = lanes.iter().map(|lane| lane.rank).min()?;
        let rank = match self.turn_behind(lanes, best) {
            Some(behind) => {
                (self.ahead, self.behind) = (0, behind);
                behind
            }
            None => best,
        };
        let last = self.sites.get_mut(usize::from(rank))?;
        let sites = || lanes.iter().filter(|lane| lane.rank == rank).map(|lane| lane.site);
        let site = sites().filter(|site| *site > *last).min().or_else(|| sites().min())?;
        *last = site;
        Some(Lane { site, rank })
    }

    /// The rank behind the best one whose turn it is, if it is one of theirs.
    fn turn_behind(&mut self, lanes: &[Lane], best: u8) -> Option<u8> {
        let behind = || lanes.iter().map(|lane| lane.rank).filter(|rank| *rank > best);
        let next = behind().filter(|rank| *rank > self.behind).min().or_else(|| behind().min());
        if next.is_none() {
            self.ahead = 0;
        } else if self.ahead < AHEAD {
            self.ahead += 1;
            return None;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(site: u64, rank: u8) -> Lane {
        Lane { site, rank }
    }

    fn served(turns: &mut Turns, lanes: &[Lane], count: usize) -> Vec<Lane> {
        (0..count).map(|_| turns.next(lanes).unwrap()).collect()
    }

    #[test]
    fn the_best_goes_first_and_what_is_behind_gets_every_tenth() {
        let (mut turns, lanes) = (Turns::default(), [lane(0, 4), lane(0, 0), lane(0, 3)]);
        let ranks: Vec<u8> = served(&mut turns, &lanes, 30).into_iter().map(|lane| lane.rank).collect();
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
            let mut turns = Turns::default();
            served(&mut turns, &[lane(0, 4), lane(0, 5)], before);
            let until = (1..).find(|_| turns.next(&[lane(0, 4), lane(0, 5), lane(0, 0)]) == Some(lane(0, 0)));
            assert!(until <= Some(2), "after {before}: {until:?}");
        }
    }

    #[test]
    fn sites_take_turns() {
        let (mut turns, lanes) = (Turns::default(), [lane(7, 2), lane(0, 2), lane(9, 2)]);
        let sites: Vec<u64> = served(&mut turns, &lanes, 6).into_iter().map(|lane| lane.site).collect();
        assert_eq!(sites, [7, 9, 0, 7, 9, 0]);
        assert_eq!(turns.next(&[lane(7, 2)]), Some(lane(7, 2)), "alone it need not wait for its turn");
        assert_eq!(turns.next(&[]), None);
    }

    #[test]
    fn nothing_behind_costs_nobody_a_turn() {
        let mut turns = Turns::default();
        served(&mut turns, &[lane(0, 2)], 100);
        let ranks: Vec<u8> =
            served(&mut turns, &[lane(0, 2), lane(0, 4)], 10).into_iter().map(|lane| lane.rank).collect();
        assert_eq!(ranks, [2, 2, 2, 2, 2, 2, 2, 2, 2, 4]);
    }
}
