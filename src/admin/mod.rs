//! The routes of docs/rules.md#routes, served over the control socket (`<data_dir>/control.sock`, mode 0600: who may open
//! it may do everything, so there is no password).
//!
//! They use the queue, its events and the upstreams' health, test upstreams, and ask the server to load or change the
//! configuration; nothing else.

pub(crate) mod attempts;
mod bulk;
pub(crate) mod bulk_line;
mod changes;
mod events;
pub(crate) mod json;
mod json_body;
mod json_response;
mod messages;
mod metrics;
pub(crate) mod problem;
pub(crate) mod query;
pub(crate) mod safe_json;
mod sent;
mod service;
mod state;
pub(crate) mod test_line;
mod upstream_test;

use axum::Router;
use axum::routing::{get, post};
use problem::Problem;

pub(crate) use changes::Peer;
pub(crate) use state::{AdminState, ChangeResult, ConfigRequest};

/// All routes.
pub(crate) fn router(state: AdminState) -> Router {
    Router::new()
        .route("/livez", get(service::live))
        .route("/readyz", get(service::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/messages", get(messages::list))
        .route("/api/v1/messages/bulk", post(bulk::bulk))
        .route("/api/v1/messages/{id}", get(messages::show).delete(messages::delete))
        .route("/api/v1/messages/{id}/raw", get(messages::raw))
        .route("/api/v1/messages/{id}/attempts", get(attempts::list))
        .route("/api/v1/messages/{id}/transcript", get(attempts::transcript))
        .route("/api/v1/messages/{id}/resend", post(sent::resend))
        .route("/api/v1/messages/{id}/{action}", post(messages::act))
        .route("/api/v1/sent", get(sent::list))
        .route("/api/v1/upstreams/{name}/test", post(upstream_test::test))
        .route("/api/v1/upstreams", get(service::upstreams).post(changes::add_upstream))
        .route(
            "/api/v1/upstreams/{name}",
            get(changes::upstream).patch(changes::edit_upstream).delete(changes::delete_upstream),
        )
        .route("/api/v1/upstreams/{name}/reset", post(changes::reset_upstream))
        .route("/api/v1/settings", get(changes::settings).patch(changes::edit_settings))
        .route("/api/v1/settings/reset", post(changes::reset))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/events/stream", get(events::stream))
        .route("/api/v1/stats", get(service::stats))
        .route("/api/v1/reload", post(service::reload))
        .fallback(async || Problem::new(axum::http::StatusCode::NOT_FOUND, "there is no such route"))
        .with_state(state)
}
