//! The fields of the settings page.

use super::settings_keys::{SECTIONS, SettingKey, SettingKind, SettingNow, in_words};
use super::settings_typed::{INHERIT, TypedSettings};
use super::upstream_keys::text_of;
use crate::config::{GivenAt, InForce};
use serde_json::Value;

/// Fields beneath a heading.
pub(super) struct SettingSection {
    pub(super) title: &'static str,
    /// For HTML.
    pub(super) id: String,
    pub(super) fields: Vec<SettingField>,
}

/// A value that may be chosen.
pub(super) struct SettingChoice {
    pub(super) value: &'static str,
    pub(super) label: String,
    pub(super) is_chosen: bool,
}

/// A report address.
pub(super) struct ReportRow {
    pub(super) email: String,
    pub(super) is_on: bool,
}

/// A key, as its field.
pub(super) struct SettingField {
    pub(super) key: &'static str,
    /// With which its path begins: nothing, or `site.NAME.`.
    pub(super) prefix: String,
    /// For HTML.
    pub(super) id: String,
    pub(super) label: &'static str,
    pub(super) hint: &'static str,
    /// `choice`, `text`, `number`, `list` or `reports`.
    pub(super) kind: &'static str,
    pub(super) value: String,
    /// Of a text or a number of a site: what holds while the field is empty.
    pub(super) placeholder: String,
    /// Of a choice; of a list of a site, whether it has its own.
    pub(super) choices: Vec<SettingChoice>,
    pub(super) rows: Vec<ReportRow>,
    /// Where it can be changed and nowhere else, where that is not here.
    pub(super) lock: Option<String>,
    /// Where its value comes from.
    pub(super) source: String,
    /// Of one that a verb or a page has changed: what holds without that.
    pub(super) without_change: Option<String>,
    pub(super) wrong: Vec<String>,
}

/// All of them, with what was typed where that was refused.
pub(super) fn sections(
    in_force: &InForce,
    site: Option<&str>,
    typed: Option<&TypedSettings>,
) -> Vec<SettingSection> {
    let shown = SECTIONS.iter().filter(|(_, sites, _)| *sites || site.is_none());
    let section = |(title, _, keys): &(&'static str, bool, &'static [SettingKey])| SettingSection {
        title,
        id: title.to_lowercase().replace(' ', "-"),
        fields: keys.iter().map(|key| SettingField::new(in_force, site, key, typed)).collect(),
    };
    shown.map(section).collect()
}

impl SettingField {
    fn new(
        in_force: &InForce,
        site: Option<&str>,
        key: &SettingKey,
        typed: Option<&TypedSettings>,
    ) -> SettingField {
        let now = SettingNow::of(in_force, site, key.key);
        let typed = typed.filter(|_| !now.is_locked());
        let given = now.given.as_ref();
        let is_own = given.is_some();
        let of_all = now.inherited.as_ref().map(|value| in_words(key.kind, value)).unwrap_or_default();
        let (kind, all) = match key.kind {
            SettingKind::Flag => ("choice", &[("on", "on"), ("off", "off")][..]),
            SettingKind::Choice(all) => ("choice", all),
            SettingKind::Text => ("text", &[][..]),
            SettingKind::Number => ("number", &[][..]),
            SettingKind::List => ("list", &[("own", "its own")][..]),
            SettingKind::Reports => ("reports", &[("own", "its own")][..]),
        };
        let is_list = matches!(key.kind, SettingKind::List | SettingKind::Reports);
        let inherits = site.is_some() && !is_own;
        let in_force_now = match key.kind {
            SettingKind::Flag => in_words(key.kind, &now.value),
            SettingKind::Text | SettingKind::Number if inherits => String::new(),
            SettingKind::Reports => String::new(),
            _ => text_of(&now.value),
        };
        let value = typed.and_then(|typed| typed.get(key.key)).map_or(in_force_now, str::to_owned);
        let chosen = match is_list {
            true => typed.and_then(|typed| typed.get(&format!("{}.own", key.key))).unwrap_or("own"),
            false => &value,
        };
        let inherits = match typed {
            Some(_) => chosen == INHERIT,
            None => inherits,
        };
        let mut choices: Vec<SettingChoice> = all
            .iter()
            .map(|(value, label)| SettingChoice {
                value,
                label: (*label).to_owned(),
                is_chosen: !inherits && *value == chosen,
            })
            .collect();
        if now.may_inherit() && !choices.is_empty() {
            let label = format!("as all mail: {of_all}");
            choices.insert(0, SettingChoice { value: INHERIT, label, is_chosen: inherits });
        } else if is_list {
            choices.clear();
        }
        let source = match (site, given) {
            (_, Some(given)) => given.place().to_owned(),
            (None, None) => "default".to_owned(),
            (Some(_), None) => match &now.given_to_all {
                Some(given) => format!("as all mail, from {}", given.place()),
                None => "as all mail, by default".to_owned(),
            },
        };
        let changed = given.filter(|given| given.is_change());
        let without = |given: &GivenAt| match site {
            Some(_) if !given.is_given_below() => format!("without it, as all mail: {of_all}"),
            _ => given.without_it().unwrap_or_else(|| "nothing else gives it".to_owned()),
        };
        SettingField {
            key: key.key,
            prefix: site.map(|site| format!("site.{site}.")).unwrap_or_default(),
            id: format!("key-{}", key.key.replace('.', "-")),
            label: key.label,
            hint: key.hint,
            kind,
            value,
            placeholder: if now.may_inherit() { of_all.clone() } else { String::new() },
            choices,
            rows: typed.and_then(|typed| typed.reports(key.key)).map_or_else(
                || rows(&now.value),
                |rows| rows.into_iter().map(|(email, is_on)| ReportRow { email, is_on }).collect(),
            ),
            lock: given.filter(|given| given.is_locked()).map(|given| given.place().to_owned()),
            source,
            without_change: changed.map(without),
            wrong: Vec::new(),
        }
    }
}

fn rows(value: &Value) -> Vec<ReportRow> {
    let items = value.as_array().into_iter().flatten().filter(|item| item.is_object());
    let row = |item: &Value| ReportRow {
        email: item["email"].as_str().unwrap_or_default().to_owned(),
        is_on: item["enabled"] != false,
    };
    items.map(row).collect()
}
