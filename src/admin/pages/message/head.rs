//! What stands above every tab of a message: what it is, where it is on its way, and what can be done about it.

use super::found::FoundMessage;
use crate::admin::json::{MessageJson, RecipientJson};
use crate::admin::pages::shown::{ShownTime, count, short, size};
use crate::deliver::health::Availability;
use crate::deliver::waits_for::WaitsFor;
use crate::mail::{Class, HoldReason};

/// Recipients that are named at once.
const NAMED: usize = 5;
/// Characters of an address, as long as RFC 5321 lets one be.
const LONGEST_ADDRESS: usize = 254;

/// The tabs: what stands behind the address of the message, and their names.
const TABS: &[(&str, &str)] = &[
    ("", "Delivery"),
    ("/read", "HTML"),
    ("/text", "Text"),
    ("/headers", "Headers"),
    ("/parts", "Parts"),
    ("/raw", "Raw"),
    ("/sent", "Sent version"),
];

/// See the module.
pub(super) struct MessageHead {
    pub(super) id: String,
    pub(super) subject: String,
    pub(super) state: String,
    /// `<>` where there is none.
    pub(super) from: String,
    /// Has an address to write to.
    pub(super) has_sender: bool,
    pub(super) to: Vec<String>,
    /// `and 7 recipients more`.
    pub(super) others: Option<String>,
    pub(super) site: Option<String>,
    pub(super) class: &'static str,
    pub(super) received_at: ShownTime,
    /// `by listener local, from 127.0.0.1, as user app`.
    pub(super) received_how: String,
    pub(super) size: String,
    pub(super) attempts: u32,
    /// Of our own, about another message.
    pub(super) is_notice: bool,
    /// The message that this notice says is late, and nothing else.
    pub(super) about: Option<String>,
    pub(super) next_attempt: Option<ShownTime>,
    pub(super) sending_is_off: bool,
    pub(super) under_way: Option<String>,
    pub(super) waits: Vec<Wait>,
    /// Why it is held, in sentences.
    pub(super) held_because: Vec<String>,
    pub(super) is_held_by_mode: bool,
    pub(super) sent_at: Option<ShownTime>,
    /// Its file in the archive, under `data_dir`.
    pub(super) file: Option<String>,
    /// Why that cannot be read.
    pub(super) file_wrong: Option<String>,
    pub(super) tabs: Vec<Tab>,
}

/// What keeps an upstream from taking it.
pub(super) struct Wait {
    pub(super) upstream: String,
    pub(super) what: &'static str,
    pub(super) until: Option<ShownTime>,
    pub(super) error: Option<String>,
}

/// A link to another page of the same message.
pub(super) struct Tab {
    pub(super) address: String,
    pub(super) name: &'static str,
    pub(super) is_current: bool,
}

impl MessageHead {
    /// Of the tab of that name.
    pub(super) fn new(found: &FoundMessage, tab: &str) -> MessageHead {
        let (json, message) = (&found.json, &found.message);
        let originals = || json.recipients.iter().filter(|one| one.is_original());
        let to = originals().take(NAMED).map(address).collect();
        let others = (originals().count() as u64).saturating_sub(NAMED as u64);
        let tab = |(path, name): &(&str, &'static str)| Tab {
            address: format!("/messages/{}{path}", json.id),
            name,
            is_current: *name == tab,
        };
        MessageHead {
            id: json.id.clone(),
            subject: if json.subject.is_empty() { "(no subject)".to_owned() } else { json.subject.clone() },
            state: json.state.clone(),
            from: json.reverse_path.as_deref().map_or("<>".to_owned(), |from| short(from, LONGEST_ADDRESS)),
            has_sender: json.reverse_path.is_some(),
            to,
            others: (others > 0).then(|| format!("and {} more", count(others, "recipient"))),
            site: json.site.clone(),
            class: class_word(json.class),
            received_at: json.received_at.into(),
            received_how: received_how(json),
            size: size(json.size),
            attempts: json.attempts,
            is_notice: message.is_notice,
            about: message.says_late.map(|about| about.to_string()),
            next_attempt: json
                .next_attempt
                .filter(|_| found.sent.is_none() && !found.sending_is_off)
                .map(ShownTime::from),
            sending_is_off: found.sending_is_off,
            under_way: json.under_way.clone(),
            waits: json.waits_for.iter().map(Wait::from).collect(),
            held_because: json.held_because.iter().map(|reason| why_held(*reason, &message.site)).collect(),
            is_held_by_mode: message.is_held_by_mode(),
            sent_at: json.sent_at.map(ShownTime::from),
            file: json.archived.as_ref().map(|archived| archived.file.clone()),
            file_wrong: json.archived.as_ref().and_then(|archived| archived.wrong.clone()),
            tabs: TABS.iter().map(tab).collect(),
        }
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent_at.is_some()
    }

    /// An attempt may be had at once.
    pub(super) fn may_be_retried(&self) -> bool {
        !self.is_sent() && self.state != "held"
    }

    pub(super) fn may_be_held(&self) -> bool {
        matches!(self.state.as_str(), "queued" | "deferred")
    }
}

fn address(recipient: &RecipientJson) -> String {
    short(&recipient.address, LONGEST_ADDRESS)
}

fn class_word(class: Class) -> &'static str {
    match class {
        Class::Urgent => "urgent",
        Class::Normal => "normal",
        Class::Bulk => "bulk",
    }
}

fn received_how(json: &MessageJson) -> String {
    let mut how = match json.listener.as_str() {
        "" => String::new(),
        listener => format!("by {}", short(listener, 100)),
    };
    if let Some(client) = &json.client {
        how += &format!(", from {client}");
    }
    if let Some(user) = &json.user {
        how += &format!(", as user {}", short(user, 100));
    }
    how
}

impl From<&WaitsFor> for Wait {
    fn from(wait: &WaitsFor) -> Wait {
        Wait {
            upstream: wait.upstream.clone(),
            what: match wait.state {
                Availability::Open => "its circuit is open",
                Availability::Probing => "one message finds out whether it works again",
                Availability::Limited => "its rate limit is used up",
                Availability::Busy => "all its connections are in use",
                Availability::Ok => "available",
                Availability::Disabled => "disabled",
            },
            until: wait.until.map(ShownTime::from),
            error: wait.error.as_deref().map(|error| short(error, 500)),
        }
    }
}

fn why_held(reason: HoldReason, site: &str) -> String {
    match reason {
        HoldReason::Operator => "An operator holds it.".to_owned(),
        HoldReason::ModeEnded => {
            "Redirect, debug or simulate applied to it and does not any more: it goes to its recipients only when it is released."
                .to_owned()
        }
        HoldReason::NobodyToReportTo => "Redirect is on, and no report address is enabled.".to_owned(),
        HoldReason::SiteGone => format!("Its site, {}, is not configured any more.", short(site, 100)),
    }
}
