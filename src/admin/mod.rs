//! The routes of docs/rules.md#routes, served over the control socket (`<data_dir>/control.sock`, mode 0600: who may open
//! it may do everything, so there is no password) and, where `[admin] listen` says so, over TCP. There `guard` stands before all of them:
//! docs/admin.md.
//!
//! They use the queue, its events and the upstreams' health, test upstreams, and ask the server to load or change the
//! configuration; nothing else.

mod asker;
pub(crate) mod attempts;
mod bulk;
pub(crate) mod bulk_line;
mod changes;
mod events;
mod guard;
pub(crate) mod json;
mod json_body;
mod json_response;
mod listener;
mod login;
mod login_limit;
mod logins;
mod messages;
mod metrics;
pub(crate) mod problem;
pub(crate) mod query;
mod request_origin;
mod response_headers;
mod rights;
pub(crate) mod safe_json;
mod sent;
mod service;
mod sessions;
mod state;
mod streams;
pub(crate) mod test_line;
mod upstream_test;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use problem::Problem;

pub(crate) use asker::Peer;
pub(crate) use listener::AdminServer;
pub(crate) use logins::Logins;
pub(crate) use state::{AdminState, ChangeResult, ConfigRequest};

/// All routes, over TCP: with the guard before them, and the pages to log in by.
pub(crate) fn tcp_router(state: AdminState) -> Router {
    Router::new()
        .route("/", get(login::home))
        .route("/login", get(login::form).post(login::log_in))
        .route("/logout", post(login::log_out))
        .with_state(state.clone())
        .merge(router(state.clone()))
        .layer(from_fn_with_state(state, guard::guard))
}

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
        .route("/api/v1/session", get(login::session))
        .route("/api/v1/stats", get(service::stats))
        .route("/api/v1/reload", post(service::reload))
        .fallback(async || Problem::new(axum::http::StatusCode::NOT_FOUND, "there is no such route"))
        .with_state(state)
}
