//! A message in a table of a page: the queue's and that of sent mail.

use super::shown::{self, ShownTime};
use crate::admin::json::{MessageJson, RecipientJson};
use crate::config::Settings;
use crate::mail::{Class, HoldReason, RecipientState};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

/// Characters of a subject.
const SUBJECT: usize = 70;
/// Characters of an address.
const ADDRESS: usize = 48;
/// Characters of a reply, or of what is wrong with a damaged record.
const REPLY: usize = 90;
/// Characters of the name of a site or an upstream.
const NAME: usize = 32;

/// As it is shown. No text is longer than a table has room for, and so no page larger than it may be.
pub(super) struct MessageRow {
    pub(super) id: String,
    pub(super) state: String,
    /// Nothing can be read of it but its id, and nothing done but delete it.
    pub(super) is_damaged: bool,
    pub(super) subject: String,
    pub(super) from: String,
    /// The first recipient that it was accepted for.
    pub(super) to: String,
    /// How many more there are.
    pub(super) more: usize,
    /// Empty: none.
    pub(super) site: String,
    pub(super) class: &'static str,
    /// That took it or was asked last; empty: none was.
    pub(super) upstream: String,
    /// What it said.
    pub(super) reply: String,
    pub(super) attempts: u32,
    pub(super) next: NextAttempt,
    pub(super) size: String,
    pub(super) received: ShownTime,
    pub(super) sent: Option<ShownTime>,
    /// The mode that took it in place of its recipients; empty: none.
    pub(super) mode: &'static str,
}

/// When somebody tries to deliver it again.
pub(super) enum NextAttempt {
    At(ShownTime),
    /// Nobody does, for this reason; empty: there is nothing to do.
    No(String),
}

impl MessageRow {
    pub(super) fn of(message: &MessageJson, settings: &Settings) -> MessageRow {
        let mut originals = message.recipients.iter().filter(|one| one.is_original());
        let to = originals.next().map(|one| fitting(&one.address, ADDRESS)).unwrap_or_default();
        let last = telling(&message.recipients);
        let is_damaged = message.state == DAMAGED;
        let from = match (&message.reverse_path, is_damaged) {
            (Some(address), _) => fitting(address, ADDRESS),
            (None, false) => "<>".to_owned(),
            (None, true) => String::new(),
        };
        let name = |name: Option<&String>| name.map(|name| fitting(name, NAME)).unwrap_or_default();
        MessageRow {
            id: message.id.clone(),
            state: message.state.clone(),
            is_damaged,
            subject: fitting(&message.subject, if is_damaged { REPLY } else { SUBJECT }),
            from,
            to,
            more: originals.count(),
            site: name(message.site.as_ref()),
            class: match message.class {
                Class::Urgent => "urgent",
                Class::Normal => "normal",
                Class::Bulk => "bulk",
            },
            upstream: name(last.and_then(|one| one.upstream.as_ref())),
            reply: last
                .and_then(|one| one.reply.as_deref())
                .map(|reply| fitting(reply, REPLY))
                .unwrap_or_default(),
            attempts: message.attempts,
            next: next_attempt(message, settings),
            size: shown::size(message.size),
            received: message.received_at.into(),
            sent: message.sent_at.map(ShownTime::from),
            mode: message.recipients.iter().find_map(|one| one.mode).map_or("", |mode| mode.word()),
        }
    }
}

/// The state of a record that cannot be read, as listings spell it.
pub(super) const DAMAGED: &str = "damaged";

/// The recipient whose reply says most: of one that failed before one that waits before one that was delivered.
fn telling(recipients: &[RecipientJson]) -> Option<&RecipientJson> {
    let rank = |one: &&RecipientJson| match one.state {
        RecipientState::Failed | RecipientState::Expired => 0,
        RecipientState::Delivered => 2,
        _ => 1,
    };
    recipients.iter().filter(|one| one.upstream.is_some() || one.reply.is_some()).min_by_key(rank)
}

fn next_attempt(message: &MessageJson, settings: &Settings) -> NextAttempt {
    let words = message.held_because.iter().map(|reason| match reason {
        HoldReason::Operator => "held by an operator",
        HoldReason::ModeEnded => "a mode has ended",
        HoldReason::NobodyToReportTo => "nobody to report to",
        HoldReason::SiteGone => "its site is gone",
    });
    let Some(at) = message.next_attempt else {
        return NextAttempt::No(words.collect::<Vec<_>>().join(", "));
    };
    // The time of such mail stands still, so there is no time by the clock.
    let site = message.site.as_deref().unwrap_or_default();
    match settings.handling_of(site).is_some_and(|handling| handling.sending_off) {
        true => NextAttempt::No("sending is off".to_owned()),
        false => NextAttempt::At(to_the_second(at).into()),
    }
}

/// The moment that stands for it is known to the millisecond only while one asks.
fn to_the_second(at: Timestamp) -> Timestamp {
    at.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::HalfExpand)).unwrap_or(at)
}

/// The beginning of a text, of at most so many characters, and of twice as many bytes as HTML has it: what mail says may be
/// made of characters that take five.
pub(super) fn fitting(text: &str, most: usize) -> String {
    let mut bytes = 0;
    let fits = |one: char| {
        bytes += match one {
            '"' | '&' | '\'' | '<' | '>' => 5,
            other => other.len_utf8(),
        };
        bytes <= 2 * most
    };
    let many = text.chars().take_while({
        let mut fits = fits;
        move |one| fits(*one)
    });
    shown::short(text, many.count().min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_so_many_characters_and_so_many_bytes() {
        assert_eq!(fitting("short", 5), "short");
        assert_eq!(fitting("longer", 5), "long…");
        assert_eq!(fitting(&"<".repeat(9), 10), "<<<…");
        assert_eq!(fitting(&"✓".repeat(9), 9), "✓✓✓✓✓…");
    }
}
