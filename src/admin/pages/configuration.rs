//! `/configuration`: everything in force, with the place where it was given; changes are taken back here, and the file loaded again.

use super::changed::{self, MASKED};
use super::frame::{PageFrame, go_to, page};
use super::settings_ask::{ModeQuestionPage, waiting};
use super::shown::{escaped_len, short};
use crate::admin::asker::Asker;
use crate::admin::changes::change;
use crate::admin::extract::QueryKeys;
use crate::admin::json_response::JsonResponse;
use crate::admin::notices::{NoticeKind, PageNotice};
use crate::admin::problem::Problem;
use crate::admin::service;
use crate::admin::state::AdminState;
use crate::config::{Change, InForceKey};
use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

/// Keys that a page shows at most, and bytes of their rows.
const MOST: usize = 300;
const ROOM: usize = 60 << 10;
/// Bytes of a row besides its texts.
const ROW: usize = 200;
/// Characters of a value, and of a place.
const LONGEST: usize = 300;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigurationQuery {
    /// Words that are in the key, its value or its place.
    q: String,
    /// Only what verbs and pages have changed.
    changed: Option<String>,
    /// How many keys come before the page.
    from: usize,
    notice: Option<String>,
}

#[derive(Template)]
#[template(path = "configuration.html")]
struct ConfigurationPage {
    frame: PageFrame,
    file: Option<String>,
    data_dir: String,
    q: String,
    only_changed: bool,
    /// All that are changed, whatever the filter.
    changed_count: usize,
    tables: Vec<KeyTable>,
    found: usize,
    from: usize,
    shown: usize,
    previous: Option<String>,
    next: Option<String>,
}

/// Keys of a table.
struct KeyTable {
    name: String,
    keys: Vec<KeyRow>,
}

/// A key that is in force.
struct KeyRow {
    /// In its table.
    name: String,
    path: String,
    value: String,
    source: String,
    without_change: Option<String>,
    is_changed: bool,
    is_locked: bool,
    is_default: bool,
}

/// `GET /configuration`.
pub(super) async fn show(
    State(admin): State<AdminState>,
    frame: PageFrame,
    QueryKeys(query): QueryKeys<ConfigurationQuery>,
) -> Response {
    let ConfigurationQuery { q, changed, from, notice: _ } = query;
    let only_changed = changed.is_some();
    let in_force = admin.in_force.borrow().clone();
    let words: Vec<String> = q.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let rows: Vec<(String, KeyRow)> = in_force.all().map(row).collect();
    let changed_count = rows.iter().filter(|(_, row)| row.is_changed).count();
    let is_meant = |(_, row): &(String, KeyRow)| {
        let text = format!("{} {} {}", row.path, row.value, row.source).to_lowercase();
        (row.is_changed || !only_changed) && words.iter().all(|word| text.contains(word.as_str()))
    };
    let rows: Vec<(String, KeyRow)> = rows.into_iter().filter(is_meant).collect();
    let found = rows.len();
    let mut room = ROOM;
    let fits = |(_, row): &(String, KeyRow)| {
        let texts = [&row.name, &row.path, &row.value, &row.source];
        let without = row.without_change.as_deref().map(escaped_len).unwrap_or_default();
        let bytes = ROW + without + texts.into_iter().map(|text| escaped_len(text)).sum::<usize>();
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    };
    let page_rows: Vec<(String, KeyRow)> = rows.into_iter().skip(from).take(MOST).take_while(fits).collect();
    let shown = page_rows.len();
    let address = |from: usize| {
        let q = percent_encoding::utf8_percent_encode(&q, percent_encoding::NON_ALPHANUMERIC);
        let changed = if only_changed { "&changed=yes" } else { "" };
        format!("/configuration?q={q}{changed}&from={from}")
    };
    let mut tables: Vec<KeyTable> = Vec::new();
    for (table, row) in page_rows {
        match tables.last_mut().filter(|last| last.name == table) {
            Some(last) => last.keys.push(row),
            None => tables.push(KeyTable { name: table, keys: vec![row] }),
        }
    }
    let settings = admin.settings.borrow().clone();
    page(&ConfigurationPage {
        frame,
        file: in_force.file().map(str::to_owned),
        data_dir: settings.data_dir.display().to_string(),
        only_changed,
        changed_count,
        tables,
        found,
        from,
        shown,
        previous: (from > 0).then(|| address(from.saturating_sub(MOST))),
        next: (shown > 0 && from + shown < found).then(|| address(from + shown)),
        q,
    })
}

fn row(InForceKey { table, name, value, given }: InForceKey<'_>) -> (String, KeyRow) {
    let value = value.replace("\"****\"", MASKED);
    let path = if table.is_empty() { name.clone() } else { format!("{table}.{name}") };
    let row = KeyRow {
        name,
        path,
        value: short(&value, LONGEST),
        source: short(given.map_or("default", |given| given.place()), LONGEST),
        without_change: given
            .filter(|given| given.is_change())
            .map(|given| given.without_it().unwrap_or_else(|| "nothing else gives it".to_owned()))
            .map(|text| short(&text.replace("\"****\"", MASKED), LONGEST)),
        is_changed: given.is_some_and(|given| given.is_change()),
        is_locked: given.is_some_and(|given| given.is_locked()),
        is_default: given.is_none(),
    };
    (table, row)
}

/// `POST /configuration/reset`: changes are taken back.
pub(super) async fn reset(
    State(admin): State<AdminState>,
    frame: PageFrame,
    asker: Asker,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    let all = |name: &'static str| {
        fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.clone())
    };
    let back = place(&admin, all("back").next().as_deref());
    let (confirmed, whole) = (all("confirm").next().is_some(), all("all").next().is_some());
    let keys: Vec<String> = all("key").collect();
    let wanted = match whole {
        true => Change::ResetAll { confirmed },
        false => Change::Reset { keys: keys.clone(), confirmed },
    };
    let carried = || fields.iter().filter(|(name, _)| name != "csrf_token").cloned().collect();
    if whole && !confirmed {
        let lines = vec![
            "Every change that verbs and pages have made is taken back, upstreams that were added among them: what the file says \
             holds again. Modes that they had switched on end."
                .to_owned(),
            waiting(&admin),
        ];
        return page(&ModeQuestionPage::of_reset(frame, back, lines, carried()));
    }
    let ends = |problem: &Problem| {
        let ends = problem.errors.first().and_then(|error| error["ends"].as_str()).map(str::to_owned);
        ends.filter(|_| problem.status == 409)
    };
    let notice = match change(&admin, wanted, asker).await {
        Ok(done) => {
            let text = match &keys[..] {
                [key] => format!("{key} is as it is configured."),
                _ => "What was changed is as it is configured.".to_owned(),
            };
            changed::notice(text, &done)
        }
        Err(problem) => match ends(&problem) {
            Some(ends) => {
                let lines = vec![
                    format!(
                        "It ends {ends}. Mail that was accepted, held or attempted under it is held, and new mail goes to its recipients."
                    ),
                    waiting(&admin),
                ];
                return page(&ModeQuestionPage::of_reset(frame, back, lines, carried()));
            }
            None => changed::refused(&problem),
        },
    };
    go_to(&admin, &back, notice)
}

/// One of our pages.
fn place(admin: &AdminState, back: Option<&str>) -> String {
    let site = back.and_then(|back| back.strip_prefix("/settings/"));
    match (back, site) {
        (Some("/settings"), _) => "/settings".to_owned(),
        (_, Some(site)) if admin.settings.borrow().sites.contains_key(site) => format!("/settings/{site}"),
        _ => "/configuration".to_owned(),
    }
}

/// `POST /configuration/reload`.
pub(super) async fn reload(State(admin): State<AdminState>, asker: Asker) -> Response {
    let loaded = service::reload(State(admin.clone()), asker).await;
    let notice = match loaded.map(|JsonResponse(loaded)| loaded.changes) {
        Ok(changes) if changes.is_empty() => {
            PageNotice::new(NoticeKind::Done, "The configuration is loaded; nothing has changed.")
        }
        Ok(changes) => PageNotice {
            lines: changes,
            ..PageNotice::new(NoticeKind::Done, "The configuration is loaded and in force.")
        },
        Err(problem) => PageNotice {
            lines: problem.detail.lines().map(str::to_owned).collect(),
            ..PageNotice::new(NoticeKind::Refused, "The configuration is wrong; what was in force stays.")
        },
    };
    go_to(&admin, "/configuration", notice)
}
