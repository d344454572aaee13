//! `GET /messages/{id}/headers`: the fields of the header, in their order, decoded and as they stand there.

use super::content::{in_background, read};
use super::found::{NotShown, ShownMessage};
use super::head::MessageHead;
use super::text::shown_text;
use crate::admin::extract::QueryKeys;
use crate::admin::pages::frame::{PageFrame, page};
use crate::admin::pages::shown::escaped_len;
use crate::admin::state::AdminState;
use crate::event::encoded_words;
use crate::mail::header::fields;
use crate::mail::{printable_bytes, shortened};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

/// Bytes of the header that are looked at.
const LOOKED_AT: u64 = 512 << 10;
/// Bytes of HTML that are made of fields, and bytes beside the texts of each.
const MOST: usize = 60 << 10;
const EACH: usize = 160;
/// Characters of a value.
const LONGEST: usize = 4_000;

#[derive(Template)]
#[template(path = "message/headers.html")]
struct HeadersPage {
    frame: PageFrame,
    head: MessageHead,
    /// What is looked for.
    wanted: String,
    fields: Vec<ShownField>,
    /// `12 of 40 fields`.
    counted: String,
    /// Fields that are meant and not shown.
    others: usize,
    /// The line that ends the header and is no empty one.
    no_field: Option<String>,
}

struct ShownField {
    name: String,
    value: String,
    /// Where that says something else.
    raw: Option<String>,
}

/// Which fields are shown.
#[derive(Deserialize)]
pub(super) struct FieldsQuery {
    #[serde(default)]
    h: String,
}

/// See the module.
pub(super) async fn show(
    State(admin): State<AdminState>,
    QueryKeys(FieldsQuery { h: wanted }): QueryKeys<FieldsQuery>,
    ShownMessage { frame, found }: ShownMessage,
) -> Result<Response, NotShown> {
    let content = match read(&admin, &found, Some(LOOKED_AT)).await {
        Ok(content) => content,
        Err(unreadable) => return Ok(unreadable.page(frame, &found, "Headers")),
    };
    let head = MessageHead::new(&found, "Headers");
    let wanted = shortened(wanted.trim().to_owned(), 200);
    let work = move || {
        let (fields, counted, others, no_field) = shown_fields(&content.bytes, &wanted);
        HeadersPage { frame, head, wanted, fields, counted, others, no_field }
    };
    Ok(page(&in_background(work).await?))
}

fn shown_fields(content: &[u8], wanted: &str) -> (Vec<ShownField>, String, usize, Option<String>) {
    let lower = wanted.to_lowercase();
    let (mut shown, mut room) = (Vec::new(), MOST);
    let (mut all, mut meant, mut end) = (0, 0, 0);
    for (name, value) in fields(content) {
        all += 1;
        end = value.as_ptr().addr() + value.len() - content.as_ptr().addr();
        let name = printable_bytes(name);
        let field = ShownField::of(name, value);
        if !field.has(&lower) {
            continue;
        }
        meant += 1;
        let length = EACH
            + escaped_len(&field.name)
            + escaped_len(&field.value)
            + field.raw.as_deref().map_or(0, escaped_len);
        if let Some(left) = room.checked_sub(length) {
            room = left;
            shown.push(field);
        }
    }
    let counted = match wanted.is_empty() {
        true => format!("{all} fields"),
        false => format!("{meant} of {all} fields"),
    };
    let others = meant - shown.len();
    (shown, counted, others, no_field(&content[end..]))
}

/// What stands where the header ends, unless it is the empty line that has to.
fn no_field(rest: &[u8]) -> Option<String> {
    let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (!line.is_empty()).then(|| shortened(printable_bytes(&line[..line.len().min(LONGEST)]), 200))
}

impl ShownField {
    fn of(name: String, value: &[u8]) -> ShownField {
        let is_long = value.len() > LONGEST;
        let value = &value[..value.len().min(LONGEST)];
        let text = String::from_utf8_lossy(value);
        let decoded = encoded_words::decoded_line(&text).trim().to_owned();
        let (raw, _) = shown_text(&printable_lines(value), &mut (2 * LONGEST));
        let raw = raw.trim_end_matches('\n').to_owned();
        let is_same = raw.trim() == decoded;
        let mark = if is_long { "…" } else { "" };
        ShownField { name, value: decoded + mark, raw: (!is_same).then(|| raw + mark) }
    }

    fn has(&self, lower: &str) -> bool {
        self.name.to_lowercase().contains(lower) || self.value.to_lowercase().contains(lower)
    }
}

/// Lines as they stand there, with bytes that are no text as numbers.
fn printable_lines(value: &[u8]) -> String {
    let lines = value.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.map(printable_bytes).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_found_and_bounded() {
        let header = b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nX-Long: a\r\n b\r\nTo: \xff\r\nno field\r\nCc: x\r\n\r\n";
        let (fields, counted, others, no_field) = shown_fields(header, "");
        let shown: Vec<_> = fields.iter().map(|one| (&*one.name, &*one.value, one.raw.as_deref())).collect();
        assert_eq!(
            shown,
            [
                ("Subject", "Gr\u{fc}\u{df}e", Some(" =?utf-8?Q?Gr=C3=BC=C3=9Fe?=")),
                ("X-Long", "a b", Some(" a\n b")),
                ("To", "\u{fffd}", Some(" \\xff")),
            ]
        );
        assert_eq!((&*counted, others, no_field.as_deref()), ("3 fields", 0, Some("no field")));
        let (fields, counted, ..) = shown_fields(header, "gr\u{fc}SS");
        assert_eq!((fields.len(), &*counted), (0, "0 of 3 fields"));
        assert_eq!(shown_fields(header, "gr\u{dc}").0.len(), 1);
        let many = "X: y\r\n".repeat(10_000);
        let (fields, counted, others, _) = shown_fields(many.as_bytes(), "");
        assert_eq!((fields.len() + others, &*counted), (10_000, "10000 fields"));
        assert!(fields.len() < 500);
    }
}
