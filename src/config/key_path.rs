//! Paths of keys, as errors show them: `limits.recipients`, `upstream."a b".host`, `redirect.report_emails[0].email`.

use figment::value::{Dict, Value};
use std::fmt;

/// Where a value stands in the configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct KeyPath(Vec<Step>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Step {
    Key(String),
    /// An item of a list, from 0.
    Item(usize),
}

impl KeyPath {
    /// Of the keys outside of any table.
    pub(super) fn root() -> KeyPath {
        KeyPath::default()
    }

    pub(super) fn of<S: AsRef<str>>(keys: &[S]) -> KeyPath {
        KeyPath(keys.iter().map(|key| Step::Key(key.as_ref().to_owned())).collect())
    }

    /// The path of `key` in the table at this path.
    pub(super) fn key(&self, key: &str) -> KeyPath {
        self.with(Step::Key(key.to_owned()))
    }

    /// The path of an item of the list at this path.
    pub(super) fn item(&self, number: usize) -> KeyPath {
        self.with(Step::Item(number))
    }

    fn with(&self, step: Step) -> KeyPath {
        let mut steps = self.0.clone();
        steps.push(step);
        KeyPath(steps)
    }

    /// The path of the table or list that it stands in; none of the root.
    pub(super) fn parent(&self) -> Option<KeyPath> {
        self.0.split_last().map(|(_, above)| KeyPath(above.to_vec()))
    }

    /// It is that path, or lies beneath it.
    pub(super) fn is_within(&self, other: &KeyPath) -> bool {
        self.0.starts_with(&other.0)
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last key; empty for the root and for an item.
    pub(super) fn last(&self) -> &str {
        match self.0.last() {
            Some(Step::Key(key)) => key,
            _ => "",
        }
    }

    /// Its keys, without the numbers of items.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Item(_) => None,
        })
    }
}

impl fmt::Display for KeyPath {
    /// As TOML writes dotted keys; items, which TOML has no path for, as most languages do.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(item) => write!(out, "[{item}]")?,
                Step::Key(key) => {
                    out.write_str(if number > 0 { "." } else { "" })?;
                    match is_bare(key) {
                        true => out.write_str(key)?,
                        false => write!(out, "{key:?}")?,
                    }
                }
            }
        }
        Ok(())
    }
}

/// TOML takes it without quotes.
fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// The value at a path of keys.
pub(super) fn find<'a>(values: &'a Dict, path: &KeyPath) -> Option<&'a Value> {
    let (mut keys, mut table) = (path.keys().peekable(), values);
    while let Some(key) = keys.next() {
        let value = table.get(key)?;
        if keys.peek().is_none() {
            return Some(value);
        }
        table = value.as_dict()?;
    }
    None
}

/// Puts a value at a path, in place of whatever is in the way.
pub(super) fn insert<S: AsRef<str>>(values: &mut Dict, path: &[S], value: Value) {
    let [first, rest @ ..] = path else { return };
    if rest.is_empty() {
        values.insert(first.as_ref().to_owned(), value);
        return;
    }
    let below = values.entry(first.as_ref().to_owned()).or_insert_with(|| Value::from(Dict::new()));
    if !matches!(below, Value::Dict(..)) {
        *below = Value::from(Dict::new());
    }
    if let Value::Dict(_, below) = below {
        insert(below, rest, value);
    }
}
