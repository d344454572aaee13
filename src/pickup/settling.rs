//! Files that were closed after writing. A program may open such a file again at once and append to it, so it is complete only when it
//! has stayed as it is for a moment.

use super::file_list::FoundFile;
use crate::unix::folder::FileFacts;
use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;

/// How long a file that was closed has to stay as it is.
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// Files that were closed, as they were then, and when they are looked at again. Monotonic time is given to each method.
#[derive(Default)]
pub(super) struct Settling(HashMap<OsString, (FileFacts, Duration)>);

impl Settling {
    /// They were closed.
    pub(super) fn add(&mut self, files: impl IntoIterator<Item = FoundFile>, now: Duration) {
        let due = now + SETTLE_TIME;
        self.0.extend(files.into_iter().map(|file| (file.name, (file.facts, due))));
    }

    /// When the next one is to be looked at.
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.values().map(|(_, due)| *due).min()
    }

    /// The names of those whose time has come.
    pub(super) fn due(&self, now: Duration) -> Vec<OsString> {
        self.0.iter().filter(|(_, (_, due))| *due <= now).map(|(name, _)| name.clone()).collect()
    }

    /// Of those that were due, looked at now, the ones that have not changed. All of them are forgotten: who changes a file closes it
    /// again.
    pub(super) fn complete(&mut self, due: &[OsString], found: Vec<FoundFile>) -> Vec<FoundFile> {
        let before: HashMap<_, _> = due.iter().filter_map(|name| self.0.remove_entry(name)).collect();
        let is_same =
            |file: &FoundFile| before.get(&file.name).is_some_and(|(facts, _)| *facts == file.facts);
        found.into_iter().filter(is_same).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unix::folder::FileKind;

    fn file(name: &str, size: u64) -> FoundFile {
        let modified = (1, 0);
        let facts =
            FileFacts { inode: 1, size, modified, changed: modified, links: 1, kind: FileKind::Regular };
        FoundFile { name: name.into(), facts }
    }

    #[test]
    fn what_is_appended_to_after_it_was_closed_waits_until_it_is_closed_again() {
        let ms = Duration::from_millis;
        let mut settling = Settling::default();
        assert_eq!(settling.next(), None);
        settling.add([file("a.eml", 1), file("gone.eml", 1)], ms(500));
        settling.add([file("b.eml", 1)], ms(700));
        assert_eq!((settling.next(), settling.due(ms(1_499)).len()), (Some(ms(1_500)), 0));
        let due = settling.due(ms(1_500));
        assert_eq!(due.len(), 2);
        // Somebody appends to it, and has not closed it yet.
        assert_eq!(settling.complete(&due, vec![file("a.eml", 2)]), []);
        assert_eq!(settling.next(), Some(ms(1_700)), "b");
        settling.add([file("a.eml", 3)], ms(1_600));
        let due = settling.due(ms(2_600));
        let found = vec![file("a.eml", 3), file("b.eml", 1)];
        assert_eq!(settling.complete(&due, found.clone()), found);
        assert_eq!(settling.next(), None);
    }

    #[test]
    fn closed_again_it_waits_anew() {
        let ms = Duration::from_millis;
        let mut settling = Settling::default();
        settling.add([file("a.eml", 1)], ms(1_000));
        settling.add([file("a.eml", 2)], ms(1_900));
        assert_eq!(settling.due(ms(2_000)), [""; 0]);
        let due = settling.due(ms(2_900));
        assert_eq!(settling.complete(&due, vec![file("a.eml", 2)]).len(), 1);
    }
}
