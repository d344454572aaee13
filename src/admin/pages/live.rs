//! `GET /live`: tells an open page that something has changed, and nothing of what.

use crate::admin::state::AdminState;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use std::convert::Infallible;

/// An event `changed` at once, because what has changed since the page was made is not known, and then for each change.
pub(super) async fn changes(
    State(admin): State<AdminState>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + Send> {
    let follow = stream::unfold(admin.live.subscribe(), async |mut changes| {
        changes.changed().await;
        // A browser passes over events without data.
        Some((Ok(Event::default().event("changed").data("something")), changes))
    });
    Sse::new(follow).keep_alive(KeepAlive::default())
}
