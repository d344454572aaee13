//! The layers, merged: built-in defaults < file < environment < command line. Knows of every value where it came from.
//!
//! `conf/postroom.toml` is the lowest layer. Tables with names of their own (`[listener.*]`, `[upstream.*]`) stand in it
//! as commented templates; each named table that a higher layer mentions gets the template's values beneath its own.

use super::Sources;
use super::build;
use super::environment::Environment;
use super::error::{ConfigError, ConfigErrors};
use super::file::{self, Broken, File};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What is in force where nobody says otherwise.
pub(super) const DEFAULTS: &str = include_str!("../../conf/postroom.toml");

/// Tables that hold tables by name.
pub(super) const NAMED: &[&str] = &["listener", "upstream"];

/// The way in that exists while none is configured.
const LOCAL_LISTENER: &str = "local";

/// From weak to strong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Layer {
    Default,
    File,
    Environment,
    CommandLine,
}

impl Layer {
    const ALL: [Layer; 4] = [Layer::Default, Layer::File, Layer::Environment, Layer::CommandLine];

    fn name(self) -> &'static str {
        match self {
            Layer::Default => "default",
            Layer::File => "file",
            Layer::Environment => "environment",
            Layer::CommandLine => "command line",
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) layer: Layer,
    /// File name, variable name, or the layer's.
    pub(super) place: String,
    pub(super) line: Option<usize>,
}

impl Origin {
    pub(super) fn error(&self, key: &str, wrong: impl Into<String>, right: impl Into<String>) -> ConfigError {
        ConfigError {
            file: Some(self.place.clone()),
            line: self.line,
            key: key.to_owned(),
            wrong: wrong.into(),
            right: right.into(),
        }
    }
}

/// What is written, all layers together.
pub(super) struct Merged {
    /// The merged values.
    pub(super) values: Dict,
    /// Every key there is, with its default; named tables hold one template each.
    pub(super) known: Dict,
    pub(super) file: Option<File>,
    /// Absolute.
    pub(super) working_dir: PathBuf,
    /// Of variables that name no key.
    pub(super) errors: Vec<ConfigError>,
    figment: Figment,
    variables: BTreeMap<String, String>,
}

impl Merged {
    /// Reads and merges everything.
    pub(super) fn gather(sources: &Sources) -> Result<Merged, ConfigErrors> {
        // Fails only where the process has no working folder, which then is of no use for anything.
        let working_dir = std::path::absolute(Path::new(".").join(&sources.working_dir)).unwrap_or_default();
        let known = known().map_err(|error| ConfigErrors::new(vec![error], None))?;
        match file::find(sources, &working_dir) {
            Ok(file) => Ok(Merged::of(sources, working_dir, known, file)),
            Err(Broken { error, rest }) => {
                let rest = Merged::of(sources, working_dir, known, rest.map(|rest| *rest));
                Err(ConfigErrors::new(vec![error], build::data_dir_alone(&rest)))
            }
        }
    }

    fn of(sources: &Sources, working_dir: PathBuf, known: Dict, file: Option<File>) -> Merged {
        let written = file.as_ref().map(|file| file.values.clone()).unwrap_or_default();
        let environment = Environment::read(&sources.environment, &written);
        let mut command_line = Dict::new();
        for (path, value) in &sources.overrides {
            insert(&mut command_line, &path.splitn(3, '.').collect::<Vec<_>>(), Value::from(value.as_str()));
        }
        let defaults = defaults(&known, [&written, &environment.values, &command_line]);
        let figment = Figment::from(Values(Layer::Default, defaults))
            .merge(Values(Layer::File, written))
            .merge(Values(Layer::Environment, environment.values))
            .merge(Values(Layer::CommandLine, command_line));
        let values =
            figment.data().ok().and_then(|mut all| all.remove(&Profile::Default)).unwrap_or_default();
        let Environment { variables, errors, .. } = environment;
        Merged { values, known, file, working_dir, errors, figment, variables }
    }

    /// Where the value at `path` came from.
    pub(super) fn origin(&self, path: &str, value: &Value) -> Origin {
        let name = self.figment.get_metadata(value.tag()).map_or("", |metadata| &metadata.name);
        let layer = Layer::ALL.into_iter().find(|layer| layer.name() == name).unwrap_or(Layer::Default);
        let (place, line) = match (layer, &self.file) {
            (Layer::File, Some(file)) => (file.path.display().to_string(), file.lines.get(path).copied()),
            (Layer::Environment, _) => {
                (self.variables.get(path).map_or(layer.name(), String::as_str).to_owned(), None)
            }
            _ => (layer.name().to_owned(), None),
        };
        Origin { layer, place, line }
    }

    /// Against which folder a relative path is meant that lies beside whatever names it.
    pub(super) fn beside(&self, origin: &Origin) -> &Path {
        match (&self.file, origin.layer) {
            (Some(file), Layer::File) => file.path.parent().unwrap_or(&self.working_dir),
            _ => &self.working_dir,
        }
    }
}

/// Every key there is: the default file with its templates taken at their word.
pub(super) fn known() -> Result<Dict, ConfigError> {
    Toml::from_str(&with_templates(DEFAULTS)).map_err(|error| ConfigError {
        file: Some(Layer::Default.name().to_owned()),
        line: None,
        key: String::new(),
        wrong: error.to_string(),
        right: "build Postroom with a sound conf/postroom.toml".to_owned(),
    })
}

/// The text with its commented settings (`#key = value`) uncommented; prose (`# text`) stays a comment.
pub(super) fn with_templates(text: &str) -> String {
    let begins_setting =
        |rest: &str| rest.starts_with(|first: char| first == '[' || first.is_ascii_lowercase());
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if begins_setting(rest) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(uncomment).collect()
}

/// The lowest layer: the defaults, and beneath each named table that the others mention a copy of its template.
fn defaults(known: &Dict, others: [&Dict; 3]) -> Dict {
    let mut defaults = known.clone();
    for table in NAMED {
        let template = template(known, table).cloned().unwrap_or_default();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for layer in others {
            if let Some(Value::Dict(_, tables)) = layer.get(*table) {
                names.extend(tables.keys().map(String::as_str));
            }
        }
        if *table == "listener" && names.is_empty() {
            names.insert(LOCAL_LISTENER);
        }
        let tables: Dict =
            names.into_iter().map(|name| (name.to_owned(), Value::from(template.clone()))).collect();
        defaults.insert((*table).to_owned(), Value::from(tables));
    }
    defaults
}

/// The one table below `table` in the tree of known keys.
pub(super) fn template<'a>(known: &'a Dict, table: &str) -> Option<&'a Dict> {
    known.get(table)?.as_dict()?.values().next()?.as_dict()
}

/// The path of `key` in the table at `path`, as an error shows it and as TOML would have it.
pub(super) fn child(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Puts a value at a path, in place of whatever is in the way.
pub(super) fn insert(values: &mut Dict, path: &[&str], value: Value) {
    let [first, rest @ ..] = path else { return };
    if rest.is_empty() {
        values.insert((*first).to_owned(), value);
        return;
    }
    let below = values.entry((*first).to_owned()).or_insert_with(|| Value::from(Dict::new()));
    if !matches!(below, Value::Dict(..)) {
        *below = Value::from(Dict::new());
    }
    if let Value::Dict(_, below) = below {
        insert(below, rest, value);
    }
}

/// A layer as figment takes it.
struct Values(Layer, Dict);

impl Provider for Values {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0.name())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.1.clone())]))
    }
}
