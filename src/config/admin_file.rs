//! `<data_dir>/admin.toml`: what verbs and pages changed, between the file and the environment.
//!
//! Its keys are those of the configuration, as far as verbs may change them. Beside each change, in `[replaced]`, stands a
//! digest of what the layers below said then ([`super::below`]). Where they say something else, or the table is gone, the
//! change is dropped when the file is read, so that an old click or a copied folder never outvotes its owner's file. An
//! upstream that was added is one change.

use super::below::{Below, unit};
use super::config_file::{self, BrokenFile, ConfigFile};
use super::error::ConfigError;
use super::in_force::Shown;
use super::key_path::{KeyPath, insert};
use super::schema::{Keys, SECRETS, Schema, Shape};
use super::secret::Secret;
use super::secret_file;
use super::sources::Sources;
use super::toml_type::as_table;
use figment::value::{Dict, Value};
use secrecy::ExposeSecret;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Table};

/// Its name in `data_dir`.
const NAME: &str = "admin.toml";

/// The table of digests.
const REPLACED: &str = "replaced";

const HEAD: &str = "\
# What verbs and pages of Postroom changed. Not to be edited: postroom.toml is the place for that, and `postroom reset`
# takes changes back. A change is dropped when postroom.toml says something else than when it was made ([replaced]).
";

const NOT_BY_HAND: &str = "verbs write this file: put the key into postroom.toml, and take it out of here";

/// Keys of an upstream that say together which server has mail and how it is talked to: changes of them are made, and dropped,
/// together. A password that was meant for one server never goes to another.
const OF_SERVER: [&str; 12] = [
    "delivery",
    "host",
    "pickup_directory",
    "tls",
    "tls_ca",
    "danger_accept_invalid_certificate",
    "auth",
    "username",
    "password",
    "domain",
    "oauth2",
    "danger_allow_plaintext_auth",
];

/// The file.
#[derive(Clone)]
pub(super) struct AdminFile {
    /// Absolute.
    pub(super) path: PathBuf,
    /// As it was read; empty where there is none.
    pub(super) text: Secret,
    /// Line of each key and table, from 1.
    pub(super) lines: BTreeMap<KeyPath, usize>,
    /// New values by key.
    pub(super) changes: BTreeMap<KeyPath, Value>,
    /// What each of them replaced: digests by [`unit`], or by the upstream where it was added.
    pub(super) replaced: BTreeMap<KeyPath, String>,
    /// The changes are not those of `text`: these could not be written.
    pub(super) is_unwritten: bool,
}

/// A change that does not hold any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DroppedChange {
    /// The key, or the upstream that had been added.
    pub key: String,
    /// In words, with the value: `redirect.enabled = true is dropped: …`.
    pub text: String,
}

impl AdminFile {
    /// One without changes.
    pub(super) fn empty(data_dir: &Path) -> AdminFile {
        AdminFile {
            path: data_dir.join(NAME),
            text: Secret::default(),
            lines: BTreeMap::new(),
            changes: BTreeMap::new(),
            replaced: BTreeMap::new(),
            is_unwritten: false,
        }
    }

    /// The one in a folder, with what is wrong with its keys. None is an empty one.
    ///
    /// # Errors
    /// It cannot be read, is not TOML, or others may write it.
    pub(super) fn read(
        data_dir: &Path,
        schema: &Schema,
        sources: &Sources,
    ) -> Result<(AdminFile, Vec<ConfigError>), ConfigError> {
        let path = data_dir.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok((AdminFile::empty(data_dir), Vec::new()));
            }
            Err(error) => {
                return Err(ConfigError {
                    file: Some(path.display().to_string()),
                    line: None,
                    key: String::new(),
                    wrong: format!("cannot be read: {error}"),
                    right: "run this as the user that the proxy runs as, who must own the file".to_owned(),
                });
            }
        };
        let mode = secret_file::mode(&path).unwrap_or_default();
        if mode & 0o022 != 0 {
            let shown = path.display();
            return Err(ConfigError {
                wrong: format!("others may write it (mode {mode:04o}), and so decide where mail goes"),
                right: format!(
                    "chmod 600 {shown} once you know what stands in it; or `postroom reset --all`, which takes all changes back, \
                     modes that were switched on among them"
                ),
                file: Some(shown.to_string()),
                line: None,
                key: String::new(),
            });
        }
        let unwritten = sources
            .unwritten
            .as_ref()
            .filter(|held| held.path == path && held.was.expose_secret().as_bytes() == bytes);
        let Some(held) = unwritten else { return AdminFile::of_bytes(path, bytes, schema) };
        let (file, errors) = AdminFile::of_bytes(path, held.text.expose_secret().into(), schema)?;
        Ok((AdminFile { text: held.was.clone(), is_unwritten: true, ..file }, errors))
    }

    /// What stands, or will stand, in it.
    pub(super) fn of_bytes(
        path: PathBuf,
        bytes: Vec<u8>,
        schema: &Schema,
    ) -> Result<(AdminFile, Vec<ConfigError>), ConfigError> {
        let text: Secret = String::from_utf8_lossy(&bytes).into_owned().into();
        let file = config_file::of_bytes(path, bytes).map_err(|BrokenFile { error, .. }| ConfigError {
            right: "put the line right; or `postroom reset --all` takes all changes back, modes that were switched on among them"
                .to_owned(),
            ..error
        })?;
        let ConfigFile { path, mut values, lines } = file;
        let mut errors = Vec::new();
        let place = Some(path.display().to_string());
        let mut wrong = |at: &KeyPath, key: String, wrong: &str, right: &str| {
            let (file, line) = (place.clone(), lines.get(at).copied());
            errors.push(ConfigError { file, line, key, wrong: wrong.to_owned(), right: right.to_owned() });
        };
        let table = values.remove(REPLACED).and_then(|table| table.into_dict()).unwrap_or_default();
        let digest = |(key, digest): (String, Value)| {
            let keys: Vec<&str> = key.split('.').collect();
            (KeyPath::of(&keys), digest.as_str().unwrap_or_default().to_owned())
        };
        let replaced: BTreeMap<KeyPath, String> = table.into_iter().map(digest).collect();
        let changes = leaves(schema, &values);
        if changes.is_empty() && replaced.is_empty() && !text.expose_secret().starts_with(HEAD) {
            let right = "bring it back from a backup; or `postroom reset --all` takes all changes back, modes that were switched \
                         on among them";
            wrong(&KeyPath::root(), String::new(), "is empty or cut off, as Postroom never leaves it", right);
        }
        for key in changes.keys().filter(|key| knows(schema, key)) {
            if !may_change(schema, key) {
                let right = "this file holds what verbs may change; put the key into postroom.toml";
                wrong(key, key.to_string(), "does not belong here", right);
            } else if owner(&replaced, key).is_none() {
                wrong(key, key.to_string(), "has no digest in [replaced]", NOT_BY_HAND);
            }
        }
        for key in replaced.keys().filter(|key| !changes.keys().any(|change| unit(change).is_within(key))) {
            let at = KeyPath::root().key(REPLACED).key(&key.to_string());
            wrong(&at, key.to_string(), "is in [replaced], and there is no change of it", NOT_BY_HAND);
        }
        Ok((AdminFile { path, text, lines, changes, replaced, is_unwritten: false }, errors))
    }

    /// Takes out the changes that do not hold any more.
    pub(super) fn drop_stale(&mut self, below: &Below<'_>) -> Vec<DroppedChange> {
        let why = |(key, digest): (&KeyPath, &String)| {
            let of_anywhere = self.keeps_mail_back(key);
            Some((key.clone(), why_stale(key, digest, below, of_anywhere)?))
        };
        let mut stale: BTreeMap<KeyPath, String> = self.replaced.iter().filter_map(why).collect();
        let by_itself: Vec<KeyPath> = stale.keys().cloned().collect();
        for key in self.replaced.keys().filter(|key| !by_itself.contains(key)) {
            if let Some(other) = by_itself.iter().find(|other| belong_together(other, key)) {
                stale.insert(key.clone(), format!("it belongs to {other}, which is dropped, too"));
            }
        }
        stale.iter().map(|(key, why)| self.drop_change(key, why)).collect()
    }

    /// Whether mail could reach its addressees without this change: then it holds wherever its file lies, as long as that says
    /// what it said.
    fn keeps_mail_back(&self, key: &KeyPath) -> bool {
        let keys: Vec<&str> = key.keys().collect();
        let is = |value: bool| self.changes.get(key).and_then(Value::to_bool) == Some(value);
        match keys[..] {
            ["sending", "enabled"] | ["site", _, "sending", "enabled"] => is(false),
            ["redirect", "report_emails"] | ["site", _, "redirect", "report_emails"] => true,
            ["redirect" | "debug" | "simulate", "enabled"]
            | ["site", _, "redirect" | "debug" | "simulate", "enabled"] => is(true),
            _ => false,
        }
    }

    /// Of those that were made with another configuration file, for people.
    pub(super) fn modes_made_elsewhere(&self, below: &Below<'_>) -> Vec<String> {
        let is_elsewhere = |(key, digest): &(&KeyPath, &String)| {
            self.keeps_mail_back(key) && key.last() == "enabled" && !below.is_of_here(digest)
        };
        let told = |(key, _): (&KeyPath, &String)| {
            format!(
                "{}: {key} = {} {}; it holds all the same, because without it mail would reach its addressees: `postroom reset \
                 {key}` if that is meant",
                self.path.display(),
                self.shown(key),
                below.made_elsewhere()
            )
        };
        self.replaced.iter().filter(is_elsewhere).map(told).collect()
    }

    /// Takes out all changes of these tables.
    pub(super) fn drop_tables(&mut self, tables: &[KeyPath], why: &str) -> Vec<DroppedChange> {
        let all: Vec<KeyPath> = self.replaced.keys().cloned().collect();
        let within = all.iter().filter(|key| tables.iter().any(|table| key.is_within(table)));
        within.map(|key| self.drop_change(key, why)).collect()
    }

    /// `key`: of a digest.
    fn drop_change(&mut self, key: &KeyPath, why: &str) -> DroppedChange {
        let text = match is_upstream(key) {
            true => format!("{key}, which had been added, is dropped: {why}"),
            false => format!("{key} = {} is dropped: {why}", self.shown(key)),
        };
        self.changes.retain(|change, _| !unit(change).is_within(key));
        self.replaced.remove(key);
        DroppedChange { key: key.to_string(), text }
    }

    /// The tables in which something is changed: `redirect`, `site.x`, `upstream.a`.
    pub(super) fn tables(&self) -> BTreeSet<KeyPath> {
        let table = |key: &KeyPath| {
            let keys: Vec<&str> = key.keys().collect();
            let named = matches!(keys.first(), Some(&("upstream" | "site")));
            KeyPath::of(&keys[..keys.len().min(if named { 2 } else { 1 })])
        };
        self.replaced.keys().map(table).collect()
    }

    /// A verb or a page has made all its changes, as far as can be told: each has a digest.
    pub(super) fn is_by_verbs(&self) -> bool {
        self.changes.keys().all(|key| owner(&self.replaced, key).is_some())
    }

    /// A unit's value, masked where it is a secret.
    fn shown(&self, key: &KeyPath) -> String {
        let value = self.changes.iter().find(|(change, _)| unit(change) == *key).map(|(_, value)| value);
        let shown = Shown::written(value.unwrap_or(&Value::from("")), SECRETS);
        let shown = if SECRETS.contains(&key.last()) { shown.masked() } else { shown };
        shown.to_string()
    }

    /// The upstream was added by a verb, and stands in no other layer.
    pub(super) fn has_added(&self, name: &str) -> bool {
        self.replaced.contains_key(&KeyPath::of(&["upstream", name]))
    }

    /// The names of the upstreams that were added.
    pub(super) fn added(&self) -> impl Iterator<Item = &str> {
        self.replaced.keys().filter(|key| is_upstream(key)).map(KeyPath::last)
    }

    /// Its values, as the layer that it is.
    pub(super) fn values(&self) -> Dict {
        let mut values = Dict::new();
        for (key, value) in &self.changes {
            insert(&mut values, &key.keys().collect::<Vec<_>>(), value.clone());
        }
        values
    }

    /// What is written into the file.
    pub(super) fn render(&self) -> String {
        let mut document = DocumentMut::new();
        for (key, value) in &self.changes {
            let keys: Vec<&str> = key.keys().collect();
            put(document.as_table_mut(), &keys, Shown::written(value, &[]).to_toml());
        }
        for (key, digest) in &self.replaced {
            put(document.as_table_mut(), &[REPLACED, &key.to_string()], digest.as_str().into());
        }
        format!("{HEAD}\n{document}")
    }
}

fn put(table: &mut Table, keys: &[&str], value: toml_edit::Value) {
    let [first, rest @ ..] = keys else { return };
    if rest.is_empty() {
        table.insert(first, Item::Value(value));
        return;
    }
    let below = table.entry(first).or_insert_with(|| {
        let mut below = Table::new();
        below.set_implicit(true);
        Item::Table(below)
    });
    if let Item::Table(below) = below {
        put(below, rest, value);
    }
}

/// `of_anywhere`: wherever it was made.
fn why_stale(key: &KeyPath, digest: &str, below: &Below<'_>, of_anywhere: bool) -> Option<String> {
    let keys: Vec<&str> = key.keys().collect();
    if let ["upstream", name] = keys[..] {
        let in_file = below.in_file("upstream", name);
        let now = |file: KeyPath| format!("{} has upstream {} now", below.place(&file), file.last());
        return in_file.map(now).or_else(|| below.why_other(key, digest, false));
    }
    if let [kind @ ("upstream" | "site"), name, ..] = keys[..]
        && !below.exists(kind, name)
    {
        return Some(format!("{kind} {name} is not configured any more"));
    }
    below.why_other(key, digest, of_anywhere)
}

fn belong_together(one: &KeyPath, other: &KeyPath) -> bool {
    let of_server = |key: &KeyPath| {
        let keys: Vec<&str> = key.keys().collect();
        matches!(keys[..], ["upstream", _, key, ..] if OF_SERVER.contains(&key))
            .then(|| keys.get(1).map(|name| (*name).to_owned()))
            .flatten()
    };
    of_server(one).is_some_and(|name| of_server(other) == Some(name))
}

fn is_upstream(key: &KeyPath) -> bool {
    key.keys().count() == 2 && key.keys().next() == Some("upstream")
}

/// The digest that a changed key goes by: the upstream's, where that was added, or its own.
pub(super) fn owner(replaced: &BTreeMap<KeyPath, String>, key: &KeyPath) -> Option<KeyPath> {
    let keys: Vec<&str> = key.keys().take(2).collect();
    let table = KeyPath::of(&keys);
    [table, unit(key)].into_iter().find(|key| replaced.contains_key(key))
}

/// Whether there is such a key.
pub(super) fn knows(schema: &Schema, key: &KeyPath) -> bool {
    schema.at(&unit(key).keys().collect::<Vec<_>>()).is_some()
}

/// Whether verbs and pages may change that key.
pub(super) fn may_change(schema: &Schema, key: &KeyPath) -> bool {
    let keys: Vec<&str> = key.keys().collect();
    let is_listed = matches!(
        keys[..],
        ["upstream", _, _, ..]
            | ["queue", "archive_days"]
            | ["sending" | "redirect" | "debug" | "simulate" | "sender" | "log_emails", _]
            | ["site", _, "sending" | "redirect" | "debug" | "simulate" | "sender", _]
    );
    is_listed && knows(schema, key)
}

/// The keys with values, in tables as the schema has them. What it does not know is a key, whatever stands there.
pub(super) fn leaves(schema: &Schema, values: &Dict) -> BTreeMap<KeyPath, Value> {
    let mut found = BTreeMap::new();
    find_leaves(&KeyPath::root(), schema.root(), values, &mut found);
    found
}

/// The same, beneath a path at which these keys may stand.
pub(super) fn find_leaves(path: &KeyPath, known: &Keys, values: &Dict, found: &mut BTreeMap<KeyPath, Value>) {
    for (key, value) in values {
        let path = path.key(key);
        match (known.get(key), as_table(value)) {
            (Some(Shape::Table(known) | Shape::Overrides(known)), Some(table)) => {
                find_leaves(&path, known, table, found);
            }
            (Some(Shape::Named(known)), Some(tables)) => {
                for (name, value) in tables {
                    match as_table(value) {
                        Some(table) => find_leaves(&path.key(name), known, table, found),
                        None => drop(found.insert(path.key(name), value.clone())),
                    }
                }
            }
            _ => drop(found.insert(path, value.clone())),
        }
    }
}
