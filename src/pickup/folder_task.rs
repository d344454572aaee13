//! The work on one folder: looks at it every few seconds and whenever the system tells of a complete file, takes what is complete,
//! in order, and removes what is stored.

use super::badmail;
use super::file_list::{self, FolderListing, FoundFile, Waiting, identity, is_meant};
use super::removal::{self, Removal};
use super::services::PickupServices;
use super::settling::Settling;
use super::taking::{self, NotTaken, blocking};
use super::telling::Telling;
use super::watching::{Watched, changes, reached};
use crate::config::settings::Pickup;
use crate::mail::{QueueId, printable, printable_bytes};
use crate::queue::{FileIdentity, Pending, QueueError};
use crate::reception::staged_content;
use crate::unix::folder::Folder;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How often the whole folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Messages that may wait for the same commit.
const MOST_UNDER_WAY: usize = 128;

/// Takes mail from a folder until `stop`, which lets a file that is being read come to its end.
pub(crate) async fn run(services: Arc<PickupServices>, pickup: Pickup, stop: CancellationToken) {
    let clock = services.clock.clone();
    let mut task = FolderTask::new(services, pickup, stop.clone());
    while !stop.is_cancelled() {
        task.look().await;
        let next = Instant::now() + LOOK_EVERY;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(next) => break,
                () = reached(&*clock, task.settling.next()) => task.take_settled().await,
                changes = changes(&task.watch) => match changes {
                    Ok(changes) => {
                        let closed = task.find(changes.closed).await;
                        task.settling.add(closed, clock.monotonic());
                        let renamed = task.find(changes.renamed).await;
                        task.take_told(renamed).await;
                        if changes.look_again {
                            // Of a folder that is gone it tells nothing any more, even where the next one has its number.
                            task.watch = None;
                            break;
                        }
                    }
                    // The next look begins another one.
                    Err(_) => task.watch = None,
                }
            }
        }
    }
}

struct FolderTask {
    services: Arc<PickupServices>,
    pickup: Pickup,
    /// What files of the folder are remembered by.
    key: String,
    stop: CancellationToken,
    folder: Option<Arc<Folder>>,
    watch: Option<Watched>,
    /// Files that are messages already, and whether people were told that they cannot be removed. None: not read yet.
    taken: Option<HashMap<FileIdentity, bool>>,
    /// Bad files that could not be moved aside.
    stuck: HashSet<FileIdentity>,
    /// Files of which it was told that they cannot be read.
    unreadable: HashSet<FileIdentity>,
    waiting: Waiting,
    settling: Settling,
    /// Something kept files from being stored, and none was stored since.
    blocked: bool,
    telling: Telling,
    last: Option<QueueId>,
}

/// A message on its way to its commit.
struct UnderWay<'a> {
    put: Pending<'a, ()>,
    id: QueueId,
    file: FoundFile,
    done: bool,
}

impl FolderTask {
    fn new(services: Arc<PickupServices>, pickup: Pickup, stop: CancellationToken) -> FolderTask {
        let (events, clock, status) =
            (services.files.clone(), services.clock.clone(), services.status.clone());
        FolderTask {
            telling: Telling::new(events, clock, status, &pickup.name),
            key: pickup.directory.display().to_string(),
            services,
            pickup,
            stop,
            folder: None,
            watch: None,
            taken: None,
            stuck: HashSet::new(),
            unreadable: HashSet::new(),
            waiting: Waiting::default(),
            settling: Settling::default(),
            blocked: false,
            last: None,
        }
    }

    /// Opens the folder anew, since another may have taken its place, and takes all that has been complete for a while.
    async fn look(&mut self) {
        self.telling.refusals_due(false);
        if let Err(what) = self.try_look().await {
            self.folder = None;
            self.telling.trouble(&what);
        }
    }

    async fn try_look(&mut self) -> Result<(), String> {
        if self.taken.is_none() {
            let taken =
                self.services.files.taken_files(&self.key).await.map_err(|error| error.to_string())?;
            self.taken = Some(taken.into_iter().map(|one| (one.file, one.told)).collect());
        }
        let path = self.pickup.directory.clone();
        let shown = printable(&path.display().to_string());
        let cannot = |error: io::Error| {
            format!(
                "the folder {shown} cannot be read: {error}; create it, and let Postroom's user read and write it"
            )
        };
        let opened = blocking(move || Folder::open(&path).and_then(|folder| Ok((folder.number()?, folder))));
        let (number, folder) = opened.await.map_err(&cannot)?;
        // Before the listing, so that nothing falls in between.
        if self.watch.as_ref().is_none_or(|watched| watched.number != number) {
            self.watch = Watched::new(&self.pickup.directory, number);
        }
        let folder = Arc::new(folder);
        self.folder = Some(folder.clone());
        let taken = self.taken.get_or_insert_default();
        let skips: HashSet<FileIdentity> = taken.keys().chain(&self.stuck).copied().collect();
        let listing = folder.clone();
        let listing = blocking(move || file_list::list(&listing, &skips)).await.map_err(&cannot)?;
        let FolderListing { files: listed, skipped, incomplete } = listing;
        let wrong = match incomplete {
            // What was not seen may be there all the same.
            Some(error) => Some(cannot(error)),
            None => {
                self.stuck.retain(|file| skipped.contains_key(file));
                self.unreadable.retain(|file| listed.iter().any(|one| identity(&one.facts) == *file));
                let forgotten = self.forget_gone(&folder, &skipped).await;
                forgotten.err().map(|error| format!("the folder {shown} cannot be synced: {error}"))
            }
        };
        self.clear(&folder, skipped.into_iter().filter(|(_, name)| is_meant(name)).collect()).await;
        self.blocked &= !listed.is_empty();
        let complete = self.waiting.complete(listed, self.services.clock.monotonic());
        let goes_on = self.take_all(&folder, complete, true).await;
        match wrong {
            Some(what) if goes_on => self.telling.trouble(&what),
            None if goes_on && !self.blocked => self.telling.works(),
            _ => {}
        }
        Ok(())
    }

    /// Forgets files that are not in the folder any more; `there` are those that are.
    async fn forget_gone(
        &mut self,
        folder: &Arc<Folder>,
        there: &HashMap<FileIdentity, OsString>,
    ) -> io::Result<()> {
        let is_gone = |file: &&FileIdentity| !there.contains_key(file);
        let gone: HashSet<FileIdentity> =
            self.taken.iter().flat_map(HashMap::keys).filter(is_gone).copied().collect();
        if !gone.is_empty() {
            // What is forgotten must not come back with a power cut, whoever has removed it.
            let at = folder.clone();
            blocking(move || at.sync()).await?;
            self.forget(gone).await;
        }
        Ok(())
    }

    /// The files of these names, in the order in which they are taken.
    async fn find(&self, names: Vec<OsString>) -> Vec<FoundFile> {
        let names: HashSet<OsString> = names.into_iter().filter(|name| is_meant(name)).collect();
        let Some(at) = self.folder.clone().filter(|_| !names.is_empty()) else { return Vec::new() };
        let found = blocking(move || Ok(file_list::find(&at, names)));
        found.await.unwrap_or_default()
    }

    /// Takes those of the files that were closed that have rested since.
    async fn take_settled(&mut self) {
        let due = self.settling.due(self.services.clock.monotonic());
        let found = self.find(due.clone()).await;
        let complete = self.settling.complete(&due, found);
        self.take_told(complete).await;
    }

    /// Takes files that the system has told of.
    async fn take_told(&mut self, files: Vec<FoundFile>) {
        if let Some(folder) = self.folder.clone().filter(|_| self.taken.is_some() && !files.is_empty()) {
            self.take_all(&folder, files, false).await;
        }
    }

    /// Makes messages of the files, in their order. Says whether that can go on.
    async fn take_all(&mut self, folder: &Arc<Folder>, files: Vec<FoundFile>, settled: bool) -> bool {
        let services = self.services.clone();
        let mut under_way: VecDeque<UnderWay<'_>> = VecDeque::new();
        let (mut stored, mut goes_on) = (Vec::new(), true);
        for file in files {
            let file_identity = identity(&file.facts);
            let known = self.taken.as_ref().is_some_and(|taken| taken.contains_key(&file_identity));
            if self.stop.is_cancelled() || !goes_on {
                break;
            }
            if known || self.stuck.contains(&file_identity) {
                continue;
            }
            if self.may_reach_cap(under_way.len()) {
                self.finish_all(&mut under_way, &mut stored, &mut goes_on).await;
            }
            let Some(permit) = self.reserve_memory(&mut under_way, &mut stored, &mut goes_on).await else {
                break;
            };
            let read = taking::read(&services, &self.pickup, folder, &file, settled, self.last, permit);
            match read.await {
                Ok(read) => {
                    let id = read.message.id;
                    self.last = Some(id);
                    let mut one = UnderWay { put: read.put(self.key.clone()), id, file, done: false };
                    // Polled once, so that it is under way, in its turn, while the next file is read.
                    if let std::task::Poll::Ready(result) = futures_util::poll!(&mut one.put) {
                        one.put = Box::pin(std::future::ready(result));
                        one.done = true;
                    }
                    under_way.push_back(one);
                    while under_way.len() > MOST_UNDER_WAY || under_way.front().is_some_and(|one| one.done) {
                        self.finish_first(&mut under_way, &mut stored, &mut goes_on).await;
                    }
                }
                Err(NotTaken::Gone | NotTaken::NotComplete) => {}
                Err(NotTaken::Bad(why)) => self.set_aside(folder, &file, &why).await,
                Err(NotTaken::Stays(what)) => {
                    if self.unreadable.insert(file_identity) {
                        self.telling.stays(&format!("{} {what}", shown(&file.name)));
                    }
                }
                Err(NotTaken::Later(what)) => {
                    self.telling.trouble(&what);
                    (goes_on, self.blocked) = (false, true);
                }
            }
        }
        self.finish_all(&mut under_way, &mut stored, &mut goes_on).await;
        self.clear(folder, stored.into_iter().collect()).await;
        goes_on
    }

    /// Whether the queue may hold `max_messages` once what is under way is in it, which it does not count yet.
    fn may_reach_cap(&self, under_way: usize) -> bool {
        match self.services.settings.borrow().queue.max_messages {
            0 => false,
            most => self.services.files.status().messages() + under_way as u64 >= most,
        }
    }

    async fn finish_all(
        &mut self,
        under_way: &mut VecDeque<UnderWay<'_>>,
        stored: &mut Vec<(FileIdentity, OsString)>,
        goes_on: &mut bool,
    ) {
        while !under_way.is_empty() {
            self.finish_first(under_way, stored, goes_on).await;
        }
    }

    /// Waits for the oldest message that is under way.
    async fn finish_first(
        &mut self,
        under_way: &mut VecDeque<UnderWay<'_>>,
        stored: &mut Vec<(FileIdentity, OsString)>,
        goes_on: &mut bool,
    ) {
        let Some(UnderWay { put, id, file, .. }) = under_way.pop_front() else { return };
        match put.await {
            Ok(()) => {
                let (pickup, size) = (&self.pickup.name, file.facts.size);
                tracing::info!(queue_id = %id, pickup, file = shown(&file.name), size, "accepted");
                let file_identity = identity(&file.facts);
                self.blocked = false;
                self.taken.get_or_insert_default().insert(file_identity, false);
                stored.push((file_identity, file.name));
            }
            // A task of before a reload was ended while its commit was under way.
            Err(QueueError::AlreadyTaken) => {
                let file_identity = identity(&file.facts);
                self.taken.get_or_insert_default().insert(file_identity, false);
                stored.push((file_identity, file.name));
            }
            Err(error) => {
                self.telling.trouble(&format!("files stay there: {error}"));
                (*goes_on, self.blocked) = (false, true);
            }
        }
    }

    /// A share of `content_memory`; none where it has to stop.
    async fn reserve_memory(
        &mut self,
        under_way: &mut VecDeque<UnderWay<'_>>,
        stored: &mut Vec<(FileIdentity, OsString)>,
        goes_on: &mut bool,
    ) -> Option<OwnedSemaphorePermit> {
        let permits = staged_content::permits(&self.services.settings.borrow().limits);
        let memory = self.services.content_memory.clone();
        if let Ok(permit) = memory.clone().try_acquire_many_owned(permits) {
            return Some(permit);
        }
        // What it waits for may be its own.
        self.finish_all(under_way, stored, goes_on).await;
        tokio::select! {
            permit = memory.acquire_many_owned(permits) => permit.ok(),
            () = self.stop.cancelled() => None,
        }
    }

    /// Removes files whose messages are stored, tells once of those that cannot be removed, and forgets those that are gone for
    /// good. `there`: those that are known to be in the folder.
    async fn clear(&mut self, folder: &Arc<Folder>, there: HashMap<FileIdentity, OsString>) {
        let Some(taken) = &mut self.taken else { return };
        if taken.is_empty() {
            return;
        }
        let files: Vec<_> = there.into_iter().filter(|(file, _)| taken.contains_key(file)).collect();
        let at = folder.clone();
        let Ok(Removal { removed, failed }) = blocking(move || removal::remove_all(&at, files)).await else {
            return;
        };
        let mut untold = failed.iter().filter(|(file, ..)| taken.get(file) == Some(&false));
        if let Some((_, name, why)) = untold.next() {
            let more = match untold.count() {
                0 => String::new(),
                count => format!(" (and {count} more)"),
            };
            let name = shown(name);
            self.telling.stays(&format!(
                "{name} is stored and cannot be removed: {why}{more}; remove it, or let Postroom's user write to the folder"
            ));
        }
        let is_news = |file: &FileIdentity| taken.insert(*file, true) == Some(false);
        let told: Vec<FileIdentity> = failed.iter().map(|(file, ..)| *file).filter(is_news).collect();
        if !told.is_empty() {
            // Where that is not stored it is told once more after a restart.
            let _ = self.services.files.note_told(&self.key, told).await;
        }
        self.forget(removed).await;
    }

    /// They are not in the folder any more.
    async fn forget(&mut self, gone: HashSet<FileIdentity>) {
        let Some(taken) = &mut self.taken else { return };
        let files = gone.iter().copied().collect();
        if !gone.is_empty() && self.services.files.forget_files(&self.key, files).await.is_ok() {
            taken.retain(|file, _| !gone.contains(file));
        }
    }

    async fn set_aside(&mut self, folder: &Arc<Folder>, file: &FoundFile, why: &str) {
        let (at, name, reason) = (folder.clone(), file.name.clone(), why.to_owned());
        let moved = blocking(move || match at.facts(&name) {
            // Somebody else was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => badmail::set_aside(&at, &name, &reason),
        });
        let name = shown(&file.name);
        self.services.metrics.refused(&format!("pickup.{}", self.pickup.name), "file");
        match moved.await {
            Ok(()) => self.telling.refused(&format!("{name} was moved to badmail: {why}")),
            Err(error) => {
                self.stuck.insert(identity(&file.facts));
                self.telling
                    .refused(&format!("{name} cannot be taken: {why}; nor moved to badmail: {error}"));
            }
        }
    }
}

fn shown(name: &OsStr) -> String {
    printable_bytes(name.as_encoded_bytes())
}
