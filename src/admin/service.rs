//! The service itself: alive, ready, figures, upstreams, reload.

use super::asker::Asker;
use super::json::{StatsJson, UpstreamJson};
use super::json_response::JsonResponse;
use super::problem::Problem;
use super::state::{AdminState, ConfigRequest};
use crate::config::settings::Upstream;
use crate::deliver::remedies::known_remedy;
use crate::policy::notices;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// `GET /livez`: the process runs and answers.
pub(super) async fn live() -> JsonResponse<Value> {
    JsonResponse(
        json!({ "status": "alive", "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id() }),
    )
}

/// `GET /readyz`: the queue can be written and the listeners are up.
pub(super) async fn ready(State(admin): State<AdminState>) -> Result<JsonResponse<Value>, Problem> {
    let no = |why| Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
    if !admin.listening.load(Ordering::Relaxed) {
        return no("the listeners are not up");
    }
    if !admin.queue.status().writable {
        return no("the queue cannot be written; the log says why");
    }
    let settings = admin.settings.borrow().clone();
    let modes = notices::notices(&settings);
    // One that is down is told and is no reason to restart us: mail waits for it.
    let upstreams: Vec<Value> = settings.upstreams.iter().map(|upstream| fares(&admin, upstream)).collect();
    // A folder that cannot be read keeps nobody from sending by SMTP.
    let pickups = admin.pickups.troubles();
    // Nor does a receiver of events that does not answer.
    let webhooks = admin.webhooks.troubles();
    let ready = json!({
        "status": "ready", "modes": modes, "pickups": pickups, "upstreams": upstreams, "webhooks": webhooks,
    });
    Ok(JsonResponse(ready))
}

fn fares(admin: &AdminState, upstream: &Upstream) -> Value {
    let status = admin.health.status(upstream);
    let state = status.availability.to_string();
    json!({ "name": upstream.name, "state": state, "last_error": status.last_error })
}

/// `GET /api/v1/stats`: from counters, never by a scan.
pub(super) async fn stats(State(admin): State<AdminState>) -> JsonResponse<StatsJson> {
    JsonResponse(admin.queue.status().into())
}

/// An upstream of that name.
pub(super) fn upstream(admin: &AdminState, name: &str) -> Result<UpstreamJson, Problem> {
    let settings = admin.settings.borrow().clone();
    let found = settings.upstreams.iter().find(|upstream| upstream.name == name);
    let not_found = || Problem::new(StatusCode::NOT_FOUND, format!("there is no upstream {name}"));
    Ok(status(admin, found.ok_or_else(not_found)?))
}

/// `GET /api/v1/upstreams`: how each of them fares.
pub(super) async fn upstreams(State(admin): State<AdminState>) -> JsonResponse<Vec<UpstreamJson>> {
    let settings = admin.settings.borrow().clone();
    JsonResponse(settings.upstreams.iter().map(|upstream| status(&admin, upstream)).collect())
}

fn status(admin: &AdminState, upstream: &Upstream) -> UpstreamJson {
    let status = admin.health.status(upstream);
    let in_force = admin.in_force.borrow().clone();
    UpstreamJson {
        state: status.availability.to_string(),
        in_flight: status.in_flight,
        effective_limit: status.effective_limit,
        remedy: status.last_error.as_ref().and_then(|error| known_remedy(upstream, error)),
        last_error: status.last_error,
        last_error_at: status.last_error_at,
        rate_limit_free_at: status.rate_limit_free_at,
        token_expires_at: status.token.as_ref().and_then(|token| token.expires_at),
        tls: status.tls,
        token_error: status.token.and_then(|token| token.error),
        ..UpstreamJson::as_configured(upstream, &in_force)
    }
}

/// `POST /api/v1/reload`: the configuration is loaded again; 422 names every error, and then nothing has changed.
pub(super) async fn reload(
    State(admin): State<AdminState>,
    Asker(by): Asker,
) -> Result<JsonResponse<Value>, Problem> {
    let (answer, answered) = oneshot::channel();
    let stopping = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping");
    admin.requests.send(ConfigRequest::Reload { by, answer }).await.map_err(|_| stopping())?;
    match answered.await.map_err(|_| stopping())? {
        Ok(changes) => Ok(JsonResponse(json!({ "status": "reloaded", "changes": changes }))),
        Err(errors) => Err(errors.into()),
    }
}
