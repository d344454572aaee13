//! `GET /events`: what happened, newest first, and the same as a file.

use super::events_query::EventsPageQuery;
use super::frame::{PageFrame, page, page_with};
use super::message_row::fitting;
use super::shown::ShownTime;
use crate::admin::problem::Problem;
use crate::admin::state::AdminState;
use crate::event::{Event, EventFilter, EventType};
use askama::Template;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Events on a page.
const ROWS: usize = 50;
/// Events in a file.
const EXPORTED: usize = 10_000;
const SOURCES: &[&str] =
    &["Mail", "Queue", "Archive", "Upstream", "Listener", "Pickup", "Configuration", "Webhook", "Service"];
/// Each with what it is called.
const TYPES: &[(&str, &str)] = &[
    ("", "all types"),
    ("Error", "errors"),
    ("Warning,Error", "warnings and errors"),
    ("Warning", "warnings"),
    ("Information", "information"),
];

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    frame: PageFrame,
    query: EventsPageQuery,
    types: Vec<EventChoice>,
    sources: Vec<EventChoice>,
    wrong: String,
    rows: Vec<EventRow>,
    /// Empty: there are none.
    older: String,
    /// To the newest page; empty on it.
    newest: String,
    newer: String,
    refresh: String,
    follow: String,
    json: String,
    csv: String,
}

/// One that can be chosen.
struct EventChoice {
    value: String,
    name: String,
    is_current: bool,
}

/// An event as it is shown. No text is longer than a page has room for.
struct EventRow {
    /// In the order of the events also as a text.
    anchor: String,
    time: ShownTime,
    kind: &'static str,
    source: String,
    code: String,
    message: String,
    /// Empty: it is about none.
    queue_id: String,
    /// Empty where the code says it.
    recipient: String,
    upstream: String,
    site: String,
    /// Empty where the message says it.
    reply: String,
}

/// See the module.
pub(super) async fn show(
    State(admin): State<AdminState>,
    frame: PageFrame,
    Query(query): Query<EventsPageQuery>,
) -> Result<Response, Problem> {
    let query = query.normalized();
    let mut shown = EventsPage {
        frame,
        types: choices(TYPES, &query.types),
        sources: sources(&query.source),
        wrong: String::new(),
        rows: Vec::new(),
        older: String::new(),
        newest: String::new(),
        newer: String::new(),
        refresh: String::new(),
        follow: EventsPageQuery { before: None, follow: true, ..query.clone() }.path("/events"),
        json: query.api_path("/api/v1/events", EXPORTED),
        csv: query.api_path("/events.csv", EXPORTED),
        query,
    };
    let filter = match shown.query.filter(&admin) {
        Ok(filter) => filter,
        Err(wrong) => {
            shown.wrong = wrong;
            return Ok(page_with(StatusCode::BAD_REQUEST, &shown));
        }
    };
    let before = shown.query.before;
    let mut events = admin.queue.events_before(filter.clone(), before, ROWS + 1).await?;
    // Oldest first; one more than is shown says that there are more.
    let is_more = events.len() > ROWS;
    if is_more {
        events.remove(0);
    }
    let at = |before: u64| EventsPageQuery { before: Some(before), ..shown.query.clone() }.path("/events");
    if let (Some(oldest), Some(newest)) = (events.first(), events.last()) {
        shown.older = if is_more { at(oldest.id) } else { String::new() };
        // New events come in at the top where that is wanted, and else move nothing.
        shown.refresh = if shown.query.follow { String::new() } else { at(newest.id.saturating_add(1)) };
    }
    if let Some(before) = before {
        let newer = admin.queue.events_where(filter, Some(before), ROWS + 1).await?.len();
        shown.newest = match newer {
            0 => String::new(),
            _ => EventsPageQuery { before: None, ..shown.query.clone() }.path("/events"),
        };
        shown.newer = match newer {
            0 => String::new(),
            1 => "1 newer event".to_owned(),
            newer if newer > ROWS => format!("More than {ROWS} newer events"),
            newer => format!("{newer} newer events"),
        };
    }
    shown.rows = events.iter().rev().map(EventRow::of).collect();
    Ok(page(&shown))
}

impl EventRow {
    fn of(event: &Event) -> EventRow {
        let fact = &event.fact;
        let text =
            |text: Option<&String>, most: usize| text.map(|text| fitting(text, most)).unwrap_or_default();
        let reply = fact.reply.as_ref().filter(|reply| !fact.message.contains(reply.as_str()));
        let recipient = fact.recipient.as_ref().filter(|recipient| **recipient != fact.code);
        EventRow {
            anchor: format!("e{:015}", event.id),
            time: fact.time.into(),
            kind: type_word(fact.kind),
            source: fitting(&fact.source, 20),
            code: fitting(&fact.code, 48),
            message: fitting(&fact.message, 240),
            queue_id: fact.queue_id.map(|id| id.to_string()).unwrap_or_default(),
            recipient: text(recipient, 48),
            upstream: text(fact.upstream.as_ref(), 32),
            site: text(fact.site.as_ref(), 32),
            reply: text(reply, 90),
        }
    }
}

/// As the API has it.
fn type_word(kind: EventType) -> &'static str {
    match kind {
        EventType::Information => "Information",
        EventType::Warning => "Warning",
        EventType::Error => "Error",
    }
}

fn choices(all: &[(&str, &str)], current: &str) -> Vec<EventChoice> {
    let choice = |&(value, name): &(&str, &str)| EventChoice {
        value: value.to_owned(),
        name: name.to_owned(),
        is_current: value.eq_ignore_ascii_case(current),
    };
    let mut choices: Vec<EventChoice> = all.iter().map(choice).collect();
    // A link may say another one.
    if !choices.iter().any(|choice| choice.is_current) {
        let (value, name) = (current.to_owned(), fitting(current, 40));
        choices.push(EventChoice { value, name, is_current: true });
    }
    choices
}

fn sources(current: &str) -> Vec<EventChoice> {
    let all: Vec<(&str, &str)> =
        std::iter::once(("", "all sources")).chain(SOURCES.iter().map(|source| (*source, *source))).collect();
    choices(&all, current)
}

/// `GET /events.csv`: the newest of what is filtered, oldest first, as a spreadsheet takes it.
pub(super) async fn csv(
    State(admin): State<AdminState>,
    Query(query): Query<EventsPageQuery>,
) -> Result<Response, Problem> {
    let filter: EventFilter = match query.normalized().filter(&admin) {
        Ok(filter) => filter,
        Err(wrong) => return Err(Problem::new(StatusCode::BAD_REQUEST, wrong)),
    };
    let events = admin.queue.events_where(filter, None, EXPORTED).await?;
    let mut text = String::from(
        "id,time,type,source,code,message,queue_id,recipient,upstream,site,reply,duration_ms\r\n",
    );
    for Event { id, fact } in &events {
        let optional = |text: &Option<String>| text.clone().unwrap_or_default();
        let cells = [
            id.to_string(),
            fact.time.to_string(),
            type_word(fact.kind).to_owned(),
            fact.source.clone(),
            fact.code.clone(),
            fact.message.clone(),
            fact.queue_id.map(|id| id.to_string()).unwrap_or_default(),
            optional(&fact.recipient),
            optional(&fact.upstream),
            optional(&fact.site),
            optional(&fact.reply),
            fact.duration_ms.map(|ms| ms.to_string()).unwrap_or_default(),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
        text += &cells.join(",");
        text += "\r\n";
    }
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"postroom-events.csv\""),
    ];
    Ok((headers, text).into_response())
}

/// A cell as RFC 4180 has it. A spreadsheet takes what begins with one of these for a formula, and would carry it out.
fn csv_cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    match text.contains(['"', ',', '\r', '\n', ';', '\'']) || text != text.trim() {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        for (text, cell) in [
            ("plain", "plain"),
            ("", ""),
            ("a, \"b\"", "\"a, \"\"b\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@a", "\"'@a\""),
            ("\t=1", "\"'\t=1\""),
            ("a=b", "a=b"),
            (" =1", "\" =1\""),
        ] {
            assert_eq!(csv_cell(text), cell, "{text:?}");
        }
    }
}
