//! The layers, merged: built-in defaults < file < `admin.toml` < environment < command line. Knows of every value where it came from.

use super::admin_file::AdminFile;
use super::below::Below;
use super::config_file::{self, BrokenFile, ConfigFile};
use super::environment::Environment;
use super::error::ConfigError;
use super::key_path::{KeyPath, find, insert};
use super::origin::{Layer, ValueOrigin};
use super::schema::Schema;
use super::sources::Sources;
use super::text_layer;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The listener that exists while none is configured.
const DEFAULT_LISTENER: [&str; 2] = ["listener", "local"];

/// What is written, all layers together.
pub(super) struct Merged {
    pub(super) values: Dict,
    pub(super) schema: Arc<Schema>,
    pub(super) file: Option<ConfigFile>,
    /// None while nobody knows where `data_dir` is.
    pub(super) admin: Option<AdminFile>,
    /// Absolute.
    pub(super) working_dir: PathBuf,
    /// Of variables that name no key.
    pub(super) errors: Vec<ConfigError>,
    figment: Figment,
    variables: BTreeMap<KeyPath, String>,
    /// Environment and command line.
    above: [Dict; 2],
}

/// What can be told of a configuration whose file cannot be used.
pub(super) struct BrokenSources {
    pub(super) error: ConfigError,
    /// All layers, with what could be read of the file.
    pub(super) rest: Box<Merged>,
}

impl Merged {
    /// Reads and merges everything.
    pub(super) fn gather(sources: &Sources, schema: Arc<Schema>) -> Result<Merged, BrokenSources> {
        // Fails only where the process has no working folder, which then is of no use for anything.
        let working_dir = std::path::absolute(Path::new(".").join(&sources.working_dir)).unwrap_or_default();
        match config_file::find(sources, &working_dir) {
            Ok(file) => Ok(Merged::of(sources, working_dir, schema, file, None)),
            Err(BrokenFile { error, rest }) => {
                let rest = Merged::of(sources, working_dir, schema, rest.map(|rest| *rest), None);
                Err(BrokenSources { error, rest: Box::new(rest) })
            }
        }
    }

    /// The defaults, and what is given as on the command line.
    pub(super) fn of_overrides(overrides: &[(&str, &str)], schema: Arc<Schema>) -> Merged {
        let overrides = overrides.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        let sources = Sources { overrides: overrides.collect(), ..Sources::default() };
        Merged::of(&sources, PathBuf::new(), schema, None, None)
    }

    /// The same, with what verbs and pages changed.
    pub(super) fn with_admin(&self, sources: &Sources, admin: AdminFile) -> Merged {
        let Merged { schema, file, working_dir, .. } = self;
        Merged::of(sources, working_dir.clone(), schema.clone(), file.clone(), Some(admin))
    }

    fn of(
        sources: &Sources,
        working_dir: PathBuf,
        schema: Arc<Schema>,
        file: Option<ConfigFile>,
        admin: Option<AdminFile>,
    ) -> Merged {
        let in_file = file.as_ref().map(|file| file.values.clone()).unwrap_or_default();
        let changed = admin.as_ref().map(AdminFile::values).unwrap_or_default();
        // What is written, for the names of tables in it.
        let written = merge(in_file.clone(), &changed);
        let environment = Environment::read(&sources.environment, &schema, &written);
        let mut command_line = Dict::new();
        for (path, text) in &sources.overrides {
            let path = text_layer::path(&schema, path, ".", &written);
            let value = text_layer::value(&schema, &path, text);
            insert(&mut command_line, &path, value);
        }
        let default_listener = default_listener(&[&written, &environment.values, &command_line]);
        let defaults = schema.defaults(&[&written, &environment.values, &command_line, &default_listener]);
        let figment = Figment::from(Values(Layer::Default, defaults))
            .merge(Values(Layer::File, in_file))
            .merge(Values(Layer::Admin, changed))
            .merge(Values(Layer::Environment, environment.values.clone()))
            .merge(Values(Layer::CommandLine, command_line.clone()));
        let values =
            figment.data().ok().and_then(|mut all| all.remove(&Profile::Default)).unwrap_or_default();
        let Environment { variables, errors, values: in_environment } = environment;
        let above = [in_environment, command_line];
        Merged { values, schema, file, admin, working_dir, errors, figment, variables, above }
    }

    /// Where the value at `path` came from.
    pub(super) fn origin(&self, path: &KeyPath, value: &Value) -> ValueOrigin {
        let name = self.figment.get_metadata(value.tag()).map_or("", |metadata| &metadata.name);
        let layer = Layer::ALL.into_iter().find(|layer| layer.name() == name).unwrap_or(Layer::Default);
        let (place, line) = match (layer, &self.file) {
            (Layer::Admin, _) => self.admin_place(path),
            (Layer::File, Some(file)) => (file.path.display().to_string(), file.lines.get(path).copied()),
            (Layer::Environment, _) => (self.variable(path).unwrap_or(layer.name()).to_owned(), None),
            _ => (layer.name().to_owned(), None),
        };
        ValueOrigin { layer, place, line }
    }

    fn admin_place(&self, path: &KeyPath) -> (String, Option<usize>) {
        let Some(admin) = &self.admin else { return (Layer::Admin.name().to_owned(), None) };
        (admin.path.display().to_string(), admin.lines.get(path).copied())
    }

    /// What the layers below `admin.toml` say.
    pub(super) fn below(&self) -> Below<'_> {
        let [environment, command_line] = &self.above;
        let (schema, file, working_dir) = (&*self.schema, self.file.as_ref(), &*self.working_dir);
        Below { schema, file, working_dir, above: [environment, command_line] }
    }

    /// Which variable, or that the command line, gives a key, so that `admin.toml` has no say.
    pub(super) fn given_above(&self, path: &KeyPath) -> Option<String> {
        let [environment, command_line] = &self.above;
        if find(command_line, path).is_some() {
            return Some(format!("on the {}", Layer::CommandLine.name()));
        }
        find(environment, path)?;
        Some(format!("by {} in the environment", self.variable(path).unwrap_or(Layer::Environment.name())))
    }

    /// The variable that gave a value, or the list that it is an item of.
    fn variable(&self, path: &KeyPath) -> Option<&str> {
        let mut path = Some(path.clone());
        while let Some(here) = path {
            if let Some(variable) = self.variables.get(&here) {
                return Some(variable);
            }
            path = here.parent();
        }
        None
    }

    /// Against which folder a relative path is meant that lies beside whatever names it.
    pub(super) fn beside(&self, origin: &ValueOrigin) -> &Path {
        match (&self.file, origin.layer) {
            (Some(file), Layer::File) => file.path.parent().unwrap_or(&self.working_dir),
            _ => &self.working_dir,
        }
    }
}

/// Both, the second one above.
fn merge(mut all: Dict, above: &Dict) -> Dict {
    for (key, value) in above {
        match (all.get_mut(key), value) {
            (Some(Value::Dict(_, below)), Value::Dict(_, table)) => *below = merge(below.clone(), table),
            _ => drop(all.insert(key.clone(), value.clone())),
        }
    }
    all
}

/// What stands for a listener where none of the layers has one.
fn default_listener(layers: &[&Dict]) -> Dict {
    let [kind, name] = DEFAULT_LISTENER;
    let has_one = |layer: &&Dict| layer.get(kind).and_then(Value::as_dict).is_some_and(|all| !all.is_empty());
    let mut values = Dict::new();
    if !layers.iter().any(has_one) {
        insert(&mut values, &[kind, name], Dict::new().into());
    }
    values
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
