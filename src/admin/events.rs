//! Events: the newest, and those to come.

use super::extract::QueryKeys;
use super::json_response::JsonResponse;
use super::problem::Problem;
use super::query::{self, QueryError};
use super::rendered_events::RenderedEvents;
use super::safe_json;
use super::state::AdminState;
use crate::event::{Event, EventFilter};
use crate::queue::Queue;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use utoipa::{IntoParams, ToSchema};

const LARGEST_PAGE: usize = 10_000;
/// Earlier events that a stream reads at once.
const REPLAYED: usize = 500;
const LAST_EVENT_ID: &str = "last-event-id";

/// The query of a listing.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Events with this id or a later one, oldest first; without it the newest.
    pub from: Option<u64>,
    /// At most that many: 100 unless it is given, and never more than 10,000.
    #[param(minimum = 1)]
    pub limit: Option<usize>,
    /// `Information`, `Warning` or `Error`; several with commas.
    #[serde(rename = "type")]
    #[param(
        pattern = "^(|(Information|Warning|Error)(,(Information|Warning|Error))*)$",
        example = "Warning,Error"
    )]
    pub types: Option<String>,
    /// This code, ASCII case ignored.
    #[param(example = "CIRCUIT_OPEN")]
    pub code: Option<String>,
    /// From this source, ASCII case ignored.
    #[param(example = "Upstream")]
    pub source: Option<String>,
    /// A time, a day or an age: `2026-11-20T14:00:00Z`, `2026-11-20`, `2h`.
    #[param(example = "2h")]
    pub since: Option<String>,
    /// About this message.
    #[param(pattern = "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$", example = "01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    pub id: Option<String>,
}

/// The query of a stream.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FollowQuery {
    /// Begins with the events that are kept from this id on; without it with those to come. `Last-Event-ID` outranks it.
    pub from: Option<u64>,
    /// `Information`, `Warning` or `Error`; several with commas.
    #[serde(rename = "type")]
    #[param(
        pattern = "^(|(Information|Warning|Error)(,(Information|Warning|Error))*)$",
        example = "Warning,Error"
    )]
    pub types: Option<String>,
    /// This code, ASCII case ignored.
    pub code: Option<String>,
    /// From this source, ASCII case ignored.
    pub source: Option<String>,
    /// A time, a day or an age.
    #[param(example = "2h")]
    pub since: Option<String>,
    /// About this message.
    #[param(pattern = "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$", example = "01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    pub id: Option<String>,
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventsJson {
    /// Oldest first.
    events: Vec<Event>,
    /// The id to go on from (`from`): behind the last of them, else what was asked; null where neither is.
    next: Option<u64>,
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

impl FollowQuery {
    fn filter(self, admin: &AdminState) -> Result<EventFilter, Problem> {
        let FollowQuery { from, types, code, source, since, id } = self;
        EventsQuery { from, limit: None, types, code, source, since, id }.filter(admin)
    }
}

/// List events
///
/// Oldest first.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", params(EventsQuery),
    responses((status = 200, description = "A page", body = EventsJson))
)]
pub(super) async fn list(
    State(admin): State<AdminState>,
    QueryKeys(query): QueryKeys<EventsQuery>,
) -> Result<JsonResponse<EventsJson>, Problem> {
    let limit = query::page(query.limit, LARGEST_PAGE)?;
    let events = admin.queue.events_where(query.filter(&admin)?, query.from, limit).await?;
    let next = events.last().map(|event| event.id.saturating_add(1)).or(query.from);
    Ok(JsonResponse(EventsJson { events, next }))
}

/// Follow events
///
/// Server-sent events, each with the JSON of one event and its id. A reader that is too slow is told how many it has missed
/// (`event: missed`), and can have them again from the id that it had last, which browsers do by themselves (`Last-Event-ID`).
#[utoipa::path(
    get, path = "/api/v1/events/stream", tag = "events",
    params(FollowQuery, ("Last-Event-ID" = Option<u64>, Header, description = "The events behind this one come first")),
    responses((status = 200, description = "The events, without an end", body = String, content_type = "text/event-stream"))
)]
pub(super) async fn stream(
    State(admin): State<AdminState>,
    QueryKeys(query): QueryKeys<FollowQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>> + Send>, Problem> {
    let from = last_seen(&headers)?.map(|last| last.saturating_add(1)).or(query.from);
    let filter = query.filter(&admin)?;
    let (kept, receiver) = match from {
        None => (None, Some(admin.queue.subscribe())),
        Some(_) => (Some(VecDeque::new()), None),
    };
    let (queue, rendered) = (admin.queue, admin.rendered_events);
    let follower = Follower { queue, rendered, filter, kept, receiver, from: from.unwrap_or(0) };
    let follow = stream::unfold(follower, async |mut follower| Some((Ok(follower.next().await?), follower)));
    Ok(Sse::new(follow).keep_alive(KeepAlive::default()))
}

fn last_seen(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    match value.to_str().map(str::trim) {
        Ok("") => Ok(None),
        Ok(text) if text.parse::<u64>().is_ok() => Ok(text.parse().ok()),
        _ => Err(QueryError("Last-Event-ID is not the id of an event: a number".to_owned()).into()),
    }
}

/// What a client follows.
struct Follower {
    queue: Arc<dyn Queue>,
    rendered: Arc<RenderedEvents>,
    filter: EventFilter,
    /// What was read of those that are kept already; none: all of them were.
    kept: Option<VecDeque<Event>>,
    /// Those to come. Subscribed to before the last of those that are kept are read, so that none falls between the two.
    receiver: Option<Receiver<Arc<Event>>>,
    /// Events before this one are not sent any more.
    from: u64,
}

impl Follower {
    /// The next one; none at the end of the proxy.
    async fn next(&mut self) -> Option<sse::Event> {
        while self.kept.is_some() {
            if let Some(event) = self.next_kept().await {
                let json = safe_json::to_json(&event).unwrap_or_default();
                return Some(self.sent(event.id, &json));
            }
        }
        loop {
            let event = match self.receiver.as_mut()?.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => {
                    let missed = json!({ "missed": missed }).to_string();
                    return Some(sse::Event::default().event("missed").data(missed));
                }
                Err(RecvError::Closed) => return None,
            };
            if event.id >= self.from && self.filter.matches(&event.fact) {
                let json = self.rendered.json(&event);
                return Some(self.sent(event.id, &json));
            }
        }
    }

    /// The next one of those that are kept; none where another page has to be read, or all were.
    async fn next_kept(&mut self) -> Option<Event> {
        if let Some(event) = self.kept.as_mut().and_then(VecDeque::pop_front) {
            return Some(event);
        }
        // What cannot be read is missed: those to come are told all the same.
        let page =
            self.queue.events_where(self.filter.clone(), Some(self.from), REPLAYED).await.unwrap_or_default();
        match (page.is_empty(), &self.receiver) {
            (true, Some(_)) => self.kept = None,
            (true, None) => self.receiver = Some(self.queue.subscribe()),
            (false, _) => self.kept = Some(page.into()),
        }
        None
    }

    fn sent(&mut self, id: u64, json: &str) -> sse::Event {
        self.from = id.saturating_add(1);
        sse::Event::default().id(id.to_string()).data(json)
    }
}
