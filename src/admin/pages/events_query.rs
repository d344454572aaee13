//! What the page of events is asked for in its address: the same words as `GET /api/v1/events` has.

use super::list_query::pairs;
use crate::admin::query::event_filter;
use crate::admin::state::AdminState;
use crate::event::EventFilter;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};

/// Bytes of all of it: it stands in every link of the page.
const MAX_BYTES: usize = 600;

/// All of it may be missing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventsPageQuery {
    /// With commas; empty: all.
    #[serde(rename = "type")]
    pub(super) types: String,
    pub(super) code: String,
    pub(super) source: String,
    /// A time, a day or an age.
    pub(super) since: String,
    /// A queue id.
    pub(super) id: String,
    /// Events with a smaller id; none: the newest.
    #[serde(deserialize_with = "number")]
    pub(super) before: Option<u64>,
    /// New ones come in at the top.
    #[serde(deserialize_with = "is_said")]
    pub(super) follow: bool,
}

/// What is no number is as if it were not said.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(String::deserialize(deserializer)?.parse().ok())
}

fn is_said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(!String::deserialize(deserializer)?.is_empty())
}

impl EventsPageQuery {
    /// Without blanks around what somebody has typed.
    pub(super) fn normalized(self) -> EventsPageQuery {
        let trimmed = |text: String| text.trim().to_owned();
        EventsPageQuery {
            types: trimmed(self.types),
            code: trimmed(self.code),
            source: trimmed(self.source),
            since: trimmed(self.since),
            id: trimmed(self.id),
            // What is older does not change.
            follow: self.follow && self.before.is_none(),
            before: self.before,
        }
    }

    /// The address of the same without following.
    pub(super) fn still_path(&self) -> String {
        EventsPageQuery { follow: false, ..self.clone() }.path("/events")
    }

    fn values(&self) -> [(&'static str, &str); 5] {
        [
            ("type", &self.types),
            ("code", &self.code),
            ("source", &self.source),
            ("since", &self.since),
            ("id", &self.id),
        ]
    }

    /// Something is asked for.
    pub(super) fn is_filtered(&self) -> bool {
        self.values().iter().any(|(_, value)| !value.is_empty())
    }

    /// What it means.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn filter(&self, admin: &AdminState) -> Result<EventFilter, String> {
        if self.values().iter().map(|(_, value)| value.len()).sum::<usize>() > MAX_BYTES {
            return Err(format!("this page takes up to {MAX_BYTES} bytes"));
        }
        let said = |text: &'_ str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let now = admin.clock.wall().to_zoned(TimeZone::system());
        event_filter(
            said(&self.types).as_deref(),
            said(&self.code).as_deref(),
            said(&self.source).as_deref(),
            said(&self.since).as_deref(),
            said(&self.id).as_deref(),
            &now,
        )
        .map_err(|error| error.0)
    }

    /// The address of the page that shows it.
    pub(super) fn path(&self, page: &str) -> String {
        let before = self.before.map(|before| before.to_string()).unwrap_or_default();
        let follow = if self.follow { "1" } else { "" };
        pairs(page, self.values().into_iter().chain([("before", &*before), ("follow", follow)]))
    }

    /// The address of the route that has so many of the newest.
    pub(super) fn api_path(&self, route: &str, limit: usize) -> String {
        pairs(route, self.values().into_iter().chain([("limit", &*limit.to_string())]))
    }
}
