//! Files that were taken in as messages and may still lie in their folder.

use super::error::Pending;
use super::mail_store::MailStore;
use crate::event::Fact;
use crate::mail::Message;
use bytes::Bytes;

/// What tells a file from all others of its folder, before it and after it: a new one has another time, and a copy another
/// inode. Its name is not part of it, and neither is what changes when somebody gives it other rights or the system counts its
/// disks anew: a file that could not be removed must not become another message by that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileIdentity {
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970 of its last change.
    pub modified_s: i64,
    pub modified_ns: u32,
}

/// A file that was taken in and may still be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TakenFile {
    pub file: FileIdentity,
    /// People were told that it cannot be removed.
    pub told: bool,
}

/// Remembers which files are messages already. A crash between the commit of a message and the removal of its file makes no second
/// message. `folder` is the path of the files' folder.
pub trait TakenFiles: MailStore {
    /// As [`MailStore::put`]; the same commit remembers that the message is this file.
    ///
    /// # Errors
    /// [`super::QueueError::AlreadyTaken`] where it is another message's file: then no message is made.
    fn put_file(
        &self,
        message: Message,
        tail: Bytes,
        facts: Vec<Fact>,
        folder: &str,
        file: FileIdentity,
    ) -> Pending<'_, ()>;

    /// Those of a folder.
    fn taken_files(&self, folder: &str) -> Pending<'_, Vec<TakenFile>>;

    /// People were told that they cannot be removed.
    fn note_told(&self, folder: &str, files: Vec<FileIdentity>) -> Pending<'_, ()>;

    /// They are gone for good.
    fn forget_files(&self, folder: &str, files: Vec<FileIdentity>) -> Pending<'_, ()>;
}
