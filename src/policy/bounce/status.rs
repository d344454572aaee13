//! The part of a notice that programs read: message/delivery-status (RFC 3464), in UTF-8 as message/global-delivery-status
//! (RFC 6533).
//!
//! Promise: no text of an upstream or a client ends the field it stands in, and without `utf8` all of it is ASCII.

use super::super::added;
use super::report::NoticeContext;
use super::said::VerdictWords;
use super::told::{DsnAction, Told};
use crate::mail::{EnhancedCode, Grounds, Message, dsn, printable};

/// Folded here, where there is a blank.
const READABLE_LINE: usize = 76;
/// A word is cut here: no line may be longer (RFC 5322 section 2.1.1).
const LONGEST_WORD: usize = 900;
/// Of what a server said; more says nothing more, and there may be a thousand recipients.
const LONGEST_DIAGNOSTIC: usize = 2_000;

/// `utf8`: who gets it reads UTF-8.
pub(super) fn delivery_status(
    context: &NoticeContext<'_>,
    message: &Message,
    told: &[Told<'_>],
    utf8: bool,
) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| push_field(&mut text, name, value, utf8);
    field("Reporting-MTA", &format!("dns; {}", context.hostname));
    if let Some(id) = message.envelope_id.as_deref().and_then(dsn::from_xtext) {
        field("Original-Envelope-Id", &id);
    }
    field("Arrival-Date", &added::date(message.received_at));
    field("X-Postroom-Queue-ID", &message.id.to_string());
    for one in told {
        text.push_str("\r\n");
        recipient(&mut text, context, one, utf8);
    }
    text
}

fn recipient(text: &mut String, context: &NoticeContext<'_>, told: &Told<'_>, utf8: bool) {
    let Told { recipient, verdict, action } = told;
    let mut field = |name: &str, value: &str| push_field(text, name, value, utf8);
    if let Some(original) = recipient.original_recipient.as_deref().and_then(original_recipient) {
        field("Original-Recipient", &original);
    }
    let address = recipient.address.as_str();
    let final_recipient = match (address.is_ascii(), utf8) {
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
    let said = VerdictWords::of(context, verdict);
    if let Some(host) = said.host {
        field("Remote-MTA", &format!("dns; {host}"));
    }
    push_folded_field(text, "Diagnostic-Code", &said.diagnostic(LONGEST_DIAGNOSTIC), utf8);
    let mut field = |name: &str, value: &str| push_field(text, name, value, utf8);
    if verdict.grounds != Grounds::NotAsked {
        field("Last-Attempt-Date", &added::date(context.now));
    }
    if *action == DsnAction::Delayed {
        field("Will-Retry-Until", &added::date(context.tried_until));
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

/// One field, exactly as it was given. Whatever stands in the value, it is one field.
fn push_field(text: &mut String, name: &str, value: &str, utf8: bool) {
    text.push_str(name);
    text.push_str(": ");
    text.push_str(&allowed(value, utf8));
    text.push_str("\r\n");
}

/// The same, folded at blanks, several of which become one.
fn push_folded_field(text: &mut String, name: &str, value: &str, utf8: bool) {
    let value = allowed(value, utf8);
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

fn allowed(value: &str, utf8: bool) -> String {
    let letter = |letter: char| if utf8 || letter.is_ascii() { letter } else { '?' };
    printable(value).chars().map(letter).collect()
}
