//! `/upstreams/new` and `/upstreams/{name}/edit`: the form of an upstream, and what comes of it.

use super::changed;
use super::frame::{PageFrame, go_to, page_with};
use super::upstream_acts::with_waiting;
use super::upstream_form::TypedForm;
use super::upstream_keys::{KeyField, KeyGroup, groups};
use crate::admin::asker::Asker;
use crate::admin::changes::{change, detail};
use crate::admin::extract::PathPart;
use crate::admin::json::{ChangedJson, UpstreamDetailJson};
use crate::admin::problem::Problem;
use crate::admin::query::UpstreamName;
use crate::admin::state::AdminState;
use crate::config::Change;
use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use xxhash_rust::xxh3::xxh3_64;

#[derive(Template)]
#[template(path = "upstream_form.html")]
struct FormPage {
    frame: PageFrame,
    /// There is one, which is changed.
    is_edit: bool,
    name: String,
    is_added: bool,
    groups: Vec<KeyGroup>,
    /// What was in force when the form was made.
    revision: String,
    /// What is wrong, and belongs to no field.
    others: Vec<String>,
}

impl FormPage {
    fn wrong_fields(&self) -> impl Iterator<Item = &KeyField> {
        self.groups.iter().flat_map(|group| &group.fields).filter(|field| field.is_wrong())
    }

    fn is_wrong(&self) -> bool {
        !self.others.is_empty() || self.wrong_fields().next().is_some()
    }
}

/// `GET /upstreams/new`.
pub(super) async fn new(frame: PageFrame) -> Response {
    let (name, others, groups) = (String::new(), Vec::new(), groups(None));
    let empty =
        FormPage { frame, is_edit: false, name, is_added: false, groups, revision: String::new(), others };
    page_with(StatusCode::OK, &empty)
}

/// `POST /upstreams/new`.
pub(super) async fn add(
    State(admin): State<AdminState>,
    frame: PageFrame,
    asker: Asker,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Response {
    let typed = TypedForm::from(pairs);
    let name = typed.text("name").trim().to_owned();
    let mut groups = groups(None);
    let keys = typed.differing(&groups);
    let problem = match change(&admin, Change::AddUpstream { name: name.clone(), keys }, asker).await {
        Ok(done) => {
            let text = format!("{name} is added. Test whether it works.");
            return go_to(&admin, &format!("/upstreams/{name}"), with_waiting(&admin, text, &done));
        }
        Err(problem) => problem,
    };
    let others = typed.mark(&mut groups, &format!("upstream.{name}"), &problem);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    let again =
        FormPage { frame, is_edit: false, name, is_added: false, groups, revision: String::new(), others };
    page_with(status, &again)
}

/// `GET /upstreams/{name}/edit`.
pub(super) async fn form(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    frame: PageFrame,
) -> Result<Response, Problem> {
    let upstream = detail(&admin, &name, ChangedJson::default())?;
    Ok(page_with(StatusCode::OK, &edited(frame, &upstream, groups(Some(&upstream)), Vec::new())))
}

/// `POST /upstreams/{name}/edit`.
pub(super) async fn edit(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    frame: PageFrame,
    asker: Asker,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let typed = TypedForm::from(pairs);
    let upstream = detail(&admin, &name, ChangedJson::default())?;
    let mut groups = groups(Some(&upstream));
    let problem = if typed.text("revision") != revision(&upstream) {
        let detail = "It was changed by somebody else meanwhile. What you have typed stands here; what you have not may be old: save it \
                      again if it is meant.";
        Problem::new(StatusCode::CONFLICT, detail)
    } else {
        let keys = typed.differing(&groups);
        let wanted = Change::EditUpstream { name: name.clone(), keys: keys.clone() };
        if keys.is_empty() {
            return Ok(go_to(
                &admin,
                &format!("/upstreams/{name}"),
                changed::notice("", &ChangedJson::default()),
            ));
        }
        match change(&admin, wanted, asker).await {
            Ok(done) => {
                let notice = with_waiting(&admin, format!("{name} is changed."), &done);
                return Ok(go_to(&admin, &format!("/upstreams/{name}"), notice));
            }
            Err(problem) => problem,
        }
    };
    let others = typed.mark(&mut groups, &format!("upstream.{name}"), &problem);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    Ok(page_with(status, &edited(frame, &upstream, groups, others)))
}

fn edited(
    frame: PageFrame,
    upstream: &UpstreamDetailJson,
    groups: Vec<KeyGroup>,
    others: Vec<String>,
) -> FormPage {
    FormPage {
        frame,
        is_edit: true,
        name: upstream.status.name.clone(),
        is_added: upstream.status.added,
        groups,
        revision: revision(upstream),
        others,
    }
}

/// Of what is in force, so that a form that was open for long overwrites nothing that somebody else has done.
fn revision(upstream: &UpstreamDetailJson) -> String {
    let all = serde_json::to_string(&(&upstream.settings, &upstream.sources)).unwrap_or_default();
    format!("{:016x}", xxh3_64(all.as_bytes()))
}
