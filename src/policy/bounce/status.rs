//! The part of a notice that programs read: message/delivery-status (RFC 3464), in UTF-8 as message/global-delivery-status
//! (RFC 6533).
//!
//! Promise: no text of an upstream or a client ends the field it stands in, and without `utf8` all of it is ASCII.

use super::super::added;
use super::report::NoticeContext;
use super::told::{DsnAction, Told};
use crate::mail::{EnhancedCode, Message, dsn, printable};

/// Folded here, where there is a blank.
const READABLE_LINE: usize = 76;
/// A word is cut here: no line may be longer (RFC 5322 section 2.1.1).
const LONGEST_WORD: usize = 900;

pub(super) fn delivery_status(context: &NoticeContext<'_>, message: &Message, told: &[Told<'_>]) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| push_field(&mut text, name, value, context.utf8);
    field("Reporting-MTA", &format!("dns; {}", context.hostname));
    if let Some(id) = message.envelope_id.as_deref().and_then(dsn::from_xtext) {
        field("Original-Envelope-Id", &id);
    }
    field("Arrival-Date", &added::date(message.received_at));
    field("X-Postroom-Queue-ID", &message.id.to_string());
    for one in told {
        text.push_str("\r\n");
        recipient(&mut text, context, one);
    }
    text
}

fn recipient(text: &mut String, context: &NoticeContext<'_>, told: &Told<'_>) {
    let Told { recipient, verdict, action } = told;
    let mut field = |name: &str, value: &str| push_field(text, name, value, context.utf8);
    if let Some(original) = recipient.original_recipient.as_deref().and_then(original_recipient) {
        field("Original-Recipient", &original);
    }
    let address = recipient.address.as_str();
    let final_recipient = match (address.is_ascii(), context.utf8) {
        (true, _) => format!("rfc822; {address}"),
        (false, true) => format!("utf-8; {address}"),
        (false, false) => format!("utf-8; {}", dsn::utf8_xtext(address)),
    };
    field("Final-Recipient", &final_recipient);
    let (word, class) = match action {
        DsnAction::Failed => ("failed", if verdict.enhanced == EXPIRED { 4 } else { 5 }),
        DsnAction::Delayed => ("delayed", 4),
        DsnAction::Relayed => ("relayed", 2),
    };
    field("Action", word);
    let EnhancedCode(_, subject, detail) = verdict.enhanced;
    field("Status", &EnhancedCode(class, subject, detail).to_string());
    if let Some(host) = verdict.upstream.as_deref().and_then(|name| context.host_of(name)) {
        field("Remote-MTA", &format!("dns; {host}"));
    }
    let is_smtp = verdict.reply.as_bytes().get(..3).is_some_and(|code| code.iter().all(u8::is_ascii_digit));
    let kind = if is_smtp { "smtp" } else { "x-postroom" };
    field("Diagnostic-Code", &format!("{kind}; {}", verdict.reply));
    field("Last-Attempt-Date", &added::date(context.now));
    if let (DsnAction::Delayed, Some(until)) = (action, context.tried_until) {
        field("Will-Retry-Until", &added::date(until));
    }
}

/// The delivery time has expired (RFC 3463 section 3.5).
pub(super) const EXPIRED: EnhancedCode = EnhancedCode(4, 4, 7);

/// As in the field: xtext undone, but for the form of `utf-8` that is ASCII.
fn original_recipient(parameter: &str) -> Option<String> {
    let (kind, address) = parameter.split_once(';')?;
    if kind.eq_ignore_ascii_case("utf-8") {
        return Some(format!("{kind}; {address}"));
    }
    Some(format!("{kind}; {}", dsn::from_xtext(address)?))
}

/// One field, folded. Whatever stands in the value, it is one field.
fn push_field(text: &mut String, name: &str, value: &str, utf8: bool) {
    let value = printable(value);
    let letter = |letter: char| if utf8 || letter.is_ascii() { letter } else { '?' };
    let value: String = value.chars().map(letter).collect();
    text.push_str(name);
    text.push(':');
    let mut length = name.len() + 1;
    for mut word in value.split_whitespace() {
        while !word.is_empty() {
            let (now, later) = word.split_at(word.floor_char_boundary(LONGEST_WORD));
            if length > name.len() + 1 && length + 1 + now.len() > READABLE_LINE {
                text.push_str("\r\n");
                length = 0;
            }
            text.push(' ');
            text.push_str(now);
            (length, word) = (length + 1 + now.len(), later);
        }
    }
    text.push_str("\r\n");
}
