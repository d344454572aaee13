//! `GET /sent`: the archive, and what of it is sent again.

use super::frame::{PageFrame, go_to, page, page_with};
use super::list_query::ListQuery;
use super::message_row::MessageRow;
use super::modes;
use super::queue::{FilterExample, PageLinks, ROWS, SiteChoice, examples, sites, unknown_names};
use super::shown::{count, thousands};
use crate::admin::json::{MessageJson, MessagesJson};
use crate::admin::notices::{NoticeKind, PageNotice};
use crate::admin::problem::Problem;
use crate::admin::query::{QueryError, SentQuery, id};
use crate::admin::sent;
use crate::admin::state::AdminState;
use crate::mail::QueueId;
use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use std::collections::BTreeSet;

const PATH: &str = "/sent";
const EXAMPLES: &[(&str, &str)] = &[
    ("to:ann@example.com", "to this address"),
    ("from:shop@ subject:\"your order\"", "from the shop, with these words in the subject"),
    ("newer:2h", "received within the last two hours"),
    ("older:2026-11-20 newer:2026-11-19", "received on the 19th of November"),
    ("upstream:primary", "that this upstream has taken, or refused before"),
];
/// Messages that can be ticked on a page are fewer.
const MAX_IDS: usize = 500;
/// Addresses that a question names.
const NAMED: usize = 5;

#[derive(Template)]
#[template(path = "sent.html")]
struct SentListPage {
    frame: PageFrame,
    query: ListQuery,
    sites: Vec<SiteChoice>,
    examples: Vec<FilterExample>,
    /// What is wrong with the filter, with the place.
    wrong: String,
    rows: Vec<MessageRow>,
    links: PageLinks,
    unknown_names: Vec<String>,
    archive_days: u32,
    is_filtered: bool,
}

#[derive(Template)]
#[template(path = "resend_confirm.html")]
struct ResendPage {
    frame: PageFrame,
    title: String,
    lines: Vec<String>,
    list: ListQuery,
    ids: Vec<QueueId>,
    /// A mode kept some of them from recipients, and the page says so.
    kept_back: bool,
    back: String,
}

/// See the module.
pub(super) async fn show(
    State(admin): State<AdminState>,
    frame: PageFrame,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let settings = admin.settings.borrow().clone();
    let query = ListQuery { state: String::new(), ..query.normalized() };
    let mut shown = SentListPage {
        frame,
        sites: sites(&query, &settings),
        examples: examples(PATH, EXAMPLES),
        wrong: String::new(),
        rows: Vec::new(),
        links: PageLinks::none(),
        unknown_names: Vec::new(),
        archive_days: settings.queue.archive_days,
        is_filtered: !query.expression().is_empty(),
        query,
    };
    let filter = match shown.query.filter(&admin) {
        Ok(filter) => filter,
        Err(wrong) => {
            shown.wrong = wrong;
            return Ok(page_with(StatusCode::BAD_REQUEST, &shown));
        }
    };
    let listed = list(&admin, &shown.query).await?;
    shown.rows = listed.messages.iter().map(|message| MessageRow::of(message, &settings)).collect();
    let newer = match shown.query.cursor.is_empty() {
        true => 0,
        false => {
            let newest = list(&admin, &ListQuery { cursor: String::new(), ..shown.query.clone() }).await?;
            newest.messages.iter().filter(|message| message.id > shown.query.cursor).count()
        }
    };
    shown.links = PageLinks::of(PATH, &shown.query, &shown.rows, listed.next_cursor, newer);
    if shown.rows.is_empty() {
        shown.unknown_names = unknown_names(&filter, &settings);
    }
    Ok(page(&shown))
}

async fn list(admin: &AdminState, query: &ListQuery) -> Result<MessagesJson, Problem> {
    let cursor = Some(query.cursor.clone()).filter(|cursor| !cursor.is_empty());
    sent::listed(admin, &SentQuery { q: Some(query.expression()), limit: Some(ROWS), cursor }).await
}

/// What the list, and the page that asks, send.
#[derive(Default)]
struct ResendForm {
    ids: Vec<String>,
    list: ListQuery,
    is_confirmed: bool,
    kept_back: bool,
}

impl ResendForm {
    fn read(fields: Vec<(String, String)>) -> ResendForm {
        let mut form = ResendForm::default();
        for (name, value) in fields {
            match name.as_str() {
                "id" => form.ids.push(value),
                "q" => form.list.q = value,
                "site" => form.list.site = value,
                "cursor" => form.list.cursor = value,
                "confirmed" => form.is_confirmed = true,
                "kept_back" => form.kept_back = true,
                _ => {}
            }
        }
        form.list = std::mem::take(&mut form.list).normalized();
        form
    }

    /// Each once.
    fn ids(&self) -> Result<Vec<QueueId>, QueryError> {
        if self.ids.len() > MAX_IDS {
            return Err(QueryError(format!("more than {MAX_IDS} messages are ticked")));
        }
        let all: BTreeSet<QueueId> = self.ids.iter().map(|text| id(text)).collect::<Result<_, _>>()?;
        Ok(all.into_iter().collect())
    }
}

/// `POST /sent/resend`: asks first, because people may get a mail twice.
pub(super) async fn resend(
    State(admin): State<AdminState>,
    frame: PageFrame,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    let form = ResendForm::read(fields);
    let back = form.list.path(PATH);
    let ids = match form.ids() {
        Ok(ids) if ids.is_empty() => {
            let none = PageNotice::new(NoticeKind::Warning, "No message is selected: tick some first.");
            return go_to(&admin, &back, none);
        }
        Ok(ids) => ids,
        Err(wrong) => return go_to(&admin, &back, PageNotice::new(NoticeKind::Refused, wrong)),
    };
    if form.is_confirmed {
        let notice = resend_all(&admin, &ids, form.kept_back).await;
        return go_to(&admin, &back, notice);
    }
    match look_at(&admin, &ids).await {
        Ok(messages) => ask(&admin, frame, form, ids, &messages),
        Err(problem) => go_to(&admin, &back, PageNotice::new(NoticeKind::Refused, problem.detail)),
    }
}

/// All of them or, if one cannot be sent again, none.
async fn look_at(admin: &AdminState, ids: &[QueueId]) -> Result<Vec<MessageJson>, Problem> {
    let mut messages = Vec::new();
    for id in ids {
        let message = sent::show(admin, *id).await?;
        if let Some(wrong) = message.archived.as_ref().and_then(|archived| archived.wrong.as_ref()) {
            let wrong = format!("message {id} cannot be sent again, and none was: {wrong}");
            return Err(Problem::new(StatusCode::GONE, wrong));
        }
        messages.push(message);
    }
    Ok(messages)
}

fn ask(
    admin: &AdminState,
    frame: PageFrame,
    form: ResendForm,
    ids: Vec<QueueId>,
    messages: &[MessageJson],
) -> Response {
    let kept: Vec<&MessageJson> =
        messages.iter().filter(|message| message.recipients.iter().any(|one| one.mode.is_some())).collect();
    let originals = messages.iter().flat_map(|message| &message.recipients).filter(|one| one.is_original());
    let recipients = originals.clone().count() as u64;
    let had_it: BTreeSet<&str> =
        originals.filter(|one| one.mode.is_none()).map(|one| one.address.as_str()).collect();
    let new = if ids.len() == 1 { "A new message" } else { "New messages" };
    let mut lines = vec![format!(
        "{new} with the same content will go to {}, under the modes that are in force now.",
        count(recipients, "original recipient")
    )];
    if !kept.is_empty() {
        lines.push(format!(
            "{} did not reach all recipients, because of redirect or debug. Sent again, all of them may get it.",
            count(kept.len() as u64, "message")
        ));
    }
    if !had_it.is_empty() {
        let named: Vec<String> =
            had_it.iter().take(NAMED).map(|one| super::message_row::fitting(one, 60)).collect();
        let more = match had_it.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {} more", thousands(more as u64)),
        };
        lines.push(format!("A second time to those who have had it: {}{more}.", named.join(", ")));
    }
    lines.extend(
        modes::lines(&admin.settings.borrow())
            .into_iter()
            .map(|mode| format!("{}: {}", mode.label, mode.text)),
    );
    page(&ResendPage {
        frame,
        title: format!("Resend {}?", count(ids.len() as u64, "message")),
        lines,
        kept_back: !kept.is_empty(),
        back: form.list.path(PATH),
        list: form.list,
        ids,
    })
}

/// One after the other; what fails is told, with what was done before.
async fn resend_all(admin: &AdminState, ids: &[QueueId], confirmed: bool) -> PageNotice {
    let mut done = 0;
    for id in ids {
        if let Err(problem) = sent::send_again(admin, *id, confirmed).await {
            let text = format!("Message {id} was not sent again: {}", problem.detail);
            let before = format!(
                "{} sent again before it, {} not tried.",
                count(done, "message"),
                ids.len() as u64 - done - 1
            );
            let kind = if done == 0 { NoticeKind::Refused } else { NoticeKind::Warning };
            return PageNotice { kind, text, lines: if ids.len() > 1 { vec![before] } else { Vec::new() } };
        }
        done += 1;
    }
    PageNotice::new(NoticeKind::Done, format!("Sent again: {}.", count(done, "message")))
}
