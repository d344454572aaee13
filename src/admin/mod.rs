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
mod extract;
mod guard;
mod history;
pub(crate) mod json;
mod json_response;
mod known_keys;
mod lines;
mod listener;
mod live_changes;
mod login_limit;
mod logins;
mod messages;
mod metrics;
mod notices;
mod openapi;
mod pages;
pub(crate) mod problem;
pub(crate) mod query;
mod rendered_events;
mod request_origin;
mod response_headers;
mod rights;
pub(crate) mod safe_json;
mod send;
mod sent;
mod service;
mod session;
mod sessions;
mod state;
mod streams;
pub(crate) mod test_line;
mod upstream_test;

use axum::http::{Method, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};
use openapi::{ApiDocument, document};
use problem::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use asker::Peer;
pub(crate) use listener::AdminServer;
pub(crate) use live_changes::LiveChanges;
pub(crate) use logins::Logins;
pub(crate) use state::{AdminState, ChangeResult, ConfigRequest};

/// All routes and the pages, over TCP: with the guard before them.
pub(crate) fn tcp_router(state: AdminState) -> Router {
    pages::router()
        .method_not_allowed_fallback(no_method)
        .with_state(state.clone())
        .merge(router(state.clone()))
        .layer(from_fn_with_state(state, guard::guard))
        .layer(from_fn(pages::in_html))
}

async fn no_method(method: Method) -> Problem {
    let detail = format!("the route does not know {method}: the field Allow says which methods it has");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// All routes, and their document.
pub(crate) fn router(state: AdminState) -> Router {
    let (router, api) = described().split_for_parts();
    let no_route =
        async || Problem::new(StatusCode::NOT_FOUND, "there is no such route: see /api/v1/openapi.json");
    router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(Extension(ApiDocument::new(document(api))))
        .with_state(state)
}

/// Every route with what its handler says of it, so that the two do not part.
fn described() -> OpenApiRouter<AdminState> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(service::live))
        .routes(routes!(service::ready))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::show))
        .routes(routes!(messages::list))
        .routes(routes!(bulk::bulk))
        .routes(routes!(messages::show, messages::delete))
        .routes(routes!(messages::raw))
        .routes(routes!(attempts::list))
        .routes(routes!(attempts::transcript))
        .routes(routes!(messages::retry))
        .routes(routes!(messages::hold))
        .routes(routes!(messages::release))
        .routes(routes!(sent::resend))
        .routes(routes!(sent::list))
        .routes(routes!(send::send))
        .routes(routes!(service::upstreams, changes::add_upstream))
        .routes(routes!(changes::upstream, changes::edit_upstream, changes::delete_upstream))
        .routes(routes!(upstream_test::test))
        .routes(routes!(changes::reset_upstream))
        .routes(routes!(changes::settings, changes::edit_settings))
        .routes(routes!(changes::reset))
        .routes(routes!(events::list))
        .routes(routes!(events::stream))
        .routes(routes!(session::session))
        .routes(routes!(service::stats))
        .routes(routes!(history::show))
        .routes(routes!(service::reload))
}
