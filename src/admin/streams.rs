//! Event streams over TCP: how many there are, and when they end. A stream ends with what its reader was let in by: the session, the
//! token, the password that there was not; and with the listener.

use super::asker::Identity;
use super::logins::MAX_STREAMS;
use super::problem::Problem;
use super::state::AdminState;
use crate::config::Settings;
use crate::config::admin_settings::AdminSettings;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A comment, at once: proxies pass on the header of an answer only with the first piece of its body.
const FIRST: Bytes = Bytes::from_static(b":\n\n");

/// What ends a stream.
pub(super) struct StreamEnds {
    admin: AdminState,
    closed: CancellationToken,
    identity: Identity,
    /// What its reader was let in by.
    before: AdminSettings,
    settings: watch::Receiver<Arc<Settings>>,
}

impl StreamEnds {
    pub(super) fn new(
        admin: AdminState,
        closed: CancellationToken,
        identity: Identity,
        before: AdminSettings,
    ) -> StreamEnds {
        let settings = admin.settings.clone();
        StreamEnds { admin, closed, identity, before, settings }
    }

    /// The response; where it is an event stream, one that ends.
    pub(super) fn bound(self, response: Response) -> Response {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return response;
        }
        let Ok(permit) = self.admin.logins.streams.clone().try_acquire_owned() else {
            let detail = format!("{MAX_STREAMS} event streams are open: come back later");
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response();
        };
        let (parts, body) = response.into_parts();
        let first = stream::once(async { Ok(FIRST) });
        let pieces = first.chain(body.into_data_stream()).take_until(Box::pin(self.ended()));
        // The permit lives as long as the stream.
        let pieces = pieces.map(move |piece| {
            let _permit = &permit;
            piece
        });
        Response::from_parts(parts, Body::from_stream(pieces))
    }

    async fn ended(mut self) {
        let session = match &self.identity {
            Identity::Session(session) => session.ended.clone(),
            Identity::Token | Identity::Nobody => CancellationToken::new(),
        };
        loop {
            let now = self.settings.borrow_and_update().admin.clone();
            let goes_on = match &self.identity {
                Identity::Token => now.token == self.before.token,
                Identity::Nobody => now.password.is_none(),
                Identity::Session(session) => {
                    self.admin.logins.sessions.goes_on(session, now.password.as_ref())
                }
            };
            if !goes_on {
                return;
            }
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = session.cancelled() => return,
                changed = self.settings.changed() => if changed.is_err() { return },
            }
        }
    }
}
