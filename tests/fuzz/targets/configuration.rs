//! The configuration as anybody may write it: loading never panics, every error names its key in one line, no secret is
//! in what is said, and what is in force, written down and read again, means the same.
//!
//! An input: the file; behind a NUL, lines `NAME=value` of the environment; behind another, lines `key=value` as from
//! the command line. A secret is a text that begins with `hunter2` and stands at a place for secrets.

use postroom::config::{ConfigErrors, Loaded, Sources, load};
use postroom::mail::printable::is_printable;
use std::cell::LazyCell;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const MARK: &str = "hunter2";

thread_local! {
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| {
        // In memory where that is to be had.
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
    });
}

pub fn run(data: &[u8]) {
    FOLDER.with(|folder| in_folder(data, folder.path()));
}

fn in_folder(data: &[u8], folder: &Path) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let file = parts.next().unwrap_or_default();
    let environment = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let overrides = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let path = folder.join("postroom.toml");
    std::fs::write(&path, file).unwrap();
    let mut variables = pairs(&environment);
    // Another file would not be ours.
    variables.retain(|(name, _)| name != "POSTROOM_CONFIG");
    let sources = Sources {
        file: Some(path.clone()),
        environment: variables,
        working_dir: folder.to_owned(),
        overrides: pairs(&overrides),
        unwritten: None,
    };
    let text = std::str::from_utf8(file).ok();
    let secrets = secrets(text, &sources, &[&String::from_utf8_lossy(file), &environment, &overrides]);
    match load(&sources) {
        Ok(loaded) => {
            hides(&secrets, &format!("{loaded:?}"));
            hides(&secrets, &format!("{:?} {}", loaded.warnings, loaded.in_force));
            hides(&secrets, &loaded.in_force.to_json().to_string());
            is_sound(&loaded);
            means_the_same(&loaded, &path, folder);
        }
        Err(errors) => {
            hides(&secrets, &format!("{errors:?} {errors} {}", serde_json::to_string(&errors).unwrap()));
            is_helpful(&errors, file);
        }
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    text.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// The marked texts that stand at a place for secrets and nowhere else.
fn secrets(text: Option<&str>, sources: &Sources, everything: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let document = text.map(|text| text.parse::<toml_edit::DocumentMut>());
    match document {
        Some(Ok(document)) => {
            let upstreams = document.get("upstream").and_then(|item| item.as_table_like());
            let upstreams = upstreams.into_iter().flat_map(|table| table.iter());
            for (_, upstream) in upstreams {
                let password = upstream.as_table_like().and_then(|table| table.get("password"));
                found.extend(password.and_then(|item| item.as_str()).map(str::to_owned));
            }
        }
        // Of a file that is not TOML nothing is quoted.
        _ if everything[0].contains(MARK) => found.push(MARK.to_owned()),
        _ => {}
    }
    let is_secret = |name: &str| {
        name == "RELAYHOST_PASSWORD"
            || (name.starts_with("POSTROOM_UPSTREAM__") && name.ends_with("__PASSWORD") && name.len() > 29)
    };
    found.extend(sources.environment.iter().filter(|(name, _)| is_secret(name)).map(|pair| pair.1.clone()));
    let times = |secret: &str| everything.iter().map(|text| text.matches(secret).count()).sum::<usize>();
    found.retain(|secret| secret.starts_with(MARK) && times(secret) == 1 && times(MARK) == 1);
    found
}

#[track_caller]
fn hides(secrets: &[String], said: &str) {
    for secret in secrets {
        assert!(!said.contains(secret.as_str()), "{secret:?} in {said}");
    }
}

fn is_sound(loaded: &Loaded) {
    let settings = &loaded.settings;
    assert!(!settings.hostname.is_empty() && !settings.hostname.contains(char::is_control));
    assert!(settings.data_dir.is_absolute() && settings.queue.path.is_absolute());
    assert!(!settings.listeners.is_empty() && !settings.queue.retry.is_empty());
    assert!(settings.queue.retry.iter().all(|wait| !wait.is_zero()));
    assert!(settings.upstreams.iter().all(|upstream| !upstream.host.is_empty() && upstream.port > 0));
    for warning in &loaded.warnings {
        assert!(!warning.is_empty() && !warning.contains(char::is_control), "{warning:?}");
    }
}

/// `postroom check --show` is a configuration file.
fn means_the_same(loaded: &Loaded, path: &Path, folder: &Path) {
    let shown = loaded.in_force.to_toml();
    std::fs::write(path, &shown).unwrap();
    let sources =
        Sources { file: Some(path.to_owned()), working_dir: folder.to_owned(), ..Sources::default() };
    let again = load(&sources).unwrap_or_else(|errors| panic!("{errors}\n{shown}"));
    assert_eq!(again.in_force.to_json(), loaded.in_force.to_json());
    assert_eq!(format!("{:?}", again.settings), format!("{:?}", loaded.settings));
}

fn is_helpful(errors: &ConfigErrors, file: &[u8]) {
    let lines = file.iter().filter(|byte| **byte == b'\n').count() + 1;
    assert!(!errors.errors.is_empty());
    for error in &errors.errors {
        assert!(!error.wrong.is_empty() && !error.right.is_empty(), "{error:?}");
        assert!(!error.key.is_empty() || error.file.is_some(), "{error:?} names neither key nor place");
        assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{error:?}");
        assert!(error.to_string().chars().all(is_printable), "{error:?}");
    }
    assert!(errors.data_dir.as_ref().is_none_or(|path: &PathBuf| path.is_absolute()));
}
