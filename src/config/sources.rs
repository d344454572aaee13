//! What a configuration is made of.

use super::admin_toml::AdminToml;
use std::path::PathBuf;

/// Everything that is read. Nothing else is looked at, so that whoever gives this decides all.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that the user named. None: `$POSTROOM_CONFIG`, `./postroom.toml`, `/etc/postroom/postroom.toml`,
    /// whichever is there first, else no file.
    pub file: Option<PathBuf>,
    pub environment: Vec<(String, String)>,
    /// What relative paths are relative to that no file names.
    pub working_dir: PathBuf,
    /// Paths of keys with their values as text, from the command line: `("data_dir", "/tmp/x")`.
    pub overrides: Vec<(String, String)>,
    /// What `admin.toml` was to hold and could not be written: it stands for the file as long as that is what it was.
    pub unwritten: Option<AdminToml>,
}
