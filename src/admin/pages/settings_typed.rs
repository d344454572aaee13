//! What somebody has typed into the form of the settings page, and what of it differs from what is in force.

use super::settings_keys::{SettingKey, SettingKind, SettingNow, keys, report};
use crate::config::{InForce, NewValues};
use serde_json::{Number, Value};

/// Fields with values, in the order of the form.
#[derive(Clone, Default)]
pub(super) struct TypedSettings(pub(super) Vec<(String, String)>);

/// What a field says.
#[derive(PartialEq, Debug)]
enum FieldSays {
    /// The field was not there.
    Nothing,
    /// As for all mail.
    Inherit,
    Is(Value),
}

/// In place of a value of a flag or a choice, and beside a list: as for all mail.
pub(super) const INHERIT: &str = "inherit";

impl TypedSettings {
    pub(super) fn get(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str())
    }

    /// Report addresses as they were typed; none where the form had no fields for them.
    pub(super) fn reports(&self, key: &str) -> Option<Vec<(String, bool)>> {
        let emails = (0..).map_while(|number| Some((number, self.get(&format!("{key}.{number}.email"))?)));
        let mut rows = Vec::new();
        let mut is_there = false;
        for (number, email) in emails {
            is_there = true;
            let is = |what: &str, value: &str| self.get(&format!("{key}.{number}.{what}")) == Some(value);
            let several = email.split([',', ';']).flat_map(str::split_whitespace);
            if !is("remove", "yes") {
                rows.extend(several.map(|one| (one.to_owned(), !is("enabled", "off"))));
            }
        }
        is_there.then_some(rows)
    }

    fn said(&self, key: &SettingKey, now: &SettingNow) -> FieldSays {
        let name = key.key;
        let may_inherit = now.may_inherit();
        let list = match key.kind {
            SettingKind::Reports => {
                let rows = self.reports(name);
                rows.map(|rows| rows.iter().map(|(email, on)| report(email, *on)).collect::<Value>())
            }
            SettingKind::List => self.get(name).map(|text| {
                let items = text.split([',', ';']).flat_map(str::split_whitespace);
                items.map(Value::from).collect()
            }),
            _ => {
                let Some(text) = self.get(name).map(str::trim) else { return FieldSays::Nothing };
                return match key.kind {
                    SettingKind::Flag | SettingKind::Choice(_) if text == INHERIT => FieldSays::Inherit,
                    SettingKind::Flag => FieldSays::Is(Value::from(text == "on")),
                    SettingKind::Number if text.is_empty() && may_inherit => FieldSays::Inherit,
                    SettingKind::Text if text.is_empty() && may_inherit => FieldSays::Inherit,
                    SettingKind::Number => FieldSays::Is(number(text)),
                    _ => FieldSays::Is(text.into()),
                };
            }
        };
        let Some(list) = list else { return FieldSays::Nothing };
        let is_own = now.given.is_some();
        // Who types into a list that was not the site's own wants that it becomes so.
        let inherits = self.get(&format!("{name}.own")) == Some(INHERIT);
        match inherits && may_inherit && (is_own || Some(&list) == now.inherited.as_ref()) {
            true => FieldSays::Inherit,
            false => FieldSays::Is(list),
        }
    }

    /// The keys that are to change, each with its value; null: it is to say nothing itself any more.
    pub(super) fn changes(&self, in_force: &InForce, site: Option<&str>) -> Vec<(&'static str, Value)> {
        let change = |key: &'static SettingKey| {
            let now = SettingNow::of(in_force, site, key.key);
            let is_own = site.is_none() || now.given.is_some();
            match self.said(key, &now) {
                _ if now.is_locked() => None,
                FieldSays::Nothing => None,
                FieldSays::Inherit => (is_own && now.may_inherit()).then_some((key.key, Value::Null)),
                FieldSays::Is(value) => {
                    (!is_own || !is_equal(&value, &now.value)).then_some((key.key, value))
                }
            }
        };
        keys(site.is_some()).filter_map(change).collect()
    }
}

/// `0` and `0.0` are the same.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(_), Some(_)) if one.is_i64() && other.is_i64() => one == other,
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
        _ => one == other,
    }
}

/// What is no number stays a text, of which the configuration says what is wrong with it.
fn number(text: &str) -> Value {
    let whole = text.parse::<i64>().ok().map(Value::from);
    let fraction = || Number::from_f64(text.parse().ok()?).map(Value::Number);
    whole.or_else(fraction).unwrap_or_else(|| text.into())
}

/// The changes in tables, as `PATCH /api/v1/settings` takes them.
pub(super) fn in_tables(changes: &[(&'static str, Value)], site: Option<&str>) -> NewValues {
    let mut tables = NewValues::new();
    for (key, value) in changes {
        let (table, key) = key.split_once('.').unwrap_or((key, ""));
        let table = tables.entry(table).or_insert_with(|| NewValues::new().into());
        if let Some(table) = table.as_object_mut() {
            table.insert(key.to_owned(), value.clone());
        }
    }
    match site {
        None => tables,
        Some(site) => [("site".to_owned(), serde_json::json!({ site: tables }))].into_iter().collect(),
    }
}
