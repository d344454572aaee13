//! Events: the newest, and those to come.

use super::json_response::JsonResponse;
use super::problem::Problem;
use super::safe_json;
use super::state::AdminState;
use crate::event::Event;
use axum::extract::{Query, State};
use axum::response::sse::{self, KeepAlive, Sse};
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast::{Receiver, error::RecvError};

const PAGE: usize = 100;
const LARGEST_PAGE: usize = 10_000;

/// The query of a listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Events with this id or a later one; without it the newest.
    pub from: Option<u64>,
    /// At most that many.
    pub limit: Option<usize>,
}

/// `GET /api/v1/events?from=&limit=`: oldest first. `next` is the id to go on from.
pub(super) async fn list(
    State(admin): State<AdminState>,
    Query(query): Query<EventsQuery>,
) -> Result<JsonResponse<Value>, Problem> {
    let limit = query.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let events = admin.queue.events(query.from, limit).await?;
    let next = events.last().map(|event| event.id + 1);
    Ok(JsonResponse(json!({ "events": events, "next": next })))
}

/// `GET /api/v1/events/stream`: server-sent events, each with the JSON of one event and its id.
pub(super) async fn stream(
    State(admin): State<AdminState>,
) -> Sse<impl futures_util::Stream<Item = Result<sse::Event, Infallible>> + Send> {
    let follow = futures_util::stream::unfold(admin.queue.subscribe(), async |receiver| {
        let (event, receiver) = next(receiver).await?;
        let data = safe_json::to_json(&*event).unwrap_or_default();
        Some((Ok(sse::Event::default().id(event.id.to_string()).data(data)), receiver))
    });
    Sse::new(follow).keep_alive(KeepAlive::default())
}

/// The next event. A reader that is too slow misses some: it sees so by the ids.
async fn next(mut receiver: Receiver<Arc<Event>>) -> Option<(Arc<Event>, Receiver<Arc<Event>>)> {
    loop {
        match receiver.recv().await {
            Ok(event) => return Some((event, receiver)),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}
