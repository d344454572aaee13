//! Reading: a value is fetched by its key, brought to its type, and given its meaning.
//!
//! A value that is wrong is reported and replaced by a stand-in of its type, so that reading goes on and finds what
//! else is wrong. Nobody ever gets to see a stand-in: one error refuses the whole configuration.

use super::error::{ConfigError, Fault, quoted};
use super::in_force::{InForce, Shown};
use super::layers::{Layer, Merged, Origin, child, template};
use super::raw::Raw;
use super::value;
use super::walk::SECRETS;
use figment::value::{Dict, Value};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads a merged configuration and remembers what it saw.
pub(super) struct Reader<'a> {
    pub(super) merged: &'a Merged,
    pub(super) errors: RefCell<Vec<ConfigError>>,
    pub(super) warnings: RefCell<Vec<String>>,
    pub(super) in_force: RefCell<InForce>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(merged: &'a Merged) -> Reader<'a> {
        Reader {
            merged,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            in_force: RefCell::new(InForce::default()),
        }
    }

    /// The keys outside of any table.
    pub(super) fn root(&self) -> Table<'_> {
        let values = Some(&self.merged.values);
        Table { reader: self, path: Vec::new(), values, defaults: Some(&self.merged.known) }
    }

    /// A table that has one name for all.
    pub(super) fn table(&self, name: &str) -> Table<'_> {
        let values = self.merged.values.get(name).and_then(Value::as_dict);
        let defaults = self.merged.known.get(name).and_then(Value::as_dict);
        Table { reader: self, path: vec![name.to_owned()], values, defaults }
    }

    /// The tables below `kind`, each with a name of its own, sorted by it.
    pub(super) fn tables(&self, kind: &str) -> Vec<Table<'_>> {
        let defaults = template(&self.merged.known, kind);
        let all = self.merged.values.get(kind).and_then(Value::as_dict).into_iter().flatten();
        all.map(|(name, value)| {
            let path = vec![kind.to_owned(), name.clone()];
            Table { reader: self, path, values: value.as_dict(), defaults }
        })
        .collect()
    }

    pub(super) fn warn(&self, warning: String) {
        self.warnings.borrow_mut().push(warning);
    }
}

/// One table of the configuration.
pub(super) struct Table<'a> {
    reader: &'a Reader<'a>,
    path: Vec<String>,
    values: Option<&'a Dict>,
    defaults: Option<&'a Dict>,
}

impl<'a> Table<'a> {
    /// The last part of its path.
    pub(super) fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    /// What is written in it, whatever the names.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.values.into_iter().flat_map(|values| values.keys().map(String::as_str))
    }

    fn own_path(&self) -> String {
        self.path.iter().fold(String::new(), |path, part| child(&path, part))
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        child(&self.own_path(), key)
    }

    /// The value as merged, and where it came from. None only where there is no such key or no table.
    pub(super) fn find(&self, key: &str) -> Option<(&'a Value, Origin)> {
        let value = self.values?.get(key)?;
        Some((value, self.reader.merged.origin(&self.path_of(key), value)))
    }

    /// Where the key's value came from; the table's own place where there is none.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.find(key).map_or_else(|| self.own_origin(), |(_, origin)| origin)
    }

    fn own_origin(&self) -> Origin {
        let merged = self.reader.merged;
        let mut values = Some(&merged.values);
        let mut found = None;
        for part in &self.path {
            found = values.and_then(|values| values.get(part));
            values = found.and_then(Value::as_dict);
        }
        let nowhere = Origin { layer: Layer::Default, place: "default".to_owned(), line: None };
        found.map_or(nowhere, |value| merged.origin(&self.own_path(), value))
    }

    /// Reports that the value of `key` is wrong.
    pub(super) fn wrong(&self, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        let origin = match self.find(key) {
            Some((_, origin)) if origin.layer != Layer::Default => origin,
            // Nobody gave the key: it is missing where its table is.
            _ => self.own_origin(),
        };
        self.reader.errors.borrow_mut().push(origin.error(&self.path_of(key), wrong, right));
    }

    /// Nothing wrong was found with the value of `key` so far.
    pub(super) fn is_sound(&self, key: &str) -> bool {
        let path = self.path_of(key);
        !self.reader.errors.borrow().iter().any(|error| error.key == path)
    }

    /// What is shown as in force, where that is not what is written.
    pub(super) fn show(&self, key: &str, shown: Shown) {
        self.show_from(key, key, shown);
    }

    /// The same, where another key says what is in force.
    pub(super) fn show_from(&self, giver: &str, key: &str, shown: Shown) {
        let origin = self.origin(giver);
        let place = match (origin.layer, origin.line) {
            (Layer::Default, _) => None,
            (_, Some(line)) => Some(format!("{}:{line}", origin.place)),
            (_, None) => Some(origin.place),
        };
        let path = self.path.iter().map(String::as_str).chain([key]).map(str::to_owned).collect();
        self.reader.in_force.borrow_mut().note(path, shown, place);
    }

    /// A value and its meaning. `form` says what would be right.
    pub(super) fn read<R: Raw, T>(
        &self,
        key: &str,
        form: &str,
        stand_in: T,
        mean: impl FnOnce(R) -> Result<T, Fault>,
    ) -> T {
        let found = match self.find(key) {
            Some(found) => Some(found),
            // A value stands where the table should be, which is reported elsewhere.
            None => {
                self.defaults.and_then(|defaults| defaults.get(key)).map(|value| (value, self.origin(key)))
            }
        };
        let Some((value, origin)) = found else {
            self.wrong(key, "has no default", "build Postroom with a sound conf/postroom.toml");
            return stand_in;
        };
        let from_text = matches!(origin.layer, Layer::Environment | Layer::CommandLine);
        let meant = R::of(value, from_text).and_then(|raw| {
            let shown = raw.show();
            mean(raw).map(|meant| (meant, shown))
        });
        match meant {
            Ok((meant, shown)) => {
                self.show(key, if SECRETS.contains(&key) { shown.masked() } else { shown });
                meant
            }
            Err(fault) => {
                self.wrong(key, fault.wrong, fault.right.unwrap_or_else(|| form.to_owned()));
                stand_in
            }
        }
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.read(key, "give it true or false", false, Ok)
    }

    /// A whole number within bounds, which `T` can hold.
    pub(super) fn number<T: TryFrom<i64> + Default>(&self, key: &str, least: i64, most: i64) -> T {
        let form = format!("give it a number from {least} to {most}");
        self.read(key, &form, T::default(), |number: i64| match T::try_from(number) {
            Ok(meant) if (least..=most).contains(&number) => Ok(meant),
            _ if number < least => Err(format!("{number} is too small").into()),
            _ => Err(format!("{number} is too large").into()),
        })
    }

    pub(super) fn duration(&self, key: &str) -> Duration {
        self.read(key, value::DURATION_FORM, Duration::ZERO, |text: String| value::duration(&text))
    }

    /// Bytes, at least `least`.
    pub(super) fn size(&self, key: &str, least: u64) -> u64 {
        self.read(key, value::SIZE_FORM, 0, |text: String| value::size(&text, least))
    }

    /// One of some words; `later` are words that this version does not do yet.
    pub(super) fn choice<T: Copy>(&self, key: &str, stand_in: T, words: &[(&str, T)], later: &[&str]) -> T {
        let choices: Vec<&str> =
            words.iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
        let or_nothing = if choices.len() < words.len() { ", or \"\"" } else { "" };
        let form = format!("give it one of {}{or_nothing}", choices.join(", "));
        self.read(key, &form, stand_in, |text: String| {
            if let Some((_, meant)) = words.iter().find(|(word, _)| *word == text) {
                return Ok(*meant);
            }
            Err(match later.contains(&text.as_str()) {
                true => {
                    format!("{} is not in this version of Postroom: it does not do that yet", quoted(&text))
                }
                false => format!("{} is unknown here", quoted(&text)),
            }
            .into())
        })
    }

    /// A path below `folder`, absolute.
    pub(super) fn path_under(&self, key: &str, folder: &Path) -> PathBuf {
        let path = self.read(key, "give it a path", PathBuf::new(), |text: String| value::path(&text));
        let path = folder.join(path);
        self.show(key, Shown::Text(path.display().to_string()));
        path
    }

    /// A path beside whatever names it, absolute; none where it is empty.
    pub(super) fn path_beside(&self, key: &str) -> Option<PathBuf> {
        let path = self.read(key, "give it a path", None, |text: String| match text.as_str() {
            "" => Ok(None),
            text => value::path(text).map(Some),
        })?;
        let path = self.reader.merged.beside(&self.origin(key)).join(path);
        self.show(key, Shown::Text(path.display().to_string()));
        Some(path)
    }

    /// As [`Table::path_beside`], of the file that holds a secret: in force is the secret, so the path is not shown.
    pub(super) fn path_of_file(&self, key: &str) -> Option<PathBuf> {
        let (value, origin) = self.find(key)?;
        match String::of(value, false).and_then(|text| value::path(&text)) {
            Ok(path) => Some(self.reader.merged.beside(&origin).join(path)),
            Err(fault) => {
                self.wrong(key, fault.wrong, "give it the path of a file");
                None
            }
        }
    }
}
