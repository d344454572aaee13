//! What a folder is waited for: what the system tells of it, and the time at which files are looked at again.

use crate::clock::Clock;
use crate::unix::folder_watch::{FolderChanges, FolderWatch};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A folder that the system tells of.
pub(super) struct Watched {
    watch: FolderWatch,
    /// Which folder it is.
    pub(super) number: (u64, u64),
}

impl Watched {
    /// None where the system cannot tell.
    pub(super) fn new(path: &Path, number: (u64, u64)) -> Option<Watched> {
        FolderWatch::new(path).ok().map(|watch| Watched { watch, number })
    }
}

/// What the system tells; nothing where it cannot.
pub(super) async fn changes(watch: &Option<Watched>) -> io::Result<FolderChanges> {
    match watch {
        Some(watched) => watched.watch.changes().await,
        None => std::future::pending().await,
    }
}

/// Until that time has come, if there is one (monotonic).
pub(super) async fn reached(clock: &dyn Clock, time: Option<Duration>) {
    match time {
        Some(time) => clock.sleep_until(time).await,
        None => std::future::pending().await,
    }
}
