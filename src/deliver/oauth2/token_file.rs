//! `tokens.json`: refresh tokens that authorization servers gave in place of the configured ones. Only its owner may read it.
//!
//! Each stands with a hash of what was configured, so that a refresh token that is configured anew outranks what is kept.

use crate::config::Secret;
use crate::config::settings::OAuth2;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file. Without a path nothing is kept.
#[derive(Default)]
pub(super) struct TokenFile {
    path: Option<PathBuf>,
    /// One writer at a time.
    writing: Mutex<()>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// Hash of the configured token and of whom it is for.
    configured: String,
    refresh_token: String,
}

impl TokenFile {
    pub(super) fn at(path: PathBuf) -> TokenFile {
        TokenFile { path: Some(path), writing: Mutex::default() }
    }

    /// The refresh token that replaced the configured one.
    pub(super) fn find(&self, upstream: &str, oauth2: &OAuth2) -> Option<Secret> {
        let mut all = read(self.path.as_deref()?).unwrap_or_default();
        let kept = all.remove(upstream).filter(|kept| kept.configured == hash(oauth2))?;
        Some(kept.refresh_token.into())
    }

    /// Keeps it, on disk when this returns.
    pub(super) fn keep(&self, upstream: &str, oauth2: &OAuth2, token: &Secret) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = read(path).unwrap_or_default();
        let kept = Kept { configured: hash(oauth2), refresh_token: token.expose_secret().to_owned() };
        all.insert(upstream.to_owned(), kept);
        // A file of its own, for its owner alone, that takes the old one's place when it is whole.
        let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(&serde_json::to_vec_pretty(&all)?)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

fn read(path: &Path) -> Option<BTreeMap<String, Kept>> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn hash(oauth2: &OAuth2) -> String {
    let OAuth2 { token_url, client_id, refresh_token, .. } = oauth2;
    let text = [token_url, client_id, refresh_token.expose_secret()].join("\0");
    BASE64.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
