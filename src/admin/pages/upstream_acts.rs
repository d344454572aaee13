//! Upstreams are enabled, disabled, deleted and reset: each by a form, answered with the page that it was on and what came of it.

use super::changed;
use super::frame::{PageFrame, go_to, page};
use super::shown;
use super::upstream_keys::groups;
use crate::admin::asker::Asker;
use crate::admin::changes::{change, detail};
use crate::admin::extract::PathPart;
use crate::admin::json::{ChangedJson, UpstreamDetailJson};
use crate::admin::notices::{NoticeKind, PageNotice};
use crate::admin::problem::Problem;
use crate::admin::query::UpstreamName;
use crate::admin::state::AdminState;
use crate::config::{Change, NewValues};
use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

/// What the forms send.
#[derive(Deserialize)]
pub(super) struct UpstreamAct {
    /// The page that the form is on.
    back: Option<String>,
    /// It was asked whether it is meant.
    confirm: Option<String>,
    /// Of a reset: the one key that goes back; none: all.
    key: Option<String>,
}

/// Asks whether it is meant.
#[derive(Template)]
#[template(path = "upstream_sure.html")]
struct SurePage {
    frame: PageFrame,
    name: String,
    act: &'static str,
    title: String,
    /// What it comes to.
    lines: Vec<String>,
}

/// `POST /upstreams/{name}/enable`.
pub(super) async fn enable(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    asker: Asker,
    Form(form): Form<UpstreamAct>,
) -> Response {
    switch(&admin, &name, true, asker, &form).await
}

/// `POST /upstreams/{name}/disable`.
pub(super) async fn disable(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    asker: Asker,
    Form(form): Form<UpstreamAct>,
) -> Response {
    switch(&admin, &name, false, asker, &form).await
}

/// `POST /upstreams/{name}/delete`.
pub(super) async fn delete(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    frame: PageFrame,
    asker: Asker,
    Form(form): Form<UpstreamAct>,
) -> Result<Response, Problem> {
    let upstream = detail(&admin, &name, ChangedJson::default())?;
    if form.confirm.is_none() && upstream.status.added {
        let mut lines =
            vec!["It is in no file: its settings, passwords among them, are gone then.".to_owned()];
        lines.extend(waiting_without(&admin, &name));
        let title = format!("Delete the upstream {name}?");
        return Ok(page(&SurePage { frame, name, act: "delete", title, lines }));
    }
    let done = change(&admin, Change::DeleteUpstream(name.clone()), asker).await;
    Ok(match done {
        Ok(done) => go_to(&admin, "/upstreams", with_waiting(&admin, format!("{name} is deleted."), &done)),
        Err(problem) => go_to(&admin, &place(&name, &form), changed::refused(&problem)),
    })
}

/// `POST /upstreams/{name}/reset`: all changes of it, or of one key.
pub(super) async fn reset(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    frame: PageFrame,
    asker: Asker,
    Form(form): Form<UpstreamAct>,
) -> Result<Response, Problem> {
    let upstream = detail(&admin, &name, ChangedJson::default())?;
    let (wanted, text) = match &form.key {
        Some(key) => {
            let keys = nested([(key.clone(), Value::Null)]);
            (Change::EditUpstream { name: name.clone(), keys }, format!("{key} of {name} is as it was."))
        }
        None if form.confirm.is_none() && !upstream.status.changed.is_empty() && !upstream.status.added => {
            let title = format!("Take back all changes of {name}?");
            return Ok(page(&SurePage { frame, name, act: "reset", title, lines: going_back(&upstream) }));
        }
        None => (Change::ResetUpstream(name.clone()), format!("{name} is as it is configured.")),
    };
    let notice = match change(&admin, wanted, asker).await {
        Ok(done) => with_waiting(&admin, text, &done),
        Err(problem) => changed::refused(&problem),
    };
    Ok(go_to(&admin, &place(&name, &form), notice))
}

async fn switch(admin: &AdminState, name: &str, on: bool, asker: Asker, form: &UpstreamAct) -> Response {
    let keys = nested([("enabled".to_owned(), Value::Bool(on))]);
    let notice = match change(admin, Change::EditUpstream { name: name.to_owned(), keys }, asker).await {
        Ok(done) => {
            let text = format!("{name} is {}.", if on { "enabled" } else { "disabled" });
            with_waiting(admin, text, &done)
        }
        Err(problem) => changed::refused(&problem),
    };
    go_to(admin, &place(name, form), notice)
}

/// Where the form was: one of our pages.
fn place(name: &str, form: &UpstreamAct) -> String {
    match form.back.as_deref() {
        Some(back @ ("/" | "/upstreams")) => back.to_owned(),
        Some("edit") => format!("/upstreams/{name}/edit"),
        _ => format!("/upstreams/{name}"),
    }
}

/// Keys with values as changes have them: `oauth2.scope` in a table.
pub(super) fn nested(keys: impl IntoIterator<Item = (String, Value)>) -> NewValues {
    let mut values = NewValues::new();
    for (key, value) in keys {
        match key.split_once('.') {
            Some((table, key)) => {
                let table = values.entry(table).or_insert_with(|| NewValues::new().into());
                if let Some(table) = table.as_object_mut() {
                    table.insert(key.to_owned(), value);
                }
            }
            None => drop(values.insert(key, value)),
        }
    }
    values
}

/// What was done, and how much waits where no upstream takes mail any more.
pub(super) fn with_waiting(admin: &AdminState, text: String, done: &ChangedJson) -> PageNotice {
    let mut notice = changed::notice(text, done);
    let is_any = admin.settings.borrow().upstreams.iter().any(|upstream| upstream.enabled);
    if !is_any {
        notice.kind = NoticeKind::Warning;
        notice.lines.push(waiting(admin));
    }
    notice
}

fn waiting(admin: &AdminState) -> String {
    let status = admin.queue.status();
    let waiting = shown::count(status.queued + status.deferred, "message");
    format!("No upstream is enabled: all mail waits, at the moment {waiting}.")
}

/// What would wait without this upstream, where no other is enabled.
fn waiting_without(admin: &AdminState, name: &str) -> Option<String> {
    let settings = admin.settings.borrow().clone();
    let is_only = settings.upstreams.iter().all(|one| one.enabled == (one.name == name));
    is_only.then(|| format!("It is the only one that is enabled. {}", waiting(admin)))
}

fn going_back(upstream: &UpstreamDetailJson) -> Vec<String> {
    let fields = groups(Some(upstream)).into_iter().flat_map(|group| group.fields);
    let changed = fields.filter(|field| field.is_changed);
    changed
        .map(|field| {
            let below = field.below.unwrap_or_default();
            format!("{} ({}): {}; {below}", field.label, field.key, field.in_force)
        })
        .collect()
}
