//! `GET /messages/{id}/parts`: what a message is made of, and each part as a file.

use super::content::{body, in_background, read};
use super::found::{NotShown, ShownMessage};
use super::head::MessageHead;
use crate::admin::extract::PathPart;
use crate::admin::pages::frame::{PageFrame, page};
use crate::admin::pages::shown::{TextBudget, size};
use crate::admin::problem::Problem;
use crate::admin::state::AdminState;
use crate::mail::mime::{MimePart, parts};
use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// Parts on the page.
const MOST: usize = 100;
/// Bytes of names and types on it.
const TEXT: usize = 20_000;
/// RFC 8187 section 3.2.1.
const ATTRIBUTE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

#[derive(Template)]
#[template(path = "message/parts.html")]
struct PartsPage {
    frame: PageFrame,
    head: MessageHead,
    parts: Vec<PartRow>,
    /// Not all parts are shown.
    is_cut: bool,
}

struct PartRow {
    number: usize,
    /// Up to 6, for the style sheet.
    depth: usize,
    media_type: String,
    charset: Option<String>,
    name: Option<String>,
    encoding: String,
    /// What is in it, decoded; none of what has parts in it.
    content: Option<PartContent>,
    is_attachment: bool,
}

struct PartContent {
    size: String,
    sha256: String,
}

/// A part of a path.
#[derive(Deserialize)]
pub(super) struct PartNumber {
    number: usize,
}

/// See the module.
pub(super) async fn show(
    State(admin): State<AdminState>,
    ShownMessage { frame, found }: ShownMessage,
) -> Result<Response, NotShown> {
    let content = match read(&admin, &found, None).await {
        Ok(content) => content,
        Err(unreadable) => return Ok(unreadable.page(frame, &found, "Parts")),
    };
    let head = MessageHead::new(&found, "Parts");
    let work = move || {
        let (all, is_whole) = parts(&content.bytes);
        let mut budget = TextBudget::new(TEXT);
        let rows = all.iter().enumerate().take(MOST);
        let rows = rows.map(|(at, part)| PartRow::of(at + 1, part, &content.bytes, &mut budget)).collect();
        PartsPage { frame, head, parts: rows, is_cut: !is_whole || !content.is_whole || all.len() > MOST }
    };
    Ok(page(&in_background(work).await?))
}

/// `GET /messages/{id}/parts/{number}`: a part, to be saved as a file. What a browser makes of it, it does nothing there.
pub(super) async fn download(
    State(admin): State<AdminState>,
    PathPart(PartNumber { number }): PathPart<PartNumber>,
    ShownMessage { found, .. }: ShownMessage,
) -> Result<Response, NotShown> {
    let content = read(&admin, &found, None).await.map_err(Problem::from)?;
    let work = move || {
        let (all, _) = parts(&content.bytes);
        let part = all.get(number.checked_sub(1)?)?;
        Some((content_type(part), disposition(part, number), part.decoded(&content.bytes).into_owned()))
    };
    let none = || Problem::new(StatusCode::NOT_FOUND, format!("the message has no part {number}"));
    let (kind, disposition, bytes) = in_background(work).await?.ok_or_else(none)?;
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_LENGTH, bytes.len().into()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, body(bytes).await?).into_response())
}

impl PartRow {
    fn of(number: usize, part: &MimePart, content: &[u8], budget: &mut TextBudget) -> PartRow {
        let decoded =
            (!part.is_container || part.media_type == "message/rfc822").then(|| part.decoded(content));
        PartRow {
            number,
            depth: part.depth.min(6),
            media_type: budget.text(&part.media_type, 80),
            charset: part.charset.as_deref().map(|charset| budget.text(charset, 40)),
            name: part.file_name.as_deref().map(|name| budget.text(name, 200)),
            encoding: budget.text(&part.encoding, 40),
            content: decoded.map(|bytes| PartContent {
                size: size(bytes.len() as u64),
                sha256: digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
            }),
            is_attachment: part.is_attachment,
        }
    }
}

/// As it is declared, where that is a media type at all.
fn content_type(part: &MimePart) -> HeaderValue {
    let is_token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let kind = part.media_type.split_once('/').filter(|(kind, subtype)| is_token(kind) && is_token(subtype));
    let charset = part.charset.as_deref().filter(|charset| is_token(charset));
    let said = match (kind, charset) {
        (Some(("text", subtype)), Some(charset)) => format!("text/{subtype}; charset={charset}"),
        (Some(("multipart", _)) | None, _) => "application/octet-stream".to_owned(),
        (Some((kind, subtype)), _) => format!("{kind}/{subtype}"),
    };
    HeaderValue::from_str(&said).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// RFC 6266: the name in ASCII for old programs, and whole.
fn disposition(part: &MimePart, number: usize) -> HeaderValue {
    let extension = match part.media_type.as_str() {
        "message/rfc822" => "eml",
        "text/html" => "html",
        "text/plain" => "txt",
        _ => "bin",
    };
    let name = part.file_name.clone().unwrap_or_else(|| format!("part-{number}.{extension}"));
    let in_ascii = |letter: char| {
        let is_plain = letter.is_ascii_alphanumeric() || " -_.()+,=@".contains(letter);
        if is_plain { letter } else { '_' }
    };
    let ascii: String = name.chars().map(in_ascii).collect();
    let encoded = utf8_percent_encode(&name, ATTRIBUTE);
    let value = format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}");
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_has_the_name_and_type_of_the_part_where_they_are_sound() {
        let said = |header: &str| {
            let part = parts(format!("{header}\r\n\r\n").as_bytes()).0.remove(0);
            let (kind, disposition) = (content_type(&part), disposition(&part, 3));
            [kind, disposition].map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(
            said("Content-Type: application/pdf; name=\"Gr\u{fc}n \\\"1\\\".pdf\""),
            [
                "application/pdf",
                "attachment; filename=\"Gr_n _1_.pdf\"; filename*=UTF-8''Gr%C3%BCn%20%221%22.pdf"
            ]
        );
        assert_eq!(
            said("Content-Type: text/html; charset=iso-8859-1"),
            [
                "text/html; charset=iso-8859-1",
                "attachment; filename=\"part-3.html\"; filename*=UTF-8''part-3.html"
            ]
        );
        assert_eq!(said("Content-Type: multipart/mixed; boundary=b")[0], "application/octet-stream");
        assert_eq!(said("Content-Type: a/b[c]")[0], "application/octet-stream");
    }
}
