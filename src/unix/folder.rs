//! A folder by its descriptor: what is done in it is done in this very folder, wherever its path leads by then, and no link in
//! it is followed.

use rustix::fs::{Access, AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags};
use std::ffi::{OsStr, OsString};
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
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<File> {
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
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// The names of all that is in it, in no order. Nothing comes behind an error.
    pub(crate) fn names(&self) -> io::Result<impl Iterator<Item = io::Result<OsString>>> {
        let entries = Dir::read_from(&self.0)?;
        let name = |entry: rustix::fs::DirEntry| OsString::from_vec(entry.file_name().to_bytes().to_vec());
        let names = entries.map(move |entry| Ok(entry.map(name)?));
        Ok(names.filter(|name| !name.as_ref().is_ok_and(|name| name == "." || name == "..")))
    }

    /// Makes its names survive a power cut, where its file system can do that: some, of networks, cannot for folders.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.0) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What the system says of something in a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileFacts {
    pub(crate) inode: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// Seconds since 1970, and nanoseconds, of the last change of its content.
    pub(crate) modified: (i64, u32),
    /// The same of any change.
    pub(crate) changed: (i64, u32),
    /// Names that it has.
    pub(crate) links: u64,
    pub(crate) kind: FileKind,
}

/// What something in a folder is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileKind {
    Regular,
    Folder,
    Link,
    /// A named pipe, a socket, a device.
    Other,
}

impl FileFacts {
    /// Of an open file.
    pub(crate) fn of(file: &File) -> io::Result<FileFacts> {
        Ok(FileFacts::from(rustix::fs::fstat(file)?))
    }
}

impl From<rustix::fs::Stat> for FileFacts {
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "types differ between systems")]
    fn from(stat: rustix::fs::Stat) -> FileFacts {
        let time = |seconds: i64, nanoseconds: i64| (seconds, u32::try_from(nanoseconds).unwrap_or(0));
        FileFacts {
            inode: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: time(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: time(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            links: u64::from(stat.st_nlink),
            kind: match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => FileKind::Regular,
                FileType::Directory => FileKind::Folder,
                FileType::Symlink => FileKind::Link,
                _ => FileKind::Other,
            },
        }
    }
}

impl Folder {
    /// What tells this folder from others, as long as it is open.
    pub(crate) fn number(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.0)?;
        #[allow(clippy::unnecessary_cast, reason = "types differ between systems")]
        Ok((stat.st_dev as u64, stat.st_ino as u64))
    }

    /// What is there under that name; of a link the link itself.
    pub(crate) fn facts(&self, name: &OsStr) -> io::Result<FileFacts> {
        Ok(FileFacts::from(rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// Opens a file for reading. Follows no link and waits for nobody at the other end of a pipe.
    pub(crate) fn open_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::empty())?.into())
    }

    /// The folder of that name in it, which is made where it is missing. A link to one is none.
    pub(crate) fn folder(&self, name: &str) -> io::Result<Folder> {
        match rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o770)) {
            Err(error) if error != rustix::io::Errno::EXIST => return Err(error.into()),
            _ => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Folder(rustix::fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// Moves something to another folder, where nothing may have its new name.
    pub(crate) fn move_to(&self, name: &OsStr, other: &Folder, new: &OsStr) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        Ok(rustix::fs::renameat_with(&self.0, name, &other.0, new, flags)?)
    }
}
