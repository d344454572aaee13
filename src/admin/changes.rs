//! What is configured, and changes of it. The server makes them, one after the other ([`ConfigRequest`]).

use super::asker::Asker;
use super::json::{ChangedJson, SettingsJson, UpstreamDetailJson};
use super::json_body::JsonBody;
use super::json_response::JsonResponse;
use super::problem::Problem;
use super::service;
use super::state::{AdminState, ConfigRequest};
use crate::config::{Change, NewValues};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// The tables and keys that `GET` and `PATCH /api/v1/settings` are about; of a site, all but the last two.
const SETTINGS: &[&str] =
    &["sending", "redirect", "debug", "simulate", "sender", "log_emails", "queue.archive_days"];
const OF_A_SITE: usize = 5;
/// `{"name": …}` with the keys of an upstream.
#[derive(Deserialize)]
pub(super) struct NewUpstream {
    name: String,
    #[serde(flatten)]
    keys: NewValues,
}

/// `{"keys": ["redirect", …]}` or `{"all": true}`, with `"confirm": true` where a mode ends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetQuery {
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    all: bool,
    /// It is meant, also where it ends a mode.
    #[serde(default)]
    confirm: bool,
}

async fn change(admin: &AdminState, change: Change, asker: Asker) -> Result<ChangedJson, Problem> {
    // It names what is to be, so it is meant.
    confirmed(admin, change, asker, true).await
}

async fn confirmed(
    admin: &AdminState,
    change: Change,
    Asker(by): Asker,
    confirmed: bool,
) -> Result<ChangedJson, Problem> {
    let (answer, answered) = oneshot::channel();
    let stopping = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping");
    admin
        .requests
        .send(ConfigRequest::Change { change, by, confirmed, answer })
        .await
        .map_err(|_| stopping())?;
    Ok(answered.await.map_err(|_| stopping())??.into())
}

/// `POST /api/v1/upstreams`: one that is in no file.
pub(super) async fn add_upstream(
    State(admin): State<AdminState>,
    asker: Asker,
    JsonBody(NewUpstream { name, keys }): JsonBody<NewUpstream>,
) -> Result<Response, Problem> {
    let done = change(&admin, Change::AddUpstream { name: name.clone(), keys }, asker).await?;
    Ok((StatusCode::CREATED, JsonResponse(detail(&admin, &name, done)?)).into_response())
}

/// `GET /api/v1/upstreams/{name}`: how it fares, how it is configured, and where.
pub(super) async fn upstream(
    State(admin): State<AdminState>,
    Path(name): Path<String>,
) -> Result<JsonResponse<UpstreamDetailJson>, Problem> {
    Ok(JsonResponse(detail(&admin, &name, ChangedJson::default())?))
}

/// `PATCH /api/v1/upstreams/{name}`: keys with values; null takes a change back.
pub(super) async fn edit_upstream(
    State(admin): State<AdminState>,
    Path(name): Path<String>,
    asker: Asker,
    JsonBody(keys): JsonBody<NewValues>,
) -> Result<JsonResponse<UpstreamDetailJson>, Problem> {
    let done = change(&admin, Change::EditUpstream { name: name.clone(), keys }, asker).await?;
    Ok(JsonResponse(detail(&admin, &name, done)?))
}

/// `DELETE /api/v1/upstreams/{name}`: one that was added.
pub(super) async fn delete_upstream(
    State(admin): State<AdminState>,
    Path(name): Path<String>,
    asker: Asker,
) -> Result<JsonResponse<ChangedJson>, Problem> {
    Ok(JsonResponse(change(&admin, Change::DeleteUpstream(name), asker).await?))
}

/// `POST /api/v1/upstreams/{name}/reset`: as the file has it.
pub(super) async fn reset_upstream(
    State(admin): State<AdminState>,
    Path(name): Path<String>,
    asker: Asker,
) -> Result<JsonResponse<UpstreamDetailJson>, Problem> {
    let done = change(&admin, Change::ResetUpstream(name.clone()), asker).await?;
    Ok(JsonResponse(detail(&admin, &name, done)?))
}

/// `GET /api/v1/settings`: what verbs and pages may change, but for upstreams, and where it is given.
pub(super) async fn settings(State(admin): State<AdminState>) -> JsonResponse<SettingsJson> {
    JsonResponse(in_force(&admin, ChangedJson::default()))
}

/// `PATCH /api/v1/settings`: keys with values; null takes a change back.
pub(super) async fn edit_settings(
    State(admin): State<AdminState>,
    asker: Asker,
    JsonBody(keys): JsonBody<NewValues>,
) -> Result<JsonResponse<SettingsJson>, Problem> {
    let done = change(&admin, Change::Settings(keys), asker).await?;
    Ok(JsonResponse(in_force(&admin, done)))
}

/// `POST /api/v1/settings/reset`: changes at and beneath these keys, those of upstreams among them, or all, are taken back.
pub(super) async fn reset(
    State(admin): State<AdminState>,
    asker: Asker,
    JsonBody(query): JsonBody<ResetQuery>,
) -> Result<JsonResponse<ChangedJson>, Problem> {
    let wanted = match (query.all, query.keys.is_empty()) {
        (true, true) => Change::ResetAll,
        (false, false) => Change::Reset(query.keys),
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "name `keys` or `all`, and one of them")),
    };
    Ok(JsonResponse(confirmed(&admin, wanted, asker, query.confirm).await?))
}

fn detail(admin: &AdminState, name: &str, done: ChangedJson) -> Result<UpstreamDetailJson, Problem> {
    let status = service::upstream(admin, name)?;
    let in_force = admin.in_force.borrow().clone();
    let sources = in_force.given(&["upstream", name]).into_iter();
    let sources = sources.filter_map(|(key, given)| Some((key, serde_json::to_value(given).ok()?))).collect();
    Ok(UpstreamDetailJson { status, settings: in_force.beneath(&["upstream", name]), sources, done })
}

fn in_force(admin: &AdminState, done: ChangedJson) -> SettingsJson {
    let in_force = admin.in_force.borrow().clone();
    let is_setting = |key: &str, of: &[&str]| {
        of.iter().any(|setting| key == *setting || key.starts_with(&format!("{setting}.")))
    };
    let is_shown = |key: &str| match key.strip_prefix("site.").and_then(|rest| rest.split_once('.')) {
        Some((_, key)) => is_setting(key, &SETTINGS[..OF_A_SITE]),
        None => is_setting(key, SETTINGS),
    };
    let mut values = serde_json::Map::new();
    // Sites that say nothing themselves are there, too.
    for site in admin.settings.borrow().sites.keys() {
        let sites = values.entry("site").or_insert_with(|| NewValues::new().into());
        if let Some(sites) = sites.as_object_mut() {
            sites.insert(site.clone(), NewValues::new().into());
        }
    }
    in_force.copy_where(is_shown, &mut values);
    let given = in_force.given(&[]).into_iter().filter(|(key, _)| is_shown(key));
    let sources: BTreeMap<_, _> =
        given.filter_map(|(key, given)| Some((key, serde_json::to_value(given).ok()?))).collect();
    SettingsJson { values, sources, done }
}
