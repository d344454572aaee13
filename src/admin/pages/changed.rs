//! What a change of the configuration came to, for the page that is shown after it.

use crate::admin::json::ChangedJson;
use crate::admin::notices::{NoticeKind, PageNotice};
use crate::admin::problem::Problem;
use crate::config::{ChangedKey, is_secret_key};
use serde_json::Value;

/// In place of every secret, however long it is.
pub(super) const MASKED: &str = "••••••••";

/// What was done, key by key, what goes on as it was begun, and what may be a mistake now.
pub(super) fn notice(text: impl ToString, done: &ChangedJson) -> PageNotice {
    let ChangedJson { changes, under_way, warnings } = done;
    if changes.is_empty() {
        return PageNotice::new(NoticeKind::Done, "Nothing was changed: it was so already.");
    }
    let kind = if warnings.is_empty() { NoticeKind::Done } else { NoticeKind::Warning };
    let lines = changes.iter().map(line).chain(under_way.iter().cloned()).chain(warnings.iter().cloned());
    PageNotice { lines: lines.collect(), ..PageNotice::new(kind, text) }
}

/// Why nothing was done.
pub(super) fn refused(problem: &Problem) -> PageNotice {
    let mut sentences = problem.detail.lines().map(str::to_owned);
    let text = sentences.next().unwrap_or_default();
    PageNotice { lines: sentences.collect(), ..PageNotice::new(NoticeKind::Refused, text) }
}

fn line(ChangedKey { key, old, new }: &ChangedKey) -> String {
    let last = key.rsplit('.').next().unwrap_or_default();
    let said = |value: &Option<Value>| match value {
        None => "not given".to_owned(),
        Some(_) if is_secret_key(last) => MASKED.to_owned(),
        Some(value) => shown(value),
    };
    match (old, new) {
        (Some(_), Some(_)) if is_secret_key(last) => format!("{key}: another one"),
        _ => format!("{key}: {} → {}", said(old), said(new)),
    }
}

/// A value as somebody would say it: texts without quotes, lists with commas, secrets with the mask of pages.
pub(super) fn shown(value: &Value) -> String {
    match value {
        // What stands in place of a secret wherever the configuration is shown.
        Value::String(text) if text == "****" => MASKED.to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(table) => {
            let entries = table.iter().map(|(key, value)| format!("{key} = {}", shown(value)));
            entries.collect::<Vec<_>>().join(", ")
        }
        Value::Number(number) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_have_one_length() {
        let changed = |key: &str, old: Option<Value>, new: Option<Value>| {
            line(&ChangedKey { key: key.to_owned(), old, new })
        };
        assert_eq!(
            changed("upstream.a.password", None, Some(json!("****"))),
            "upstream.a.password: not given → ••••••••"
        );
        assert_eq!(
            changed("upstream.a.password", Some(json!("****")), Some(json!("****"))),
            "upstream.a.password: another one"
        );
        let sites = changed("upstream.a.sites", Some(json!(["a", "b"])), Some(json!([])));
        assert_eq!(sites, "upstream.a.sites: a, b → ");
        assert_eq!(shown(&json!({"password": "****", "on": true})), "on = yes, password = ••••••••");
    }
}
