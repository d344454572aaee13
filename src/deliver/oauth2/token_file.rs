//! `tokens.json`: refresh tokens that authorization servers gave in place of the configured ones. Only its owner may read it.
//!
//! Each stands with a hash of what was configured, so that a refresh token that is configured anew outranks what is kept.

use crate::config::Secret;
use crate::config::settings::OAuth2;
use crate::unix::staged_file::StagedFile;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
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

    /// The refresh token that replaced the configured one. Waits for the disk.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is not what was written.
    pub(super) fn find(&self, upstream: &str, oauth2: &OAuth2) -> io::Result<Option<Secret>> {
        let Some(path) = &self.path else { return Ok(None) };
        let kept = read(path)?.remove(upstream).filter(|kept| kept.configured == hash(oauth2));
        Ok(kept.map(|kept| kept.refresh_token.into()))
    }

    /// Keeps it, on disk when this returns. Waits for the disk. What is damaged is kept beside it, for its owner to look at.
    pub(super) fn keep(&self, upstream: &str, oauth2: &OAuth2, token: &Secret) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = match read(path) {
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                std::fs::rename(path, path.with_extension("json.damaged"))?;
                BTreeMap::new()
            }
            // The tokens of the other upstreams are not to be lost because of a disk that fails for a moment.
            all => all?,
        };
        let kept = Kept { configured: hash(oauth2), refresh_token: token.expose_secret().to_owned() };
        all.insert(upstream.to_owned(), kept);
        StagedFile::write(path, &serde_json::to_string_pretty(&all)?)?.commit()
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Kept>> {
    match std::fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn hash(oauth2: &OAuth2) -> String {
    let OAuth2 { token_url, client_id, refresh_token, .. } = oauth2;
    let text = [token_url, client_id, refresh_token.expose_secret()].join("\0");
    BASE64.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
