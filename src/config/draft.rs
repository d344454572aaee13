//! `admin.toml` while it is changed: which keys may be, from where, and what is stored with them.

use super::admin_file::{AdminFile, find_leaves, knows, may_change, owner};
use super::below::{is_same, unit};
use super::error::{ConfigError, ConfigErrors};
use super::in_force::MASK;
use super::key_path::KeyPath;
use super::merged::Merged;
use super::schema::{NO_KEYS, SECRETS, Schema, Shape};
use super::unknown_keys::{unknown_key, wrong_name};
use super::{parse, text_layer};
use figment::value::{Dict, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Keys with values, in tables, as JSON has them; null takes a change back.
pub type NewValues = serde_json::Map<String, serde_json::Value>;

/// What somebody wants to have changed.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// Keys of the settings: `{"redirect": {"enabled": true}, "site": {"intranet": …}}`.
    Settings(NewValues),
    /// An upstream that is in no file.
    AddUpstream {
        /// Made like a listener's.
        name: String,
        /// Its keys.
        keys: NewValues,
    },
    /// Keys of an upstream.
    EditUpstream {
        /// One that is configured, or was added.
        name: String,
        /// Those that change.
        keys: NewValues,
    },
    /// An upstream that was added goes.
    DeleteUpstream(String),
    /// All changes of an upstream are taken back.
    ResetUpstream(String),
    /// All changes at and beneath these keys are taken back.
    Reset {
        /// `redirect`, `upstream.primary.enabled`.
        keys: Vec<String>,
        /// It is meant, also where it ends what keeps mail from its addressees.
        confirmed: bool,
    },
    /// All changes are taken back, also those of a file that cannot be read.
    ResetAll {
        /// As in [`Change::Reset`].
        confirmed: bool,
    },
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such upstream, or site.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be changed here.
    #[error("{0}")]
    Refused(String),
    /// It ends what keeps mail from its addressees, and nobody has said that this is meant.
    #[error(
        "{0} would end, and mail go to its addressees; what waits and was touched by it is held: say \"confirm\": true if that is meant"
    )]
    Unconfirmed(String),
    /// The configuration would be wrong.
    #[error("{0}")]
    Wrong(#[from] ConfigErrors),
    /// `admin.toml` cannot be written.
    #[error("{0}")]
    NotStored(String),
}

/// `admin.toml` while it is changed.
pub(super) struct Draft<'a> {
    /// Before.
    pub(super) base: &'a Merged,
    pub(super) after: AdminFile,
}

impl Change {
    /// Whether it may end what keeps mail from its addressees. A reset of many keys has to be confirmed: it does not say which of them
    /// are modes. Every other change names its keys, also one that takes them back (null).
    pub fn may_end_modes(&self) -> bool {
        match self {
            Change::Reset { confirmed, .. } | Change::ResetAll { confirmed } => *confirmed,
            _ => true,
        }
    }

    /// The same, and meant whatever it ends.
    #[must_use]
    pub fn confirm(self) -> Change {
        match self {
            Change::Reset { keys, .. } => Change::Reset { keys, confirmed: true },
            Change::ResetAll { .. } => Change::ResetAll { confirmed: true },
            other => other,
        }
    }
}

impl Draft<'_> {
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::Settings(keys) => {
                if keys.contains_key("upstream") {
                    let right = "upstreams have verbs and routes of their own";
                    return Err(wrong(&KeyPath::root().key("upstream"), "is no setting", right));
                }
                self.set_all(&KeyPath::root(), keys)
            }
            Change::AddUpstream { name, keys } => {
                let table = KeyPath::of(&["upstream", name]);
                if self.exists(&table) {
                    return refuse(format!("there is an upstream {name} already"));
                }
                if let Some((what, right)) = wrong_name(name) {
                    return Err(wrong(&table, &what, &right));
                }
                let digest = self.base.below().digest(&table).map_err(ChangeError::NotStored)?;
                self.after.replaced.insert(table.clone(), digest);
                self.set_all(&table, keys)?;
                match self.after.changes.keys().any(|key| key.is_within(&table)) {
                    true => Ok(()),
                    false => {
                        Err(wrong(&table.key("host"), "is missing", "give it the server's name and port"))
                    }
                }
            }
            Change::EditUpstream { name, keys } => {
                self.must_exist(&KeyPath::of(&["upstream", name]))?;
                self.set_all(&KeyPath::of(&["upstream", name]), keys)
            }
            Change::DeleteUpstream(name) => {
                let table = KeyPath::of(&["upstream", name]);
                self.must_exist(&table)?;
                if !self.after.has_added(name) {
                    return refuse(format!(
                        "upstream {name} is configured {}, which is never written to; `postroom upstream disable {name}` \
                         keeps mail from it",
                        self.where_configured(&table)
                    ));
                }
                self.take_back(&table);
                Ok(())
            }
            Change::ResetUpstream(name) => {
                let table = KeyPath::of(&["upstream", name]);
                self.must_exist(&table)?;
                if self.after.has_added(name) {
                    return refuse(format!(
                        "upstream {name} was added, so there is nothing that it could go back to; \
                         `postroom upstream delete {name}` takes it away"
                    ));
                }
                self.take_back(&table);
                Ok(())
            }
            Change::Reset { keys, .. } => keys.iter().try_for_each(|key| self.reset(key)),
            Change::ResetAll { .. } => {
                self.after.changes.clear();
                self.after.replaced.clear();
                Ok(())
            }
        }
    }

    fn reset(&mut self, written: &str) -> Result<(), ChangeError> {
        let keys: Vec<&str> = written.split('.').collect();
        let key = KeyPath::of(&keys);
        let schema = &self.base.schema;
        if !is_table(schema, &key) && !knows(schema, &key) {
            return Err(ChangeError::Wrong(ConfigErrors::new(vec![unknown_key(schema, &key)], None)));
        }
        if let ["upstream" | "site", _, ..] = keys[..] {
            self.must_exist(&KeyPath::of(&keys[..2]))?;
        }
        self.must_not_widen(&key)?;
        self.take_back(&unit(&key));
        Ok(())
    }

    /// An upstream that was added for some sites would have the mail of all.
    fn must_not_widen(&self, key: &KeyPath) -> Result<(), ChangeError> {
        match key.keys().collect::<Vec<_>>()[..] {
            ["upstream", name, "sites"]
                if self.after.has_added(name) && self.after.changes.contains_key(key) =>
            {
                refuse(format!(
                    "upstream {name} was added for these sites and would have the mail of all without: \
                     `postroom upstream edit {name} sites=...` names others, `postroom upstream delete {name}` takes it away"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Takes out all changes at and beneath a unit.
    fn take_back(&mut self, key: &KeyPath) {
        self.after.changes.retain(|change, _| !unit(change).is_within(key));
        let AdminFile { changes, replaced, .. } = &mut self.after;
        replaced.retain(|digest, _| changes.keys().any(|change| unit(change).is_within(digest)));
    }

    /// Values of keys beneath a path.
    fn set_all(&mut self, above: &KeyPath, values: &NewValues) -> Result<(), ChangeError> {
        let values: Dict = values.iter().map(|(key, value)| (key.clone(), as_value(value))).collect();
        let schema = self.base.schema.clone();
        let known = match above.is_root() {
            true => schema.root(),
            false => schema.root().get("upstream").map(Shape::keys).unwrap_or(&NO_KEYS),
        };
        let mut leaves = BTreeMap::new();
        find_leaves(above, known, &values, &mut leaves);
        let is_given =
            |key: &KeyPath| leaves.get(key).is_some_and(|value| !matches!(value, Value::Empty(..)));
        let twice = |key: &&KeyPath| is_given(key) && other_form(key).is_some_and(|other| is_given(&other));
        if let Some(key) = leaves.keys().find(twice) {
            return Err(wrong(key, "is given in two forms", "give one of them"));
        }
        // What is taken back first, so that it takes nothing of what is given with it.
        let is_null = |(_, value): &(KeyPath, Value)| matches!(value, Value::Empty(..));
        let (nulls, given): (Vec<_>, Vec<_>) = leaves.into_iter().partition(is_null);
        nulls.into_iter().chain(given).try_for_each(|(key, value)| self.set(&key, value))
    }

    fn set(&mut self, key: &KeyPath, value: Value) -> Result<(), ChangeError> {
        let schema = &self.base.schema;
        if !knows(schema, key) && !is_table(schema, key) {
            return Err(ChangeError::Wrong(ConfigErrors::new(vec![unknown_key(schema, key)], None)));
        }
        let keys: Vec<&str> = key.keys().collect();
        if let ["upstream" | "site", _, ..] = keys[..] {
            self.must_exist(&KeyPath::of(&keys[..2]))?;
        }
        if matches!(value, Value::Empty(..)) {
            self.must_not_widen(key)?;
            self.take_back(&unit(key));
            return Ok(());
        }
        if is_table(schema, key) {
            return Err(wrong(key, "is a table", "give the keys in it"));
        }
        if !may_change(schema, key) {
            let right = "change it in the configuration file, and reload";
            return Err(wrong(key, "cannot be changed by verbs and pages", right));
        }
        let value = typed(schema, key, value);
        self.must_be_possible(key, &value)?;
        self.store(key, value)
    }

    /// The other layers let it be changed, and the value is one that can be stored.
    fn must_be_possible(&self, key: &KeyPath, value: &Value) -> Result<(), ChangeError> {
        let mut forms = [Some(key.clone()), other_form(key)].into_iter().flatten();
        if let Some(above) = forms.find_map(|form| self.base.given_above(&form)) {
            let why = format!("{key} is given {above}, which outranks what is changed here: change it there");
            return refuse(why);
        }
        let text = value.as_str();
        if SECRETS.contains(&unit(key).last()) && text == Some("") {
            return Err(wrong(key, "is empty", "give it a value; null takes a change back"));
        }
        let is_mask = |text: &str| text.len() >= MASK.len() && text.bytes().all(|byte| byte == b'*');
        if SECRETS.contains(&key.last()) && text.is_some_and(is_mask) {
            let right = "give the secret, or leave the key out: what is there stays";
            return Err(wrong(key, "is what stands in place of a secret where it is shown", right));
        }
        if is_path(key) && text.is_some_and(|path| !path.is_empty() && Path::new(path).is_relative()) {
            let right = "give it an absolute one: what is changed here lies in no folder of yours";
            return Err(wrong(key, "is a relative path", right));
        }
        Ok(())
    }

    fn store(&mut self, key: &KeyPath, value: Value) -> Result<(), ChangeError> {
        let unit = unit(key);
        if let Some(other) = other_form(key) {
            self.after.changes.remove(&other);
        }
        if owner(&self.after.replaced, key).is_none_or(|owner| owner == unit) {
            if self.is_as_below(key, &value) {
                self.take_back(&unit);
                return Ok(());
            }
            if !self.after.replaced.contains_key(&unit) {
                let digest = self.base.below().digest(&unit).map_err(ChangeError::NotStored)?;
                self.after.replaced.insert(unit, digest);
            }
        }
        self.after.changes.insert(key.clone(), value);
        Ok(())
    }

    /// The value is what would hold without a change, so that there is none to store.
    fn is_as_below(&self, key: &KeyPath, value: &Value) -> bool {
        let below = self.base.below();
        match below.written(key) {
            // Which of two forms holds is not looked at.
            _ if other_form(key).is_some() => false,
            Some(written) => is_same(Some(written), Some(value)),
            // What a site does not say may change with what holds for all; the default of `host` is an example.
            None if is_override(&self.base.schema, key) || key.last() == "host" => false,
            None => is_same(below.value(key), Some(value)),
        }
    }

    fn exists(&self, table: &KeyPath) -> bool {
        let keys: Vec<&str> = table.keys().collect();
        let [kind, name] = keys[..] else { return false };
        self.base.below().exists(kind, name) || self.after.replaced.contains_key(table)
    }

    fn must_exist(&self, table: &KeyPath) -> Result<(), ChangeError> {
        if self.exists(table) {
            return Ok(());
        }
        let kind = table.keys().next().unwrap_or_default();
        let known: Vec<String> = self
            .base
            .values
            .get(kind)
            .and_then(Value::as_dict)
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(ChangeError::NotFound(format!("there is no {kind} {}; there is {known}", table.last())))
    }

    fn where_configured(&self, table: &KeyPath) -> String {
        match self.base.below().written(table) {
            Some(_) => format!("in {}", self.base.below().place(table)),
            None => self.base.given_above(table).unwrap_or_else(|| "elsewhere".to_owned()),
        }
    }
}

/// The form that a secret is not given in: a file for a value, a value for a file.
fn other_form(key: &KeyPath) -> Option<KeyPath> {
    let unit = unit(key);
    let file = || unit.parent().unwrap_or_default().key(&format!("{}_file", unit.last()));
    SECRETS.contains(&unit.last()).then(|| if unit == *key { file() } else { unit.clone() })
}

fn is_table(schema: &Schema, key: &KeyPath) -> bool {
    match key.keys().collect::<Vec<_>>()[..] {
        [kind] => schema.root().get(kind).is_some_and(Shape::is_table),
        [kind, _] if matches!(schema.root().get(kind), Some(Shape::Named(_))) => true,
        ref keys => schema.at(keys).is_some_and(Shape::is_table),
    }
}

fn is_override(schema: &Schema, key: &KeyPath) -> bool {
    let keys: Vec<&str> = key.keys().collect();
    keys.len() > 3 && matches!(schema.at(&keys[..3]), Some(Shape::Overrides(_)))
}

/// A file or folder, but for `path` keys, which lie under `data_dir`. What verbs store is absolute.
pub fn is_path_key(key: &str) -> bool {
    key == "tls_ca" || key == "pickup_directory" || key.ends_with("_file")
}

/// Its value is a secret.
pub fn is_secret_key(key: &str) -> bool {
    SECRETS.contains(&key)
}

fn is_path(key: &KeyPath) -> bool {
    is_path_key(key.last()) || key.last() == "path"
}

fn as_value(value: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match value {
        Json::Null => Value::from(figment::value::Empty::None),
        Json::Bool(flag) => Value::from(*flag),
        Json::String(text) => Value::from(text.as_str()),
        // A whole number is one of TOML's, which have a sign.
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, fraction) => Value::from(fraction.unwrap_or(f64::NAN)),
        },
        Json::Array(items) => Value::from(items.iter().map(as_value).collect::<Vec<_>>()),
        Json::Object(table) => {
            Value::from(table.iter().map(|(key, value)| (key.clone(), as_value(value))).collect::<Dict>())
        }
    }
}

/// Text stands for the type that the key has: forms and command lines know only text.
fn typed(schema: &Schema, key: &KeyPath, value: Value) -> Value {
    let keys: Vec<&str> = key.keys().collect();
    let (Some(text), Some(default)) = (value.as_str(), schema.at(&keys).and_then(Shape::default)) else {
        return value;
    };
    let list = || parse::list(text).ok().map(Value::from);
    let as_meant = match default {
        Value::Bool(..) => text.trim().parse::<bool>().ok().map(Value::from),
        Value::Num(..) => {
            let whole = text.trim().parse::<i64>().ok().map(Value::from);
            whole.or_else(|| text.trim().parse::<f64>().ok().map(Value::from))
        }
        Value::Array(..) => Some(text_layer::value(schema, &keys, text))
            .filter(|value| value.as_str().is_none())
            .or_else(list),
        _ => None,
    };
    as_meant.unwrap_or(value)
}

fn refuse<T>(why: String) -> Result<T, ChangeError> {
    Err(ChangeError::Refused(why))
}

fn wrong(key: &KeyPath, wrong: &str, right: &str) -> ChangeError {
    let error = ConfigError {
        file: None,
        line: None,
        key: key.to_string(),
        wrong: wrong.to_owned(),
        right: right.to_owned(),
    };
    ConfigErrors::new(vec![error], None).into()
}
