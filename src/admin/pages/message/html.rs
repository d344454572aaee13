//! The HTML of a message: a tab with a frame, and the document in that frame, which may not run, load or send anything.
//!
//! What holds the document: the sandbox of its frame and of its own policy (no scripts, no forms, an origin of its own, so that no
//! cookie goes anywhere), its policy, which lets it load nothing but what is in it, and `frame-src` of the page around it, so that the
//! frame never shows anything but this document, whatever is clicked. Links open in windows of their own, and say not where from.

use super::content::{body, in_background, read};
use super::found::{NotShown, ShownMessage};
use super::head::MessageHead;
use crate::admin::extract::QueryKeys;
use crate::admin::pages::frame::{PageFrame, page};
use crate::admin::problem::Problem;
use crate::admin::state::AdminState;
use crate::mail::mime::{MimePart, parts};
use askama::Template;
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use serde::Deserialize;
use std::collections::HashMap;

/// Bytes of pictures that are put into the document.
const PICTURES: usize = 5 << 20;

/// Before what the mail says: our own style where it has none. Later elements of these names change nothing of it.
const START: &str = "<!doctype html><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light\"><base target=\"_blank\">\
     <style>html{background:#fff;color:#000;font-family:sans-serif;overflow-wrap:anywhere}img{max-width:100%}</style>\n";

#[derive(Template)]
#[template(path = "message/html.html")]
struct HtmlPage {
    frame: PageFrame,
    head: MessageHead,
    has_html: bool,
    is_cut: bool,
    is_remote: bool,
}

/// Whether what lies elsewhere may be loaded.
#[derive(Deserialize)]
pub(super) struct RemoteQuery {
    #[serde(default)]
    remote: u8,
}

/// `GET /messages/{id}/read`.
pub(super) async fn show(
    State(admin): State<AdminState>,
    QueryKeys(query): QueryKeys<RemoteQuery>,
    ShownMessage { frame, found }: ShownMessage,
) -> Result<Response, NotShown> {
    let content = match read(&admin, &found, None).await {
        Ok(content) => content,
        Err(unreadable) => return Ok(unreadable.page(frame, &found, "HTML")),
    };
    let is_cut = !content.is_whole;
    let has_html = in_background(move || parts(&content.bytes).0.iter().any(MimePart::is_html)).await?;
    let head = MessageHead::new(&found, "HTML");
    Ok(page(&HtmlPage { frame, head, has_html, is_cut, is_remote: query.remote != 0 }))
}

/// `GET /messages/{id}/html`: the document in the frame.
pub(super) async fn document(
    State(admin): State<AdminState>,
    QueryKeys(query): QueryKeys<RemoteQuery>,
    ShownMessage { found, .. }: ShownMessage,
) -> Result<Response, NotShown> {
    let content = read(&admin, &found, None).await.map_err(Problem::from)?;
    let loads_remote = query.remote != 0;
    let document = in_background(move || html(&content.bytes, loads_remote)).await?;
    let remote = if query.remote == 0 { "" } else { " http: https:" };
    let policy = format!(
        "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'{remote}; img-src data:{remote}; \
         font-src data:{remote}; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_LENGTH, document.len().to_string()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_FRAME_OPTIONS, "SAMEORIGIN".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::X_DNS_PREFETCH_CONTROL, "off".to_owned()),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin".to_owned()),
    ];
    Ok((headers, body(document).await?).into_response())
}

/// The HTML parts of a message, one behind the other, with the pictures that stand in the message. A `link` may have a browser connect
/// to a host before anything is loaded (`preconnect`), which no policy forbids: without remote content there is none.
fn html(content: &[u8], loads_remote: bool) -> String {
    let (parts, _) = parts(content);
    let mut pictures = Pictures { content, parts: &parts, room: PICTURES, known: HashMap::new() };
    let mut document = START.to_owned();
    for part in parts.iter().filter(|part| part.is_html()) {
        let text = part.text(content);
        match loads_remote {
            true => pictures.put_into(&text, &mut document),
            false => pictures.put_into(&without_links(&text), &mut document),
        }
    }
    document
}

/// With every element `link` called otherwise.
fn without_links(html: &str) -> String {
    let lower = html.to_ascii_lowercase();
    let (mut text, mut passed) = (String::with_capacity(html.len()), 0);
    for at in memmem::find_iter(lower.as_bytes(), b"<link") {
        text.push_str(&html[passed..at]);
        text.push_str("<no-");
        passed = at + 1;
    }
    text.push_str(&html[passed..]);
    text
}

/// Pictures that the HTML names by their Content-ID (RFC 2392), as `data:` addresses.
struct Pictures<'c> {
    content: &'c [u8],
    parts: &'c [MimePart],
    room: usize,
    known: HashMap<String, Option<String>>,
}

impl Pictures<'_> {
    fn put_into(&mut self, html: &str, document: &mut String) {
        let lower = html.to_ascii_lowercase();
        let mut passed = 0;
        for at in memmem::find_iter(lower.as_bytes(), b"cid:") {
            let start = at + "cid:".len();
            let ends =
                |letter: char| matches!(letter, '"' | '\'' | '>' | '<' | ')' | '&') || letter.is_whitespace();
            let end = html[start..].find(ends).map_or(html.len(), |length| start + length);
            // Names are short, and what is behind one is looked at only once.
            if at < passed || end - start > 500 {
                continue;
            }
            if let Some(address) = self.address(&html[start..end]) {
                document.push_str(&html[passed..at]);
                document.push_str(&address);
                passed = end;
            }
        }
        document.push_str(&html[passed..]);
    }

    fn address(&mut self, named: &str) -> Option<String> {
        let id = percent_encoding::percent_decode_str(named).decode_utf8().ok()?.into_owned();
        if !self.known.contains_key(&id) {
            let address = self.read(&id);
            self.known.insert(id.clone(), address);
        }
        let address = self.known.get(&id)?.clone()?;
        // Each time that it stands there counts.
        self.room = self.room.checked_sub(address.len())?;
        Some(address)
    }

    fn read(&self, id: &str) -> Option<String> {
        let part = self.parts.iter().find(|part| part.content_id.as_deref() == Some(id))?;
        let is_plain =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '/' | '-' | '+' | '.');
        if !part.media_type.starts_with("image/")
            || !part.media_type.chars().all(is_plain)
            || part.body.len() > PICTURES
        {
            return None;
        }
        Some(format!("data:{};base64,{}", part.media_type, STANDARD.encode(part.decoded(self.content))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=iso-8859-1\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=FC=DFe <img src=3D\"cid:a%40x\"> <img src=3Dcid:a@x> <img src=3D'cid:b@x'> <img src=3D'CID:none'>\r\n\
         --b\r\nContent-Type: image/png\r\nContent-ID: <a@x>\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n\
         --b\r\nContent-Type: text/html\r\nContent-Disposition: attachment\r\nContent-ID: <b@x>\r\n\r\n<script>\r\n--b--\r\n";

    #[test]
    fn pictures_of_the_message_stand_in_the_document_and_nothing_else() {
        let document = html(MAIL.as_bytes(), false);
        let expected = "<p>Gr\u{fc}\u{df}e <img src=\"data:image/png;base64,AAAA\"> <img src=data:image/png;base64,AAAA> \
                        <img src='cid:b@x'> <img src='CID:none'>";
        assert_eq!(document.strip_prefix(START), Some(expected));
    }

    #[test]
    fn pictures_together_are_bounded() {
        let picture = "A".repeat(1 << 20);
        let uses = "<img src='cid:a'>".repeat(100);
        let mail = format!(
            "Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n{uses}\r\n--b\r\nContent-Type: image/gif\r\nContent-ID: <a>\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{picture}\r\n--b--\r\n"
        );
        let document = html(mail.as_bytes(), false);
        assert!(document.len() < PICTURES + 10_000, "{}", document.len());
        assert_eq!(document.matches("data:image/gif").count(), 4);
    }

    #[test]
    fn no_link_has_a_browser_connect_anywhere_before_it_is_asked_to() {
        let mail = "Content-Type: text/html; charset=utf-8\r\n\r\n<p>\u{e9}<LiNk rel=preconnect href=//a.test>\u{e9}<link\trel=x>";
        assert!(!html(mail.as_bytes(), false).to_ascii_lowercase().contains("<link"));
        assert!(
            html(mail.as_bytes(), false)
                .contains("\u{e9}<no-LiNk rel=preconnect href=//a.test>\u{e9}<no-link")
        );
        assert!(html(mail.as_bytes(), true).contains("<LiNk rel=preconnect"));
    }
}
