//! A file that takes the place of another whole: it is on disk before it has the name, so that a process that is killed, or a
//! machine that goes down, leaves the old one or the new one.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// On disk, under another name.
pub(crate) struct StagedFile {
    staged: PathBuf,
    path: PathBuf,
}

impl StagedFile {
    /// Writes it beside its place, for the owner of the folder alone. One at a time: what an earlier one has left is replaced.
    pub(crate) fn write(path: &Path, text: &str) -> io::Result<StagedFile> {
        let mut staged = path.to_owned().into_os_string();
        staged.push(".new");
        let staged = PathBuf::from(staged);
        match std::fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = super::create_private_file(&staged)?;
        let staged = StagedFile { staged, path: path.to_owned() };
        super::give_to_owner_of(staged.folder(), &file)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(staged)
    }

    /// Takes its place. Where the folder cannot be synced it has done so, and a machine that goes down may undo it.
    pub(crate) fn commit(self) -> io::Result<()> {
        std::fs::rename(&self.staged, &self.path)?;
        if let Err(error) = File::open(self.folder()).and_then(|folder| folder.sync_all()) {
            tracing::error!("{} cannot be synced: {error}", self.folder().display());
        }
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}

impl Drop for StagedFile {
    /// Nothing is there any more once it has taken its place.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.staged);
    }
}
