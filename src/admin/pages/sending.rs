//! Kentico's "Stop sending" and "Start sending": `[sending] enabled`, asked about first.

use super::frame::{PageFrame, go_to, page};
use super::queue::PATH;
use super::shown::count;
use crate::admin::asker::Asker;
use crate::admin::changes;
use crate::admin::notices::{NoticeKind, PageNotice};
use crate::admin::state::AdminState;
use crate::config::NewValues;
use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

/// What the button, and the page that asks, send.
#[derive(Deserialize)]
pub(super) struct SendingForm {
    /// `on` or `off`.
    sending: String,
    confirmed: Option<String>,
}

#[derive(Template)]
#[template(path = "sending_confirm.html")]
struct SendingPage {
    frame: PageFrame,
    starts: bool,
    lines: Vec<String>,
}

/// `POST /queue/sending`.
pub(super) async fn switch(
    State(admin): State<AdminState>,
    frame: PageFrame,
    asker: Asker,
    Form(form): Form<SendingForm>,
) -> Response {
    let starts = form.sending == "on";
    if form.confirmed.is_none() {
        return page(&SendingPage { lines: consequences(&admin, starts), frame, starts });
    }
    let mut keys = NewValues::new();
    keys.insert("sending".to_owned(), serde_json::json!({ "enabled": starts }));
    let notice = match changes::set(&admin, keys, asker).await {
        Ok(done) => {
            let text = match (done.changes.is_empty(), starts) {
                (true, _) => "Nothing has changed: it was so already.",
                (false, true) => "Sending is on.",
                (false, false) => "Sending is off: mail is accepted and waits.",
            };
            let lines = done.under_way.into_iter().chain(done.warnings).collect();
            PageNotice { kind: NoticeKind::Done, text: text.to_owned(), lines }
        }
        Err(problem) => PageNotice::new(NoticeKind::Refused, problem.detail),
    };
    go_to(&admin, PATH, notice)
}

/// What it does to the mail that waits.
fn consequences(admin: &AdminState, starts: bool) -> Vec<String> {
    let settings = admin.settings.borrow().clone();
    let status = admin.queue.status();
    let waiting = status.queued + status.deferred;
    let wait = if waiting == 1 { "waits" } else { "wait" };
    let mut lines = vec![match (starts, waiting) {
        (true, 0) => "No mail waits.".to_owned(),
        (true, _) => format!("{} {wait}; what is due is sent at once.", count(waiting, "message")),
        (false, 0) => "Mail is accepted, waits in the queue, and nothing is sent.".to_owned(),
        (false, _) => format!(
            "{} {wait} and will not be sent; new mail is accepted and waits, too.",
            count(waiting, "message")
        ),
    }];
    if !starts {
        lines.push("No time passes for it meanwhile: nothing expires, and no attempt is counted.".to_owned());
        lines.push("What is being sent at this moment goes on to its end.".to_owned());
    } else if let Some(mode) = settings.handling.mode() {
        lines.push(format!("It is sent under the mode that is in force: {}.", mode.word()));
    }
    // A site that says it itself keeps it.
    let in_force = admin.in_force.borrow().clone();
    let others = settings.sites.values().filter(|site| site.handling.sending_off == starts);
    let others: Vec<&str> = others
        .filter(|site| !in_force.given(&["site", &site.name, "sending"]).is_empty())
        .map(|site| site.name.as_str())
        .collect();
    if !others.is_empty() {
        let state = if starts { "off" } else { "on" };
        lines.push(format!("Sending stays {state} for what says so itself: {}.", others.join(", ")));
    }
    lines
}
