//! Why a queue file was not opened, with what to do about it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why the queue file was not opened. Each names the file, the reason and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{0}: another process has this queue file open; stop the other postroom, or give this one its own data_dir"
    )]
    InUse(PathBuf),
    /// There is no queue file, and it was to be opened for reading only.
    #[error("{0}: there is no queue file; it is made when `postroom serve` first starts")]
    Missing(PathBuf),
    /// The file is no queue file, or is damaged.
    #[error(
        "{file}: {reason}; nothing was changed: restore the file from a backup, or move it away to start with an \
         empty queue (the mail in it is then not sent)"
    )]
    Damaged {
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer Postroom wrote it.
    #[error(
        "{file}: written by a newer postroom (format {found}, this one reads {known}); install that version again"
    )]
    Newer {
        file: PathBuf,
        found: u32,
        /// The newest format that this program reads.
        known: u32,
    },
    /// The system refused an operation on the file.
    #[error("{file}: cannot {action}: {source}; check that the folder exists, its owner and the free space")]
    Io {
        file: PathBuf,
        action: &'static str,
        /// The error of the system.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn damaged(file: &Path, error: impl std::fmt::Display) -> OpenError {
        OpenError::Damaged {
            file: file.to_owned(),
            reason: format!("the queue file cannot be read: {error}"),
        }
    }

    pub(super) fn no_thread(source: io::Error) -> OpenError {
        OpenError::Io { file: PathBuf::from("(queue)"), action: "start the writer's thread", source }
    }
}

/// Whether redb reports by this error that the bytes are no database, rather than that the system refuses to read them.
pub(super) fn is_about_content(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}
