//! What happens in a folder, told by the system: files that were closed after writing, or renamed to there. Only Linux tells;
//! elsewhere whoever asks looks for themselves.

use std::ffi::OsString;
use std::io;
use std::path::Path;

/// What has happened since it was asked last.
#[derive(Debug, Default)]
pub(crate) struct FolderChanges {
    /// Files that were written and closed.
    pub(crate) closed: Vec<OsString>,
    /// Files that came with their names.
    pub(crate) renamed: Vec<OsString>,
    /// More has happened than could be told, or the folder is no longer where it was.
    pub(crate) look_again: bool,
}

#[cfg(target_os = "linux")]
impl FolderChanges {
    fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.renamed.is_empty() && !self.look_again
    }
}

/// A folder that is watched.
pub(crate) struct FolderWatch(#[cfg(target_os = "linux")] tokio::net::unix::pipe::Receiver);

#[cfg(target_os = "linux")]
impl FolderWatch {
    /// From now on. Must be called within a runtime.
    pub(crate) fn new(path: &Path) -> io::Result<FolderWatch> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let wanted = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        add_watch(&watch, path, wanted)?;
        // It is no pipe, but is read like one.
        Ok(FolderWatch(tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(watch)?))
    }

    /// Waits until something happens. May be dropped while it waits.
    pub(crate) async fn changes(&self) -> io::Result<FolderChanges> {
        loop {
            self.0.readable().await?;
            match self.0.try_io(|| self.read()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    /// All that has happened; would block where nothing has.
    fn read(&self) -> io::Result<FolderChanges> {
        use rustix::fs::inotify::{ReadFlags, Reader};
        use std::os::unix::ffi::OsStringExt;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut changes = FolderChanges::default();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::WOULDBLOCK) if !changes.is_empty() => return Ok(changes),
                Err(error) => return Err(error.into()),
            };
            let name = event.file_name().map(|name| OsString::from_vec(name.to_bytes().to_vec()));
            if event.events().contains(ReadFlags::CLOSE_WRITE) {
                changes.closed.extend(name);
            } else if event.events().contains(ReadFlags::MOVED_TO) {
                changes.renamed.extend(name);
            } else {
                changes.look_again = true;
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl FolderWatch {
    pub(crate) fn new(_: &Path) -> io::Result<FolderWatch> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) async fn changes(&self) -> io::Result<FolderChanges> {
        std::future::pending().await
    }
}
