//! Loading: everything is read, merged and checked.

use super::admin_file::{AdminFile, DroppedChange};
use super::admin_toml::AdminToml;
use super::error::{ConfigError, ConfigErrors};
use super::holding;
use super::in_force::InForce;
use super::merged::{BrokenSources, Merged};
use super::read_auth::Credentials;
use super::schema::Schema;
use super::section::ConfigReader;
use super::settings::{Settings, Upstream};
use super::sources::Sources;
use super::{read_settings, read_upstream};
use std::path::PathBuf;

/// A configuration without faults.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// What is allowed and may still be a mistake, one line each.
    pub warnings: Vec<String>,
    /// The file that was read. Absolute.
    pub file: Option<PathBuf>,
    /// Every key with its value, for people and programs.
    pub in_force: InForce,
    /// Changes of verbs and pages that do not hold any more.
    pub dropped: Vec<DroppedChange>,
    /// What `admin.toml` is to hold, with or without them.
    pub admin: AdminToml,
}

/// Reads, merges and checks everything. Reads files; blocks for a few seconds at worst, on a machine that has no full
/// name and a resolver that does not answer.
///
/// # Errors
/// Everything that is wrong, in one go. Where the file cannot be read or is not TOML, that alone.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let schema = Schema::built_in().map_err(|error| ConfigErrors::new(vec![error], None))?;
    let merged = Merged::gather(sources, schema).map_err(|BrokenSources { error, rest }| {
        ConfigErrors::new(vec![error], read_settings::data_dir_alone(&rest))
    })?;
    let Some(data_dir) = read_settings::data_dir_of(&merged) else {
        return meant(merged, Vec::new());
    };
    let broken = |error| ConfigErrors::new(vec![error], Some(data_dir.clone()));
    let (mut admin, mut errors) = AdminFile::read(&data_dir, &merged.schema, sources).map_err(broken)?;
    if !admin.changes.is_empty() {
        errors.extend(holding::errors_without(&merged, &admin));
    }
    let dropped = holding::drop_what_does_not_hold(&merged, sources, &mut admin, &errors);
    let made_elsewhere = admin.modes_made_elsewhere(&merged.below());
    let mut merged = merged.with_admin(sources, admin.clone());
    merged.errors.extend(errors);
    let mut loaded = meant(merged, dropped).map_err(|errors| with_remedy(errors, &admin))?;
    loaded.warnings.extend(made_elsewhere);
    Ok(loaded)
}

/// Reads what is merged.
pub(super) fn meant(merged: Merged, dropped: Vec<DroppedChange>) -> Result<Loaded, ConfigErrors> {
    let (settings, warnings, mut in_force) = read_settings::read(&merged)?;
    let admin = merged.admin.unwrap_or_else(|| AdminFile::empty(&settings.data_dir));
    in_force.file = merged.file.as_ref().map(|file| file.path.display().to_string());
    in_force.added = admin.added().map(str::to_owned).collect();
    let was = admin.text.clone();
    let is_as_read = dropped.is_empty() && !admin.is_unwritten;
    let text = if is_as_read { was.clone() } else { admin.render().into() };
    let admin = AdminToml { path: admin.path, text, was };
    Ok(Loaded { settings, warnings, file: merged.file.map(|file| file.path), in_force, dropped, admin })
}

/// What a verb or a page did is taken back by a verb.
fn with_remedy(mut errors: ConfigErrors, admin: &AdminFile) -> ConfigErrors {
    let place = admin.path.display().to_string();
    let of_admin = |error: &&mut ConfigError| error.file.as_deref() == Some(&place) && !error.key.is_empty();
    for error in errors.errors.iter_mut().filter(of_admin) {
        let key = error.key.split('[').next().unwrap_or_default();
        // Never a single key of an upstream: without its sites it would have the mail of all.
        let verb = match key.split('.').collect::<Vec<_>>()[..] {
            ["upstream", name, ..] if admin.has_added(name) => format!("upstream delete {name}"),
            ["upstream", name, ..] => format!("upstream reset {name}"),
            _ => format!("reset {key}"),
        };
        error.right += &format!("; or take it back: postroom {verb}");
    }
    errors
}

/// An upstream of which nothing is known but where it is: everything else as `conf/postroom.toml` has it for a server on another
/// machine.
pub fn default_upstream(name: &str, host: &str, port: u16) -> Upstream {
    #[expect(
        clippy::expect_used,
        reason = "conf/postroom.toml is compiled in, and every test that loads anything loads it"
    )]
    let schema = Schema::built_in().expect("conf/postroom.toml is sound");
    let merged = Merged::of_overrides(&[("upstream.new.host", "elsewhere.invalid")], schema);
    let reader = ConfigReader::new(&merged);
    #[expect(clippy::expect_used, reason = "the line above names it")]
    let section = reader.root().named("upstream").pop().expect("an upstream");
    let upstream = read_upstream::read(&reader, &section, &Credentials::default());
    Upstream { name: name.to_owned(), host: host.to_owned(), port, ..upstream }
}
