//! Which changes of `admin.toml` hold: those that its owner's file has not overtaken, and with which the configuration is right.
//!
//! A change was right when it was made. Where the file is another one now, is right by itself and wrong with the change, the change
//! goes: an old click of that kind never keeps a proxy from starting. What decides where mail goes is kept all the same, and is an error then:
//! with a clicked redirect gone, mail would reach its addressees.

use super::admin_file::{AdminFile, DroppedChange};
use super::error::{ConfigError, ConfigErrors};
use super::key_path::KeyPath;
use super::merged::Merged;
use super::read_settings;
use super::sources::Sources;

/// Takes out of `admin` what does not hold. `merged`: the other layers. `alone`: what is wrong with these.
pub(super) fn drop_what_does_not_hold(
    merged: &Merged,
    sources: &Sources,
    admin: &mut AdminFile,
    alone: &[ConfigError],
) -> Vec<DroppedChange> {
    let mut dropped = admin.drop_stale(&merged.below());
    let errors_with =
        |admin: &AdminFile| read_settings::read(&merged.with_admin(sources, admin.clone())).err();
    if admin.changes.is_empty() || !alone.is_empty() || !admin.is_by_verbs() {
        return dropped;
    }
    let Some(ConfigErrors { errors, .. }) = errors_with(admin) else { return dropped };
    let all: Vec<KeyPath> = admin.tables().into_iter().filter(|table| !is_of_a_mode(table)).collect();
    let is_named = |table: &&KeyPath| errors.iter().any(|error| is_beneath(&error.key, table));
    let named: Vec<KeyPath> = all.iter().filter(is_named).cloned().collect();
    let each = all.iter().map(|table| vec![table.clone()]);
    let attempts = [named].into_iter().chain(each).chain([all.clone()]);
    for tables in attempts.filter(|tables| !tables.is_empty()) {
        let mut rest = admin.clone();
        let why = errors.first().map(|error| error.wrong.as_str()).unwrap_or_default();
        let why = format!("the file is right, and wrong with it: {why}");
        let gone = rest.drop_tables(&tables, &why);
        if errors_with(&rest).is_none() {
            *admin = rest;
            dropped.extend(gone);
            break;
        }
    }
    dropped
}

/// Whether the table says where mail goes, of all or of a site.
fn is_of_a_mode(table: &KeyPath) -> bool {
    matches!(table.keys().next(), Some("sending" | "redirect" | "debug" | "simulate" | "site"))
}

/// What is wrong without `admin.toml`, so that no change hides it. What the environment says of an upstream that was added is
/// not whole by itself.
pub(super) fn errors_without(merged: &Merged, admin: &AdminFile) -> Vec<ConfigError> {
    let Err(ConfigErrors { mut errors, .. }) = read_settings::read(merged) else { return Vec::new() };
    let plain = |name: &str| name.replace('-', "_");
    let is_of_added = |error: &ConfigError| {
        admin.added().any(|name| is_beneath(&plain(&error.key), &KeyPath::of(&["upstream", &plain(name)])))
    };
    errors.retain(|error| !is_of_added(error));
    errors
}

/// Whether the key, as errors write it, is that table or one of its keys.
fn is_beneath(key: &str, table: &KeyPath) -> bool {
    let rest = key.strip_prefix(&table.to_string());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
