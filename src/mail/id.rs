//! The queue id: the name of an accepted message in every log line, event and answer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use ulid::Ulid;

/// 26 characters of Crockford base 32 (a ULID): the milliseconds since 1970 at reception, then 80 random bits, so
/// that ids sort by time and never repeat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(Ulid);

impl QueueId {
    /// A fresh id for a message received at `unix_ms` (wall clock, milliseconds since 1970).
    pub fn fresh(unix_ms: u64) -> QueueId {
        QueueId(Ulid::from_parts(unix_ms, fastrand::u128(..)))
    }

    /// A fresh id for a message received at that time.
    pub fn fresh_at(time: Timestamp) -> QueueId {
        QueueId::fresh(u64::try_from(time.as_millisecond()).unwrap_or_default())
    }

    /// The same, behind `last`, also where both are of the same millisecond: for messages that have an order.
    pub fn fresh_after(time: Timestamp, last: Option<QueueId>) -> QueueId {
        let fresh = QueueId::fresh_at(time);
        match last.filter(|last| *last >= fresh) {
            Some(last) => QueueId::from_number(last.number().saturating_add(1)),
            None => fresh,
        }
    }

    /// When its message was received: wall clock, milliseconds since 1970.
    pub fn unix_ms(self) -> u64 {
        self.0.timestamp_ms()
    }

    /// The id as the big-endian number that keys the queue's tables: number order is time order.
    pub fn number(self) -> u128 {
        u128::from_be_bytes(self.0.to_bytes())
    }

    /// The id that [`QueueId::number`] came from.
    pub fn from_number(number: u128) -> QueueId {
        QueueId(Ulid::from_bytes(number.to_be_bytes()))
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.array_to_str(&mut [0; ulid::ULID_LEN]))
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was given is not 26 characters of a ULID.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a queue id: a queue id has 26 letters and digits, as `postroom queue list` shows them")]
pub struct NotAQueueId(pub String);

impl FromStr for QueueId {
    type Err = NotAQueueId;
    fn from_str(text: &str) -> Result<QueueId, NotAQueueId> {
        // What the reader of ULIDs takes beside that (a first character above 7 has bits for which there is no room) would
        // name another message.
        let read = Ulid::from_string(text).ok().map(QueueId);
        let is_itself = |id: &QueueId| id.to_string().eq_ignore_ascii_case(text);
        read.filter(is_itself).ok_or_else(|| NotAQueueId(text.to_owned()))
    }
}

impl Serialize for QueueId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QueueId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<QueueId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_survive_text() {
        let (early, late) = (QueueId::fresh(1_000), QueueId::fresh(1_001));
        assert!(early < late && early.to_string() < late.to_string() && early.number() < late.number());
        assert_eq!(early.to_string().len(), 26);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(QueueId::from_number(early.number()), early);
        assert!("short".parse::<QueueId>().is_err());
    }

    #[test]
    fn an_id_is_read_only_from_what_it_prints_as() {
        let id: QueueId = "01M7ZQ7VRSD6Z6SJWX96ZH662V".parse().unwrap();
        assert_eq!("01m7zq7vrsd6z6sjwx96zh662v".parse(), Ok(id));
        for first in "89ABCDEFGHJKMNPQRSTVWXYZ".chars() {
            let other = format!("{first}1M7ZQ7VRSD6Z6SJWX96ZH662V");
            assert_eq!(other.parse::<QueueId>(), Err(NotAQueueId(other)));
        }
        for alike in
            ["O1M7ZQ7VRSD6Z6SJWX96ZH662V", "0IM7ZQ7VRSD6Z6SJWX96ZH662V", "0LM7ZQ7VRSD6Z6SJWX96ZH662V"]
        {
            assert!(alike.parse::<QueueId>().is_err(), "{alike}");
        }
    }
}
