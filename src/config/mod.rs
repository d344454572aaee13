//! The configuration: *written* (merged values, held against the tree of known keys) and *meant* ([`Settings`], built
//! once, all errors at once). `conf/postroom.toml` explains each key.
//!
//! # The way of a value
//! `layers` merges defaults < file < environment < command line and knows where each value came from; `walk` finds
//! the keys that do not exist; `build` reads each key once through `table`, which brings it to its type and reports
//! what is wrong; `checks` looks at several tables together. `conf/postroom.toml` is both the lowest layer and the
//! list of known keys.
//!
//! # Failures
//! A wrong configuration is refused whole, with everything that is wrong: [`ConfigErrors`]. No secret's value is in it.
//!
//! # Limits
//! Nothing is looked up in the DNS but this machine's own full name, once, and only while `hostname` is empty.

mod build;
mod checks;
mod environment;
mod error;
mod file;
pub mod handling;
mod host;
mod hostname;
mod in_force;
mod layers;
mod raw;
mod reload;
mod secret;
pub mod settings;
mod table;
mod upstream;
mod value;
mod walk;

pub use error::{ConfigError, ConfigErrors};
pub use in_force::InForce;
pub use reload::{changes, unreloadable};
pub use settings::Settings;

use std::path::PathBuf;

/// What a configuration is made of. Nothing else is looked at, so that whoever gives this decides all.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that the user named. None: `$POSTROOM_CONFIG`, `./postroom.toml`, `/etc/postroom/postroom.toml`,
    /// whichever is there first, else no file.
    pub file: Option<PathBuf>,
    /// The process's environment.
    pub environment: Vec<(String, String)>,
    /// What relative paths are relative to that no file names.
    pub working_dir: PathBuf,
    /// Paths of keys with their values as text, from the command line: `("data_dir", "/tmp/x")`.
    pub overrides: Vec<(String, String)>,
}

/// A configuration without faults.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is meant.
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
    let merged = layers::Merged::gather(sources)?;
    let (settings, warnings, in_force) = build::build(&merged)?;
    Ok(Loaded { settings, warnings, file: merged.file.map(|file| file.path), in_force })
}
