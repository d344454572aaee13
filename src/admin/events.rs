//! Events: the newest, and those to come.

use super::json_response::JsonResponse;
use super::problem::Problem;
use super::query;
use super::safe_json;
use super::state::AdminState;
use crate::event::EventFilter;
use axum::extract::{Query, State};
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use tokio::sync::broadcast::error::RecvError;

const PAGE: usize = 100;
const LARGEST_PAGE: usize = 10_000;

/// The query of a listing, and of a stream, which has no use for `from` and `limit`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Events with this id or a later one; without it the newest.
    pub from: Option<u64>,
    /// At most that many.
    pub limit: Option<usize>,
    /// `Information`, `Warning` or `Error`; several with commas.
    #[serde(rename = "type")]
    pub types: Option<String>,
    /// This code.
    pub code: Option<String>,
    /// From this source.
    pub source: Option<String>,
    /// A time, a day or an age.
    pub since: Option<String>,
    /// About this message.
    pub id: Option<String>,
}

impl EventsQuery {
    fn filter(&self, admin: &AdminState) -> Result<EventFilter, Problem> {
        let now = admin.clock.wall().to_zoned(TimeZone::system());
        Ok(query::event_filter(
            self.types.as_deref(),
            self.code.as_deref(),
            self.source.as_deref(),
            self.since.as_deref(),
            self.id.as_deref(),
            &now,
        )?)
    }
}

/// `GET /api/v1/events`: oldest first. `next` is the id to go on from.
pub(super) async fn list(
    State(admin): State<AdminState>,
    Query(query): Query<EventsQuery>,
) -> Result<JsonResponse<Value>, Problem> {
    let limit = query.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let events = admin.queue.events_where(query.filter(&admin)?, query.from, limit).await?;
    let next = events.last().map(|event| event.id + 1);
    Ok(JsonResponse(json!({ "events": events, "next": next })))
}

/// `GET /api/v1/events/stream`: server-sent events, each with the JSON of one event and its id. A reader that is too slow is told
/// how many it has missed.
pub(super) async fn stream(
    State(admin): State<AdminState>,
    Query(query): Query<EventsQuery>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>> + Send>, Problem> {
    let filter = query.filter(&admin)?;
    let follow = stream::unfold((admin.queue.subscribe(), filter), async |(mut receiver, filter)| {
        loop {
            let event = match receiver.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => {
                    let missed =
                        sse::Event::default().event("missed").data(json!({ "missed": missed }).to_string());
                    return Some((Ok(missed), (receiver, filter)));
                }
                Err(RecvError::Closed) => return None,
            };
            if filter.matches(&event.fact) {
                let data = safe_json::to_json(&*event).unwrap_or_default();
                let event = sse::Event::default().id(event.id.to_string()).data(data);
                return Some((Ok(event), (receiver, filter)));
            }
        }
    });
    Ok(Sse::new(follow).keep_alive(KeepAlive::default()))
}
