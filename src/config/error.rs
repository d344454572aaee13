//! What is wrong with a configuration: whose fault, where, what, and what would be right. Never a secret's value.

use crate::mail::printable;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ConfigError {
    /// The file, the environment variable, `command line` or `default`; none where it is about the whole.
    pub file: Option<String>,
    /// Line in that file, from 1, where it is known.
    pub line: Option<usize>,
    /// Path of the key, for example `limits.recipients`; empty where it is about the whole file.
    pub key: String,
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl fmt::Display for ConfigError {
    /// One line, whatever the names and values in it hold.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConfigError { file, line, key, wrong, right } = self;
        let mut text = String::new();
        if let Some(file) = file {
            text += file;
            if let Some(line) = line {
                text += &format!(":{line}");
            }
            text += ": ";
        }
        if !key.is_empty() {
            text += &format!("{key}: ");
        }
        text += &format!("{wrong}; {right}");
        out.write_str(&printable(&text))
    }
}

/// Everything that is wrong, in the order of the places it is to be put right at. Never empty. Serialized it is a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct ConfigErrors {
    pub errors: Vec<ConfigError>,
    /// The folder that is meant all the same, where that can be told: the running proxy is found in it.
    #[serde(skip)]
    pub data_dir: Option<PathBuf>,
}

impl ConfigErrors {
    /// Puts them in order, each once.
    pub(crate) fn new(all: Vec<ConfigError>, data_dir: Option<PathBuf>) -> ConfigErrors {
        let mut errors: Vec<ConfigError> = Vec::new();
        for error in all {
            if !errors.contains(&error) {
                errors.push(error);
            }
        }
        errors.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        ConfigErrors { errors, data_dir }
    }

    /// A key whose value is sound and cannot be put into effect on this machine.
    pub(crate) fn one(key: &str, what: impl fmt::Display, right: &str) -> ConfigErrors {
        let (wrong, right) = (what.to_string(), right.to_owned());
        let error = ConfigError { file: None, line: None, key: key.to_owned(), wrong, right };
        ConfigErrors { errors: vec![error], data_dir: None }
    }
}

impl fmt::Display for ConfigErrors {
    /// One line each.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.errors.iter().enumerate() {
            if number > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// What is wrong with a value, before anybody knows where it came from.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct ValueError {
    pub(super) wrong: String,
    /// None: the key's usual form says it.
    pub(super) right: Option<String>,
}

impl ValueError {
    pub(super) fn with_hint(wrong: impl Into<String>, right: impl Into<String>) -> ValueError {
        ValueError { wrong: wrong.into(), right: Some(right.into()) }
    }
}

impl From<String> for ValueError {
    fn from(wrong: String) -> ValueError {
        ValueError { wrong, right: None }
    }
}

impl From<&str> for ValueError {
    fn from(wrong: &str) -> ValueError {
        ValueError::from(wrong.to_owned())
    }
}

/// A value as an error shows it: quoted, on one line, of at most 80 characters.
pub(super) fn quoted(text: &str) -> String {
    const MAX_QUOTED: usize = 80;
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
