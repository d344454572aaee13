//! What is in force, for people (TOML) and programs (JSON): every key with its value, secrets masked.

use super::origin::Layer;
use crate::mail::printable;
use crate::mail::printable::is_printable;
use figment::value::Value;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table};

/// In place of a secret.
pub(super) const MASK: &str = "****";

/// A value as it is shown.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Shown {
    Text(String),
    Flag(bool),
    Number(i64),
    Fraction(f64),
    List(Vec<Shown>),
    /// A table that is an item of a list. Any other is shown key by key.
    Table(BTreeMap<String, Shown>),
}

impl Shown {
    /// A value as it was written, with the secrets in it masked.
    pub(super) fn written(value: &Value, secrets: &[&str]) -> Shown {
        let shown = |value: &Value| Shown::written(value, secrets);
        match value {
            Value::Array(_, items) => Shown::List(items.iter().map(shown).collect()),
            Value::Dict(_, table) => {
                let entry = |(key, value): (&String, &Value)| match secrets.contains(&key.as_str()) {
                    true => (key.clone(), shown(value).masked()),
                    false => (key.clone(), shown(value)),
                };
                Shown::Table(table.iter().map(entry).collect())
            }
            Value::Bool(_, flag) => Shown::Flag(*flag),
            value => match (value.to_i128().and_then(|number| i64::try_from(number).ok()), value) {
                (Some(number), _) => Shown::Number(number),
                (None, Value::Num(_, number)) => Shown::Fraction(number.to_f64().unwrap_or(f64::NAN)),
                (None, value) => Shown::Text(value.as_str().unwrap_or_default().to_owned()),
            },
        }
    }

    /// Tells whether there is a secret, and nothing else about it.
    pub(super) fn masked(self) -> Shown {
        match self {
            Shown::Text(text) if text.is_empty() => Shown::Text(text),
            _ => Shown::Text(MASK.to_owned()),
        }
    }

    pub(super) fn to_toml(&self) -> toml_edit::Value {
        match self {
            Shown::Text(text) => quoted(text),
            Shown::Flag(flag) => (*flag).into(),
            Shown::Number(number) => (*number).into(),
            Shown::Fraction(number) => (*number).into(),
            Shown::List(items) => items.iter().map(Shown::to_toml).collect::<Array>().into(),
            Shown::Table(entries) => {
                entries.iter().map(|(key, shown)| (key, shown.to_toml())).collect::<InlineTable>().into()
            }
        }
    }
}

impl std::fmt::Display for Shown {
    /// As TOML writes it, on one line.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_toml().fmt(out)
    }
}

/// A text in TOML, with escapes for what must not be shown as it is.
fn quoted(text: &str) -> toml_edit::Value {
    if text.chars().all(is_printable) {
        return text.into();
    }
    let mut literal = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => literal.extend(['\\', character]),
            character if is_printable(character) => literal.push(character),
            character => literal.push_str(&format!("\\U{:08x}", u32::from(character))),
        }
    }
    literal.push('"');
    // What has been put together here is a basic string of TOML; the plain text stands in for it were it not.
    literal.parse().unwrap_or_else(|_| text.into())
}

#[derive(Clone, PartialEq, Debug)]
struct ShownKey {
    path: Vec<String>,
    shown: Shown,
    /// Where it was given; none for a default.
    given: Option<GivenAt>,
}

/// Where a value was given.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct GivenAt {
    /// `file`, `admin.toml`, `environment` or `command line`.
    pub(super) layer: &'static str,
    /// File and line, or the variable.
    pub(super) place: String,
    /// For what stands in `admin.toml`: what would hold without it. None for a secret, and where there would be nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) below: Option<Shown>,
    /// Where that is given; none for a default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) below_place: Option<String>,
}

impl GivenAt {
    /// By a verb or a page.
    pub(crate) fn is_change(&self) -> bool {
        self.layer == Layer::Admin.name()
    }

    /// Where no verb and no page can change it: by the environment or the command line.
    pub(crate) fn is_locked(&self) -> bool {
        [Layer::Environment, Layer::CommandLine].iter().any(|layer| self.layer == layer.name())
    }

    /// File and line, or the variable.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Of a change: what holds without it, in words.
    pub(crate) fn without_it(&self) -> Option<String> {
        match (&self.below, &self.below_place) {
            (Some(below), Some(place)) => Some(format!("{place} says {below}")),
            (Some(below), None) => Some(format!("the default is {below}")),
            (None, Some(place)) => Some(format!("{place} has another")),
            (None, None) => None,
        }
    }

    /// It is given by more than a verb or a page, so that to take that back leaves a value.
    pub(crate) fn is_given_below(&self) -> bool {
        !self.is_change() || self.below_place.is_some()
    }
}

impl std::fmt::Display for GivenAt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.place)?;
        self.without_it().map_or(Ok(()), |below| write!(out, "; {below}"))
    }
}

/// A key that is in force.
pub(crate) struct InForceKey<'a> {
    /// The path of its table; empty for the keys outside of any.
    pub(crate) table: String,
    /// In its table.
    pub(crate) name: String,
    /// As TOML, secrets masked.
    pub(crate) value: String,
    /// None for a default.
    pub(crate) given: Option<&'a GivenAt>,
}

/// Every key that is in force. [`std::fmt::Display`] gives TOML that could be loaded again but for the masks;
/// serialized it is an object of objects.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct InForce {
    entries: Vec<ShownKey>,
    /// Upstreams that stand in no file but `admin.toml`.
    pub(super) added: BTreeSet<String>,
    /// The configuration file that was read.
    pub(super) file: Option<String>,
    places: HashMap<Vec<String>, usize>,
}

impl InForce {
    /// Adds a key, or says it anew.
    pub(super) fn note(&mut self, path: Vec<String>, shown: Shown, given: Option<GivenAt>) {
        let number = *self.places.entry(path.clone()).or_insert(self.entries.len());
        let entry = ShownKey { path, shown, given };
        match self.entries.get_mut(number) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    /// Takes out a key, or a table with its keys.
    pub(super) fn forget(&mut self, path: &[String]) {
        self.entries.retain(|entry| !entry.path.starts_with(path));
        let place = |(number, entry): (usize, &ShownKey)| (entry.path.clone(), number);
        self.places = self.entries.iter().enumerate().map(place).collect();
    }

    /// As TOML, each value that is not a default with a comment that says where it was given.
    pub fn to_toml(&self) -> String {
        let mut document = DocumentMut::new();
        for entry in &self.entries {
            let Some((key, tables)) = entry.path.split_last() else { continue };
            let mut table = document.as_table_mut();
            for name in tables {
                let below = table.entry(name).or_insert_with(|| {
                    let mut below = Table::new();
                    below.set_implicit(true);
                    Item::Table(below)
                });
                let Item::Table(below) = below else { return document.to_string() };
                table = below;
            }
            let mut value = entry.shown.to_toml();
            if let Some(given) = &entry.given {
                value.decor_mut().set_suffix(format!("  # {}", printable(&given.to_string())));
            }
            table.insert(key, Item::Value(value));
        }
        document.to_string()
    }

    /// As JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// What is in force beneath a path: an object of objects.
    pub(crate) fn beneath(&self, path: &[&str]) -> serde_json::Map<String, serde_json::Value> {
        let mut root = serde_json::Map::new();
        for entry in self.entries.iter().filter(|entry| starts_with(&entry.path, path)) {
            let shown = serde_json::to_value(&entry.shown).unwrap_or_default();
            insert(&mut root, &entry.path[path.len()..], shown);
        }
        root
    }

    /// Adds what is in force at the keys with those paths to an object of objects.
    pub(crate) fn copy_where(
        &self,
        wanted: impl Fn(&str) -> bool,
        object: &mut serde_json::Map<String, serde_json::Value>,
    ) {
        for entry in self.entries.iter().filter(|entry| wanted(&entry.path.join("."))) {
            insert(object, &entry.path, serde_json::to_value(&entry.shown).unwrap_or_default());
        }
    }

    /// The upstream was added by a verb or a page.
    pub(crate) fn is_added(&self, upstream: &str) -> bool {
        self.added.contains(upstream)
    }

    /// Where each key beneath a path was given, by its path there; nothing of defaults.
    pub(crate) fn given(&self, path: &[&str]) -> BTreeMap<String, &GivenAt> {
        let beneath = self.entries.iter().filter(|entry| starts_with(&entry.path, path));
        beneath
            .filter_map(|entry| Some((entry.path[path.len()..].join("."), entry.given.as_ref()?)))
            .collect()
    }

    /// All keys with their values, by paths joined by dots.
    pub(super) fn values(&self) -> BTreeMap<String, serde_json::Value> {
        let value = |entry: &ShownKey| serde_json::to_value(&entry.shown).unwrap_or_default();
        self.entries.iter().map(|entry| (entry.path.join("."), value(entry))).collect()
    }

    /// The configuration file that was read. Absolute.
    pub(crate) fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// All keys, those of a table behind each other.
    pub(crate) fn all(&self) -> impl Iterator<Item = InForceKey<'_>> {
        let mut entries: Vec<&ShownKey> = self.entries.iter().collect();
        let mut tables: HashMap<&[String], usize> = HashMap::new();
        for entry in &self.entries {
            let number = tables.len();
            tables.entry(table_of(entry)).or_insert(number);
        }
        entries.sort_by_key(|entry| (entry.path.len() > 1, tables[table_of(entry)]));
        entries.into_iter().map(|entry| InForceKey {
            table: table_of(entry).join("."),
            name: entry.path.last().cloned().unwrap_or_default(),
            value: entry.shown.to_string(),
            given: entry.given.as_ref(),
        })
    }

    /// Paths of all keys, joined by dots.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.entries.iter().map(|entry| entry.path.join("."))
    }
}

impl std::fmt::Display for InForce {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.to_toml())
    }
}

impl Serialize for InForce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut root = serde_json::Map::new();
        for entry in &self.entries {
            let shown = serde_json::to_value(&entry.shown).map_err(serde::ser::Error::custom)?;
            insert(&mut root, &entry.path, shown);
        }
        root.serialize(serializer)
    }
}

/// The path of the table that a key stands in.
fn table_of(entry: &ShownKey) -> &[String] {
    entry.path.split_last().map(|(_, table)| table).unwrap_or_default()
}

fn starts_with(path: &[String], start: &[&str]) -> bool {
    path.len() > start.len() && path.iter().zip(start).all(|(key, wanted)| key == wanted)
}

fn insert(
    object: &mut serde_json::Map<String, serde_json::Value>,
    path: &[String],
    value: serde_json::Value,
) {
    let [first, rest @ ..] = path else { return };
    if rest.is_empty() {
        object.insert(first.clone(), value);
    } else if let Some(below) =
        object.entry(first.clone()).or_insert_with(|| serde_json::Map::new().into()).as_object_mut()
    {
        insert(below, rest, value);
    }
}
