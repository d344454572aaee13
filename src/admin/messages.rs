//! Messages: listed, shown, and what an operator does with them.

use super::json::{BulkJson, MessageJson, MessagesJson};
use super::json_response::JsonResponse;
use super::problem::Problem;
use super::query::{self, BulkQuery, LARGEST_PAGE, MessagesQuery, PAGE, QueryError, id};
use super::sent;
use super::state::AdminState;
use crate::mail::{Message, QueueId};
use crate::queue::{ActionResult, Filter, MailStore, OperatorAction, QueueError};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// `GET /api/v1/messages?state=&q=&limit=&cursor=`: newest first; without `state` all but sent.
pub(super) async fn list(
    State(admin): State<AdminState>,
    Query(query): Query<MessagesQuery>,
) -> Result<JsonResponse<MessagesJson>, Problem> {
    let filter = query::filter(query.state.as_deref(), query.q.as_deref())?;
    let cursor = query.cursor.as_deref().map(id).transpose()?;
    let limit = query.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let page = admin.queue.list(filter, cursor, limit).await?;
    Ok(JsonResponse(MessagesJson::of(&page, |site, due| admin.queue.wall_of(site, due))))
}

/// `GET /api/v1/messages/{id}`: one in the queue, or one that was sent and is archived.
pub(super) async fn show(
    State(admin): State<AdminState>,
    Path(name): Path<String>,
) -> Result<JsonResponse<MessageJson>, Problem> {
    let id = id(&name)?;
    match admin.queue.show(id).await {
        Err(QueueError::NotFound(_)) => Ok(JsonResponse(sent::show(&admin, id).await?)),
        message => Ok(JsonResponse(MessageJson::of(&*message?, |site, due| admin.queue.wall_of(site, due)))),
    }
}

/// `GET /api/v1/messages/{id}/raw`: the content as it was accepted.
pub(super) async fn raw(
    State(admin): State<AdminState>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let id = id(&name)?;
    let body = match admin.queue.show(id).await {
        Err(QueueError::NotFound(_)) => sent::body(&admin, id).await?,
        message => Body::from_stream(chunks(admin.queue.clone(), message?)),
    };
    Ok(([(header::CONTENT_TYPE, "message/rfc822")], body).into_response())
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

/// `DELETE /api/v1/messages/{id}`.
pub(super) async fn delete(
    State(admin): State<AdminState>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    act_on(&admin, OperatorAction::Delete, id(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/messages/{id}/retry|hold|release`: answers the message as it is then.
pub(super) async fn act(
    State(admin): State<AdminState>,
    Path((name, name_of_action)): Path<(String, String)>,
) -> Result<JsonResponse<MessageJson>, Problem> {
    let action = match name_of_action.as_str() {
        "delete" => Err(QueryError("a message is deleted with DELETE".into())),
        word => query::action(word),
    };
    let (id, action) = (id(&name)?, action?);
    act_on(&admin, action, id).await?;
    let message = admin.queue.show(id).await?;
    Ok(JsonResponse(MessageJson::of(&message, |site, due| admin.queue.wall_of(site, due))))
}

async fn act_on(admin: &AdminState, action: OperatorAction, id: QueueId) -> Result<(), Problem> {
    let results = admin.queue.act(action, vec![id]).await?;
    if action == OperatorAction::Retry {
        admin.health.probe_now();
    }
    match results.first() {
        Some(ActionResult::NotFound) | None => Err(QueueError::NotFound(id).into()),
        Some(ActionResult::Done | ActionResult::Unchanged) => Ok(()),
    }
}

/// `POST /api/v1/messages/bulk`: one action for many messages, by their ids or by a filter.
pub(super) async fn bulk(
    State(admin): State<AdminState>,
    Json(query): Json<BulkQuery>,
) -> Result<JsonResponse<BulkJson>, Problem> {
    let action = query::action(&query.action)?;
    let by_filter = query.all || query.state.is_some() || query.q.is_some();
    if by_filter != query.ids.is_empty() {
        let what = "name either `ids`, or `all`, `state` or `q`: what the action is for has to be said";
        return Err(QueryError(what.into()).into());
    }
    let mut done = BulkJson::default();
    if by_filter {
        let filter = query::filter(query.state.as_deref(), query.q.as_deref())?;
        each_page(&admin, action, filter, &mut done).await?;
    } else {
        let ids = query.ids.iter().map(|text| id(text)).collect::<Result<Vec<_>, _>>()?;
        act_on_all(&admin, action, ids, &mut done).await?;
    }
    if action == OperatorAction::Retry {
        admin.health.probe_now();
    }
    Ok(JsonResponse(done))
}

/// Page by page, so that neither memory nor one commit follows the length of the queue.
async fn each_page(
    admin: &AdminState,
    action: OperatorAction,
    filter: Filter,
    done: &mut BulkJson,
) -> Result<(), Problem> {
    let mut cursor = None;
    loop {
        let page = admin.queue.list(filter.clone(), cursor, LARGEST_PAGE).await?;
        let damaged = page.damaged.iter().map(|(id, _)| *id).filter(|_| action == OperatorAction::Delete);
        let ids: Vec<QueueId> = page.messages.iter().map(|message| message.id).chain(damaged).collect();
        act_on_all(admin, action, ids, done).await?;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn act_on_all(
    admin: &AdminState,
    action: OperatorAction,
    ids: Vec<QueueId>,
    done: &mut BulkJson,
) -> Result<(), Problem> {
    if ids.is_empty() {
        return Ok(());
    }
    let results = admin.queue.act(action, ids.clone()).await?;
    for (id, result) in ids.iter().zip(results) {
        match result {
            ActionResult::Done => done.changed += 1,
            ActionResult::Unchanged => done.unchanged += 1,
            ActionResult::NotFound => done.not_found.push(id.to_string()),
        }
    }
    Ok(())
}
