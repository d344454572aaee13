//! What `admin.toml` is to hold, for whoever writes it.

use super::secret::Secret;
use secrecy::ExposeSecret;
use std::path::PathBuf;

/// What `admin.toml` is to hold.
#[derive(Clone, Debug)]
pub struct AdminToml {
    /// Absolute.
    pub path: PathBuf,
    /// Holds secrets.
    pub text: Secret,
    /// What it held when it was read; empty where there was none.
    pub was: Secret,
}

impl AdminToml {
    /// Whether the file still is as it was read.
    pub fn is_as_it_was(&self) -> bool {
        std::fs::read(&self.path).unwrap_or_default() == self.was.expose_secret().as_bytes()
    }
}
