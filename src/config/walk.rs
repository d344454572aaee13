//! The walk: every key that is written is held against the tree of known keys. Types and values are judged by whoever
//! reads a key ([`super::table`]); here it is judged whether there is such a key at all.

use super::error::{ConfigError, quoted};
use super::layers::{Merged, NAMED, child, template};
use figment::value::{Dict, Value};

/// Keys that may be given as the name of a file that holds the value.
pub(super) const SECRETS: &[&str] = &["password"];

/// Tables in which every key may stand.
const FREE: &[&str] = &["aliases"];

/// Keys of Postroom that this version does not have yet. `*` is a name.
const LATER: &[&str] = &[
    "admin",
    "credentials",
    "debug",
    "pickup",
    "redirect",
    "sender",
    "simulate",
    "site",
    "user",
    "listener.*.auth",
    "listener.*.certificate",
    "listener.*.private_key",
    "listener.*.site",
    "listener.*.tls",
    "queue.archive_days",
    "queue.bounce",
    "queue.enabled",
    "queue.url",
    "queue.url_file",
    "upstream.*.domain",
    "upstream.*.oauth2",
    "upstream.*.pickup_directory",
    "upstream.*.sender",
    "upstream.*.sites",
];

/// What is written and should not be: unknown keys, keys of later versions, values in place of tables, bad names.
pub(super) fn strangers(merged: &Merged) -> Vec<ConfigError> {
    let mut walk = Walk { merged, errors: Vec::new() };
    for (key, value) in &merged.values {
        match (merged.known.get(key), value) {
            (Some(Value::Dict(..)), Value::Dict(_, tables)) if NAMED.contains(&key.as_str()) => {
                walk.named(key, tables);
            }
            // Its keys are names, which whoever reads it judges.
            (Some(Value::Dict(..)), Value::Dict(..)) if FREE.contains(&key.as_str()) => {}
            (Some(Value::Dict(_, known)), Value::Dict(_, values)) => walk.table(key, key, values, known),
            (Some(Value::Dict(..)), value) => walk.not_a_table(key, value),
            (Some(_), _) => {}
            (None, value) => walk.stranger("", "", key, value),
        }
    }
    walk.errors
}

struct Walk<'a> {
    merged: &'a Merged,
    errors: Vec<ConfigError>,
}

impl Walk<'_> {
    /// A table of tables by name.
    fn named(&mut self, table: &str, tables: &Dict) {
        let merged = self.merged;
        let Some(template) = template(&merged.known, table) else { return };
        for (name, value) in tables {
            let path = child(table, name);
            let fault = wrong_name(name).or_else(|| {
                let before = tables.keys().take_while(|before| *before != name);
                before.into_iter().find_map(|before| too_alike(before, name))
            });
            if let Some((wrong, right)) = fault {
                self.errors.push(merged.origin(&path, value).error(&path, wrong, right));
            }
            match value {
                Value::Dict(_, values) => self.table(&path, &format!("{table}.*"), values, template),
                value => self.not_a_table(&path, value),
            }
        }
    }

    /// A table whose keys are `known`; `kind` is its path with `*` for a name.
    fn table(&mut self, path: &str, kind: &str, values: &Dict, known: &Dict) {
        for (key, value) in values {
            let secret = key.strip_suffix("_file").filter(|secret| SECRETS.contains(secret));
            if !known.contains_key(secret.unwrap_or(key)) {
                self.stranger(path, kind, key, value);
            }
        }
    }

    fn not_a_table(&mut self, path: &str, value: &Value) {
        let right = match NAMED.iter().find(|table| **table == path) {
            Some(table) => format!("give each {table} a table with a name, for example [{table}.primary]"),
            None => format!("give it a table: [{path}]"),
        };
        let wrong = format!("is {}, not a table", kind_of(value));
        self.errors.push(self.merged.origin(path, value).error(path, wrong, right));
    }

    fn stranger(&mut self, table: &str, kind: &str, key: &str, value: &Value) {
        let path = child(table, key);
        let origin = self.merged.origin(&path, value);
        if LATER.contains(&child(kind, key).as_str()) {
            let right = "remove it: this version does not do what it asks for";
            self.errors.push(origin.error(&path, "is not in this version of Postroom", right));
            return;
        }
        let right = match nearest(&self.merged.known, table, key) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("the keys here are {}", keys(&self.merged.known, table).join(", ")),
        };
        self.errors.push(origin.error(&path, "is an unknown key", right));
    }
}

/// What names of listeners and upstreams are: variables of the environment, in which `__` ends a name, can name each.
fn is_name(name: &str) -> bool {
    let of_letters =
        name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')) && !name.is_empty();
    let outside = |at: Option<char>| at.is_none_or(|letter| !letter.is_ascii_alphanumeric());
    of_letters && !name.contains("__") && !outside(name.chars().next()) && !outside(name.chars().next_back())
}

/// What is wrong with a name, and what would be right.
fn wrong_name(name: &str) -> Option<(String, String)> {
    if is_name(name) {
        return None;
    }
    let mut better = name.to_lowercase();
    while better.contains("__") {
        better = better.replace("__", "_");
    }
    let better = better.trim_matches(['_', '-']);
    let right = "write it with a-z, 0-9, _ and -, without __, a letter or digit at both ends";
    let right = if is_name(better) { format!("{right}: {better}") } else { right.to_owned() };
    Some((format!("{} is no name", quoted(name)), right))
}

/// Two names that one variable would mean.
fn too_alike(before: &str, name: &str) -> Option<(String, String)> {
    let alike = before.replace('-', "_") == name.replace('-', "_");
    let wrong = || format!("{} differs from {} in - and _ alone", quoted(name), quoted(before));
    let right = "rename one of them: - and _ are the same in the environment";
    alike.then(|| (wrong(), right.to_owned()))
}

/// The known key most like `key` in the table at `path`, else one of that very name elsewhere.
fn nearest(known: &Dict, path: &str, key: &str) -> Option<String> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(key, candidate);
    let here = keys(known, path).into_iter().min_by_key(|candidate| distance(candidate));
    // A third of the letters may be wrong; beyond that a suggestion is a guess.
    let near = here.filter(|candidate| distance(candidate) <= (candidate.len().max(key.len()) / 3).max(1));
    if let Some(near) = near {
        return Some(child(path, &near));
    }
    let tables = known.iter().filter_map(|(table, value)| match value {
        Value::Dict(_, keys) if !NAMED.contains(&table.as_str()) => Some((table, keys)),
        _ => None,
    });
    if !path.is_empty() && known.get(key).is_some_and(|value| !matches!(value, Value::Dict(..))) {
        return Some(format!("{key}, outside of any table"));
    }
    tables.into_iter().find(|(_, keys)| keys.contains_key(key)).map(|(table, _)| child(table, key))
}

/// The keys of the table at `path`.
fn keys(known: &Dict, path: &str) -> Vec<String> {
    let table = path.split('.').next().unwrap_or_default();
    let keys = match known.get(table) {
        _ if path.is_empty() => Some(known),
        Some(_) if NAMED.contains(&table) => template(known, table),
        Some(Value::Dict(_, keys)) => Some(keys),
        _ => None,
    };
    keys.map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
}

/// What a value is, without showing it.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "text",
        Value::Bool(..) => "true or false",
        Value::Num(..) => "a number",
        Value::Empty(..) => "nothing",
        Value::Array(..) => "a list",
        // The way in which a TOML date arrives.
        Value::Dict(_, dict) if dict.keys().any(|key| key.starts_with("$__toml")) => "a date",
        Value::Dict(..) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::super::layers::known;
    use super::*;

    #[test]
    fn the_nearest_key_is_suggested() {
        let known = known().unwrap();
        for (path, key, expected) in [
            ("", "hostnam", Some("hostname")),
            ("", "limit", Some("limits")),
            ("", "upstreams", Some("upstream")),
            ("limits", "mesage_size", Some("limits.message_size")),
            ("upstream.a", "pasword", Some("upstream.a.password")),
            ("upstream.a", "connection_limits", Some("upstream.a.connection_limit")),
            ("queue", "message_size", Some("limits.message_size")),
            ("limits", "hostname", Some("hostname, outside of any table")),
            ("", "quite_something_else", None),
        ] {
            assert_eq!(nearest(&known, path, key).as_deref(), expected, "{path} {key}");
        }
    }

    #[test]
    fn names_can_be_said_in_the_environment() {
        for name in ["a", "0", "primary", "office-365", "a_b-c", "a-_b", "a--b"] {
            assert_eq!(wrong_name(name), None);
        }
        for (name, better) in [
            ("_a", ": a"),
            ("a-", ": a"),
            ("a__b", ": a_b"),
            ("A___B-", ": a_b"),
            ("-", "ends"),
            ("", "ends"),
            ("ä", "ends"),
        ] {
            let (_, right) = wrong_name(name).unwrap();
            assert!(right.ends_with(better), "{name}: {right}");
        }
        assert!(too_alike("a-b", "a_b").is_some() && too_alike("a-b", "ab").is_none());
    }

    #[test]
    fn no_key_is_both_known_and_of_a_later_version() {
        let known = known().unwrap();
        for later in LATER {
            let key = later.rsplit('.').next().unwrap();
            let table = later.strip_suffix(key).unwrap().trim_end_matches(".").trim_end_matches(".*");
            assert!(!keys(&known, table).iter().any(|known| known == key), "{later}");
        }
    }
}
