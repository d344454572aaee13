//! A secret in a file of its own, as container secrets are.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes. A file that is longer is no secret but a mistake.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// What is in the file, without the line break at its end.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(MAX_SECRET_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err("is too long for a secret".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let secret = text.trim_end_matches(['\r', '\n']);
    match secret {
        "" => Err("is empty".to_owned()),
        secret if secret.contains('\0') => Err("contains a NUL character".to_owned()),
        secret => Ok(secret.to_owned()),
    }
}

/// The rights of a file.
#[cfg(unix)]
pub(super) fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .ok()
        .filter(std::fs::Metadata::is_file)
        .map(|metadata| metadata.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
pub(super) fn mode(_: &Path) -> Option<u32> {
    None
}
