//! What verbs and pages change: decided here, written and put in force by the server.
//!
//! A change is tried whole: the configuration is read as it would be with it, and where that is wrong, it is refused with the
//! errors of it. Nothing here writes anything.

use super::admin_file::AdminFile;
use super::below::{is_same, unit};
use super::draft::{Change, ChangeError, Draft};
use super::error::ConfigErrors;
use super::handling::Handling;
use super::holding;
use super::in_force::{InForce, Shown};
use super::key_path::{KeyPath, find};
use super::load::{Loaded, meant};
use super::merged::{BrokenSources, Merged};
use super::origin::Layer;
use super::read_settings;
use super::schema::{SECRETS, Schema};
use super::settings::Settings;
use super::sources::Sources;
use figment::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// A key, or an upstream that came or went, with what it says now. Secrets are masked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangedKey {
    /// Its path.
    pub key: String,
    /// None: it said nothing.
    pub old: Option<serde_json::Value>,
    /// None: it says nothing any more.
    pub new: Option<serde_json::Value>,
}

impl Proposal {
    /// `admin.toml` stays as it is.
    pub fn is_in_force(&self) -> bool {
        self.changed.is_empty() && self.loaded.dropped.is_empty()
    }

    /// Names what differs from what is in force, where `admin.toml` does not tell any more what it had changed.
    pub fn compare_with(&mut self, before: &InForce) {
        if !self.was_damaged {
            return;
        }
        let (old, new) = (before.values(), self.loaded.in_force.values());
        let table = |key: &str| key.split('.').take(2).collect::<Vec<_>>().join(".");
        let has = |values: &BTreeMap<String, serde_json::Value>, table: &str| {
            values.contains_key(&format!("{table}.enabled"))
        };
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut told: BTreeMap<String, ChangedKey> = BTreeMap::new();
        for key in keys.into_iter().filter(|key| old.get(*key) != new.get(*key)) {
            let table = table(key);
            // An upstream that came or went is told by its server.
            let is_whole = key.starts_with("upstream.") && has(&old, &table) != has(&new, &table);
            let (name, at) = match is_whole {
                true => (table.clone(), [format!("{table}.host"), format!("{table}.pickup_directory")]),
                false => (key.clone(), [key.clone(), key.clone()]),
            };
            let said = |values: &BTreeMap<String, serde_json::Value>| {
                at.iter().find_map(|at| values.get(at)).cloned()
            };
            told.insert(name.clone(), ChangedKey { key: name, old: said(&old), new: said(&new) });
        }
        self.changed.extend(told.into_values());
    }
}

impl std::fmt::Display for ChangedKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = |value: &Option<serde_json::Value>| {
            value.as_ref().map_or_else(|| "not given".to_owned(), ToString::to_string)
        };
        write!(out, "{}: {} -> {}", self.key, said(&self.old), said(&self.new))
    }
}

/// A configuration as it would be.
#[derive(Debug)]
pub struct Proposal {
    /// With what `admin.toml` is to hold.
    pub loaded: Loaded,
    /// In the order of their paths. Empty: nothing changes.
    pub changed: Vec<ChangedKey>,
    /// Those that there are because of the change.
    pub warnings: Vec<String>,
    /// `admin.toml` could not be used, so that nobody knows what it had changed.
    pub was_damaged: bool,
    /// What kept mail from its addressees and would not any more, in words.
    pub ended_modes: Vec<String>,
}

/// What keeps mail from its addressees before, and nothing does afterwards, in words: `redirect of site shop`.
pub fn ended_modes(before: &Settings, after: &Settings) -> Vec<String> {
    let ended = |(site, handling): (&str, &Handling)| {
        let what = if handling.sending_off { "sending off" } else { handling.mode()?.word() };
        let now = after.handling_of(site)?;
        let of = if site.is_empty() { String::new() } else { format!(" of site {site}") };
        (!now.sending_off && now.mode().is_none()).then(|| format!("{what}{of}"))
    };
    before.handlings().filter_map(ended).collect()
}

/// Reads the configuration as it would be with a change.
///
/// # Errors
/// What is wrong with the change, or with the configuration as it would be: the same as [`super::load`] says.
pub fn propose(sources: &Sources, change: &Change) -> Result<Proposal, ChangeError> {
    let schema = Schema::built_in().map_err(|error| ConfigErrors::new(vec![error], None))?;
    let merged = Merged::gather(sources, schema.clone())
        .map_err(|BrokenSources { error, .. }| ConfigErrors::new(vec![error], None))?;
    let Some(data_dir) = read_settings::data_dir_of(&merged) else {
        // Its error is found by reading the rest.
        let loaded = meant(merged, Vec::new())?;
        return Err(ChangeError::NotStored(format!("{} has no folder", loaded.admin.path.display())));
    };
    let (mut before, errors) = AdminFile::read(&data_dir, &schema, sources)
        .unwrap_or_else(|error| (AdminFile::empty(&data_dir), vec![error]));
    let was_damaged = !errors.is_empty();
    if was_damaged && !matches!(change, Change::ResetAll { .. }) {
        return Err(ConfigErrors::new(errors, Some(data_dir)).into());
    }
    let was = before.text.clone();
    let alone = holding::errors_without(&merged, &before);
    let dropped = holding::drop_what_does_not_hold(&merged, sources, &mut before, &alone);
    let base = merged.with_admin(sources, before.clone());
    let mut draft = Draft { base: &base, after: before.clone() };
    draft.apply(change)?;
    let Draft { after, .. } = draft;
    let changed_units = changed_units(&before, &after);

    let text = after.render();
    let (mut after, errors) = AdminFile::of_bytes(after.path, text.into_bytes(), &schema)
        .map_err(|error| ConfigErrors::new(vec![error], Some(data_dir.clone())))?;
    let text = after.text.clone();
    after.text = was;
    let path = after.path.display().to_string();
    let mut merged = merged.with_admin(sources, after);
    merged.errors.extend(errors.into_iter().chain(alone));
    let mut changed: Vec<ChangedKey> =
        changed_units.iter().map(|unit| changed_key(unit, &base, &merged)).collect();
    if was_damaged {
        let said = |text: &str| Some(serde_json::Value::from(text));
        changed.push(ChangedKey { key: path.clone(), old: said("not usable"), new: said("no changes") });
    }
    let mut loaded = meant(merged, dropped).map_err(|errors| without_place(errors, &path))?;
    loaded.admin.text = text;
    let (known, mut ended_modes) = match read_settings::read(&base) {
        Ok((settings, warnings, _)) => (warnings, ended_modes(&settings, &loaded.settings)),
        Err(_) => Default::default(),
    };
    if was_damaged {
        ended_modes.push(format!("whatever {path} had switched on, which cannot be told any more"));
    }
    let warnings = loaded.warnings.iter().filter(|warning| !known.contains(warning)).cloned().collect();
    Ok(Proposal { loaded, changed, warnings, was_damaged, ended_modes })
}

/// What is not written yet has no lines.
fn without_place(mut errors: ConfigErrors, admin: &str) -> ConfigErrors {
    for error in errors.errors.iter_mut().filter(|error| error.file.as_deref() == Some(admin)) {
        (error.file, error.line) = (None, None);
    }
    errors
}

/// Upstreams that came or went, and all other units whose values differ.
fn changed_units(before: &AdminFile, after: &AdminFile) -> BTreeSet<KeyPath> {
    let keys = before.changes.keys().chain(after.changes.keys());
    let other = keys.filter(|key| !is_same(before.changes.get(key), after.changes.get(key)));
    let as_told = |key: &KeyPath| {
        let table = KeyPath::of(&key.keys().take(2).collect::<Vec<_>>());
        let is_whole = key.keys().count() > 2
            && before.replaced.contains_key(&table) != after.replaced.contains_key(&table);
        if is_whole { table } else { unit(key) }
    };
    other.map(as_told).collect()
}

fn changed_key(key: &KeyPath, old: &Merged, new: &Merged) -> ChangedKey {
    let shown = |merged: &Merged| {
        let file_key = key.parent().unwrap_or_default().key(&format!("{}_file", key.last()));
        let admin = merged.admin.as_ref();
        let is_added = |name: &str| admin.is_some_and(|admin| admin.has_added(name));
        let shown = match key.keys().collect::<Vec<_>>()[..] {
            // What it says itself, without defaults.
            ["upstream", name] if is_added(name) => {
                let own = admin.map(AdminFile::values).unwrap_or_default();
                find(&own, key).map(|value| Shown::written(value, SECRETS))
            }
            ["upstream", _] => None,
            _ if SECRETS.contains(&key.last()) => {
                let given = [key, &file_key].into_iter().filter_map(|form| find(&merged.values, form));
                let mut given = given.filter(|value| value.as_str() != Some(""));
                given.next().map(|value| Shown::written(value, SECRETS).masked())
            }
            _ => {
                // The default of `host` is an example.
                let is_given = |value: &&Value| {
                    key.last() != "host" || merged.origin(key, value).layer != Layer::Default
                };
                find(&merged.values, key).filter(is_given).map(|value| Shown::written(value, SECRETS))
            }
        };
        shown.and_then(|shown| serde_json::to_value(shown).ok())
    };
    ChangedKey { key: key.to_string(), old: shown(old), new: shown(new) }
}
