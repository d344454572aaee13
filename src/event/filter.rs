//! Which events a listing shows.

use super::{EventType, Fact};
use crate::mail::QueueId;
use jiff::Timestamp;

/// All that is said has to hold; the default means every event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventFilter {
    /// One of these types; none named: all.
    pub types: Vec<EventType>,
    /// This code, ASCII case ignored.
    pub code: Option<String>,
    /// From this source, ASCII case ignored.
    pub source: Option<String>,
    /// Not earlier.
    pub since: Option<Timestamp>,
    /// About this message.
    pub queue_id: Option<QueueId>,
}

impl EventFilter {
    /// Whether events of this type can be meant.
    pub fn has_type(&self, kind: EventType) -> bool {
        self.types.is_empty() || self.types.contains(&kind)
    }

    /// Whether this event is meant.
    pub fn matches(&self, fact: &Fact) -> bool {
        let is = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(text))
        };
        self.has_type(fact.kind)
            && is(&self.code, &fact.code)
            && is(&self.source, &fact.source)
            && self.since.is_none_or(|since| fact.time >= since)
            && self.queue_id.is_none_or(|id| fact.queue_id == Some(id))
    }
}
