//! What is done with one message. What may harm is asked first, on a page of its own.

use super::found::{FoundMessage, ShownMessage};
use super::head::MessageHead;
use crate::admin::extract::PathPart;
use crate::admin::messages::{act_on, remove};
use crate::admin::notices::{NoticeKind, PageNotice};
use crate::admin::pages::frame::{PageFrame, go_to, page};
use crate::admin::pages::modes;
use crate::admin::pages::shown::{count, thousands};
use crate::admin::problem::Problem;
use crate::admin::query::{MessageId, confirmed, id};
use crate::admin::sent::send_again;
use crate::admin::state::AdminState;
use crate::mail::QueueId;
use crate::queue::OperatorAction;
use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

/// Asks whether it is meant.
#[derive(Template)]
#[template(path = "message/ask.html")]
struct AskPage {
    frame: PageFrame,
    head: MessageHead,
    question: &'static str,
    /// What it will do, sentence by sentence.
    consequences: Vec<String>,
    /// The last part of the path that the answer is sent to.
    act: &'static str,
    button: &'static str,
    is_dangerous: bool,
    /// Nothing can be done, as the consequences say.
    is_impossible: bool,
}

/// What the form of an act says beside the CSRF token.
#[derive(Deserialize)]
pub(super) struct ActForm {
    /// It was asked.
    #[serde(default)]
    confirm: bool,
}

/// `POST /messages/{id}/retry`.
pub(super) async fn retry(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
) -> Result<Response, Problem> {
    let done = "It is tried again now, also for recipients that had failed.";
    Ok(act(&admin, id(&name)?, OperatorAction::Retry, done).await)
}

/// `POST /messages/{id}/hold`.
pub(super) async fn hold(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
) -> Result<Response, Problem> {
    let id = id(&name)?;
    let before = admin.transactions.of(id);
    let result = act_on(&admin, OperatorAction::Hold, id).await;
    let under_way = before.or_else(|| admin.transactions.of(id)).filter(|_| matches!(result, Ok(true)));
    let Some(sending) = under_way else {
        return Ok(told(&admin, id, result, "It is held: no attempt starts until it is released."));
    };
    let text = format!(
        "It is held. It was being sent to {} at that moment, and may have left all the same.",
        sending.upstream
    );
    Ok(go_to(&admin, &address(id), PageNotice::new(NoticeKind::Warning, text)))
}

/// `GET /messages/{id}/release`.
pub(super) async fn ask_release(ShownMessage { frame, found }: ShownMessage) -> Response {
    let recipients = count(open_originals(&found) as u64, "recipient");
    let mut consequences = MessageHead::new(&found, "").held_because;
    let is_impossible = consequences.is_empty();
    consequences.push(match is_impossible {
        true => "It is not held.".to_owned(),
        false => {
            format!("Released, it goes to its {recipients}, unless a mode that is on now says otherwise.")
        }
    });
    ask(frame, &found, "Release this message?", consequences, ("release", "Release it", true), is_impossible)
}

/// `POST /messages/{id}/release`. What a mode holds is asked about first.
pub(super) async fn release(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
    Form(form): Form<ActForm>,
) -> Result<Response, Problem> {
    let id = id(&name)?;
    let action = confirmed(OperatorAction::Release, form.confirm);
    match act_on(&admin, action, id).await {
        Err(problem) if problem.status == StatusCode::CONFLICT.as_u16() => {
            Ok(Redirect::to(&format!("{}/release", address(id))).into_response())
        }
        result => Ok(told(&admin, id, result, "It is released, and due now.")),
    }
}

/// `GET /messages/{id}/delete`.
pub(super) async fn ask_delete(
    State(admin): State<AdminState>,
    ShownMessage { frame, found }: ShownMessage,
) -> Response {
    let open = open_originals(&found) as u64;
    let mut consequences =
        vec!["It is removed from the queue at once and for good; its events stay.".to_owned()];
    let is_impossible = found.sent.is_some();
    if is_impossible {
        consequences =
            vec!["It was sent, and is in the archive: that is emptied by age (archive_days).".to_owned()];
    } else if open > 0 {
        consequences
            .push(format!("{} will not get it, and its sender is not told.", count(open, "recipient")));
    }
    if let Some(upstream) = admin.transactions.of(found.id).map(|one| one.upstream) {
        consequences
            .push(format!("It is being sent to {upstream} at this moment, and may leave all the same."));
    }
    ask(frame, &found, "Delete this message?", consequences, ("delete", "Delete it", true), is_impossible)
}

/// `POST /messages/{id}/delete`.
pub(super) async fn delete(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
) -> Result<Response, Problem> {
    let id = id(&name)?;
    let notice = match remove(&admin, id).await {
        Ok(None) => PageNotice::new(NoticeKind::Done, format!("Message {id} is deleted.")),
        Ok(Some(upstream)) => {
            let text = format!(
                "Message {id} is deleted. It was being sent to {upstream} at that moment, and may have left all the same."
            );
            PageNotice::new(NoticeKind::Warning, text)
        }
        Err(problem) => {
            return Ok(go_to(&admin, &address(id), PageNotice::new(NoticeKind::Refused, problem.detail)));
        }
    };
    Ok(go_to(&admin, "/queue", notice))
}

/// `GET /messages/{id}/resend`.
pub(super) async fn ask_resend(
    State(admin): State<AdminState>,
    ShownMessage { frame, found }: ShownMessage,
) -> Response {
    let recipients = found.message.originals().count() as u64;
    let mut consequences = Vec::new();
    let is_impossible = found.sent.is_none();
    if is_impossible {
        consequences.push("It is still in the queue: retry it, or release it where it is held.".to_owned());
    } else {
        let all = match recipients {
            1 => "its recipient".to_owned(),
            many => format!("all {} recipients", thousands(many)),
        };
        consequences.push(format!(
            "A new message with the same content goes to {all}, also to those who have had this one."
        ));
        if found.message.recipients.iter().any(|one| one.mode.is_some()) {
            consequences.push("Redirect or debug kept this one from recipients; the new one goes by the modes that are in force now.".to_owned());
        }
        let modes = modes::lines(&admin.settings.borrow());
        let mode = modes.iter().find(|mode| mode.label.starts_with(&format!("{}: ", found.message.site)));
        if let Some(mode) = mode.or(modes.first()) {
            consequences.push(format!("In force now: {}. {}", mode.label, mode.text));
        }
    }
    ask(
        frame,
        &found,
        "Send this message again?",
        consequences,
        ("resend", "Send it again", false),
        is_impossible,
    )
}

/// `POST /messages/{id}/resend`.
pub(super) async fn resend(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
    Form(form): Form<ActForm>,
) -> Result<Response, Problem> {
    let id = id(&name)?;
    Ok(match send_again(&admin, id, form.confirm).await {
        Ok(message) => {
            let notice =
                PageNotice::new(NoticeKind::Done, format!("Message {id} is sent again, as this message."));
            go_to(&admin, &address(message.id), notice)
        }
        Err(problem) => go_to(&admin, &address(id), PageNotice::new(NoticeKind::Refused, problem.detail)),
    })
}

fn ask(
    frame: PageFrame,
    found: &FoundMessage,
    question: &'static str,
    consequences: Vec<String>,
    (act, button, is_dangerous): (&'static str, &'static str, bool),
    is_impossible: bool,
) -> Response {
    let head = MessageHead::new(found, "");
    page(&AskPage { frame, head, question, consequences, act, button, is_dangerous, is_impossible })
}

async fn act(admin: &AdminState, id: QueueId, action: OperatorAction, done: &str) -> Response {
    let result = act_on(admin, action, id).await;
    told(admin, id, result, done)
}

/// Back to the message, with what came of it.
fn told(admin: &AdminState, id: QueueId, result: Result<bool, Problem>, done: &str) -> Response {
    let notice = match result {
        Ok(true) => PageNotice::new(NoticeKind::Done, done),
        Ok(false) => PageNotice::new(NoticeKind::Warning, "There was nothing to do: see its state."),
        Err(problem) => PageNotice::new(NoticeKind::Refused, problem.detail),
    };
    go_to(admin, &address(id), notice)
}

/// How many it was accepted for and are open: copies for report addresses stand in place of others.
fn open_originals(found: &FoundMessage) -> usize {
    found.message.originals().filter(|one| one.state.is_open()).count()
}

fn address(id: QueueId) -> String {
    format!("/messages/{id}")
}
