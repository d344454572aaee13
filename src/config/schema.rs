//! The schema: which keys there are, at any depth, and their defaults. It is made from `conf/postroom.toml` alone.
//!
//! # How the default file describes a key
//! - `key = value`: a key with its default. Within `[table]` or `key = { … }` it is a key of that table.
//! - `[table]` without any key: every key may stand in it (`[aliases]`).
//! - `#[table.name]` and `#key = value` below it: tables by name (`[upstream.*]`). The commented values are the template: a
//!   table of that kind has these keys, and these values where it does not say otherwise. A value that must be given stands
//!   there as an example, and whoever reads it refuses the default.
//! - `#[table.name.below]` or `#below = { … }`: a table in each of them.
//! - `#[table.name.below]` where there is a `[below]`: overrides. It has the keys of `[below]` and no defaults of its own:
//!   what it does not say holds as `[below]` has it.
//! - `#key = [{ … }]` in the line above `key = []`: items of this list may be tables with these keys.
//!
//! # What a new key needs
//! 1. The line in `conf/postroom.toml`, with a comment. With it the key can be written in the file and given in the
//!    environment, is suggested for one that is misspelt, and has a default.
//! 2. A field in [`super::settings`]. What compares whole settings sees it by itself: reload, the pool of connections, an
//!    upstream's revision; `reload::changes` asks for a name where it is a field of [`super::settings::Settings`] itself.
//! 3. One line where its table is read: [`super::read_settings`] or [`super::read_upstream`]. It gives the key its type, refuses
//!    wrong values and shows it in `check`. Overrides are read by the same function as the table that they override.
//!
//! A secret, which may be given as `key_file` too and is never shown, is also named in [`SECRETS`]; a key that is no longer of
//! a later version goes from the list in [`super::unknown_keys`]. Tests fail for a key that is not read (tests/config/drift.rs)
//! and for one whose reload is not tested (tests/server/reload).

use super::error::ConfigError;
use super::origin::Layer;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

/// What is in force where nobody says otherwise.
pub const DEFAULT_FILE: &str = include_str!("../../conf/postroom.toml");

/// Keys whose values are secrets, in whatever table; each may be given as the name of a file that holds the value.
pub(super) const SECRETS: &[&str] = &["password", "client_secret", "refresh_token", "token", "secret"];

/// The keys of a table.
pub(super) type Keys = BTreeMap<String, Shape>;

pub(super) static NO_KEYS: Keys = Keys::new();

/// What stands at a key.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// A value, with its default.
    Value(Value),
    /// A list, with its default, and the keys of those items that are tables.
    List(Value, Keys),
    Table(Keys),
    /// A table beneath a named one that overrides the table of this name outside of any.
    Overrides(Keys),
    /// Tables by name, each with these keys.
    Named(Keys),
    /// A table in which every key may stand.
    AnyKey,
}

/// Every key there is.
#[derive(Debug)]
pub(super) struct Schema {
    root: Keys,
}

impl Schema {
    /// That of `conf/postroom.toml`.
    pub(super) fn built_in() -> Result<Arc<Schema>, ConfigError> {
        static BUILT_IN: LazyLock<Result<Arc<Schema>, ConfigError>> =
            LazyLock::new(|| Schema::describe(DEFAULT_FILE).map(Arc::new));
        BUILT_IN.clone()
    }

    /// The schema that a default file describes.
    pub(super) fn describe(text: &str) -> Result<Schema, ConfigError> {
        let parse = |text: &str| -> Result<Dict, ConfigError> {
            Toml::from_str(text).map_err(|error| ConfigError {
                file: Some(Layer::Default.name().to_owned()),
                line: None,
                key: String::new(),
                wrong: error.to_string(),
                right: "build Postroom with a sound conf/postroom.toml".to_owned(),
            })
        };
        let (in_force, examples) = (parse(text)?, parse(&with_examples(text))?);
        let shape = |(key, example): (&String, &Value)| {
            let shape = match (in_force.get(key), example) {
                // Nothing of it is in force: a template.
                (None, Value::Dict(_, named)) => {
                    let template = named.values().next().and_then(Value::as_dict);
                    Shape::Named(template.map(|template| keys(None, template)).unwrap_or_default())
                }
                (default, example) => Shape::of(default, example),
            };
            (key.clone(), shape)
        };
        let mut root: Keys = examples.iter().map(shape).collect();
        let outside = root.clone();
        for shape in root.values_mut() {
            if let Shape::Named(keys) = shape {
                find_overrides(keys, &outside);
            }
        }
        Ok(Schema { root })
    }

    /// The keys outside of any table, and the tables.
    pub(super) fn root(&self) -> &Keys {
        &self.root
    }

    /// The lowest layer: every default, and in each named table that the layers above mention those of its template.
    pub(super) fn defaults(&self, layers: &[&Dict]) -> Dict {
        defaults(&self.root, layers)
    }

    /// The shape at a path of keys, in which names are any.
    pub(super) fn at<S: AsRef<str>>(&self, path: &[S]) -> Option<&Shape> {
        let (first, rest) = path.split_first()?;
        let mut shape = self.root.get(first.as_ref())?;
        let mut rest = rest.iter();
        while let Some(key) = rest.next() {
            // Behind a name comes a key.
            let key = if matches!(shape, Shape::Named(_)) { rest.next()? } else { key };
            shape = shape.keys().get(key.as_ref())?;
        }
        Some(shape)
    }
}

impl Shape {
    fn of(default: Option<&Value>, example: &Value) -> Shape {
        match example {
            Value::Dict(_, dict) if dict.is_empty() => Shape::AnyKey,
            Value::Dict(_, dict) => Shape::Table(keys(default.and_then(Value::as_dict), dict)),
            Value::Array(_, items) => match items.iter().find_map(Value::as_dict) {
                Some(table) => {
                    let none = || Value::from(Vec::<Value>::new());
                    Shape::List(default.cloned().unwrap_or_else(none), keys(None, table))
                }
                None => Shape::Value(default.unwrap_or(example).clone()),
            },
            value => Shape::Value(default.unwrap_or(value).clone()),
        }
    }

    /// The keys of the table; of one of the tables, where they have names; of an item of a list.
    pub(super) fn keys(&self) -> &Keys {
        match self {
            Shape::List(_, keys) | Shape::Table(keys) | Shape::Overrides(keys) | Shape::Named(keys) => keys,
            Shape::Value(_) | Shape::AnyKey => &NO_KEYS,
        }
    }

    pub(super) fn is_table(&self) -> bool {
        !matches!(self, Shape::Value(_) | Shape::List(..))
    }

    /// The default of a value or a list.
    pub(super) fn default(&self) -> Option<&Value> {
        match self {
            Shape::Value(default) | Shape::List(default, _) => Some(default),
            _ => None,
        }
    }
}

fn keys(defaults: Option<&Dict>, examples: &Dict) -> Keys {
    let default = |key: &str| defaults.and_then(|defaults| defaults.get(key));
    examples.iter().map(|(key, example)| (key.clone(), Shape::of(default(key), example))).collect()
}

/// Tables beneath a named one that have the name of a table outside.
fn find_overrides(template: &mut Keys, outside: &Keys) {
    for (key, shape) in template {
        if let (true, Some(Shape::Table(keys))) = (shape.is_table(), outside.get(key)) {
            *shape = Shape::Overrides(keys.clone());
        }
    }
}

/// `layers` are what the layers above have at this place.
fn defaults(keys: &Keys, layers: &[&Dict]) -> Dict {
    let mut all = Dict::new();
    for (key, shape) in keys {
        let value = match shape {
            Shape::Value(default) | Shape::List(default, _) => default.clone(),
            Shape::Table(keys) => defaults(keys, &below(key, layers)).into(),
            Shape::Overrides(_) => continue,
            Shape::AnyKey => Dict::new().into(),
            Shape::Named(keys) => {
                let layers = below(key, layers);
                let names: BTreeSet<&String> = layers.iter().flat_map(|layer| layer.keys()).collect();
                let table = |name: &String| defaults(keys, &below(name, &layers));
                names.into_iter().map(|name| (name.clone(), table(name).into())).collect::<Dict>().into()
            }
        };
        all.insert(key.clone(), value);
    }
    all
}

/// The tables that layers have at a key.
fn below<'a>(key: &str, layers: &[&'a Dict]) -> Vec<&'a Dict> {
    layers.iter().filter_map(|layer| layer.get(key).and_then(Value::as_dict)).collect()
}

/// The default file with its commented settings (`#key = value`) uncommented; prose (`# text`) stays a comment. An example
/// above a setting of the same key takes its place.
fn with_examples(text: &str) -> String {
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
    let mut lines = String::new();
    let mut example_of = None;
    for line in text.lines() {
        let example = line
            .strip_prefix('#')
            .filter(|rest| rest.starts_with(|first: char| first == '[' || first.is_ascii_lowercase()));
        if example.is_none() && example_of.is_some() && key(line) == example_of {
            continue;
        }
        example_of = example.and_then(key);
        lines.push_str(example.unwrap_or(line));
        lines.push('\n');
    }
    lines
}
