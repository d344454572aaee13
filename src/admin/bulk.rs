//! `POST /api/v1/messages/bulk`: one action for many messages, by their ids or by a filter.
//!
//! What is meant is decided when the action begins: a search goes through the queue as it is, newest first, as fast as it can, and
//! the actions follow it in commits of some hundred messages, so that other mail waits shortly. Between the two are the ids of
//! what was found, 16 bytes each. A message is changed only if the filter still means it in the very commit that changes it.
//! Mail that is accepted meanwhile is newer than the newest message at the beginning, and is not meant.
//!
//! Where somebody was asked about a count before, ages count from the time of that count (`now`). A filter that asks for what changes
//! (states, replies) may mean more by then: the search ends before the first action, and more than was counted (`counted`) is refused;
//! what has changed since the count is left alone.
//!
//! A client that goes away ends the action: what is done stays done.

use super::bulk_line::BulkLine;
use super::extract::JsonBody;
use super::json::BulkJson;
use super::json_response::JsonResponse;
use super::lines;
use super::messages::unconfirmed;
use super::problem::Problem;
use super::query::{self, BulkQuery, CountedQuery, QueryError, id};
use super::state::AdminState;
use crate::mail::{MessageState, QueueId};
use crate::queue::{ActionResult, Filter, OperatorAction};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use std::collections::HashSet;
use tokio::sync::mpsc;

/// Messages that the search looks for, and the actions change, at a time.
const PAGE: usize = 500;
/// Lines of progress that a slow reader may be behind.
const LINES: usize = 16;

/// Which messages are meant.
#[derive(Clone)]
enum Selection {
    Ids(Vec<QueueId>),
    Filter { filter: Filter, until: Option<QueueId>, now: Timestamp },
}

/// Messages of a search.
#[derive(Default)]
struct Found {
    held_by_mode: Vec<QueueId>,
    others: Vec<QueueId>,
}

impl Found {
    fn add(&mut self, id: QueueId, is_held_by_mode: bool) {
        let group = if is_held_by_mode { &mut self.held_by_mode } else { &mut self.others };
        group.push(id);
    }
}

type FoundReceiver = mpsc::UnboundedReceiver<Result<Found, Problem>>;

/// Do one thing to many messages
///
/// To those with these `ids`, to those that a `filter` means, or to `all`; exactly one of the three. `dry_run` counts and changes
/// nothing. With `Accept: application/x-ndjson` the answer is lines as it goes on: `{"progress": …}`, at the end `{"result": …}` or
/// `{"problem": …}`.
#[utoipa::path(
    post, path = "/api/v1/messages/bulk", tag = "messages", request_body = BulkQuery,
    responses(
        (status = 200, description = "What it did, or would do", content(
            (BulkJson = "application/json"), (BulkLine = "application/x-ndjson"),
        )),
        (status = 409, description = "A mode holds some of them and `confirm` is not said; or more is meant than was counted"),
    )
)]
pub(super) async fn bulk(
    State(admin): State<AdminState>,
    headers: HeaderMap,
    JsonBody(query): JsonBody<BulkQuery>,
) -> Result<Response, Problem> {
    if query.dry_run {
        return Ok(JsonResponse(counted(&admin, &query).await?).into_response());
    }
    let receiver = begun(&admin, query).await?;
    if lines::are_accepted(&headers) {
        let each = async |mut lines: mpsc::Receiver<BulkLine>| Some((lines.recv().await?, lines));
        return Ok(lines::response(futures_util::stream::unfold(receiver, each)));
    }
    Ok(JsonResponse(result(receiver).await?).into_response())
}

/// What it would do.
pub(super) async fn counted(admin: &AdminState, query: &BulkQuery) -> Result<BulkJson, Problem> {
    count(admin, query::action(&query.action)?, &selection(admin, query).await?).await
}

/// Does it; what it did.
pub(super) async fn carried_out(admin: &AdminState, query: BulkQuery) -> Result<BulkJson, Problem> {
    result(begun(admin, query).await?).await
}

/// Sets it going, unless it has to be confirmed.
async fn begun(admin: &AdminState, query: BulkQuery) -> Result<mpsc::Receiver<BulkLine>, Problem> {
    let action = query::action(&query.action)?;
    let selection = selection(admin, &query).await?;
    if action == OperatorAction::Release && !query.confirm {
        let held = count(admin, action, &selection).await?.held_by_mode;
        if held > 0 {
            return Err(unconfirmed(&format!("{held} of these messages are held")));
        }
    }
    Ok(carry_out(admin.clone(), query::confirmed(action, query.confirm), selection, query.counted))
}

/// The last line that it tells.
async fn result(mut receiver: mpsc::Receiver<BulkLine>) -> Result<BulkJson, Problem> {
    while let Some(line) = receiver.recv().await {
        match line {
            BulkLine::Progress(_) => {}
            BulkLine::Result(done) => return Ok(done),
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
    let now = query.now.unwrap_or_else(|| admin.clock.wall());
    let filter = admin.filter_at(expression, now)?;
    let until = match &query.until {
        Some(until) => Some(id(until)?),
        None => newest(admin).await?,
    };
    Ok(Selection::Filter { filter, until, now })
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
        Selection::Filter { filter, until, now } => {
            found.until = until.map(|id| id.to_string());
            found.now = Some(*now);
            if let Some(known) = known(admin, action, filter).filter(|_| action != OperatorAction::Release) {
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
fn known(admin: &AdminState, action: OperatorAction, filter: &Filter) -> Option<u64> {
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
    // What is set aside is in no counter of a state, and is deleted like the rest.
    let knows = filter.is_of_states_only() && (action != OperatorAction::Delete || status.damaged == 0);
    filter.states().filter(|_| knows).map(|states| states.into_iter().map(count).sum())
}

impl BulkJson {
    fn add(&mut self, matching: usize, held_by_mode: u64) {
        self.matching += matching as u64;
        self.held_by_mode += held_by_mode;
    }
}

/// Does it in a task of its own, which ends when nobody waits for its lines any more.
fn carry_out(
    admin: AdminState,
    action: OperatorAction,
    selection: Selection,
    counted: Option<CountedQuery>,
) -> mpsc::Receiver<BulkLine> {
    let (lines, receiver) = mpsc::channel(LINES);
    tokio::spawn(async move {
        let last = match act(&admin, action, selection, counted, &lines).await {
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
    counted: Option<CountedQuery>,
    lines: &mpsc::Sender<BulkLine>,
) -> Result<BulkJson, Problem> {
    let mut done = BulkJson::default();
    let (found, mut pages) = mpsc::unbounded_channel();
    let mut may_grow = action == OperatorAction::Release;
    let filter = match selection {
        Selection::Ids(ids) => {
            tokio::spawn(look_at(admin.clone(), ids, counted.is_some(), found));
            Filter::default()
        }
        Selection::Filter { filter, until, now } => {
            (done.until, done.now) = (until.map(|id| id.to_string()), Some(now));
            may_grow |= !filter.is_constant();
            tokio::spawn(search(admin.clone(), action, filter.clone(), until, found));
            match counted.is_some() && !filter.is_constant() {
                true => filter.as_counted_at(now),
                false => filter,
            }
        }
    };
    if let Some(counted) = counted.filter(|_| may_grow) {
        pages = refuse_more(counted, pages, done.now.is_some()).await?;
    }
    let mut is_first = true;
    while let Some(found) = pages.recv().await {
        let found = found?;
        for (action, ids) in each_with_its_action(action, found, counted.is_some()) {
            done.matching += ids.len() as u64;
            // Seen before or after: a transaction that was begun before is not called back, and none is begun after.
            let mut under_way = being_sent(admin, action);
            let results = admin.queue.act_where(action, ids.clone(), filter.clone()).await?;
            under_way.extend(being_sent(admin, action));
            for (id, result) in ids.iter().zip(results) {
                match result {
                    ActionResult::Done => {
                        done.changed += 1;
                        done.under_way += u64::from(under_way.contains(id));
                    }
                    ActionResult::Unchanged => done.unchanged += 1,
                    ActionResult::HeldByMode => done.held_by_mode += 1,
                    ActionResult::NotFound => done.not_found.push(id.to_string()),
                }
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

/// What an action that keeps mail from leaving comes too late for.
fn being_sent(admin: &AdminState, action: OperatorAction) -> HashSet<QueueId> {
    match action {
        OperatorAction::Hold | OperatorAction::Delete => {
            admin.transactions.list().into_iter().map(|one| one.queue_id).collect()
        }
        _ => HashSet::new(),
    }
}

/// What was found, once all is found and it is no more than was counted.
async fn refuse_more(
    counted: CountedQuery,
    mut pages: FoundReceiver,
    by_filter: bool,
) -> Result<FoundReceiver, Problem> {
    let (sender, checked) = mpsc::unbounded_channel();
    let (mut matching, mut held_by_mode) = (0, 0);
    while let Some(found) = pages.recv().await {
        let found = found?;
        held_by_mode += found.held_by_mode.len() as u64;
        matching += (found.held_by_mode.len() + found.others.len()) as u64;
        drop(sender.send(Ok(found)));
    }
    let more = |now: u64, then: u64, which: &str| {
        let detail = format!(
            "nothing was changed: {now} messages are {which} by now, and {then} were when they were counted; \
             count them again"
        );
        Err(Problem::new(StatusCode::CONFLICT, detail))
    };
    if by_filter && matching > counted.matching {
        return more(matching, counted.matching, "meant");
    }
    if held_by_mode > counted.held_by_mode {
        return more(held_by_mode, counted.held_by_mode, "held by a mode");
    }
    Ok(checked)
}

/// After a question about what modes hold, a message that no mode held when it was found is not released if one does by then.
fn each_with_its_action(
    action: OperatorAction,
    found: Found,
    was_asked: bool,
) -> [(OperatorAction, Vec<QueueId>); 2] {
    let of_others = match action {
        OperatorAction::Release if was_asked => OperatorAction::ReleaseOwn,
        action => action,
    };
    [(action, found.held_by_mode), (of_others, found.others)]
}

/// Sends these ids, page by page, with whether a mode holds them where that matters.
async fn look_at(
    admin: AdminState,
    ids: Vec<QueueId>,
    with_modes: bool,
    found: mpsc::UnboundedSender<Result<Found, Problem>>,
) {
    for ids in ids.chunks(PAGE) {
        let mut page = Found::default();
        for id in ids {
            let is_held =
                with_modes && admin.queue.show(*id).await.is_ok_and(|message| message.is_held_by_mode());
            page.add(*id, is_held);
        }
        if found.send(Ok(page)).is_err() {
            return;
        }
    }
}

/// Sends the ids of what is meant, page by page, until all are found or nobody wants them any more.
async fn search(
    admin: AdminState,
    action: OperatorAction,
    filter: Filter,
    until: Option<QueueId>,
    found: mpsc::UnboundedSender<Result<Found, Problem>>,
) {
    let mut cursor = until;
    while cursor.is_some() {
        let page = match admin.queue.list(filter.clone(), cursor, PAGE).await {
            Ok(page) => page,
            Err(error) => return drop(found.send(Err(error.into()))),
        };
        // Nothing but its removal is possible for a record that cannot be read.
        let damaged = page.damaged.iter().map(|(id, _)| *id).filter(|_| action == OperatorAction::Delete);
        let mut both = Found { held_by_mode: Vec::new(), others: damaged.collect() };
        for message in &page.messages {
            both.add(message.id, message.is_held_by_mode());
        }
        if found.send(Ok(both)).is_err() {
            return;
        }
        cursor = page.next;
    }
}
