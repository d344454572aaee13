//! The text of a message, and the message as it came in: what stands there, and nothing that a browser makes something of.

use super::content::{in_background, read};
use super::found::{NotShown, ShownMessage};
use super::head::MessageHead;
use crate::admin::pages::frame::{PageFrame, page};
use crate::admin::pages::shown::escaped_len;
use crate::admin::state::AdminState;
use crate::mail::mime::{MimePart, parts};
use crate::mail::printable::is_printable;
use askama::Template;
use axum::extract::State;
use axum::response::Response;

/// Bytes of HTML that are made of texts on a page.
const MOST: usize = 60 << 10;
/// Text parts on a page.
const PARTS: usize = 20;

#[derive(Template)]
#[template(path = "message/text.html")]
struct TextPage {
    frame: PageFrame,
    head: MessageHead,
    texts: Vec<ShownText>,
    /// Further text parts, which are not shown.
    others: usize,
}

/// A text part.
struct ShownText {
    /// Its number in the address of its download.
    number: usize,
    /// Where there are several.
    title: Option<String>,
    text: String,
    is_whole: bool,
}

#[derive(Template)]
#[template(path = "message/raw.html")]
struct RawPage {
    frame: PageFrame,
    head: MessageHead,
    text: String,
    is_whole: bool,
}

/// `GET /messages/{id}/text`.
pub(super) async fn show(
    State(admin): State<AdminState>,
    ShownMessage { frame, found }: ShownMessage,
) -> Result<Response, NotShown> {
    let content = match read(&admin, &found, None).await {
        Ok(content) => content,
        Err(unreadable) => return Ok(unreadable.page(frame, &found, "Text")),
    };
    let (texts, others) = in_background(move || texts(&content.bytes)).await?;
    let head = MessageHead::new(&found, "Text");
    Ok(page(&TextPage { frame, head, texts, others }))
}

/// `GET /messages/{id}/raw`.
pub(super) async fn raw(
    State(admin): State<AdminState>,
    ShownMessage { frame, found }: ShownMessage,
) -> Result<Response, NotShown> {
    let content = match read(&admin, &found, Some(MOST as u64)).await {
        Ok(content) => content,
        Err(unreadable) => return Ok(unreadable.page(frame, &found, "Raw")),
    };
    let mut room = MOST;
    let (text, is_whole) = shown_text(&String::from_utf8_lossy(&content.bytes), &mut room);
    let head = MessageHead::new(&found, "Raw");
    Ok(page(&RawPage { frame, head, text, is_whole: is_whole && content.is_whole }))
}

fn texts(content: &[u8]) -> (Vec<ShownText>, usize) {
    let (parts, _) = parts(content);
    let mut room = MOST;
    let all: Vec<(usize, &MimePart)> = parts.iter().enumerate().filter(|(_, part)| part.is_text()).collect();
    let is_one = all.len() == 1;
    let shown = all.iter().take(PARTS).map(|(at, part)| {
        let (text, is_whole) = shown_text(&part.text(content), &mut room);
        let title = (!is_one).then(|| format!("Part {}", at + 1));
        ShownText { number: at + 1, title, text, is_whole }
    });
    (shown.collect(), all.len().saturating_sub(PARTS))
}

/// As much of the start of a text as there is room for, with its lines; and whether that is all of it.
pub(super) fn shown_text(text: &str, room: &mut usize) -> (String, bool) {
    let mut shown = String::new();
    for letter in text.chars().filter(|letter| *letter != '\r') {
        let letter = if matches!(letter, '\n' | '\t') || is_printable(letter) { letter } else { '\u{fffd}' };
        let length = escaped_len(letter.encode_utf8(&mut [0; 4]));
        match room.checked_sub(length) {
            Some(left) => *room = left,
            None => return (shown, false),
        }
        shown.push(letter);
    }
    (shown, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_lines_and_nothing_that_steers() {
        let mut room = 100;
        assert_eq!(
            shown_text("a\r\n\tb\0\u{202e}c", &mut room),
            ("a\n\tb\u{fffd}\u{fffd}c".to_owned(), true)
        );
        let mut room = 7;
        assert_eq!(shown_text("a<bcd", &mut room), ("a<b".to_owned(), false));
    }
}
