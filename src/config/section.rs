//! Reading: a value is fetched by its key, brought to its type, and given its meaning.
//!
//! A value that is wrong is reported and replaced by a placeholder of its type, so that reading goes on and finds what
//! else is wrong. Nobody ever gets to see a placeholder: one error refuses the whole configuration.

use super::error::{ConfigError, ValueError, quoted};
use super::in_force::{GivenAt, InForce, Shown};
use super::key_path::KeyPath;
use super::merged::Merged;
use super::origin::{Layer, ValueOrigin};
use super::parse;
use super::schema::{Keys, NO_KEYS, SECRETS, Shape};
use super::toml_type::{TomlType, as_table};
use figment::value::{Dict, Value};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads a merged configuration and remembers what it saw.
pub(super) struct ConfigReader<'a> {
    pub(super) merged: &'a Merged,
    pub(super) errors: RefCell<Vec<ConfigError>>,
    pub(super) warnings: RefCell<Vec<String>>,
    pub(super) in_force: RefCell<InForce>,
}

impl<'a> ConfigReader<'a> {
    pub(super) fn new(merged: &'a Merged) -> ConfigReader<'a> {
        ConfigReader {
            merged,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            in_force: RefCell::new(InForce::default()),
        }
    }

    /// The keys outside of any table, and the tables.
    pub(super) fn root(&self) -> Section<'_> {
        let merged = self.merged;
        Section {
            reader: self,
            path: KeyPath::root(),
            value: None,
            written: Some(&merged.values),
            keys: merged.schema.root(),
            overrides: None,
            is_item: false,
        }
    }

    pub(super) fn warn(&self, warning: String) {
        self.warnings.borrow_mut().push(warning);
    }
}

/// One table of the configuration.
pub(super) struct Section<'a> {
    reader: &'a ConfigReader<'a>,
    path: KeyPath,
    /// What stands at the path, whatever it is.
    value: Option<&'a Value>,
    /// The table that it is.
    written: Option<&'a Dict>,
    /// The keys that it may have.
    keys: &'a Keys,
    /// The section whose values hold for keys that are not written here.
    overrides: Option<Box<Section<'a>>>,
    /// It is shown with the list that it stands in.
    is_item: bool,
}

/// An item of a list of texts and tables.
pub(super) enum ListItem<'a> {
    Text(String),
    Table(Section<'a>),
}

impl<'a> Section<'a> {
    /// The table `name` in this one. One that overrides the table of this name outside has that one's values where it
    /// says nothing itself.
    pub(super) fn section(&self, name: &str) -> Section<'a> {
        let shape = self.keys.get(name);
        let value = self.written.and_then(|written| written.get(name));
        let mut section = self.below(self.path.key(name), value, shape);
        if let Some(Shape::Overrides(_)) = shape {
            section.overrides = Some(Box::new(self.reader.root().section(name)));
        }
        section
    }

    /// The tables below `kind`, each with a name of its own, sorted by it.
    pub(super) fn named(&self, kind: &str) -> Vec<Section<'a>> {
        let (shape, path) = (self.keys.get(kind), self.path.key(kind));
        let tables = self.written.and_then(|written| written.get(kind)).and_then(as_table);
        let tables = tables.into_iter().flatten();
        tables.map(|(name, value)| self.below(path.key(name), Some(value), shape)).collect()
    }

    /// The items of a list that may hold texts and tables; those that are neither are reported.
    pub(super) fn items(&self, key: &str, form: &str) -> Vec<ListItem<'a>> {
        if let Some(overridden) = self.overridden(key) {
            return overridden.items(key, form);
        }
        let Some((value, origin)) = self.find(key) else { return Vec::new() };
        let shape = self.keys.get(key);
        self.show(key, Shown::written(value, SECRETS));
        let Some(values) = value.as_array() else {
            let texts = Vec::<String>::from_value(value, origin.layer.has_only_text());
            let texts = texts.map_err(|error| self.wrong_value(key, error, form)).unwrap_or_default();
            return texts.into_iter().map(ListItem::Text).collect();
        };
        let item = |(number, value): (usize, &'a Value)| {
            let path = self.path.key(key).item(number);
            if as_table(value).is_some() {
                let section = self.below(path, Some(value), shape);
                return Some(ListItem::Table(Section { is_item: true, ..section }));
            }
            match String::from_value(value, false) {
                Ok(text) => Some(ListItem::Text(text)),
                Err(error) => {
                    let origin = self.reader.merged.origin(&path, value);
                    self.report(origin.error(&path, error.wrong, form));
                    None
                }
            }
        };
        values.iter().enumerate().filter_map(item).collect()
    }

    fn below(&self, path: KeyPath, value: Option<&'a Value>, shape: Option<&'a Shape>) -> Section<'a> {
        Section {
            reader: self.reader,
            path,
            value,
            written: value.and_then(as_table),
            keys: shape.map_or(&NO_KEYS, Shape::keys),
            overrides: None,
            is_item: self.is_item,
        }
    }

    /// The last part of its path.
    pub(super) fn name(&self) -> &str {
        self.path.last()
    }

    /// What is written in it, whatever the names.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.written.into_iter().flat_map(|written| written.keys().map(String::as_str))
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        self.path.key(key).to_string()
    }

    /// The value as merged, and where it came from. None only where there is no such key or no table.
    pub(super) fn find(&self, key: &str) -> Option<(&'a Value, ValueOrigin)> {
        let value = self.written?.get(key)?;
        Some((value, self.reader.merged.origin(&self.path.key(key), value)))
    }

    /// The section that this one overrides, where that one's value of `key` holds.
    fn overridden(&self, key: &str) -> Option<&Section<'a>> {
        let is_written = self.written.is_some_and(|written| written.contains_key(key));
        self.overrides.as_deref().filter(|_| !is_written)
    }

    /// Where the key's value came from; the table's own place where there is none.
    pub(super) fn origin(&self, key: &str) -> ValueOrigin {
        match self.overridden(key) {
            Some(overridden) => overridden.origin(key),
            None => self.find(key).map_or_else(|| self.own_origin(), |(_, origin)| origin),
        }
    }

    fn own_origin(&self) -> ValueOrigin {
        let origin = |value| self.reader.merged.origin(&self.path, value);
        self.value.map_or_else(ValueOrigin::default_layer, origin)
    }

    /// Reports that the value of `key` is wrong.
    pub(super) fn wrong(&self, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        let origin = match self.find(key) {
            Some((_, origin)) if origin.layer != Layer::Default => origin,
            // Nobody gave the key: it is missing where its table is.
            _ => self.own_origin(),
        };
        self.report(origin.error(&self.path.key(key), wrong, right));
    }

    fn wrong_value(&self, key: &str, error: ValueError, form: &str) {
        self.wrong(key, error.wrong, error.right.unwrap_or_else(|| form.to_owned()));
    }

    /// Once: a value that several tables go by is read several times.
    fn report(&self, error: ConfigError) {
        let mut errors = self.reader.errors.borrow_mut();
        if !errors.contains(&error) {
            errors.push(error);
        }
    }

    /// Nothing wrong was found with the value of `key` so far.
    pub(super) fn is_sound(&self, key: &str) -> bool {
        let path = self.path_of(key);
        let sound = !self.reader.errors.borrow().iter().any(|error| error.key == path);
        sound && self.overridden(key).is_none_or(|overridden| overridden.is_sound(key))
    }

    /// What is shown as in force, where that is not what is written.
    pub(super) fn show(&self, key: &str, shown: Shown) {
        self.show_from(key, key, shown);
    }

    /// Nothing of the key, which may be a table, is in force.
    pub(super) fn hide(&self, key: &str) {
        let path: Vec<String> = self.path.keys().chain([key]).map(str::to_owned).collect();
        self.reader.in_force.borrow_mut().forget(&path);
    }

    /// As [`Section::show`], where another key says what is in force.
    pub(super) fn show_from(&self, giver: &str, key: &str, shown: Shown) {
        if self.is_item || self.overridden(giver).is_some() {
            return;
        }
        let origin = self.origin(giver);
        let place = || match origin.line {
            Some(line) => format!("{}:{line}", origin.place),
            None => origin.place.clone(),
        };
        let given =
            |(below, below_place)| GivenAt { layer: origin.layer.name(), place: place(), below, below_place };
        let given = match origin.layer {
            Layer::Default => None,
            Layer::Admin => Some(given(self.without_admin(key))),
            _ => Some(given((None, None))),
        };
        let path = self.path.keys().chain([key]).map(str::to_owned).collect();
        self.reader.in_force.borrow_mut().note(path, shown, given);
    }

    /// What would hold, and where it is given, without `admin.toml`. Of a secret only the place.
    fn without_admin(&self, key: &str) -> (Option<Shown>, Option<String>) {
        let (below, path) = (self.reader.merged.below(), self.path.key(key));
        let forms = [path.clone(), self.path.key(&format!("{key}_file"))];
        let place = forms.iter().find(|form| below.written(form).is_some()).map(|form| below.place(form));
        let mut keys = path.keys();
        let is_added = matches!((keys.next(), keys.next()), (Some("upstream"), Some(name)) if !below.exists("upstream", name));
        let value = below.value(&path).filter(|_| !is_added && !SECRETS.contains(&key));
        (value.map(|value| Shown::written(value, SECRETS)), place)
    }

    /// A value and its meaning. `form` says what would be right.
    pub(super) fn read<R: TomlType, T>(
        &self,
        key: &str,
        form: &str,
        placeholder: T,
        mean: impl FnOnce(R) -> Result<T, ValueError>,
    ) -> T {
        if let Some(overridden) = self.overridden(key) {
            return overridden.read(key, form, placeholder, mean);
        }
        let found = match self.find(key) {
            Some(found) => Some(found),
            // A value stands where the table should be, which is reported elsewhere.
            None => self.keys.get(key).and_then(Shape::default).map(|value| (value, self.origin(key))),
        };
        let Some((value, origin)) = found else {
            self.wrong(key, "has no default", "build Postroom with a sound conf/postroom.toml");
            return placeholder;
        };
        let meant = R::from_value(value, origin.layer.has_only_text()).and_then(|raw| {
            let shown = raw.show();
            mean(raw).map(|meant| (meant, shown))
        });
        match meant {
            Ok((meant, shown)) => {
                self.show(key, if SECRETS.contains(&key) { shown.masked() } else { shown });
                meant
            }
            Err(error) => {
                self.wrong_value(key, error, form);
                placeholder
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
        self.read(key, parse::DURATION_FORM, Duration::ZERO, |text: String| parse::duration(&text))
    }

    /// Bytes, at least `least`.
    pub(super) fn size(&self, key: &str, least: u64) -> u64 {
        self.read(key, parse::SIZE_FORM, 0, |text: String| parse::size(&text, least))
    }

    /// One of some words; `later` are words that this version does not do yet.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        placeholder: T,
        words: &[(&str, T)],
        later: &[&str],
    ) -> T {
        let choices: Vec<&str> =
            words.iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
        let or_nothing = if choices.len() < words.len() { ", or \"\"" } else { "" };
        let form = format!("give it one of {}{or_nothing}", choices.join(", "));
        self.read(key, &form, placeholder, |text: String| {
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
        let path = self.read(key, "give it a path", PathBuf::new(), |text: String| parse::path(&text));
        let path = folder.join(path);
        self.show(key, Shown::Text(path.display().to_string()));
        path
    }

    /// A path beside whatever names it, absolute; none where it is empty.
    pub(super) fn path_beside(&self, key: &str) -> Option<PathBuf> {
        let path = self.read(key, "give it a path", None, |text: String| match text.as_str() {
            "" => Ok(None),
            text => parse::path(text).map(Some),
        })?;
        let path = self.reader.merged.beside(&self.origin(key)).join(path);
        self.show(key, Shown::Text(path.display().to_string()));
        Some(path)
    }

    /// As [`Section::path_beside`], of the file that holds a secret: in force is the secret, so the path is not shown.
    pub(super) fn path_of_file(&self, key: &str) -> Option<PathBuf> {
        let (value, origin) = self.find(key)?;
        match String::from_value(value, false).and_then(|text| parse::path(&text)) {
            Ok(path) => Some(self.reader.merged.beside(&origin).join(path)),
            Err(error) => {
                self.wrong(key, error.wrong, "give it the path of a file");
                None
            }
        }
    }
}
