//! Keys of the due index, and the lanes that order it.

use crate::mail::{Class, Message, QueueId};
use xxhash_rust::xxh3::xxh3_64;

/// Lanes differ by rank: three classes, each with first attempts and retries.
pub(super) const RANKS: usize = 6;

/// A lane of the due index holds the mail of one group (one site, under a mode or not), of one class, and either first attempts
/// or retries. Lanes compare in the order of the index, which is not the one in which they are served.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Lane {
    /// See [`group_number`].
    pub(super) group: u64,
    /// 0 goes first.
    pub(super) rank: u8,
}

impl Lane {
    /// The lane that a message waits in.
    pub(super) fn of(message: &Message) -> Lane {
        let class = match message.class {
            Class::Urgent => 0,
            Class::Normal => 2,
            Class::Bulk => 4,
        };
        let retry = message.attempts > 0 || message.deferrals > 0;
        Lane { group: group_number(&message.site, message.under_mode), rank: class + u8::from(retry) }
    }
}

/// A group as the index has it: of a fixed length, so that a damaged length misleads no reader. Mail of no site and no mode
/// has 0.
pub(super) fn group_number(site: &str, under_mode: bool) -> u64 {
    match (site, under_mode) {
        ("", false) => 0,
        // In one text: as the seed, the mode of one short name would make up for a letter of another.
        _ => xxh3_64(&[site.as_bytes(), &[u8::from(under_mode)]].concat()),
    }
}

/// An entry of the due index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DueKey {
    pub(super) lane: Lane,
    pub(super) due: u64,
    pub(super) id: QueueId,
}

/// The key as the table has it.
pub(super) type RawDueKey = (u64, u8, u64, u128);

impl DueKey {
    pub(super) fn raw(self) -> RawDueKey {
        (self.lane.group, self.lane.rank, self.due, self.id.number())
    }
}

impl From<RawDueKey> for DueKey {
    fn from((group, rank, due, number): RawDueKey) -> DueKey {
        DueKey { lane: Lane { group, rank }, due, id: QueueId::from_number(number) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn short_names_have_groups_of_their_own() {
        let letters =
            || b"abcdefghijklmnopqrstuvwxyz0123456789".iter().map(|letter| char::from(*letter).to_string());
        let twos = letters().flat_map(|first| letters().map(move |second| format!("{first}{second}")));
        let names: Vec<String> = letters().chain(twos).chain([String::new()]).collect();
        let groups: HashSet<u64> =
            names.iter().flat_map(|name| [group_number(name, false), group_number(name, true)]).collect();
        assert_eq!(groups.len(), 2 * names.len());
    }
}
