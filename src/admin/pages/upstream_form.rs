//! What the form of an upstream sends, held against what is in force: only what differs is a change.

use super::upstream_acts::nested;
use super::upstream_keys::{FieldKind, KeyField, KeyGroup, text_of};
use crate::admin::problem::Problem;
use crate::config::NewValues;
use serde_json::Value;
use std::collections::BTreeMap;

/// The fields of a form, as they were typed.
pub(super) struct TypedForm {
    fields: BTreeMap<String, String>,
    /// Secrets that are to go.
    removed: Vec<String>,
}

impl From<Vec<(String, String)>> for TypedForm {
    fn from(pairs: Vec<(String, String)>) -> TypedForm {
        let (removed, fields): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == "remove");
        TypedForm {
            // Browsers send line ends as in mail.
            fields: fields.into_iter().map(|(name, text)| (name, text.replace("\r\n", "\n"))).collect(),
            removed: removed.into_iter().map(|(_, key)| key).collect(),
        }
    }
}

impl TypedForm {
    /// A field that is no key.
    pub(super) fn text(&self, name: &str) -> &str {
        self.fields.get(name).map(String::as_str).unwrap_or_default()
    }

    /// What differs from what is in force, as a change has it.
    pub(super) fn differing(&self, groups: &[KeyGroup]) -> NewValues {
        let fields = groups.iter().flat_map(|group| &group.fields).filter(|field| !field.is_locked);
        nested(fields.flat_map(|field| self.change_of(field)))
    }

    fn change_of(&self, field: &KeyField) -> Option<(String, Value)> {
        let typed = self.fields.get(&field.key);
        let key = field.key.clone();
        if field.kind == FieldKind::Flag {
            let is_checked = typed.is_some();
            return (is_checked != field.is_checked).then(|| (key, is_checked.into()));
        }
        if field.kind == FieldKind::Secret {
            let file = self.fields.get(&format!("{}_file", field.key)).map(|file| file.trim());
            return match (typed.map(String::as_str).unwrap_or_default(), file.unwrap_or_default()) {
                ("", "") if self.removed.contains(&field.key) => Some((key, Value::Null)),
                ("", "") => None,
                ("", file) => Some((format!("{key}_file"), file.into())),
                // Given with a file, too, the configuration says that it is given in two forms.
                (secret, _) => Some((key, secret.into())),
            };
        }
        let typed = typed?.trim();
        let items = |text: &str| -> Vec<String> {
            let items = text.split(['\n', ',']).map(str::trim).filter(|item| !item.is_empty());
            items.map(str::to_owned).collect()
        };
        match field.kind {
            FieldKind::List if items(typed) == items(&field.value) => None,
            FieldKind::List => Some((key, items(typed).into())),
            _ if typed == field.value.trim() => None,
            // Empty: as it is without this change.
            _ if typed.is_empty() && !text_of(&field.default).is_empty() => Some((key, Value::Null)),
            FieldKind::Number => {
                let number = typed.parse::<i64>().map(Value::from);
                Some((key, number.unwrap_or_else(|_| typed.into())))
            }
            _ => Some((key, typed.into())),
        }
    }

    /// Puts what was typed back into the fields, but for secrets, and what is wrong beside them. What belongs to no field is left.
    pub(super) fn mark(&self, groups: &mut [KeyGroup], table: &str, problem: &Problem) -> Vec<String> {
        let fields = groups.iter_mut().flat_map(|group| &mut group.fields);
        let mut by_key: BTreeMap<String, &mut KeyField> =
            fields.map(|field| (field.key.clone(), field)).collect();
        for field in by_key.values_mut().filter(|field| !field.is_locked) {
            let typed = self.fields.get(&field.key).map(String::as_str);
            field.keep(typed);
        }
        let mut others = Vec::new();
        for error in &problem.errors {
            let said = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
            let text = format!("{}; {}", said("wrong"), said("right"));
            let key =
                said("key").strip_prefix(table).and_then(|key| key.strip_prefix('.')).unwrap_or_default();
            let key = by_key.get_mut(key.strip_suffix("_file").unwrap_or(key));
            match key {
                Some(field) => field.wrong.push(text),
                None if said("key").is_empty() => others.push(text),
                None => others.push(format!("{}: {text}", said("key"))),
            }
        }
        if problem.errors.is_empty() {
            others.push(problem.detail.clone());
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use super::super::upstream_keys::groups;
    use super::*;
    use axum::http::StatusCode;
    use serde_json::json;

    fn typed(pairs: &[(&str, &str)]) -> TypedForm {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect::<Vec<_>>().into()
    }

    #[test]
    fn only_what_differs_is_a_change() {
        // What a browser sends of the empty form: `enabled` is ticked in it.
        let nothing = typed(&[
            ("host", ""),
            ("enabled", "true"),
            ("connection_limit", "2"),
            ("sites", ""),
            ("password", ""),
        ]);
        assert_eq!(Value::from(nothing.differing(&groups(None))), json!({}));
        let all = typed(&[
            ("host", " mx.test:25 "),
            ("connection_limit", "seven"),
            ("connect_timeout", ""),
            ("sites", "shop, staging\r\nlab"),
            ("password", " with spaces "),
            ("oauth2.scope", "mail"),
            ("oauth2.client_secret_file", "/run/secret"),
            ("remove", "oauth2.refresh_token"),
        ]);
        let expected = json!({
            "host": "mx.test:25", "enabled": false, "connection_limit": "seven", "connect_timeout": null,
            "sites": ["shop", "staging", "lab"], "password": " with spaces ",
            "oauth2": { "scope": "mail", "client_secret_file": "/run/secret", "refresh_token": null }
        });
        assert_eq!(Value::from(all.differing(&groups(None))), expected);
    }

    #[test]
    fn what_is_wrong_stands_beside_its_field_and_secrets_are_not_kept() {
        let problem = Problem {
            errors: vec![
                json!({"key": "upstream.a.password_file", "wrong": "is a relative path", "right": "give it an absolute one"}),
                json!({"key": "upstream.b.host", "wrong": "is missing", "right": "give it"}),
            ],
            ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong")
        };
        let mut groups = groups(None);
        let others = typed(&[("password", "hush"), ("tls", "none"), ("host", "x")]).mark(
            &mut groups,
            "upstream.a",
            &problem,
        );
        assert_eq!(others, ["upstream.b.host: is missing; give it"]);
        let fields: Vec<&KeyField> = groups.iter().flat_map(|group| &group.fields).collect();
        let field = |key: &str| *fields.iter().find(|field| field.key == key).unwrap();
        assert_eq!(field("password").wrong, ["is a relative path; give it an absolute one"]);
        assert_eq!(field("password").value, "");
        assert!(field("tls").choices.iter().any(|choice| choice.value == "none" && choice.is_chosen));
        assert!(field("host").value == "x" && !field("enabled").is_checked);
    }
}
