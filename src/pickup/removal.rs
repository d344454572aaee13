//! Removes files whose messages are stored.

use super::file_list::identity;
use crate::queue::FileIdentity;
use crate::unix::folder::Folder;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;

/// What became of files that were to be removed. One that has another name now is in neither list: the next look finds it.
#[derive(Default)]
pub(super) struct Removal {
    pub(super) removed: HashSet<FileIdentity>,
    /// Those that could not be removed, and why.
    pub(super) failed: Vec<(FileIdentity, OsString, String)>,
}

/// Removes what still is the file that it was.
pub(super) fn remove_all(folder: &Folder, files: Vec<(FileIdentity, OsString)>) -> io::Result<Removal> {
    let mut removal = Removal::default();
    for (file, name) in files {
        if folder.facts(&name).is_ok_and(|facts| identity(&facts) != file) {
            continue;
        }
        match folder.remove(&name) {
            Ok(()) => _ = removal.removed.insert(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => removal.failed.push((file, name, error.to_string())),
        }
    }
    // What is forgotten must not come back with a power cut.
    if !removal.removed.is_empty() {
        folder.sync()?;
    }
    Ok(removal)
}
