//! The configuration from outside: what is written in a folder and an environment, and what comes of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests may")]

mod admin_changes;
mod checks;
mod defaults;
pub mod drift;
mod errors;
mod holding;
mod in_force;
mod layers;
mod panics;
mod reload;
mod secrets;
mod several_changes;
mod upstreams;

use postroom::config::settings::Upstream;
use postroom::config::{ConfigError, ConfigErrors, Loaded, Sources, load};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// A working folder with what is needed to load a configuration.
struct Desk {
    folder: TempDir,
    sources: Sources,
}

impl Desk {
    /// An empty folder. A name is given, so that nobody is asked for this machine's.
    fn new() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let sources = Sources { working_dir: folder.path().to_owned(), ..Sources::default() };
        Desk { folder, sources }.variable("POSTROOM_HOSTNAME", "proxy.test")
    }

    /// With a `postroom.toml`.
    fn with(text: &str) -> Desk {
        let desk = Desk::new();
        desk.write("postroom.toml", text);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn variable(mut self, name: &str, value: &str) -> Desk {
        self.sources.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, path: &str, value: &str) -> Desk {
        self.sources.overrides.push((path.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        load(&self.sources)
    }

    /// Loads what must be right.
    #[track_caller]
    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|errors| panic!("should be right:\n{errors}"))
    }

    /// Loads what must be wrong.
    #[track_caller]
    fn errors(&self) -> Vec<ConfigError> {
        match self.load() {
            Ok(_) => panic!("should be wrong"),
            Err(errors) => errors.errors,
        }
    }

    /// Loads what must be wrong in one thing.
    #[track_caller]
    fn error(&self) -> ConfigError {
        let mut errors = self.errors();
        assert_eq!(errors.len(), 1, "{errors:#?}");
        errors.remove(0)
    }

    #[track_caller]
    fn upstream(&self, name: &str) -> Arc<Upstream> {
        let loaded = self.loaded();
        let found = loaded.settings.upstreams.iter().find(|upstream| upstream.name == name);
        found.unwrap_or_else(|| panic!("no upstream {name}")).clone()
    }
}
