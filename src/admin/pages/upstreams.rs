//! `GET /upstreams`: all of them, in the order in which they are asked. `GET /upstreams/{name}`: one, whole.

use super::frame::{PageFrame, page, page_with};
use super::upstream_card::{UpstreamCard, in_order};
use super::upstream_keys::{KeyGroup, groups};
use crate::admin::changes;
use crate::admin::extract::PathPart;
use crate::admin::json::{ChangedJson, UpstreamDetailJson};
use crate::admin::problem::Problem;
use crate::admin::query::UpstreamName;
use crate::admin::service;
use crate::admin::state::AdminState;
use crate::config::settings::Upstream;
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

/// An upstream of the list.
struct UpstreamRow {
    card: UpstreamCard,
    /// Server and port, or the folder.
    whereto: String,
    sites: Vec<String>,
    /// In no file but `admin.toml`.
    is_added: bool,
    /// Keys that a verb or a page gave.
    changed: Vec<String>,
    /// The environment or the command line says whether it is enabled.
    is_locked: bool,
}

#[derive(Template)]
#[template(path = "upstreams.html")]
struct UpstreamsPage {
    frame: PageFrame,
    upstreams: Vec<UpstreamRow>,
}

#[derive(Template)]
#[template(path = "upstream.html")]
struct UpstreamPage {
    frame: PageFrame,
    row: UpstreamRow,
    groups: Vec<KeyGroup>,
    /// What was typed for a test message, and what is wrong with it.
    to: String,
    from: String,
    wrong: Option<String>,
}

/// What somebody wanted to have tested.
#[derive(Default)]
pub(super) struct TestTyped {
    pub(super) to: String,
    pub(super) from: String,
    pub(super) wrong: Option<String>,
}

/// The list.
pub(super) async fn list(State(admin): State<AdminState>, frame: PageFrame) -> Result<Response, Problem> {
    let upstreams = in_order(service::upstreams(State(admin.clone())).await.0);
    let details = upstreams.iter().map(|one| changes::detail(&admin, &one.name, ChangedJson::default()));
    // One that went meanwhile is not listed.
    let upstreams =
        details.filter_map(Result::ok).filter_map(|detail| UpstreamRow::new(&admin, detail)).collect();
    Ok(page(&UpstreamsPage { frame, upstreams }))
}

/// One.
pub(super) async fn show(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    frame: PageFrame,
) -> Result<Response, Problem> {
    shown(&admin, frame, &name, StatusCode::OK, TestTyped::default())
}

/// The page of one, where a test may have been refused.
pub(super) fn shown(
    admin: &AdminState,
    frame: PageFrame,
    name: &str,
    status: StatusCode,
    TestTyped { to, from, wrong }: TestTyped,
) -> Result<Response, Problem> {
    let detail = changes::detail(admin, name, ChangedJson::default())?;
    let groups = groups(Some(&detail));
    let gone = || Problem::new(StatusCode::NOT_FOUND, format!("there is no upstream {name}"));
    let row = UpstreamRow::new(admin, detail).ok_or_else(gone)?;
    Ok(page_with(status, &UpstreamPage { frame, row, groups, to, from, wrong }))
}

impl UpstreamRow {
    fn new(admin: &AdminState, detail: UpstreamDetailJson) -> Option<UpstreamRow> {
        let settings = admin.settings.borrow().clone();
        let upstream = settings.upstreams.iter().find(|one| one.name == detail.status.name)?;
        let layer = |key: &str| detail.sources.get(key)?.get("layer")?.as_str();
        Some(UpstreamRow {
            whereto: whereto(upstream),
            sites: upstream.sites.clone(),
            is_added: detail.status.added,
            changed: detail.status.changed.clone(),
            is_locked: matches!(layer("enabled"), Some("environment" | "command line")),
            card: detail.status.into(),
        })
    }
}

/// `smtp.example.com:587`, `[2001:db8::1]:25`, or a folder.
pub(super) fn whereto(upstream: &Upstream) -> String {
    match &upstream.pickup_directory {
        Some(folder) => folder.display().to_string(),
        None if upstream.host.contains(':') => format!("[{}]:{}", upstream.host, upstream.port),
        None => format!("{}:{}", upstream.host, upstream.port),
    }
}
