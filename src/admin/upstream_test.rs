//! `POST /api/v1/upstreams/{name}/test`: the steps to a session with that upstream, a line of JSON for each when it has ended, and
//! a test message where the body has `to`.
//!
//! The proxy tests, and not who asks for it, so that OAuth 2 tokens have one owner. A client that goes away does not end the test:
//! a refresh token that is replaced in it must be kept.

use super::problem::Problem;
use super::query::QueryError;
use super::safe_json::to_json;
use super::state::AdminState;
use super::test_line::{TestLine, TestQuery};
use crate::config::settings::Upstream;
use crate::deliver::upstream_test::test_upstream;
use crate::mail::Address;
use crate::policy::test_mail::test_mail;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::mpsc;

/// See the module.
pub(super) async fn test(
    State(admin): State<AdminState>,
    Path(name): Path<String>,
    Json(query): Json<TestQuery>,
) -> Result<Response, Problem> {
    let upstreams = admin.settings.borrow().upstreams.clone();
    let upstream = upstreams.into_iter().find(|upstream| upstream.name == name);
    let upstream =
        upstream.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("no such upstream: {name}")))?;
    let (to, from) = (address(query.to.as_deref())?, address(query.from.as_deref())?);
    let (lines, receiver) = mpsc::unbounded_channel();
    tokio::spawn(carry_out(admin, upstream, to, from, lines));
    let body = futures_util::stream::unfold(receiver, async |mut lines| {
        let line = to_json(&lines.recv().await?).unwrap_or_default() + "\n";
        Some((Ok::<_, Infallible>(line), lines))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response())
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
