//! `POST /api/v1/upstreams/{name}/test`: the steps to a session with that upstream, and a test message where the body has `to`.
//!
//! The proxy tests, and not who asks for it, so that OAuth 2 tokens have one owner. A client that goes away does not end the test:
//! a refresh token that is replaced in it must be kept.

use super::extract::{OptionalBody, PathPart};
use super::json_response::JsonResponse;
use super::lines;
use super::problem::Problem;
use super::query::{QueryError, UpstreamName};
use super::state::AdminState;
use super::test_line::{TestLine, TestQuery, TestReport};
use crate::config::settings::Upstream;
use crate::deliver::upstream_test::{TestResult, test_upstream};
use crate::mail::Address;
use crate::policy::test_mail::test_mail;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Test an upstream
///
/// Connects, greets, and logs in as deliveries do, and sends a test message where the body has `to`, under the modes in force. With
/// `Accept: application/x-ndjson` the answer is lines as it goes on: `{"step": …}` for each step, at the end `{"result": …}`.
#[utoipa::path(
    post, path = "/api/v1/upstreams/{name}/test", tag = "upstreams", params(UpstreamName), request_body = Option<TestQuery>,
    responses((status = 200, description = "What came of it", content(
        (TestReport = "application/json"), (TestLine = "application/x-ndjson"),
    )))
)]
pub(super) async fn test(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    headers: HeaderMap,
    OptionalBody(query): OptionalBody<TestQuery>,
) -> Result<Response, Problem> {
    let mut receiver = begin(&admin, &name, &query)?;
    if lines::are_accepted(&headers) {
        let each = async |mut lines: mpsc::UnboundedReceiver<TestLine>| Some((lines.recv().await?, lines));
        return Ok(lines::response(futures_util::stream::unfold(receiver, each)));
    }
    let mut steps = Vec::new();
    while let Some(line) = receiver.recv().await {
        match line {
            TestLine::Step(step) => steps.push(step),
            TestLine::Result(TestResult { ok, ms, .. }) => {
                return Ok(JsonResponse(TestReport { upstream: name, ok, ms, steps }).into_response());
            }
        }
    }
    Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the test ended without a result"))
}

/// Begins a test: its steps come as they end, at last what came of all.
pub(super) fn begin(
    admin: &AdminState,
    name: &str,
    query: &TestQuery,
) -> Result<mpsc::UnboundedReceiver<TestLine>, Problem> {
    let upstreams = admin.settings.borrow().upstreams.clone();
    let upstream = upstreams.into_iter().find(|upstream| upstream.name == name);
    let upstream = upstream
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no upstream {name}")))?;
    let (to, from) = (address(query.to.as_deref())?, address(query.from.as_deref())?);
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(carry_out(admin.clone(), upstream, to, from, sender));
    Ok(receiver)
}

fn address(text: Option<&str>) -> Result<Option<Address>, Problem> {
    let parse = |text: &str| {
        text.parse().map_err(|error| Problem::from(QueryError(format!("`{text}` is no address: {error}"))))
    };
    text.map(parse).transpose()
}

async fn carry_out(
    admin: AdminState,
    upstream: Arc<Upstream>,
    to: Option<Address>,
    from: Option<Address>,
    lines: mpsc::UnboundedSender<TestLine>,
) {
    let peer_cache = admin.peer_cache.borrow().clone();
    let hostname = admin.settings.borrow().hostname.clone();
    let mail = to.as_ref().map(|to| {
        || {
            let settings = admin.settings.borrow().clone();
            test_mail(&settings, &upstream, to, from.as_ref(), admin.clock.wall())
        }
    });
    let mail = mail.as_ref().map(|make| make as _);
    // Whoever asked may be gone.
    let on_step = |step| drop(lines.send(TestLine::Step(step)));
    let result =
        test_upstream(&upstream, (&hostname, admin.queue.instance()), &peer_cache, mail, on_step).await;
    let fact = result.fact(admin.clock.wall(), &upstream, to.as_ref().map(Address::as_str));
    tracing::info!(upstream = upstream.name, "{}", fact.message);
    admin.queue.record(vec![fact]);
    let _ = lines.send(TestLine::Result(result));
}
