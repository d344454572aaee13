//! A folder by its descriptor: what is done in it is done in this very folder, wherever its path leads by then, and no link in
//! it is followed.

use rustix::fs::{Access, AtFlags, Dir, Gid, Mode, OFlags};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// What its owner may do with a file, and its group read.
const FOR_THE_GROUP: Mode = Mode::from_raw_mode(0o640);
const FOR_THE_OWNER: Mode = Mode::from_raw_mode(0o600);

/// An open folder.
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// Opens it, wherever its path leads.
    pub(crate) fn open(path: &Path) -> io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Folder(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Fails where this process may make no files in it, or nobody may.
    pub(crate) fn may_write(&self) -> io::Result<()> {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        Ok(rustix::fs::accessat(&self.0, ".", access, AtFlags::empty())?)
    }

    /// Makes a file that only its owner may read; fails where there is one of this name.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, FOR_THE_OWNER)?.into())
    }

    /// Lets the folder's group read a file of ours that stands in it.
    pub(crate) fn share_with_group(&self, file: &File) -> io::Result<()> {
        let group = rustix::fs::fstat(&self.0)?.st_gid;
        // A folder with the setgid bit has seen to it already.
        if rustix::fs::fstat(file)?.st_gid != group {
            rustix::fs::fchown(file, None, Some(Gid::from_raw(group)))?;
        }
        Ok(rustix::fs::fchmod(file, FOR_THE_GROUP)?)
    }

    /// Gives a file in it another name, in place of any file that has that name.
    pub(crate) fn rename(&self, old: &str, new: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, old, &self.0, new)?)
    }

    /// Removes a file, or a link, from it.
    pub(crate) fn remove(&self, name: &OsString) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name.as_os_str(), AtFlags::empty())?)
    }

    /// The names of all that is in it, in no order.
    pub(crate) fn names(&self) -> io::Result<impl Iterator<Item = OsString>> {
        let entries = Dir::read_from(&self.0)?;
        let name = |entry: rustix::fs::DirEntry| OsString::from_vec(entry.file_name().to_bytes().to_vec());
        Ok(entries.filter_map(move |entry| entry.ok().map(name)).filter(|name| name != "." && name != ".."))
    }

    /// Makes its names survive a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }
}
