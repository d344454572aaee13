//! Loading: everything is read, merged and checked.

use super::error::ConfigErrors;
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
    let (settings, warnings, in_force) = read_settings::read(&merged)?;
    Ok(Loaded { settings, warnings, file: merged.file.map(|file| file.path), in_force })
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
