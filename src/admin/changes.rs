//! What is configured, and changes of it. The server makes them, one after the other ([`ConfigRequest`]).

use super::asker::Asker;
use super::extract::{JsonBody, PathPart};
use super::json::{ChangedJson, SettingsJson, UpstreamDetailJson};
use super::json_response::JsonResponse;
use super::problem::Problem;
use super::query::UpstreamName;
use super::service;
use super::state::{AdminState, ConfigRequest};
use crate::config::{Change, NewValues};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::collections::BTreeMap;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// The tables and keys that `GET` and `PATCH /api/v1/settings` are about; of a site, all but the last two.
const SETTINGS: &[&str] =
    &["sending", "redirect", "debug", "simulate", "sender", "log_emails", "queue.archive_days"];
const OF_A_SITE: usize = 5;
/// `name`, and the keys of an upstream as in the file.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({ "name": "backup", "host": "smtp.example.net:587", "priority": "low" }))]
pub(super) struct NewUpstream {
    name: String,
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    keys: NewValues,
}

/// `keys`, or `all`; with `confirm` where a mode ends.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "keys": ["redirect", "upstream.primary.enabled"] }))]
pub(super) struct ResetQuery {
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    all: bool,
    /// It is meant, also where it ends a mode.
    #[serde(default)]
    confirm: bool,
}

/// Changes settings, as `PATCH /api/v1/settings` does.
pub(super) async fn set(admin: &AdminState, keys: NewValues, asker: Asker) -> Result<ChangedJson, Problem> {
    change(admin, Change::Settings(keys), asker).await
}

/// Has the server make a change.
pub(super) async fn change(
    admin: &AdminState,
    change: Change,
    Asker(by): Asker,
) -> Result<ChangedJson, Problem> {
    let (answer, answered) = oneshot::channel();
    let stopping = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping");
    admin.requests.send(ConfigRequest::Change { change, by, answer }).await.map_err(|_| stopping())?;
    Ok(answered.await.map_err(|_| stopping())??.into())
}

/// Add an upstream
///
/// One that is in no file, kept in `admin.toml`.
#[utoipa::path(
    post, path = "/api/v1/upstreams", tag = "upstreams", request_body = NewUpstream,
    responses(
        (status = 201, description = "It is in force", body = UpstreamDetailJson),
        (status = 409, description = "There is one of that name"),
        (status = 422, description = "The configuration would be wrong: `errors` says where, and what would be right"),
    )
)]
pub(super) async fn add_upstream(
    State(admin): State<AdminState>,
    asker: Asker,
    JsonBody(NewUpstream { name, keys }): JsonBody<NewUpstream>,
) -> Result<Response, Problem> {
    let done = change(&admin, Change::AddUpstream { name: name.clone(), keys }, asker).await?;
    Ok((StatusCode::CREATED, JsonResponse(detail(&admin, &name, done)?)).into_response())
}

/// Show an upstream
///
/// How it fares, how it is configured, and where.
#[utoipa::path(
    get, path = "/api/v1/upstreams/{name}", tag = "upstreams", params(UpstreamName),
    responses((status = 200, description = "The upstream", body = UpstreamDetailJson))
)]
pub(super) async fn upstream(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
) -> Result<JsonResponse<UpstreamDetailJson>, Problem> {
    Ok(JsonResponse(detail(&admin, &name, ChangedJson::default())?))
}

/// Change an upstream
///
/// Keys with values, as in the file; null takes a change back.
#[utoipa::path(
    patch, path = "/api/v1/upstreams/{name}", tag = "upstreams", params(UpstreamName),
    request_body(content = Object, description = "Keys of the upstream", example = json!({ "enabled": false, "rate_limit": null })),
    responses(
        (status = 200, description = "The change is in force", body = UpstreamDetailJson),
        (status = 409, description = "It is not to be changed here: the environment or the command line gives the key"),
        (status = 422, description = "The configuration would be wrong: `errors` says where, and what would be right"),
    )
)]
pub(super) async fn edit_upstream(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    asker: Asker,
    JsonBody(keys): JsonBody<NewValues>,
) -> Result<JsonResponse<UpstreamDetailJson>, Problem> {
    let done = change(&admin, Change::EditUpstream { name: name.clone(), keys }, asker).await?;
    Ok(JsonResponse(detail(&admin, &name, done)?))
}

/// Delete an upstream
///
/// One that was added; one of the file can only be disabled.
#[utoipa::path(
    delete, path = "/api/v1/upstreams/{name}", tag = "upstreams", params(UpstreamName),
    responses(
        (status = 200, description = "It is gone", body = ChangedJson),
        (status = 409, description = "It stands in the file"),
        (status = 422, description = "The configuration would be wrong without it"),
    )
)]
pub(super) async fn delete_upstream(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    asker: Asker,
) -> Result<JsonResponse<ChangedJson>, Problem> {
    Ok(JsonResponse(change(&admin, Change::DeleteUpstream(name), asker).await?))
}

/// Reset an upstream
///
/// All changes of it are taken back: what the file says holds again.
#[utoipa::path(
    post, path = "/api/v1/upstreams/{name}/reset", tag = "upstreams", params(UpstreamName),
    responses(
        (status = 200, description = "What the file says is in force", body = UpstreamDetailJson),
        (status = 409, description = "There is nothing in the file to go back to"),
        (status = 422, description = "The configuration would be wrong"),
    )
)]
pub(super) async fn reset_upstream(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    asker: Asker,
) -> Result<JsonResponse<UpstreamDetailJson>, Problem> {
    let done = change(&admin, Change::ResetUpstream(name.clone()), asker).await?;
    Ok(JsonResponse(detail(&admin, &name, done)?))
}

/// Show settings
///
/// What verbs and routes may change, but for upstreams, and where it is given.
#[utoipa::path(
    get, path = "/api/v1/settings", tag = "settings",
    responses((status = 200, description = "The settings in force", body = SettingsJson))
)]
pub(super) async fn settings(State(admin): State<AdminState>) -> JsonResponse<SettingsJson> {
    JsonResponse(in_force(&admin, ChangedJson::default()))
}

/// Change settings
///
/// Tables and keys with values, as in the file, those of sites beneath `site`; null takes a change back.
#[utoipa::path(
    patch, path = "/api/v1/settings", tag = "settings",
    request_body(
        content = Object, description = "Tables and keys",
        example = json!({ "redirect": { "enabled": true }, "site": { "intranet": { "debug": null } } })
    ),
    responses(
        (status = 200, description = "The change is in force", body = SettingsJson),
        (status = 404, description = "There is no such site"),
        (status = 409, description = "It is not to be changed here: the environment or the command line gives the key"),
        (status = 422, description = "The configuration would be wrong: `errors` says where, and what would be right"),
    )
)]
pub(super) async fn edit_settings(
    State(admin): State<AdminState>,
    asker: Asker,
    JsonBody(keys): JsonBody<NewValues>,
) -> Result<JsonResponse<SettingsJson>, Problem> {
    let done = set(&admin, keys, asker).await?;
    Ok(JsonResponse(in_force(&admin, done)))
}

/// Take changes back
///
/// Those at and beneath these keys, those of upstreams among them, or all.
#[utoipa::path(
    post, path = "/api/v1/settings/reset", tag = "settings", request_body = ResetQuery,
    responses(
        (status = 200, description = "What the file says is in force", body = ChangedJson),
        (status = 404, description = "Nothing was changed there"),
        (status = 409, description = "A mode would end, and `confirm` is not said; or it is not to be taken back"),
        (status = 422, description = "The configuration would be wrong"),
    )
)]
pub(super) async fn reset(
    State(admin): State<AdminState>,
    asker: Asker,
    JsonBody(query): JsonBody<ResetQuery>,
) -> Result<JsonResponse<ChangedJson>, Problem> {
    let ResetQuery { keys, all, confirm: confirmed } = query;
    let wanted = match (all, keys.is_empty()) {
        (true, true) => Change::ResetAll { confirmed },
        (false, false) => Change::Reset { keys, confirmed },
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "name `keys` or `all`, and one of them")),
    };
    Ok(JsonResponse(change(&admin, wanted, asker).await?))
}

/// An upstream as it is configured now, with what was done to it.
pub(super) fn detail(
    admin: &AdminState,
    name: &str,
    done: ChangedJson,
) -> Result<UpstreamDetailJson, Problem> {
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
