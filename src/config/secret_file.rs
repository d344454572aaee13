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

/// The rights of a file that others than its owner may read. A group that root has given a file of root's to is not meant:
/// that is how a service gets one that it may read and not write (packages, Kubernetes).
#[cfg(unix)]
pub(super) fn mode_if_others_may_read(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let given_by_root = path.metadata().is_ok_and(|file| file.uid() == 0 && file.gid() != 0);
    let others = if given_by_root { 0o004 } else { 0o044 };
    mode(path).filter(|mode| mode & others != 0)
}

#[cfg(not(unix))]
pub(super) fn mode_if_others_may_read(_: &Path) -> Option<u32> {
    None
}
