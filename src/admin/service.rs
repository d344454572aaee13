//! The service itself: alive, ready, figures, upstreams, reload.

use super::asker::{Asker, TcpAsker};
use super::guard::TcpConnection;
use super::json::{
    AliveJson, ReadyJson, ReloadedJson, StatsJson, UpstreamJson, UpstreamStateJson, UpstreamStatsJson,
};
use super::json_response::JsonResponse;
use super::problem::Problem;
use super::state::{AdminState, ConfigRequest};
use crate::config::Settings;
use crate::config::settings::Upstream;
use crate::deliver::health::Availability;
use crate::deliver::remedies::known_remedy;
use crate::policy::notices;
use crate::queue::QueueFigures;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// Of a folder while there is no queue between clients and upstreams: a client waits for a server's reply, which a folder has
/// none of. What is queued already goes there all the same.
const SKIPPED: &str = "skipped";

/// Is the process alive?
#[utoipa::path(
    get, path = "/livez", tag = "service",
    responses((status = 200, description = "It runs and answers", body = AliveJson))
)]
pub(super) async fn live() -> JsonResponse<AliveJson> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    JsonResponse(AliveJson { status: "alive".to_owned(), version, pid: std::process::id() })
}

/// Can it take mail?
///
/// The queue can be written and the listeners are up. Upstreams that are down are told, and make nobody restart the proxy.
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses(
        (status = 200, description = "It can", body = ReadyJson),
        (status = 503, description = "It cannot: `detail` says why"),
    )
)]
pub(super) async fn ready(
    State(admin): State<AdminState>,
    connection: Option<Extension<TcpConnection>>,
    asker: Option<Extension<TcpAsker>>,
) -> Result<JsonResponse<ReadyJson>, Problem> {
    let no = |why| Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
    if !admin.listening.load(Ordering::Relaxed) {
        return no("the listeners are not up");
    }
    if !admin.queue.status().writable {
        return no("the queue cannot be written; the log says why");
    }
    if connection.is_some() && asker.is_none() {
        // Somebody who may not read, or a page of somebody else.
        return Ok(JsonResponse(ReadyJson { status: "ready".to_owned(), ..ReadyJson::default() }));
    }
    let settings = admin.settings.borrow().clone();
    let upstreams = settings.upstreams.iter().map(|upstream| {
        // One that is down is told and is no reason to restart us: mail waits for it.
        let status = admin.health.status(upstream);
        let state = state(&settings, upstream, status.availability);
        UpstreamStateJson { name: upstream.name.clone(), state, last_error: status.last_error }
    });
    Ok(JsonResponse(ReadyJson {
        status: "ready".to_owned(),
        modes: notices::notices(&settings),
        // A folder that cannot be read keeps nobody from sending by SMTP.
        pickups: admin.pickups.troubles(),
        upstreams: upstreams.collect(),
        // Nor does a receiver of events that does not answer.
        webhooks: admin.webhooks.troubles(),
    }))
}

/// Show figures of the queue
///
/// From counters and the ends of indexes, never by a scan.
#[utoipa::path(
    get, path = "/api/v1/stats", tag = "service",
    responses((status = 200, description = "The figures", body = StatsJson))
)]
pub(super) async fn stats(State(admin): State<AdminState>) -> Result<JsonResponse<StatsJson>, Problem> {
    let QueueFigures { oldest_queued, oldest_deferred, .. } = admin.queue.figures().await?;
    let settings = admin.settings.borrow().clone();
    let mut totals = admin.metrics.totals_by_upstream();
    let upstreams = settings.upstreams.iter().map(|upstream| {
        let since_start = totals.remove(&upstream.name).unwrap_or_default();
        let status = admin.health.status(upstream);
        UpstreamStatsJson {
            name: upstream.name.clone(),
            state: state(&settings, upstream, status.availability),
            in_flight: status.in_flight,
            since_start: since_start.into(),
        }
    });
    Ok(JsonResponse(StatsJson {
        oldest_queued,
        oldest_deferred,
        since_start: admin.metrics.totals().into(),
        upstreams: upstreams.collect(),
        ..admin.queue.status().into()
    }))
}

/// An upstream of that name.
pub(super) fn upstream(admin: &AdminState, name: &str) -> Result<UpstreamJson, Problem> {
    let settings = admin.settings.borrow().clone();
    let found = settings.upstreams.iter().find(|upstream| upstream.name == name);
    let not_found = || Problem::new(StatusCode::NOT_FOUND, format!("there is no upstream {name}"));
    Ok(status(admin, &settings, found.ok_or_else(not_found)?))
}

/// List upstreams
///
/// How each of them fares.
#[utoipa::path(
    get, path = "/api/v1/upstreams", tag = "upstreams",
    responses((status = 200, description = "All of them", body = Vec<UpstreamJson>))
)]
pub(super) async fn upstreams(State(admin): State<AdminState>) -> JsonResponse<Vec<UpstreamJson>> {
    let settings = admin.settings.borrow().clone();
    JsonResponse(settings.upstreams.iter().map(|upstream| status(&admin, &settings, upstream)).collect())
}

/// In a word of docs/rules.md#states-of-an-upstream.
fn state(settings: &Settings, upstream: &Upstream, availability: Availability) -> String {
    match !settings.queue.enabled && upstream.pickup_directory.is_some() && upstream.enabled {
        true => SKIPPED.to_owned(),
        false => availability.to_string(),
    }
}

fn status(admin: &AdminState, settings: &Settings, upstream: &Upstream) -> UpstreamJson {
    let status = admin.health.status(upstream);
    let in_force = admin.in_force.borrow().clone();
    UpstreamJson {
        state: state(settings, upstream, status.availability),
        in_flight: status.in_flight,
        effective_limit: status.effective_limit,
        remedy: status.last_error.as_ref().and_then(|error| known_remedy(upstream, error)),
        last_error: status.last_error,
        last_error_at: status.last_error_at,
        last_error_code: status.last_error_code.map(|reply| reply.code),
        last_error_enhanced: status
            .last_error_code
            .and_then(|reply| reply.enhanced)
            .map(|code| code.to_string()),
        last_success_at: status.last_success_at,
        latency_ms: status.latency_ms,
        rate_limit_free_at: status.rate_limit_free_at,
        probe_at: status.probe_at,
        token_expires_at: status.token.as_ref().and_then(|token| token.expires_at),
        tls: status.tls,
        token_error: status.token.and_then(|token| token.error),
        ..UpstreamJson::as_configured(upstream, &in_force)
    }
}

/// Load the configuration again
///
/// Whole or not at all.
#[utoipa::path(
    post, path = "/api/v1/reload", tag = "service",
    responses(
        (status = 200, description = "It is in force", body = ReloadedJson),
        (status = 422, description = "It is wrong, and nothing has changed: `errors` names every error"),
    )
)]
pub(super) async fn reload(
    State(admin): State<AdminState>,
    Asker(by): Asker,
) -> Result<JsonResponse<ReloadedJson>, Problem> {
    let (answer, answered) = oneshot::channel();
    let stopping = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping");
    admin.requests.send(ConfigRequest::Reload { by, answer }).await.map_err(|_| stopping())?;
    match answered.await.map_err(|_| stopping())? {
        Ok(changes) => Ok(JsonResponse(ReloadedJson { status: "reloaded".to_owned(), changes })),
        Err(errors) => Err(errors.into()),
    }
}
