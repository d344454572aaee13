//! Every key that is written is held against the schema. Types and values are judged by whoever reads a key
//! ([`super::section`]); here it is judged whether there is such a key at all.

use super::error::{ConfigError, quoted};
use super::key_path::KeyPath;
use super::merged::Merged;
use super::schema::{Keys, SECRETS, Schema, Shape};
use super::toml_type::{as_table, kind_of};
use figment::value::{Dict, Value};

/// Keys of Postroom that this version does not have yet. `*` is a name.
const LATER_KEYS: &[&str] = &["queue.url", "queue.url_file"];

/// What is written and should not be: unknown keys, keys of later versions, values in place of tables, bad names.
pub(super) fn unknown_keys(merged: &Merged) -> Vec<ConfigError> {
    let mut search = Search { merged, errors: Vec::new() };
    search.table(&KeyPath::root(), &merged.values, merged.schema.root());
    search.errors
}

struct Search<'a> {
    merged: &'a Merged,
    errors: Vec<ConfigError>,
}

impl Search<'_> {
    /// A table whose keys are `known`.
    fn table(&mut self, path: &KeyPath, values: &Dict, known: &Keys) {
        for (key, value) in values {
            let secret = key.strip_suffix("_file").filter(|secret| SECRETS.contains(secret));
            match known.get(key) {
                Some(shape) => self.value(&path.key(key), value, shape),
                None if secret.is_some_and(|secret| known.contains_key(secret)) => {}
                None => self.unknown(path, key, value, known),
            }
        }
    }

    fn value(&mut self, path: &KeyPath, value: &Value, shape: &Shape) {
        match (shape, as_table(value)) {
            // Whoever reads it judges its type.
            (Shape::Value(_), _) => {}
            (Shape::List(_, known), _) => self.items(path, value, known),
            // Its keys are names, which whoever reads it judges.
            (Shape::AnyKey, Some(_)) => {}
            (Shape::Table(known) | Shape::Overrides(known), Some(table)) => self.table(path, table, known),
            (Shape::Named(known), Some(tables)) => self.named(path, tables, known),
            (shape, None) => self.not_a_table(path, value, shape),
        }
    }

    /// The items of a list that are tables.
    fn items(&mut self, path: &KeyPath, list: &Value, known: &Keys) {
        for (number, item) in list.as_array().into_iter().flatten().enumerate() {
            if let Some(table) = as_table(item) {
                self.table(&path.item(number), table, known);
            }
        }
    }

    /// A table of tables by name.
    fn named(&mut self, kind: &KeyPath, tables: &Dict, known: &Keys) {
        for (name, value) in tables {
            let path = kind.key(name);
            let fault = wrong_name(name).or_else(|| {
                let before = tables.keys().take_while(|before| *before != name);
                before.into_iter().find_map(|before| same_in_environment(before, name))
            });
            if let Some((wrong, right)) = fault {
                self.errors.push(self.merged.origin(&path, value).error(&path, wrong, right));
            }
            match as_table(value) {
                Some(table) => self.table(&path, table, known),
                None => self.not_a_table(&path, value, &Shape::AnyKey),
            }
        }
    }

    fn not_a_table(&mut self, path: &KeyPath, value: &Value, shape: &Shape) {
        let right = match shape {
            Shape::Named(_) => format!("give each {path} a table with a name, for example [{path}.primary]"),
            _ => format!("give it a table: [{path}]"),
        };
        let wrong = format!("is {}, not a table", kind_of(value));
        self.errors.push(self.merged.origin(path, value).error(path, wrong, right));
    }

    fn unknown(&mut self, table: &KeyPath, key: &str, value: &Value, known: &Keys) {
        let path = table.key(key);
        let origin = self.merged.origin(&path, value);
        if is_of_a_later_version(&path) {
            let right = "remove it: this version does not do what it asks for";
            self.errors.push(origin.error(&path, "is not in this version of Postroom", right));
            return;
        }
        let right = what_is_meant(&self.merged.schema, table, known, key);
        self.errors.push(origin.error(&path, UNKNOWN, right));
    }
}

const UNKNOWN: &str = "is an unknown key";

fn what_is_meant(schema: &Schema, table: &KeyPath, known: &Keys, key: &str) -> String {
    match nearest(schema, table, known, key) {
        Some(near) => format!("did you mean {near}?"),
        None => {
            let known: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("the keys here are {}", known.join(", "))
        }
    }
}

/// That there is no such key, of one that is written nowhere: somebody wants to change it.
pub(super) fn unknown_key(schema: &Schema, path: &KeyPath) -> ConfigError {
    let (mut known, mut table, mut rest) = (schema.root(), KeyPath::root(), path.keys());
    let mut key = rest.next().unwrap_or_default();
    while let Some(shape) = known.get(key) {
        table = table.key(key);
        if let (Shape::Named(_), Some(name)) = (shape, rest.next()) {
            table = table.key(name);
        }
        let Some(below) = rest.next() else { break };
        (known, key) = (shape.keys(), below);
    }
    let (wrong, right) = (UNKNOWN.to_owned(), what_is_meant(schema, &table, known, key));
    ConfigError { file: None, line: None, key: path.to_string(), wrong, right }
}

fn is_of_a_later_version(path: &KeyPath) -> bool {
    let keys: Vec<&str> = path.keys().collect();
    let is_it = |later: &str| {
        let parts: Vec<&str> = later.split('.').collect();
        parts.len() == keys.len() && parts.iter().zip(&keys).all(|(part, key)| *part == "*" || part == key)
    };
    LATER_KEYS.iter().any(|later| is_it(later))
}

/// What names of listeners and upstreams are: variables of the environment, in which `__` ends a name, can name each.
fn is_name(name: &str) -> bool {
    let of_letters =
        name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')) && !name.is_empty();
    let outside = |at: Option<char>| at.is_none_or(|letter| !letter.is_ascii_alphanumeric());
    of_letters && !name.contains("__") && !outside(name.chars().next()) && !outside(name.chars().next_back())
}

/// What is wrong with a name, and what would be right.
pub(super) fn wrong_name(name: &str) -> Option<(String, String)> {
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
fn same_in_environment(before: &str, name: &str) -> Option<(String, String)> {
    let alike = before.replace('-', "_") == name.replace('-', "_");
    let wrong = || format!("{} differs from {} in - and _ alone", quoted(name), quoted(before));
    let right = "rename one of them: - and _ are the same in the environment";
    alike.then(|| (wrong(), right.to_owned()))
}

/// The key most like `key` among those `known` in the table at `path`, else one of that very name further down or elsewhere.
fn nearest(schema: &Schema, path: &KeyPath, known: &Keys, key: &str) -> Option<String> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(key, candidate);
    let here = known.keys().min_by_key(|candidate| distance(candidate));
    // A third of the letters may be wrong; beyond that a suggestion is a guess.
    let near = here.filter(|candidate| distance(candidate) <= (candidate.len().max(key.len()) / 3).max(1));
    if let Some(near) = near {
        return Some(path.key(near).to_string());
    }
    if let Some(below) = find_below(path, known, key) {
        return Some(below.to_string());
    }
    if !path.is_root() && schema.root().get(key).is_some_and(|shape| !shape.is_table()) {
        return Some(format!("{key}, outside of any table"));
    }
    find_below(&KeyPath::root(), schema.root(), key).map(|found| found.to_string())
}

/// The first key of that name in a table beneath the one at `path`. Beneath names nobody can tell which is meant.
fn find_below(path: &KeyPath, known: &Keys, key: &str) -> Option<KeyPath> {
    known.iter().find_map(|(table, shape)| match shape {
        Shape::Table(below) | Shape::Overrides(below) => {
            let path = path.key(table);
            if below.contains_key(key) { Some(path.key(key)) } else { find_below(&path, below, key) }
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_suggested() {
        let schema = Schema::built_in().unwrap();
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
            let keys: Vec<&str> = path.split('.').filter(|part| !part.is_empty()).collect();
            let known = keys.first().map_or(schema.root(), |table| schema.root()[*table].keys());
            let near = nearest(&schema, &KeyPath::of(&keys), known, key);
            assert_eq!(near.as_deref(), expected, "{path} {key}");
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
        assert!(same_in_environment("a-b", "a_b").is_some() && same_in_environment("a-b", "ab").is_none());
    }

    #[test]
    fn no_key_is_both_known_and_of_a_later_version() {
        let schema = Schema::built_in().unwrap();
        for later in LATER_KEYS {
            let keys: Vec<&str> = later.split('.').collect();
            assert!(schema.at(&keys).is_none(), "{later}");
        }
    }
}
