//! `/settings` and `/settings/{site}`: what verbs and pages may change, but for upstreams.

use super::changed;
use super::frame::{PageFrame, go_to, page, page_with};
use super::settings_ask::{ModeQuestionPage, consequences};
use super::settings_fields::{SettingSection, sections};
use super::settings_keys::MODES;
use super::settings_typed::{TypedSettings, in_tables};
use crate::admin::asker::Asker;
use crate::admin::changes::change;
use crate::admin::extract::PathPart;
use crate::admin::notices::{NoticeKind, PageNotice};
use crate::admin::problem::Problem;
use crate::admin::state::AdminState;
use crate::config::{Change, InForce};
use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

/// Part of the path: a site.
#[derive(Deserialize)]
pub(super) struct SiteName {
    site: String,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: PageFrame,
    /// None: all mail.
    site: Option<String>,
    sites: Vec<String>,
    sections: Vec<SettingSection>,
    /// Of what the page shows.
    revision: String,
    errors: Vec<SettingError>,
    /// Why nothing was changed, where that is not one of the errors.
    refused: Option<String>,
}

/// Something that is wrong with what was typed.
struct SettingError {
    /// Of the field, for a link; none: it is about another key.
    id: Option<String>,
    text: String,
}

/// `GET /settings`.
pub(super) async fn show(State(admin): State<AdminState>, frame: PageFrame) -> Response {
    page(&settings_page(&admin, frame, None, None))
}

/// `GET /settings/{site}`.
pub(super) async fn show_site(
    State(admin): State<AdminState>,
    PathPart(SiteName { site }): PathPart<SiteName>,
    frame: PageFrame,
) -> Result<Response, Problem> {
    must_exist(&admin, &site)?;
    Ok(page(&settings_page(&admin, frame, Some(site), None)))
}

/// `POST /settings`.
pub(super) async fn save(
    State(admin): State<AdminState>,
    frame: PageFrame,
    asker: Asker,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    save_typed(&admin, frame, asker, None, TypedSettings(fields)).await
}

/// `POST /settings/{site}`.
pub(super) async fn save_site(
    State(admin): State<AdminState>,
    PathPart(SiteName { site }): PathPart<SiteName>,
    frame: PageFrame,
    asker: Asker,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    must_exist(&admin, &site)?;
    Ok(save_typed(&admin, frame, asker, Some(site), TypedSettings(fields)).await)
}

fn must_exist(admin: &AdminState, site: &str) -> Result<(), Problem> {
    match admin.settings.borrow().sites.contains_key(site) {
        true => Ok(()),
        false => Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no site `{site}`"))),
    }
}

async fn save_typed(
    admin: &AdminState,
    frame: PageFrame,
    asker: Asker,
    site: Option<String>,
    typed: TypedSettings,
) -> Response {
    let path = path_of(site.as_deref());
    let in_force = admin.in_force.borrow().clone();
    // Fields of a page that is out of date would take back what somebody else has changed.
    if typed.get("revision").is_some_and(|said| said != revision(&in_force)) {
        let why = "Nothing was changed: the settings have been changed since this page was loaded. Here is what is in force now";
        return go_to(admin, &path, PageNotice::new(NoticeKind::Refused, why));
    }
    let changes = typed.changes(&in_force, site.as_deref());
    if changes.is_empty() {
        return go_to(
            admin,
            &path,
            PageNotice::new(NoticeKind::Done, "Nothing was changed: it was so already."),
        );
    }
    // Also who gets redirected mail.
    let (lines, changes_mail) = consequences(admin, site.as_deref(), &changes);
    let switches_mode = changes.iter().any(|(key, _)| MODES.contains(key));
    if (switches_mode || changes_mail) && typed.get("confirm").is_none() {
        return page(&ModeQuestionPage::of_form(frame, path, lines, typed));
    }
    match change(admin, Change::Settings(in_tables(&changes, site.as_deref())), asker).await {
        Ok(done) => go_to(admin, &path, changed::notice("The settings are changed.", &done)),
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
            page_with(status, &settings_page(admin, frame, site, Some((&typed, &problem))))
        }
    }
}

/// Changes with every setting that is in force, also with one of another page.
fn revision(in_force: &InForce) -> String {
    format!("{:016x}", xxh3_64(in_force.to_json().to_string().as_bytes()))
}

/// The page of all mail, or of a site.
pub(super) fn path_of(site: Option<&str>) -> String {
    site.map_or_else(|| "/settings".to_owned(), |site| format!("/settings/{site}"))
}

fn settings_page(
    admin: &AdminState,
    frame: PageFrame,
    site: Option<String>,
    refusal: Option<(&TypedSettings, &Problem)>,
) -> SettingsPage {
    let in_force = admin.in_force.borrow().clone();
    let typed = refusal.map(|(typed, _)| typed);
    let mut sections = sections(&in_force, site.as_deref(), typed);
    let prefix = site.as_ref().map(|site| format!("site.{site}.")).unwrap_or_default();
    let problems = refusal.map(|(_, problem)| problem.errors.as_slice()).unwrap_or_default();
    let errors: Vec<SettingError> = problems
        .iter()
        .map(|error| {
            let said = |what: &str| error[what].as_str().unwrap_or_default();
            let (key, text) = (said("key"), format!("{}; {}", said("wrong"), said("right")));
            let own = key.strip_prefix(&prefix).unwrap_or_default();
            let mut fields = sections.iter_mut().flat_map(|section| section.fields.iter_mut());
            let field = fields.find(|field| {
                own.strip_prefix(field.key)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            });
            let id = field.map(|field| {
                field.wrong.push(text.clone());
                field.id.clone()
            });
            SettingError { id, text: format!("{key}: {text}") }
        })
        .collect();
    SettingsPage {
        frame,
        sites: admin.settings.borrow().sites.keys().cloned().collect(),
        site,
        sections,
        revision: revision(&in_force),
        refused: refusal.filter(|_| errors.is_empty()).map(|(_, problem)| problem.detail.clone()),
        errors,
    }
}
