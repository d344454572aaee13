//! Which files of a folder are complete, and in which order they are taken: by the time of their last change, then by name.

use crate::queue::FileIdentity;
use crate::unix::folder::{FileFacts, FileKind, Folder};
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::time::Duration;

/// A file that nobody has told of is complete when it has not changed for that long.
const COMPLETE_AFTER: Duration = Duration::from_secs(10);
/// Files that are looked at in one go: memory does not follow their number. The oldest come first.
const MOST_LISTED: usize = 10_000;

/// A file that may be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FoundFile {
    pub(super) name: OsString,
    pub(super) facts: FileFacts,
}

impl FoundFile {
    fn order(&self) -> ((i64, u32), &OsStr) {
        (self.facts.modified, &self.name)
    }
}

impl PartialOrd for FoundFile {
    fn partial_cmp(&self, other: &FoundFile) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FoundFile {
    fn cmp(&self, other: &FoundFile) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// What tells a file from others of its folder.
pub(super) fn identity(facts: &FileFacts) -> FileIdentity {
    let FileFacts { inode, size, modified: (modified_s, modified_ns), .. } = *facts;
    FileIdentity { inode, size, modified_s, modified_ns }
}

/// Names that mean a message: `*.eml`, in any encoding. Those of hidden files are left to whoever writes them.
pub(super) fn is_meant(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    let ending = bytes.len().checked_sub(4).map(|at| &bytes[at..]);
    !bytes.starts_with(b".") && ending.is_some_and(|ending| ending.eq_ignore_ascii_case(b".eml"))
}

/// What is in a folder.
pub(super) struct FolderListing {
    /// The oldest files that are meant, but for those that were to be skipped.
    pub(super) files: Vec<FoundFile>,
    /// The names of these.
    pub(super) skipped: HashMap<FileIdentity, OsString>,
    /// Why some of what is in the folder may be missing here.
    pub(super) incomplete: Option<io::Error>,
}

/// Looks at the files of the folder.
pub(super) fn list(folder: &Folder, skips: &HashSet<FileIdentity>) -> io::Result<FolderListing> {
    let mut oldest = BinaryHeap::new();
    let mut skipped = HashMap::new();
    let mut incomplete = None;
    for name in folder.names()? {
        let found = name.and_then(|name| {
            // One that is known may have got any name.
            let matters = is_meant(&name) || !skips.is_empty();
            Ok(if matters { Some((folder.facts(&name)?, name)) } else { None })
        });
        let (facts, name) = match found {
            Ok(Some((facts, name))) if facts.kind != FileKind::Folder => (facts, name),
            Ok(_) => continue,
            // It is gone again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                incomplete = Some(error);
                continue;
            }
        };
        if skips.contains(&identity(&facts)) {
            skipped.insert(identity(&facts), name);
        } else if is_meant(&name) {
            oldest.push(FoundFile { name, facts });
            if oldest.len() > MOST_LISTED {
                oldest.pop();
            }
        }
    }
    Ok(FolderListing { files: oldest.into_sorted_vec(), skipped, incomplete })
}

/// The files of these names that are there, in their order.
pub(super) fn find(folder: &Folder, names: impl IntoIterator<Item = OsString>) -> Vec<FoundFile> {
    let found = |name: OsString| Some(FoundFile { facts: folder.facts(&name).ok()?, name });
    let mut files: Vec<FoundFile> = names.into_iter().filter_map(found).collect();
    files.retain(|file| file.facts.kind != FileKind::Folder);
    files.sort();
    files
}

/// Since when files look as they do.
#[derive(Default)]
pub(super) struct Waiting(HashMap<OsString, (FileFacts, Duration)>);

impl Waiting {
    /// Those of a whole listing that are complete now (monotonic). What is not listed any more is forgotten.
    pub(super) fn complete(&mut self, listed: Vec<FoundFile>, now: Duration) -> Vec<FoundFile> {
        let mut before = std::mem::take(&mut self.0);
        let is_complete = |file: &FoundFile| {
            let same = before.remove(&file.name).filter(|(facts, _)| *facts == file.facts);
            let since = same.map_or(now, |(_, since)| since);
            self.0.insert(file.name.clone(), (file.facts, since));
            now.saturating_sub(since) >= COMPLETE_AFTER
        };
        listed.into_iter().filter(is_complete).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, modified: (i64, u32), size: u64) -> FoundFile {
        let facts =
            FileFacts { inode: 1, size, modified, changed: modified, links: 1, kind: FileKind::Regular };
        FoundFile { name: name.into(), facts }
    }

    #[test]
    fn what_has_not_changed_for_ten_seconds_is_complete() {
        let mut waiting = Waiting::default();
        let mut at = |seconds, size| {
            waiting.complete(vec![file("a.eml", (1, 0), size)], Duration::from_secs(seconds)).len()
        };
        assert_eq!((at(100, 1), at(109, 1), at(110, 1)), (0, 0, 1));
        assert_eq!((at(111, 2), at(120, 2), at(121, 2)), (0, 0, 1));
        assert!(waiting.complete(Vec::new(), Duration::from_secs(130)).is_empty() && waiting.0.is_empty());
    }

    #[test]
    fn files_are_in_order_of_time_then_name() {
        let mut files =
            [file("c", (2, 1), 1), file("b", (2, 0), 1), file("a", (2, 0), 1), file("z", (1, 9), 1)];
        files.sort();
        assert_eq!(files.map(|file| file.name), ["z", "a", "b", "c"]);
    }

    #[test]
    fn names() {
        for (name, meant) in [
            ("a.eml", true),
            ("A.EML", true),
            (".eml", false),
            (".a.eml", false),
            ("a.eml.tmp", false),
            ("a", false),
        ] {
            assert_eq!(is_meant(OsStr::new(name)), meant, "{name}");
        }
    }
}
