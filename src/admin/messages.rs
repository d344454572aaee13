//! Messages: listed, shown, and what an operator does with them.

use super::extract::{OptionalBody, PathPart, QueryKeys};
use super::json::{MessageJson, MessagesJson};
use super::json_response::JsonResponse;
use super::problem::{Problem, was_sent};
use super::query::{self, ActQuery, LARGEST_PAGE, MessageId, MessagesQuery, id, page};
use super::sent;
use super::state::AdminState;
use crate::config::handling::Handling;
use crate::deliver::waits_for::waits_for;
use crate::mail::{Message, Mode, QueueId};
use crate::queue::{ActionResult, MailStore, OperatorAction, QueueError};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// List messages
///
/// Newest first; without `state` all but sent. A page may have fewer messages than `limit`, or none, and a `next_cursor`: a search
/// for text ends its page after ten thousand messages.
#[utoipa::path(
    get, path = "/api/v1/messages", tag = "messages", params(MessagesQuery),
    responses((status = 200, description = "A page", body = MessagesJson))
)]
pub(super) async fn list(
    State(admin): State<AdminState>,
    QueryKeys(query): QueryKeys<MessagesQuery>,
) -> Result<JsonResponse<MessagesJson>, Problem> {
    listed(&admin, &query).await.map(JsonResponse)
}

/// What a listing shows.
pub(super) async fn listed(admin: &AdminState, query: &MessagesQuery) -> Result<MessagesJson, Problem> {
    let expression = query.q.as_deref().unwrap_or_default();
    let filter = query::states(query.state.as_deref())?.and(admin.filter(expression)?);
    let cursor = query.cursor.as_deref().map(id).transpose()?;
    let limit = page(query.limit, LARGEST_PAGE)?;
    let queued = admin.queue.list(filter.clone(), cursor, limit).await?;
    let queued = MessagesJson::of(&queued, |site, due| admin.queue.wall_of(site, due));
    if !query::names_sent(query.state.as_deref()) {
        return Ok(queued);
    }
    let sent = MessagesJson::of_sent(&admin.queue.list_sent(filter, cursor, limit).await?);
    Ok(queued.merged(sent, limit))
}

/// What a listing shows of records that are set aside because they are damaged, and nothing else.
pub(super) async fn damaged(admin: &AdminState, query: &MessagesQuery) -> Result<MessagesJson, Problem> {
    let filter = admin.filter(query.q.as_deref().unwrap_or_default())?;
    let cursor = query.cursor.as_deref().map(id).transpose()?;
    let limit = page(query.limit, LARGEST_PAGE)?;
    let found = admin.queue.list_damaged(filter, cursor, limit).await?;
    Ok(MessagesJson::of(&found, |site, due| admin.queue.wall_of(site, due)))
}

/// Show a message
///
/// One in the queue, or one that was sent and is archived.
#[utoipa::path(
    get, path = "/api/v1/messages/{id}", tag = "messages", params(MessageId),
    responses((status = 200, description = "The message", body = MessageJson))
)]
pub(super) async fn show(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
) -> Result<JsonResponse<MessageJson>, Problem> {
    let id = id(&name)?;
    match admin.queue.show(id).await {
        Err(QueueError::NotFound(_)) => Ok(JsonResponse(sent::show(&admin, id).await?)),
        message => Ok(JsonResponse(with_progress(&admin, &*message?))),
    }
}

/// A message in the queue, with what is going on about it at this moment.
pub(super) fn with_progress(admin: &AdminState, message: &Message) -> MessageJson {
    let under_way = admin.transactions.of(message.id).map(|one| one.upstream);
    let settings = admin.settings.borrow().clone();
    let is_due = message.due.is_some_and(|due| due <= admin.queue.now_of(&message.site));
    let is_sent = |handling: &Handling| {
        !handling.sending_off && !matches!(handling.mode(), Some(Mode::Debug | Mode::Simulate))
    };
    let waits_for =
        match is_due && under_way.is_none() && settings.handling_of(&message.site).is_some_and(is_sent) {
            true => waits_for(&settings, &admin.health, &message.site),
            false => Vec::new(),
        };
    let shown = MessageJson::of(message, |site, due| admin.queue.wall_of(site, due));
    MessageJson { under_way, waits_for, ..shown }
}

/// Read a message
///
/// Its content as it was accepted.
#[utoipa::path(
    get, path = "/api/v1/messages/{id}/raw", tag = "messages", params(MessageId),
    responses(
        (status = 200, description = "The content", body = String, content_type = "message/rfc822"),
        (status = 410, description = "Its content is not in the archive any more"),
    )
)]
pub(super) async fn raw(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
) -> Result<Response, Problem> {
    let id = id(&name)?;
    let body = match admin.queue.show(id).await {
        Err(QueueError::NotFound(_)) => sent::body(&admin, id).await?,
        message => Body::from_stream(chunks(admin.queue.clone(), message?)),
    };
    // Whatever stands in it, a browser saves it, and shows it as no document of ours.
    let headers = [
        (header::CONTENT_TYPE, "message/rfc822".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.eml\"")),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, body).into_response())
}

fn chunks(
    queue: Arc<dyn MailStore>,
    message: Arc<Message>,
) -> impl futures_util::Stream<Item = Result<Bytes, QueueError>> + Send {
    futures_util::stream::unfold(0, move |number| {
        let (queue, message) = (queue.clone(), message.clone());
        async move {
            if number >= message.chunks {
                return None;
            }
            Some((queue.chunk(message.id, number).await, number + 1))
        }
    })
}

/// Delete a message
///
/// From the queue, at once.
#[utoipa::path(
    delete, path = "/api/v1/messages/{id}", tag = "messages", params(MessageId),
    responses(
        (status = 204, description = "It is gone"),
        (status = 202, description = "It is being sent at this moment, and may leave all the same"),
    )
)]
pub(super) async fn delete(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
) -> Result<StatusCode, Problem> {
    match remove(&admin, id(&name)?).await? {
        Some(_) => Ok(StatusCode::ACCEPTED),
        None => Ok(StatusCode::NO_CONTENT),
    }
}

/// Deletes a message. The upstream that it was being sent to: it may leave all the same.
pub(super) async fn remove(admin: &AdminState, id: QueueId) -> Result<Option<String>, Problem> {
    let before = admin.transactions.of(id);
    act_on(admin, OperatorAction::Delete, id).await?;
    Ok(before.or_else(|| admin.transactions.of(id)).map(|one| one.upstream))
}

/// Retry a message
///
/// It is due now; failed and expired recipients are open again. Held mail is left alone.
#[utoipa::path(
    post, path = "/api/v1/messages/{id}/retry", tag = "messages", params(MessageId), request_body = Option<ActQuery>,
    responses((status = 200, description = "The message as it is then", body = MessageJson))
)]
pub(super) async fn retry(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
    OptionalBody(ActQuery { .. }): OptionalBody<ActQuery>,
) -> Result<JsonResponse<MessageJson>, Problem> {
    act(&admin, OperatorAction::Retry, &name).await
}

/// Hold a message
///
/// No attempt starts until it is released. One that it is in goes on to its end (`under_way`).
#[utoipa::path(
    post, path = "/api/v1/messages/{id}/hold", tag = "messages", params(MessageId), request_body = Option<ActQuery>,
    responses((status = 200, description = "The message as it is then", body = MessageJson))
)]
pub(super) async fn hold(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
    OptionalBody(ActQuery { .. }): OptionalBody<ActQuery>,
) -> Result<JsonResponse<MessageJson>, Problem> {
    act(&admin, OperatorAction::Hold, &name).await
}

/// Release a message
///
/// What a mode holds may go to its addressees then, and needs `"confirm": true`.
#[utoipa::path(
    post, path = "/api/v1/messages/{id}/release", tag = "messages", params(MessageId), request_body = Option<ActQuery>,
    responses(
        (status = 200, description = "The message as it is then", body = MessageJson),
        (status = 409, description = "A mode holds it, and `confirm` is not said"),
    )
)]
pub(super) async fn release(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
    OptionalBody(body): OptionalBody<ActQuery>,
) -> Result<JsonResponse<MessageJson>, Problem> {
    act(&admin, query::confirmed(OperatorAction::Release, body.confirm), &name).await
}

async fn act(
    admin: &AdminState,
    action: OperatorAction,
    name: &str,
) -> Result<JsonResponse<MessageJson>, Problem> {
    let id = id(name)?;
    act_on(admin, action, id).await?;
    let message = admin.queue.show(id).await?;
    Ok(JsonResponse(with_progress(admin, &message)))
}

/// Carries out an action on a message in the queue: whether there was anything to do.
pub(super) async fn act_on(admin: &AdminState, action: OperatorAction, id: QueueId) -> Result<bool, Problem> {
    let results = admin.queue.act(action, vec![id]).await?;
    if action == OperatorAction::Retry {
        admin.health.probe_now();
    }
    match results.first() {
        Some(ActionResult::NotFound) | None => match admin.queue.show_sent(id).await {
            Ok(sent) => {
                let sent = was_sent(&id.to_string(), sent.sent_at);
                Err(Problem::new(StatusCode::NOT_FOUND, format!("message {id} is not in the queue: {sent}")))
            }
            Err(_) => Err(QueueError::NotFound(id).into()),
        },
        Some(ActionResult::HeldByMode) => Err(unconfirmed(&format!("message {id} is held"))),
        Some(ActionResult::Done) => Ok(true),
        Some(ActionResult::Unchanged) => Ok(false),
    }
}

/// It has to be said that mail may go to people whom a mode kept it from.
pub(super) fn unconfirmed(what: &str) -> Problem {
    let detail = format!(
        "{what} for another reason than that an operator said so (see held_because); released, it may go to the people whom it is \
         addressed to: say \"confirm\": true if that is meant"
    );
    Problem::new(StatusCode::CONFLICT, detail)
}
