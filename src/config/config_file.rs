//! The file: found, read, and its keys' lines known. A syntax error names the line and never quotes it, for it may hold
//! a secret.

use super::error::ConfigError;
use super::key_path::KeyPath;
use super::sources::Sources;
use figment::providers::{Format, Toml};
use figment::value::Dict;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml_edit::{ImDocument, Item, TableLike};

const SYSTEM_WIDE: &str = "/etc/postroom/postroom.toml";
const IN_WORKING_DIR: &str = "postroom.toml";

/// A configuration file that could be read.
#[derive(Clone)]
pub(super) struct ConfigFile {
    /// Absolute.
    pub(super) path: PathBuf,
    pub(super) values: Dict,
    /// Line of each key and table, from 1.
    pub(super) lines: BTreeMap<KeyPath, usize>,
}

/// A file that cannot be used.
pub(super) struct BrokenFile {
    pub(super) error: ConfigError,
    /// What can be told of it all the same: its `data_dir`.
    pub(super) rest: Option<Box<ConfigFile>>,
}

impl From<ConfigError> for BrokenFile {
    fn from(error: ConfigError) -> BrokenFile {
        BrokenFile { error, rest: None }
    }
}

/// The first of `--config`, `$POSTROOM_CONFIG`, `./postroom.toml`, `/etc/postroom/postroom.toml`. One that somebody
/// named must be there.
pub(super) fn find(sources: &Sources, working_dir: &Path) -> Result<Option<ConfigFile>, BrokenFile> {
    let variable =
        sources.environment.iter().find(|(name, value)| name == "POSTROOM_CONFIG" && !value.is_empty());
    let named = sources.file.as_deref().or(variable.map(|(_, value)| Path::new(value)));
    if let Some(named) = named {
        return read(working_dir.join(named)).map(Some);
    }
    for path in [working_dir.join(IN_WORKING_DIR), PathBuf::from(SYSTEM_WIDE)] {
        if !matches!(path.metadata(), Err(error) if error.kind() == ErrorKind::NotFound) {
            return read(path).map(Some);
        }
    }
    Ok(None)
}

/// Reads a file that must be there.
pub(super) fn read(path: PathBuf) -> Result<ConfigFile, BrokenFile> {
    let wrong = |line: Option<usize>, wrong: String, right: &str| fault(&path, line, wrong, right);
    let bytes = std::fs::read(&path).map_err(|error| {
        let right = match error.kind() {
            ErrorKind::NotFound => "give the path of a configuration file that exists",
            _ => "give a file that Postroom may read",
        };
        wrong(None, format!("cannot be read: {error}"), right)
    })?;
    of_bytes(path, bytes)
}

/// What stands, or will stand, in the file of that name.
pub(super) fn of_bytes(path: PathBuf, bytes: Vec<u8>) -> Result<ConfigFile, BrokenFile> {
    let wrong = |line: Option<usize>, wrong: String, right: &str| fault(&path, line, wrong, right);
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = line_at(error.as_bytes(), error.utf8_error().valid_up_to());
        wrong(Some(line), "is not UTF-8".to_owned(), "save the file as UTF-8")
    })?;
    match parse(&text) {
        Ok((values, lines)) => Ok(ConfigFile { path, values, lines }),
        Err((line, message)) => {
            let right = "see https://toml.io, or conf/postroom.toml for an example";
            let error = wrong(line, format!("is not TOML: {message}"), right);
            let rest = ConfigFile { path, values: data_dir(&text), lines: BTreeMap::new() };
            Err(BrokenFile { error, rest: Some(Box::new(rest)) })
        }
    }
}

fn fault(path: &Path, line: Option<usize>, wrong: String, right: &str) -> ConfigError {
    let file = Some(path.display().to_string());
    ConfigError { file, line, key: String::new(), wrong, right: right.to_owned() }
}

/// The `data_dir` of a file that is not TOML, if its own line is: then the running proxy can still be found and told.
fn data_dir(text: &str) -> Dict {
    let head = text.lines().take_while(|line| !line.trim_start().starts_with('['));
    let mut lines = head.filter(|line| line.trim_start().starts_with("data_dir"));
    lines.find_map(|line| Toml::from_str(line).ok()).unwrap_or_default()
}

type Parsed = (Dict, BTreeMap<KeyPath, usize>);

/// Values and lines, or line and message of the syntax error.
fn parse(text: &str) -> Result<Parsed, (Option<usize>, String)> {
    let document = ImDocument::parse(text).map_err(|error| {
        let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        (error.span().map(|span| line_at(text.as_bytes(), span.start)), message)
    })?;
    let values =
        Toml::from_str(text).map_err(|_| (None, "it holds a value that cannot be read".to_owned()))?;
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let mut lines = BTreeMap::new();
    note_lines(document.as_table(), &KeyPath::root(), &ends, &mut lines);
    Ok((values, lines))
}

/// `ends` is where lines end.
fn line_of(span: &Range<usize>, ends: &[usize]) -> usize {
    ends.partition_point(|end| *end < span.start) + 1
}

fn note_lines(table: &dyn TableLike, path: &KeyPath, ends: &[usize], lines: &mut BTreeMap<KeyPath, usize>) {
    for (name, item) in table.iter() {
        let path = path.key(name);
        let span = table.key(name).and_then(toml_edit::Key::span).or_else(|| item.span());
        if let Some(span) = span {
            lines.insert(path.clone(), line_of(&span, ends));
        }
        match item {
            Item::ArrayOfTables(tables) => {
                let tables = tables.iter().map(|table| (table.span(), Some(table as &dyn TableLike)));
                note_items(tables, &path, ends, lines);
            }
            Item::Value(toml_edit::Value::Array(values)) => {
                let items = values.iter().map(|value| (value.span(), inline_table(value)));
                note_items(items, &path, ends, lines);
            }
            item => {
                if let Some(below) = item.as_table_like() {
                    note_lines(below, &path, ends, lines);
                }
            }
        }
    }
}

fn note_items<'a>(
    items: impl Iterator<Item = (Option<Range<usize>>, Option<&'a dyn TableLike>)>,
    path: &KeyPath,
    ends: &[usize],
    lines: &mut BTreeMap<KeyPath, usize>,
) {
    for (number, (span, table)) in items.enumerate() {
        let path = path.item(number);
        if let Some(span) = span {
            lines.insert(path.clone(), line_of(&span, ends));
        }
        if let Some(table) = table {
            note_lines(table, &path, ends, lines);
        }
    }
}

fn inline_table(value: &toml_edit::Value) -> Option<&dyn TableLike> {
    value.as_inline_table().map(|table| table as &dyn TableLike)
}

fn line_at(text: &[u8], offset: usize) -> usize {
    text.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_know_their_lines() {
        let text =
            "a = 1\n\n[upstream.x]\nhost = \"h\"\n[upstream.\"y.z\"]\nhost = \"h\"\n[b]\nc.d = { e = 1 }\n";
        let (_, lines) = parse(text).unwrap();
        for (key, line) in [
            ("a", 1),
            ("upstream.x", 3),
            ("upstream.x.host", 4),
            ("upstream.\"y.z\".host", 6),
            ("b.c.d.e", 8),
        ] {
            let found = lines.iter().find(|(path, _)| path.to_string() == key);
            assert_eq!(found.map(|(_, line)| *line), Some(line), "{key}: {lines:?}");
        }
    }

    #[test]
    fn a_syntax_error_names_the_line_and_does_not_quote_it() {
        for text in
            ["x = 1\npassword = hunter2\n", "x = 1\npassword = \"hunter2\n", "x = 1\npassword hunter2\n"]
        {
            let (line, message) = parse(text).unwrap_err();
            assert_eq!(line, Some(2), "{text:?}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn endless_nesting_is_an_error() {
        for text in [
            "a.".repeat(100_000) + "a = 1",
            "a=".to_owned() + &"[".repeat(100_000),
            "[".to_owned() + &"a.".repeat(100_000) + "a]",
        ] {
            assert!(parse(&text).is_err());
        }
    }
}
