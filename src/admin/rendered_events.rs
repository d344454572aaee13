//! Events as streams send them: each is put into JSON once, however many follow.

use super::safe_json;
use crate::event::Event;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Events that are kept for the followers that have not come to them yet. Who is later than that puts them into JSON anew.
const KEPT: usize = 64;

/// The newest of them, by id.
#[derive(Default)]
pub(crate) struct RenderedEvents(Mutex<VecDeque<(u64, Arc<str>)>>);

impl RenderedEvents {
    /// The event in JSON.
    pub(super) fn json(&self, event: &Event) -> Arc<str> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, json)) = kept.iter().rev().find(|(id, _)| *id == event.id) {
            return json.clone();
        }
        let json: Arc<str> = safe_json::to_json(event).unwrap_or_default().into();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((event.id, json.clone()));
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventType, Fact};
    use jiff::Timestamp;

    #[test]
    fn each_event_is_itself_and_the_newest_are_shared() {
        let rendered = RenderedEvents::default();
        let event = |id: u64| Event {
            id,
            fact: Fact::new(Timestamp::UNIX_EPOCH, EventType::Warning, "Test", "T", format!("number {id}")),
        };
        for id in 0..200 {
            let json = rendered.json(&event(id));
            assert_eq!(*json, safe_json::to_json(&event(id)).unwrap());
            assert!(Arc::ptr_eq(&json, &rendered.json(&event(id))));
        }
        assert_eq!(rendered.0.lock().unwrap().len(), KEPT);
        assert!(rendered.json(&event(3)).contains("number 3"), "whoever is late has it all the same");
    }
}
