//! What is done to messages of the queue from its page: to those that are ticked, or to all that its filter means. What may harm is
//! answered with a page that asks, and says how many are meant; it carries what was counted, so that this and nothing more is done.

use super::bulk_words::{self, BulkAct};
use super::frame::{PageFrame, go_to, page};
use super::list_query::ListQuery;
use super::message_row::DAMAGED;
use super::queue::PATH;
use crate::admin::bulk;
use crate::admin::json::BulkJson;
use crate::admin::notices::{NoticeKind, PageNotice};
use crate::admin::problem::Problem;
use crate::admin::query::{BulkQuery, CountedQuery, QueryError};
use crate::admin::state::AdminState;
use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

/// Messages that can be ticked on a page are fewer.
const MAX_IDS: usize = 500;

/// What a form of the list, or of the page that asks, sends.
#[derive(Default)]
pub(super) struct BulkForm {
    /// Empty: none is said.
    action: String,
    /// All that the filter means; else those with these ids.
    is_all: bool,
    ids: Vec<String>,
    /// The list that it was sent from.
    pub(super) list: ListQuery,
    /// It was asked, and this was counted.
    confirmed: Option<Confirmed>,
}

/// What the page that asks has said.
#[derive(Default, Clone)]
struct Confirmed {
    matching: u64,
    held_by_mode: u64,
    until: Option<String>,
    now: Option<String>,
}

#[derive(Template)]
#[template(path = "queue_confirm.html")]
struct ConfirmPage {
    frame: PageFrame,
    act: &'static BulkAct,
    title: String,
    lines: Vec<String>,
    list: ListQuery,
    is_all: bool,
    ids: Vec<String>,
    counted: Confirmed,
    back: String,
}

impl BulkForm {
    /// Fields of a form; those of one name may be several.
    pub(super) fn read(fields: Vec<(String, String)>) -> BulkForm {
        let mut form = BulkForm::default();
        let mut confirmed = Confirmed::default();
        let mut is_confirmed = false;
        for (name, value) in fields {
            match name.as_str() {
                // The buttons: one for what is ticked, one for all.
                "selected" => (form.action, form.is_all) = (value, false),
                "all" => (form.action, form.is_all) = (value, true),
                "id" => form.ids.push(value),
                "q" => form.list.q = value,
                "state" => form.list.state = value,
                "site" => form.list.site = value,
                "cursor" => form.list.cursor = value,
                "confirmed" => is_confirmed = true,
                "matching" => confirmed.matching = value.parse().unwrap_or(0),
                "held_by_mode" => confirmed.held_by_mode = value.parse().unwrap_or(0),
                "until" => confirmed.until = Some(value).filter(|value| !value.is_empty()),
                "now" => confirmed.now = Some(value).filter(|value| !value.is_empty()),
                _ => {}
            }
        }
        form.list = std::mem::take(&mut form.list).normalized();
        form.confirmed = is_confirmed.then_some(confirmed);
        form
    }

    /// The same in words of the API.
    fn query(&self, admin: &AdminState) -> Result<BulkQuery, Problem> {
        let query = BulkQuery { action: self.action.clone(), ..BulkQuery::default() };
        if !self.is_all {
            if self.ids.len() > MAX_IDS {
                return Err(QueryError(format!("more than {MAX_IDS} messages are ticked")).into());
            }
            return Ok(BulkQuery { ids: self.ids.clone(), ..query });
        }
        // What it shows cannot be said in a filter: all would be more.
        if self.list.state == DAMAGED {
            return Err(QueryError("damaged records are deleted by ticking them".to_owned()).into());
        }
        self.list.filter(admin).map_err(QueryError)?;
        match self.list.expression() {
            all if all.is_empty() => Ok(BulkQuery { all: true, ..query }),
            filter => Ok(BulkQuery { filter: Some(filter), ..query }),
        }
    }
}

/// `POST /queue/act`.
pub(super) async fn act(
    State(admin): State<AdminState>,
    frame: PageFrame,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    let form = BulkForm::read(fields);
    let back = form.list.path(PATH);
    match act_or_ask(&admin, frame, form).await {
        Ok(Answered::Page(page)) => page,
        Ok(Answered::Done(notice)) => go_to(&admin, &back, notice),
        Err(problem) => go_to(&admin, &back, PageNotice::new(NoticeKind::Refused, problem.detail)),
    }
}

/// What came of it.
enum Answered {
    /// It has to be asked first.
    Page(Response),
    Done(PageNotice),
}

async fn act_or_ask(admin: &AdminState, frame: PageFrame, form: BulkForm) -> Result<Answered, Problem> {
    let act = bulk_words::find(&form.action).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "what is to be done has to be said: one of the buttons")
    })?;
    if !form.is_all && form.ids.is_empty() {
        let none = PageNotice::new(NoticeKind::Warning, "No message is selected: tick some first.");
        return Ok(Answered::Done(none));
    }
    let mut query = form.query(admin)?;
    match &form.confirmed {
        Some(confirmed) => confirm(&mut query, confirmed)?,
        None if form.is_all || matches!(act.action, "delete" | "release") => {
            let counted = bulk::counted(admin, &query).await?;
            if form.is_all && counted.matching == 0 {
                let none = PageNotice::new(NoticeKind::Warning, "No message is meant: nothing was changed.");
                return Ok(Answered::Done(none));
            }
            if form.is_all || act.action == "delete" || counted.held_by_mode > 0 {
                return Ok(Answered::Page(ask(frame, form, act, counted)));
            }
        }
        None => {}
    }
    let done = bulk::carried_out(admin, query).await?;
    Ok(Answered::Done(act.notice(&done)))
}

/// What was counted is what is meant.
fn confirm(query: &mut BulkQuery, confirmed: &Confirmed) -> Result<(), Problem> {
    let wrong = |_| QueryError("`now` is no time".to_owned());
    query.now = confirmed.now.as_deref().map(str::parse).transpose().map_err(wrong)?;
    query.until.clone_from(&confirmed.until);
    // What a mode has come to hold since is left alone.
    query.confirm = query.action == "release" && confirmed.held_by_mode > 0;
    let counted = CountedQuery { matching: confirmed.matching, held_by_mode: confirmed.held_by_mode };
    query.counted = (query.action == "delete" || query.confirm).then_some(counted);
    Ok(())
}

fn ask(frame: PageFrame, form: BulkForm, act: &'static BulkAct, counted: BulkJson) -> Response {
    let mut lines = act.consequences(&counted);
    if form.is_all {
        let shown = form.list.expression();
        lines.insert(
            0,
            match shown.is_empty() {
                true => "All messages of the queue are meant.".to_owned(),
                false => format!("All that match this filter: {shown}"),
            },
        );
        lines.push("Mail that comes in from now on is not meant.".to_owned());
    }
    page(&ConfirmPage {
        frame,
        title: act.question(counted.matching),
        act,
        lines,
        back: form.list.path(PATH),
        list: form.list,
        is_all: form.is_all,
        ids: form.ids,
        counted: Confirmed {
            matching: counted.matching,
            held_by_mode: counted.held_by_mode,
            until: counted.until,
            now: counted.now.map(|now| now.to_string()),
        },
    })
}
