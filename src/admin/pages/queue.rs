//! `GET /queue`: what waits, and what failed.

use super::frame::{PageFrame, page, page_with};
use super::list_query::{ListQuery, NO_SITE};
use super::message_row::{DAMAGED, MessageRow, NextAttempt};
use super::shown::{ShownTime, thousands};
use crate::admin::json::MessagesJson;
use crate::admin::messages;
use crate::admin::problem::Problem;
use crate::admin::query::{self, MessagesQuery};
use crate::admin::state::AdminState;
use crate::config::Settings;
use crate::queue::QueueStatus;
use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;

/// Messages on a page.
pub(super) const ROWS: usize = 50;
/// The page, and what the names of its addresses begin with.
pub(super) const PATH: &str = "/queue";
/// In the order of a message's life.
const STATES: [&str; 5] = ["queued", "deferred", "held", "failed", DAMAGED];
const EXAMPLES: &[(&str, &str)] = &[
    ("to:@example.com", "to anybody at example.com"),
    ("from:shop@ subject:\"your order\"", "from the shop, with these words in the subject"),
    ("older:2d", "accepted more than two days ago"),
    ("newer:2h larger:1MiB", "of the last two hours, larger than 1 MiB"),
    (
        "upstream:primary \"mailbox full\"",
        "that this upstream has refused or taken, with these words in a reply",
    ),
    ("class:bulk -to:@example.org", "of class bulk, to nobody at example.org"),
];

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    frame: PageFrame,
    query: ListQuery,
    tabs: Vec<StateTab>,
    /// With all sites in front; empty where there are none.
    sites: Vec<SiteChoice>,
    examples: Vec<FilterExample>,
    /// What is wrong with the filter, with the place.
    wrong: String,
    rows: Vec<MessageRow>,
    links: PageLinks,
    /// How many messages the states that are shown have, where nothing else is asked for.
    count: Option<String>,
    failed: String,
    /// Damaged records alone are listed.
    is_damaged: bool,
    is_empty: bool,
    unknown_names: Vec<String>,
    is_sending: bool,
}

/// Messages in a state, or all.
struct StateTab {
    name: &'static str,
    link: String,
    count: String,
    is_current: bool,
}

/// A filter that can be tried.
pub(super) struct FilterExample {
    pub(super) filter: &'static str,
    pub(super) meaning: &'static str,
    pub(super) link: String,
}

pub(super) fn examples(path: &str, examples: &[(&'static str, &'static str)]) -> Vec<FilterExample> {
    let link = |filter: &str| ListQuery { q: filter.to_owned(), ..ListQuery::default() }.path(path);
    examples.iter().map(|&(filter, meaning)| FilterExample { filter, meaning, link: link(filter) }).collect()
}

/// A site that can be chosen.
pub(super) struct SiteChoice {
    pub(super) value: String,
    pub(super) name: String,
    pub(super) is_current: bool,
}

/// Where a list goes on.
pub(super) struct PageLinks {
    /// To the newest page; empty on it.
    pub(super) newest: String,
    /// Messages that have come in above the first row.
    pub(super) newer: String,
    pub(super) older: String,
    /// The page ended before it was full: the search has come so far.
    pub(super) searched_to: Option<ShownTime>,
    /// This page with its first row in its address, so that what comes in above moves nothing.
    pub(super) refresh: String,
}

/// See the module.
pub(super) async fn show(
    State(admin): State<AdminState>,
    frame: PageFrame,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let settings = admin.settings.borrow().clone();
    let query = query.normalized();
    let status = admin.queue.status();
    let mut shown = QueuePage {
        frame,
        tabs: tabs(&query, &status),
        sites: sites(&query, &settings),
        examples: examples(PATH, EXAMPLES),
        wrong: String::new(),
        rows: Vec::new(),
        links: PageLinks::none(),
        count: count(&query, &status).map(thousands),
        failed: if status.failed > 0 { thousands(status.failed) } else { String::new() },
        is_damaged: query.state == DAMAGED,
        is_empty: status.messages() + status.damaged == 0,
        unknown_names: Vec::new(),
        is_sending: !settings.handling.sending_off,
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
        false => newer(&admin, &shown.query).await?,
    };
    shown.links = PageLinks::of(PATH, &shown.query, &shown.rows, listed.next_cursor, newer);
    if shown.rows.is_empty() {
        shown.unknown_names = unknown_names(&filter, &settings);
    }
    Ok(page(&shown))
}

/// Newest first; a record that is damaged stands where its message would.
async fn list(admin: &AdminState, query: &ListQuery) -> Result<MessagesJson, Problem> {
    let asked = MessagesQuery {
        state: None,
        q: Some(query.expression()),
        limit: Some(ROWS),
        cursor: Some(query.cursor.clone()).filter(|cursor| !cursor.is_empty()),
    };
    let mut listed = match query.state == DAMAGED {
        true => messages::damaged(admin, &asked).await?,
        false => messages::listed(admin, &asked).await?,
    };
    listed.messages.sort_by(|one, other| other.id.cmp(&one.id));
    Ok(listed)
}

/// How many stand before this page, as far as one more page says.
async fn newer(admin: &AdminState, query: &ListQuery) -> Result<usize, Problem> {
    let newest = ListQuery { cursor: String::new(), ..query.clone() };
    let listed = list(admin, &newest).await?;
    Ok(listed.messages.iter().filter(|message| message.id > query.cursor).count())
}

impl PageLinks {
    pub(super) fn none() -> PageLinks {
        PageLinks {
            newest: String::new(),
            newer: String::new(),
            older: String::new(),
            searched_to: None,
            refresh: String::new(),
        }
    }

    /// Of a page at `path` with these rows, behind which the list goes on at `next`, and before which there are `newer` rows.
    pub(super) fn of(
        path: &str,
        query: &ListQuery,
        rows: &[MessageRow],
        next: Option<String>,
        newer: usize,
    ) -> PageLinks {
        let from = |cursor: &str| ListQuery { cursor: cursor.to_owned(), ..query.clone() }.path(path);
        let is_short = rows.len() < ROWS;
        PageLinks {
            newest: if newer > 0 { from("") } else { String::new() },
            newer: match newer {
                0 => String::new(),
                ROWS.. => format!("{ROWS} or more newer messages"),
                1 => "1 newer message".to_owned(),
                newer => format!("{newer} newer messages"),
            },
            searched_to: next.as_ref().filter(|_| is_short).and_then(|next| began_at(next)),
            older: next.map(|next| from(&next)).unwrap_or_default(),
            refresh: rows.first().map(|row| from(&row.id)).unwrap_or_default(),
        }
    }
}

/// When the reception of that message began.
fn began_at(id: &str) -> Option<ShownTime> {
    let ms = i64::try_from(query::id(id).ok()?.unix_ms()).ok()?;
    Some(Timestamp::from_millisecond(ms).ok()?.into())
}

fn tabs(query: &ListQuery, status: &QueueStatus) -> Vec<StateTab> {
    let tab = |name: &'static str, state: &str, count: u64| StateTab {
        name,
        link: ListQuery { state: state.to_owned(), cursor: String::new(), ..query.clone() }.path(PATH),
        count: thousands(count),
        is_current: query.state == state,
    };
    let mut tabs = vec![tab("all", "", status.messages() + status.damaged)];
    for state in STATES {
        let count = messages_in(state, status);
        // There is hardly ever one.
        if state != DAMAGED || count > 0 || query.state == DAMAGED {
            tabs.push(tab(state, state, count));
        }
    }
    tabs
}

fn messages_in(state: &str, status: &QueueStatus) -> u64 {
    match state {
        "queued" => status.queued,
        "deferred" => status.deferred,
        "held" => status.held,
        "failed" => status.failed,
        _ => status.damaged,
    }
}

/// How many messages are meant, where the queue's counters know.
fn count(query: &ListQuery, status: &QueueStatus) -> Option<u64> {
    let is_state_alone = query.q.is_empty() && query.site.is_empty();
    is_state_alone.then(|| match query.state.as_str() {
        "" => status.messages() + status.damaged,
        state => messages_in(state, status),
    })
}

pub(super) fn sites(query: &ListQuery, settings: &Settings) -> Vec<SiteChoice> {
    if settings.sites.is_empty() {
        return Vec::new();
    }
    let choice = |value: &str, name: &str| SiteChoice {
        value: value.to_owned(),
        name: name.to_owned(),
        is_current: query.site == value,
    };
    let mut choices = vec![choice("", "all sites"), choice(NO_SITE, "no site")];
    choices.extend(settings.sites.keys().map(|name| choice(name, name)));
    // One that is gone may have mail.
    if !choices.iter().any(|choice| choice.is_current) {
        choices.push(choice(&query.site, &query.site));
    }
    choices
}

/// Upstreams and sites that a filter names and nobody has configured: they may be misspelt.
pub(super) fn unknown_names(filter: &crate::queue::Filter, settings: &Settings) -> Vec<String> {
    let is_upstream = |name: &&str| settings.upstreams.iter().any(|one| one.name.eq_ignore_ascii_case(name));
    let is_site = |name: &&str| settings.sites.keys().any(|one| one.eq_ignore_ascii_case(name));
    let upstreams = filter.upstreams().filter(|name| !is_upstream(name));
    let sites = filter.sites().filter(|name| !is_site(name));
    let upstreams = upstreams.map(|name| format!("No upstream {name} is configured."));
    upstreams.chain(sites.map(|name| format!("No site {name} is configured."))).take(5).collect()
}
