//! The folders of the archive, one for each day: which there are, and their removal. All of it blocks.

use super::sent_mail::Day;
use crate::mail::QueueId;
use std::io;
use std::path::Path;

/// Files that are removed before other work goes on.
const FILES_AT_ONCE: usize = 500;

/// The days that there is a folder of.
pub(super) fn day_folders(folder: &Path) -> io::Result<Vec<Day>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut days = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            days.extend(entry.file_name().to_str().and_then(|name| name.parse::<Day>().ok()));
        }
    }
    Ok(days)
}

/// What a removal came to.
pub(super) enum Removed {
    /// There may be more.
    Some,
    All,
    AllButForeign {
        removed: usize,
        foreign: usize,
    },
}

/// Removes some files of a day, and the folder when it is empty.
pub(super) fn remove_some(folder: &Path) -> io::Result<Removed> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removed::All),
        entries => entries?,
    };
    let (mut removed, mut foreign) = (0, 0);
    for entry in entries {
        let entry = entry?;
        if !is_ours(&entry.file_name().to_string_lossy()) || !entry.file_type()?.is_file() {
            foreign += 1;
            continue;
        }
        std::fs::remove_file(entry.path())?;
        removed += 1;
        if removed == FILES_AT_ONCE {
            return Ok(Removed::Some);
        }
    }
    if foreign > 0 {
        return Ok(Removed::AllButForeign { removed, foreign });
    }
    std::fs::remove_dir(folder)?;
    Ok(Removed::All)
}

fn is_ours(name: &str) -> bool {
    name.strip_suffix(".eml").is_some_and(|id| id.parse::<QueueId>().is_ok_and(|read| read.to_string() == id))
}
