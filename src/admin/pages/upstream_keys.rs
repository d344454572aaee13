//! The keys of an upstream, as the page of one shows them and its form asks for them: in groups, each with its value, where that was
//! given, and whether it can be changed here.

use super::changed::{MASKED, shown};
use crate::admin::json::UpstreamDetailJson;
use crate::config::{DescribedKey, keys_of_upstreams};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The groups: a title, and keys with their labels. A key that is in none stands in the last.
const GROUPS: &[(&str, &[(&str, &str)])] = &[
    (
        "Where",
        &[
            ("host", "Host"),
            ("priority", "Priority"),
            ("enabled", "Enabled"),
            ("sites", "Only for these sites"),
            ("delivery", "Delivery"),
            ("pickup_directory", "Pickup folder"),
        ],
    ),
    (
        "Security",
        &[
            ("tls", "TLS"),
            ("tls_ca", "Further roots (PEM file)"),
            ("danger_accept_invalid_certificate", "Accept any certificate (dangerous)"),
            ("auth", "Authentication"),
            ("username", "User name"),
            ("password", "Password"),
            ("domain", "Windows domain"),
            ("danger_allow_plaintext_auth", "Allow the password without TLS (dangerous)"),
            ("oauth2.token_url", "OAuth 2: token URL"),
            ("oauth2.client_id", "OAuth 2: client id"),
            ("oauth2.client_secret", "OAuth 2: client secret"),
            ("oauth2.refresh_token", "OAuth 2: refresh token"),
            ("oauth2.scope", "OAuth 2: scope"),
        ],
    ),
    (
        "Limits",
        &[
            ("connection_limit", "Connections"),
            ("rate_limit", "Rate limit"),
            ("messages_per_connection", "Messages per connection"),
            ("connect_timeout", "Connect timeout"),
            ("command_timeout", "Command timeout"),
            ("data_timeout", "Data timeout"),
            ("final_timeout", "Final timeout"),
            ("max_idle_time", "Idle time"),
            ("source_address", "Source address"),
        ],
    ),
    ("Sender", &[("sender", "Sender")]),
];
const OTHERS: &str = "More";

/// Keys with few values, and what is said of a value beside it.
const CHOICES: &[(&str, &[(&str, &str)])] = &[
    ("priority", &[("default", ""), ("high", ""), ("normal", ""), ("low", "")]),
    ("delivery", &[("network", ""), ("local", ""), ("pickup", ""), ("pickup-iis", "")]),
    (
        "tls",
        &[
            ("", "as port and authentication want it"),
            ("none", ""),
            ("opportunistic", ""),
            ("starttls", ""),
            ("implicit", ""),
        ],
    ),
    ("auth", &[("anonymous", ""), ("basic", ""), ("ntlm", ""), ("oauth2", ""), ("default", "")]),
];

/// Keys whose value without anybody's is no default: an example, or one that others make.
const WITHOUT_DEFAULT: &[&str] = &["host", "tls"];

/// Keys of a group.
pub(super) struct KeyGroup {
    pub(super) title: &'static str,
    pub(super) fields: Vec<KeyField>,
}

/// How a key is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FieldKind {
    Text,
    Number,
    List,
    Flag,
    Choice,
    Secret,
}

impl FieldKind {
    /// For templates.
    pub(super) fn word(self) -> &'static str {
        match self {
            FieldKind::Text => "text",
            FieldKind::Number => "number",
            FieldKind::List => "list",
            FieldKind::Flag => "flag",
            FieldKind::Choice => "choice",
            FieldKind::Secret => "secret",
        }
    }
}

/// A value that may be chosen.
pub(super) struct FieldChoice {
    pub(super) value: &'static str,
    pub(super) label: String,
    pub(super) is_chosen: bool,
}

/// Where a value was given, as the routes say it.
#[derive(Deserialize)]
struct Source {
    layer: String,
    place: String,
    below: Option<Value>,
    below_place: Option<String>,
}

/// A key.
pub(super) struct KeyField {
    /// In the table: `oauth2.token_url`.
    pub(super) key: String,
    /// For HTML.
    pub(super) id: String,
    pub(super) label: String,
    pub(super) hint: String,
    pub(super) kind: FieldKind,
    /// What stands in the field; nothing of a secret.
    pub(super) value: String,
    pub(super) is_checked: bool,
    pub(super) choices: Vec<FieldChoice>,
    /// What is in force, for readers.
    pub(super) in_force: String,
    /// Of a secret: there is one.
    pub(super) is_set: bool,
    /// Given where nothing can be changed from here.
    pub(super) is_locked: bool,
    /// By a verb or a page.
    pub(super) is_changed: bool,
    /// Where it was given; none for a default.
    pub(super) source: Option<String>,
    /// Of a change: what holds without it, in words.
    pub(super) below: Option<String>,
    pub(super) default: Value,
    pub(super) wrong: Vec<String>,
}

impl KeyField {
    fn new(described: DescribedKey, label: String, value: Option<Value>, source: Option<Source>) -> KeyField {
        let DescribedKey { key, comment, default, is_secret } = described;
        let choices = CHOICES.iter().find(|(of, _)| *of == key).map(|(_, choices)| *choices);
        let kind = match (&default, choices) {
            _ if is_secret => FieldKind::Secret,
            (_, Some(_)) => FieldKind::Choice,
            (Value::Bool(_), _) => FieldKind::Flag,
            (Value::Number(_), _) => FieldKind::Number,
            (Value::Array(_), _) => FieldKind::List,
            _ => FieldKind::Text,
        };
        let layer = source.as_ref().map(|source| source.layer.as_str());
        let is_default = layer.is_none();
        let has_none = WITHOUT_DEFAULT.contains(&key.as_str());
        let effective = value.unwrap_or_else(|| if has_none { Value::from("") } else { default.clone() });
        let is_set = is_secret && effective.as_str() != Some("") && !effective.is_null();
        let written = if is_default && has_none { Value::from("") } else { effective.clone() };
        let text = if is_secret { String::new() } else { text_of(&written) };
        let chosen = |(value, says): &(&'static str, &str)| FieldChoice {
            value,
            label: match (*value, *says) {
                ("", says) => says.to_owned(),
                (value, _) => value.to_owned(),
            },
            is_chosen: *value == text,
        };
        let is_changed = layer == Some("admin.toml");
        KeyField {
            id: format!("key-{}", key.replace('.', "-")),
            label,
            hint: comment,
            is_checked: written == Value::Bool(true),
            choices: choices.into_iter().flatten().map(chosen).collect(),
            in_force: match (is_set, &effective) {
                (true, _) => MASKED.to_owned(),
                (_, effective) if is_default && key == "host" && effective.as_str() == Some("") => {
                    String::new()
                }
                (_, effective) => shown(effective),
            },
            is_set,
            is_locked: matches!(layer, Some("environment" | "command line")),
            is_changed,
            below: source.as_ref().filter(|_| is_changed).map(|source| below(source, is_secret)),
            source: source.map(|source| source.place),
            value: text,
            kind,
            key,
            default,
            wrong: Vec::new(),
        }
    }

    /// What was typed stands in the field again; never a secret.
    pub(super) fn keep(&mut self, typed: Option<&str>) {
        match self.kind {
            FieldKind::Secret => {}
            FieldKind::Flag => self.is_checked = typed.is_some(),
            _ => self.value = typed.unwrap_or(&self.value).to_owned(),
        }
        let value = self.value.clone();
        self.choices.iter_mut().for_each(|choice| choice.is_chosen = choice.value == value);
    }

    /// The errors, one after the other, for `aria-describedby`.
    pub(super) fn is_wrong(&self) -> bool {
        !self.wrong.is_empty()
    }
}

/// `/etc/postroom.toml:7 says 2`.
fn below(source: &Source, is_secret: bool) -> String {
    match (&source.below, &source.below_place) {
        (Some(value), Some(place)) if !is_secret => format!("{place} says {}", quoted(value)),
        (Some(value), None) if !is_secret => format!("the default is {}", quoted(value)),
        (_, Some(place)) => format!("{place} has another"),
        _ => "nothing else gives it".to_owned(),
    }
}

fn quoted(value: &Value) -> String {
    match shown(value).as_str() {
        "" => "nothing".to_owned(),
        text => text.to_owned(),
    }
}

/// As a field has it: a list in lines.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join("\n"),
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => value.to_string(),
    }
}

/// The keys of an upstream that is there, or of one that is to be.
pub(super) fn groups(upstream: Option<&UpstreamDetailJson>) -> Vec<KeyGroup> {
    let mut known: BTreeMap<String, (usize, DescribedKey)> =
        keys_of_upstreams().into_iter().enumerate().map(|(at, one)| (one.key.clone(), (at, one))).collect();
    let field = |described: DescribedKey, label: String| {
        let value = upstream.and_then(|upstream| value_at(&upstream.settings, &described.key));
        let source = upstream.and_then(|upstream| upstream.sources.get(&described.key)).cloned();
        let source = source.and_then(|source| serde_json::from_value(source).ok());
        KeyField::new(described, label, value, source)
    };
    let mut groups: Vec<KeyGroup> = Vec::new();
    for (title, keys) in GROUPS {
        let described = keys.iter().filter_map(|(key, label)| Some((known.remove(*key)?.1, *label)));
        let fields = described.map(|(one, label)| field(one, label.to_owned())).collect();
        groups.push(KeyGroup { title, fields });
    }
    let mut others: Vec<(usize, DescribedKey)> = known.into_values().collect();
    others.sort_by_key(|(at, _)| *at);
    let fields: Vec<KeyField> =
        others.into_iter().map(|(_, one)| (one.key.clone(), one)).map(|(key, one)| field(one, key)).collect();
    if !fields.is_empty() {
        groups.push(KeyGroup { title: OTHERS, fields });
    }
    groups
}

fn value_at(settings: &serde_json::Map<String, Value>, key: &str) -> Option<Value> {
    match key.split_once('.') {
        Some((table, key)) => settings.get(table)?.get(key).cloned(),
        None => settings.get(key).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_group_and_a_label() {
        let groups = groups(None);
        assert!(groups.iter().all(|group| group.title != OTHERS), "a key is in no group");
        let asked = groups.iter().map(|group| group.fields.len()).sum::<usize>();
        assert_eq!(asked, keys_of_upstreams().len());
        let named = GROUPS.iter().map(|(_, keys)| keys.len()).sum::<usize>();
        assert_eq!(asked, named, "a group names a key that there is not");
    }
}
