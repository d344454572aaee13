//! Secrets are read: given as they are or, as container secrets are, as the name of a file that holds them. A secret's value
//! never reaches an error, a warning or a listing.

use super::in_force::Shown;
use super::origin::{Layer, ValueOrigin};
use super::secret::Secret;
use super::secret_file;
use super::section::{ConfigReader, Section};
use figment::value::Value;
use std::path::Path;

const FORM: &str = "give it a text in quotes";

/// Reads the secret `key`, or what the file named by `key_file` holds; empty where neither is given. A stronger layer
/// overrides both.
pub(super) fn read(reader: &ConfigReader<'_>, section: &Section<'_>, key: &str) -> Secret {
    let file_key = format!("{key}_file");
    let given = |key: &str| section.find(key).filter(|(value, _)| value.as_str() != Some(""));
    let layer = |found: &Option<(&Value, ValueOrigin)>| found.as_ref().map(|(_, origin)| origin.layer);
    let (plain, file) = (given(key), given(&file_key));
    if layer(&plain) == layer(&file) && plain.is_some() {
        section.wrong(&file_key, format!("is given beside {key}"), "give one of them");
        return Secret::default();
    }
    if layer(&plain) >= layer(&file) {
        let secret = section.read(key, FORM, String::new(), |text: String| match text.contains('\0') {
            true => Err("contains a NUL character".into()),
            false => Ok(text),
        });
        let place = match layer(&plain) {
            Some(Layer::File) => reader.merged.file.as_ref().map(|file| &file.path),
            Some(Layer::Admin) => reader.merged.admin.as_ref().map(|admin| &admin.path),
            _ => None,
        };
        if let Some(path) = place {
            warn_if_others_may_read(reader, path);
        }
        return secret.into();
    }
    let Some(path) = section.path_of_file(&file_key) else { return Secret::default() };
    match secret_file::read(&path) {
        Ok(secret) => {
            section.show_from(&file_key, key, Shown::Text(secret.clone()).masked());
            warn_if_others_may_read(reader, &path);
            secret.into()
        }
        Err(wrong) => {
            let wrong = format!("{} {wrong}", path.display());
            section.wrong(&file_key, wrong, "give the path of a file that holds the secret and nothing else");
            Secret::default()
        }
    }
}

/// Others than the owner may read a secret.
pub(super) fn warn_if_others_may_read(reader: &ConfigReader<'_>, path: &Path) {
    if let Some(mode) = secret_file::mode_if_others_may_read(path) {
        let path = path.display();
        let warning =
            format!("{path}: holds a secret and others may read it (mode {mode:04o}); chmod 600 {path}");
        if !reader.warnings.borrow().contains(&warning) {
            reader.warn(warning);
        }
    }
}
