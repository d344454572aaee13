//! `POST /api/v1/messages/bulk`: one action for many messages, by their ids or by a filter.
//!
//! What is meant is decided when the action begins: a search goes through the queue as it is, newest first, as fast as it can, and
//! the actions follow it in commits of some hundred messages, so that other mail waits shortly. Between the two are the ids of
//! what was found, 16 bytes each. A message is changed only if the filter still means it in the very commit that changes it.
//! Mail that is accepted meanwhile is newer than the newest message at the beginning, and is not meant.
//!
//! A client that goes away ends the action: what is done stays done.

use super::bulk_line::BulkLine;
use super::json::BulkJson;
use super::json_response::JsonResponse;
use super::messages::unconfirmed;
use super::problem::Problem;
use super::query::{self, BulkQuery, QueryError, id};
use super::safe_json::to_json;
use super::state::AdminState;
use crate::mail::{MessageState, QueueId};
use crate::queue::{ActionResult, Filter, OperatorAction};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use tokio::sync::mpsc;

/// Messages that the search looks for, and the actions change, at a time.
const PAGE: usize = 500;
/// Lines of progress that a slow reader may be behind.
const LINES: usize = 16;
const NDJSON: &str = "application/x-ndjson";

/// Which messages are meant.
#[derive(Clone)]
enum Selection {
    Ids(Vec<QueueId>),
    Filter { filter: Filter, until: Option<QueueId> },
}

/// See the module. Answers a [`BulkJson`], or lines ([`BulkLine`]) to who accepts `application/x-ndjson`.
pub(super) async fn bulk(
    State(admin): State<AdminState>,
    headers: HeaderMap,
    Json(query): Json<BulkQuery>,
) -> Result<Response, Problem> {
    let action = query::action(&query.action)?;
    let selection = selection(&admin, &query).await?;
    if query.dry_run {
        return Ok(JsonResponse(count(&admin, action, &selection).await?).into_response());
    }
    if action == OperatorAction::Release && !query.confirm {
        let held = count(&admin, action, &selection).await?.held_by_mode;
        if held > 0 {
            return Err(unconfirmed(&format!("{held} of these messages are held")));
        }
    }
    let mut lines = carry_out(admin, query::confirmed(action, query.confirm), selection);
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|accepts| accepts.contains(NDJSON)) {
        let body = futures_util::stream::unfold(lines, async |mut lines| {
            let line = to_json(&lines.recv().await?).unwrap_or_default() + "\n";
            Some((Ok::<_, Infallible>(line), lines))
        });
        return Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(body)).into_response());
    }
    while let Some(line) = lines.recv().await {
        match line {
            BulkLine::Progress(_) => {}
            BulkLine::Result(done) => return Ok(JsonResponse(done).into_response()),
            BulkLine::Problem(problem) => return Err(problem),
        }
    }
    Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the action ended without a result"))
}

async fn selection(admin: &AdminState, query: &BulkQuery) -> Result<Selection, Problem> {
    let wrong = |what: &str| Err(QueryError(what.to_owned()).into());
    let expression = match (&query.ids[..], query.all, &query.filter) {
        ([], true, None) => "",
        ([], false, Some(expression)) if expression.trim().is_empty() => {
            return wrong("the filter is empty; all messages are meant by \"all\": true");
        }
        ([], false, Some(expression)) => expression,
        (ids, false, None) if !ids.is_empty() => {
            return Ok(Selection::Ids(ids.iter().map(|text| id(text)).collect::<Result<_, _>>()?));
        }
        _ => {
            return wrong(
                "name `ids`, `filter` or `all`, and one of them: what the action is for has to be said",
            );
        }
    };
    let filter = admin.filter(expression)?;
    let until = match &query.until {
        Some(until) => Some(id(until)?),
        None => newest(admin).await?,
    };
    Ok(Selection::Filter { filter, until })
}

async fn newest(admin: &AdminState) -> Result<Option<QueueId>, Problem> {
    let page = admin.queue.list(Filter::default(), None, 1).await?;
    let damaged = page.damaged.first().map(|(id, _)| *id);
    Ok(page.messages.first().map(|message| message.id).max(damaged))
}

/// How many are meant, and how many of them a mode holds, as far as that matters to the action.
async fn count(
    admin: &AdminState,
    action: OperatorAction,
    selection: &Selection,
) -> Result<BulkJson, Problem> {
    let mut found = BulkJson::default();
    match selection {
        Selection::Ids(ids) => {
            for id in ids {
                match admin.queue.show(*id).await {
                    Ok(message) => found.add(1, u64::from(message.is_held_by_mode())),
                    Err(crate::queue::QueueError::NotFound(_)) => found.not_found.push(id.to_string()),
                    Err(crate::queue::QueueError::Damaged { .. }) => found.add(1, 0),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Selection::Filter { filter, until } => {
            found.until = until.map(|id| id.to_string());
            if let Some(known) = counted(admin, action, filter).filter(|_| action != OperatorAction::Release)
            {
                found.matching = known;
                return Ok(found);
            }
            let mut cursor = *until;
            while cursor.is_some() {
                let page = admin.queue.list(filter.clone(), cursor, PAGE).await?;
                let held = page.messages.iter().filter(|message| message.is_held_by_mode()).count();
                let damaged = if action == OperatorAction::Delete { page.damaged.len() } else { 0 };
                found.add(page.messages.len() + damaged, held as u64);
                cursor = page.next;
            }
        }
    }
    Ok(found)
}

/// How many the filter means, where the queue's counters know.
fn counted(admin: &AdminState, action: OperatorAction, filter: &Filter) -> Option<u64> {
    let status = admin.queue.status();
    if filter.is_all() {
        let damaged = if action == OperatorAction::Delete { status.damaged } else { 0 };
        return Some(status.messages() + damaged);
    }
    let count = |state: MessageState| match state {
        MessageState::Queued => status.queued,
        MessageState::Deferred => status.deferred,
        MessageState::Held => status.held,
        MessageState::Failed => status.failed,
        MessageState::Sent => 0,
    };
    filter.states().filter(|_| filter.is_of_states_only()).map(|states| states.into_iter().map(count).sum())
}

impl BulkJson {
    fn add(&mut self, matching: usize, held_by_mode: u64) {
        self.matching += matching as u64;
        self.held_by_mode += held_by_mode;
    }
}

/// Does it in a task of its own, which ends when nobody waits for its lines any more.
fn carry_out(admin: AdminState, action: OperatorAction, selection: Selection) -> mpsc::Receiver<BulkLine> {
    let (lines, receiver) = mpsc::channel(LINES);
    tokio::spawn(async move {
        let last = match act(&admin, action, selection, &lines).await {
            Ok(done) => BulkLine::Result(done),
            Err(problem) => BulkLine::Problem(problem),
        };
        // Without a reader there is nobody to tell.
        let _ = lines.send(last).await;
    });
    receiver
}

async fn act(
    admin: &AdminState,
    action: OperatorAction,
    selection: Selection,
    lines: &mpsc::Sender<BulkLine>,
) -> Result<BulkJson, Problem> {
    let mut done = BulkJson::default();
    let (found, mut pages) = mpsc::unbounded_channel();
    let filter = match selection {
        Selection::Ids(ids) => {
            ids.chunks(PAGE).for_each(|ids| drop(found.send(Ok(ids.to_vec()))));
            drop(found);
            Filter::default()
        }
        Selection::Filter { filter, until } => {
            done.until = until.map(|id| id.to_string());
            tokio::spawn(search(admin.clone(), action, filter.clone(), until, found));
            filter
        }
    };
    let mut is_first = true;
    while let Some(ids) = pages.recv().await {
        let ids: Vec<QueueId> = ids?;
        done.matching += ids.len() as u64;
        let results = admin.queue.act_where(action, ids.clone(), filter.clone()).await?;
        for (id, result) in ids.iter().zip(results) {
            match result {
                ActionResult::Done => done.changed += 1,
                ActionResult::Unchanged => done.unchanged += 1,
                ActionResult::HeldByMode => done.held_by_mode += 1,
                ActionResult::NotFound => done.not_found.push(id.to_string()),
            }
        }
        if is_first && action == OperatorAction::Retry {
            admin.health.probe_now();
        }
        is_first = false;
        // What was found and has gone since was delivered or deleted: nothing of it is wrong.
        if done.until.is_some() {
            done.unchanged += done.not_found.drain(..).count() as u64;
        }
        let so_far = BulkJson { not_found: Vec::new(), ..done.clone() };
        if lines.send(BulkLine::Progress(so_far)).await.is_err() {
            break;
        }
    }
    Ok(done)
}

/// Sends the ids of what is meant, page by page, until all are found or nobody wants them any more.
async fn search(
    admin: AdminState,
    action: OperatorAction,
    filter: Filter,
    until: Option<QueueId>,
    found: mpsc::UnboundedSender<Result<Vec<QueueId>, Problem>>,
) {
    let mut cursor = until;
    while cursor.is_some() {
        let page = match admin.queue.list(filter.clone(), cursor, PAGE).await {
            Ok(page) => page,
            Err(error) => return drop(found.send(Err(error.into()))),
        };
        // Nothing but its removal is possible for a record that cannot be read.
        let damaged = page.damaged.iter().map(|(id, _)| *id).filter(|_| action == OperatorAction::Delete);
        let ids: Vec<QueueId> = page.messages.iter().map(|message| message.id).chain(damaged).collect();
        if found.send(Ok(ids)).is_err() {
            return;
        }
        cursor = page.next;
    }
}
