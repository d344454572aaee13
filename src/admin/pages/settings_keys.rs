//! The keys that the settings page asks for: in sections, each with its value, where that was given, and whether it can be changed.

use super::changed::shown;
use crate::config::{GivenAt, InForce};
use serde_json::{Value, json};

/// How a key is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SettingKind {
    Flag,
    Choice(&'static [(&'static str, &'static str)]),
    Text,
    Number,
    List,
    Reports,
}

/// A key.
pub(super) struct SettingKey {
    pub(super) key: &'static str,
    pub(super) label: &'static str,
    pub(super) hint: &'static str,
    pub(super) kind: SettingKind,
}

/// A section of the page: a title, its keys, and whether sites have it, too.
pub(super) type SettingKeys = (&'static str, bool, &'static [SettingKey]);

const REWRITES: &[(&str, &str)] = &[
    ("never", "never: as the application says"),
    ("always", "always: in From and reverse-path"),
    ("missing", "missing: in From where there is none that can be used"),
];

const fn key(key: &'static str, label: &'static str, hint: &'static str, kind: SettingKind) -> SettingKey {
    SettingKey { key, label, hint, kind }
}

/// Everything that `PATCH /api/v1/settings` knows.
pub(super) const SECTIONS: &[SettingKeys] = &[
    (
        "Sending",
        true,
        &[key(
            "sending.enabled",
            "Send mail",
            "Off: mail is accepted and waits. No time passes for it.",
            SettingKind::Flag,
        )],
    ),
    (
        "Redirect",
        true,
        &[
            key(
                "redirect.enabled",
                "Redirect mail",
                "On: mail goes to the report addresses and not to its recipients, who can be read in X-Original-To.",
                SettingKind::Flag,
            ),
            key(
                "redirect.report_emails",
                "Report addresses",
                "Who gets it. While nobody is enabled, mail is held.",
                SettingKind::Reports,
            ),
            key(
                "redirect.allow",
                "Allowed recipients",
                "They still get their own mail: addresses, or @domain for all of exactly that domain. One a line.",
                SettingKind::List,
            ),
        ],
    ),
    (
        "Debug",
        true,
        &[
            key(
                "debug.enabled",
                "Log only",
                "On: mail is logged and counts as delivered; nothing leaves.",
                SettingKind::Flag,
            ),
            key(
                "debug.failure_rate",
                "Failure rate",
                "Share of recipients that are deferred with “Sending failed”, from 0 to 1.",
                SettingKind::Number,
            ),
            key(
                "debug.seed",
                "Seed",
                "Makes the choice of those the same in each run. 0: random.",
                SettingKind::Number,
            ),
        ],
    ),
    (
        "Simulate",
        true,
        &[key(
            "simulate.enabled",
            "Let every send fail",
            "On: every send fails and nothing leaves.",
            SettingKind::Flag,
        )],
    ),
    (
        "Sender",
        true,
        &[
            key(
                "sender.rewrite",
                "Replace the sender",
                "The author goes to Reply-To. The null reverse-path <> and our own notices stay.",
                SettingKind::Choice(REWRITES),
            ),
            key(
                "sender.address",
                "By this address",
                "For example john@example.com or \"John Smith\" <john@example.com>.",
                SettingKind::Text,
            ),
        ],
    ),
    (
        "Log of emails",
        false,
        &[
            key("log_emails.enabled", "Write it", "A record for each attempt to send.", SettingKind::Flag),
            key("log_emails.path", "File", "In data_dir unless absolute.", SettingKind::Text),
        ],
    ),
    (
        "Archive",
        false,
        &[key(
            "queue.archive_days",
            "Days that sent mail is kept",
            "0: not at all, but for what debug took, which is kept for a day.",
            SettingKind::Number,
        )],
    ),
];

/// Those that decide what happens to mail.
pub(super) const MODES: &[&str] =
    &["sending.enabled", "simulate.enabled", "debug.enabled", "redirect.enabled"];

/// Every key, of all mail or of a site.
pub(super) fn keys(of_site: bool) -> impl Iterator<Item = &'static SettingKey> {
    SECTIONS.iter().filter(move |(_, sites, _)| *sites || !of_site).flat_map(|(_, _, keys)| keys.iter())
}

/// A key as it is in force, for all mail or for a site.
pub(super) struct SettingNow {
    /// What holds.
    pub(super) value: Value,
    /// Of a site: what holds for all mail.
    pub(super) inherited: Option<Value>,
    /// Where it was given; none for a default, and for what a site does not say.
    pub(super) given: Option<GivenAt>,
    /// Where the inherited value was given.
    pub(super) given_to_all: Option<GivenAt>,
}

impl SettingNow {
    pub(super) fn of(in_force: &InForce, site: Option<&str>, key: &str) -> SettingNow {
        let (table, last) = key.split_once('.').unwrap_or((key, ""));
        let value = |path: &[&str]| in_force.beneath(path).remove(last).unwrap_or_default();
        let given = |path: &[&str]| in_force.given(path).remove(last).cloned();
        let (to_all, given_to_all) = (normal(key, value(&[table])), given(&[table]));
        let Some(site) = site else {
            return SettingNow { value: to_all, inherited: None, given: given_to_all, given_to_all: None };
        };
        let own = given(&["site", site, table]);
        let value = match &own {
            Some(_) => normal(key, value(&["site", site, table])),
            None => to_all.clone(),
        };
        SettingNow { value, inherited: Some(to_all), given: own, given_to_all }
    }

    pub(super) fn is_locked(&self) -> bool {
        self.given.as_ref().is_some_and(GivenAt::is_locked)
    }

    /// A site may go back to what holds for all mail, where no file says something else for it.
    pub(super) fn may_inherit(&self) -> bool {
        self.inherited.is_some() && !self.given.as_ref().is_some_and(GivenAt::is_given_below)
    }
}

/// Report addresses each as a table.
fn normal(key: &str, value: Value) -> Value {
    match value {
        Value::Array(items) if key == "redirect.report_emails" => {
            let table = |item: Value| match item {
                Value::String(email) => report(&email, true),
                item => report(item["email"].as_str().unwrap_or_default(), item["enabled"] != false),
            };
            items.into_iter().map(table).collect()
        }
        value => value,
    }
}

/// A report address.
pub(super) fn report(email: &str, enabled: bool) -> Value {
    json!({ "email": email, "enabled": enabled })
}

/// A value for readers, on a line.
pub(super) fn in_words(kind: SettingKind, value: &Value) -> String {
    match (kind, value) {
        (SettingKind::Flag, value) => if *value == true { "on" } else { "off" }.to_owned(),
        (SettingKind::Reports, Value::Array(items)) if !items.is_empty() => {
            let one = |item: &Value| {
                let off = if item["enabled"] == false { " (off)" } else { "" };
                format!("{}{off}", item["email"].as_str().unwrap_or_default())
            };
            items.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        (_, value) => match shown(value) {
            text if text.is_empty() => "none".to_owned(),
            text => text,
        },
    }
}
