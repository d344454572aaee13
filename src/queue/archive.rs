//! The archive: contents of sent mail as plain files, `<data_dir>/archive/2026-11-20/<id>.eml`, in a folder for each UTC day of
//! the last outcome, so that any tool can read them and a day is removed with its folder (rule 14). What is known of the messages
//! stays in the queue file, see [`SentMail`].
//!
//! A file is written before the commit that ends its message, and is not flushed. After a power cut there may be a file whose
//! message is still queued (its next settlement writes it again) or a record whose file is missing or cut short: whoever reads
//! the file compares its length. Files without a record go with their day.
//!
//! Nothing here is ever a reason for mail to wait or to fail: what cannot be written is an event.
//!
//! A day goes in two steps: its records, then its files. A purge that is interrupted between the two is taken up by the next one,
//! because the day stays known as forgotten until its folder is gone.

use super::archive_folders::{Removed, day_folders, remove_some};
use super::error::QueueError;
use super::sent_mail::{ArchivedDay, Day, SentMail, SentMessage};
use crate::clock::{Clock, Moment};
use crate::event::{EventType, Fact, code};
use crate::mail::{Message, QueueId};
use crate::unix;
use bytes::Bytes;
use jiff::Timestamp;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Writes the files, and removes them when they are kept long enough.
pub struct Archive {
    folder: PathBuf,
    queue: Arc<dyn SentMail>,
    clock: Arc<dyn Clock>,
    /// Why nothing is archived; none while it works.
    stopped: Mutex<Option<Stopped>>,
    /// Held by a purge, so that there is one at a time.
    purging: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopped {
    LittleSpace,
    Error,
}

impl Archive {
    /// In this folder, which is made when something is archived.
    pub fn new(folder: PathBuf, queue: Arc<dyn SentMail>, clock: Arc<dyn Clock>) -> Archive {
        let (stopped, purging) = (Mutex::default(), tokio::sync::Mutex::default());
        Archive { folder, queue, clock, stopped, purging }
    }

    /// The content of a sent message, to be read.
    ///
    /// # Errors
    /// Somebody has removed or changed the file, or a power cut has cut it short.
    pub async fn open(&self, sent: &SentMessage) -> io::Result<ArchivedContent> {
        let (folder, sent) = (self.folder.clone(), sent.clone());
        let opened = tokio::task::spawn_blocking(move || ArchivedContent::open(&folder, &sent)).await;
        opened.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Writes the content of a message that leaves the queue, unless that would leave less than `keep_free` bytes free.
    /// Answers the time that it is filed under; none where it could not be, which is an event the first time.
    pub async fn keep(&self, message: &Message, keep_free: u64) -> Option<Timestamp> {
        let now = self.clock.wall();
        match self.write(message, now, keep_free).await {
            Ok(()) => {
                self.on_success();
                Some(now)
            }
            Err(error) => {
                self.on_failure(error, message);
                None
            }
        }
    }

    /// Removes the file of a message that was filed under that time, and deleted before its record was kept.
    pub async fn discard(&self, id: QueueId, filed: Timestamp) {
        let path = file(&self.folder, filed, id);
        let removed = in_background(move || Ok(std::fs::remove_file(&path)?)).await;
        if let Err(error) = removed {
            tracing::warn!(queue_id = %id, "the archived file of a deleted message is left: {error}");
        }
    }

    async fn write(&self, message: &Message, now: Timestamp, keep_free: u64) -> Result<(), NotArchived> {
        let path = file(&self.folder, now, message.id);
        let mut chunk = match message.chunks {
            0 => Bytes::new(),
            _ => self.chunk(message, 0).await?,
        };
        let (size, folder) = (message.size, self.folder.clone());
        let mut file = in_background(move || {
            let day = path.parent().map_or_else(|| folder.clone(), Path::to_owned);
            for folder in [&folder, &day] {
                unix::make_private_folder(folder).map_err(|error| named(folder, &error))?;
            }
            let free = unix::free_space(&folder).map_err(|error| named(&folder, &error))?;
            if keep_free > 0 && free < keep_free {
                return Err(NotArchived::LittleSpace { free, keep_free });
            }
            if keep_free > 0 && free - keep_free < size {
                return Err(NotArchived::TooBig { size, keep_free });
            }
            let opened = unix::create_private_file(&path).and_then(|file| {
                let mut partial = Partial { file: Some(file), path: path.clone() };
                partial.write(&chunk)?;
                Ok(partial)
            });
            Ok(opened.map_err(|error| named(&path, &error))?)
        })
        .await?;
        for number in 1..message.chunks {
            chunk = self.chunk(message, number).await?;
            file = in_background(move || match file.write(&chunk) {
                Ok(()) => Ok(file),
                Err(error) => Err(named(&file.path, &error).into()),
            })
            .await?;
        }
        file.file = None;
        Ok(())
    }

    async fn chunk(&self, message: &Message, number: u32) -> Result<Bytes, NotArchived> {
        self.queue.chunk(message.id, number).await.map_err(|error| NotArchived::Content(error.to_string()))
    }

    fn on_success(&self) {
        if self.stopped.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            self.record(EventType::Information, code::STORAGE, "sent mail is archived again".to_owned());
        }
    }

    fn on_failure(&self, error: NotArchived, message: &Message) {
        let folder = self.folder.display();
        let (why, kind, code, text) = match error {
            // The queue has said what is wrong with it.
            NotArchived::Content(error) => return tracing::warn!("a message was not archived: {error}"),
            NotArchived::LittleSpace { free, keep_free } => {
                let text = format!(
                    "{} are free on the disk of {folder}, and {} (twice min_free_space) are kept free of archived mail: what \
                     is sent is not archived until there is room; mail goes on",
                    in_words(free),
                    in_words(keep_free)
                );
                (Stopped::LittleSpace, EventType::Warning, code::LOW_DISK, text)
            }
            // Of this message alone: there is room for others.
            NotArchived::TooBig { size, keep_free } => {
                let text = format!(
                    "message {} of {} is not archived: it would leave less than {} (twice min_free_space) free on the disk of \
                     {folder}",
                    message.id,
                    in_words(size),
                    in_words(keep_free)
                );
                let fact = self.fact(EventType::Warning, code::LOW_DISK, text);
                return self.queue.record(vec![Fact { queue_id: Some(message.id), ..fact }]);
            }
            NotArchived::Io(error) => {
                let text =
                    format!("sent mail cannot be archived: {error}; mail goes on without being archived");
                (Stopped::Error, EventType::Error, code::STORAGE, text)
            }
        };
        let before = self.stopped.lock().unwrap_or_else(PoisonError::into_inner).replace(why);
        if before != Some(why) {
            self.record(kind, code, text);
        }
    }

    fn record(&self, kind: EventType, code: &str, text: String) {
        match kind {
            EventType::Information => tracing::info!("{text}"),
            _ => tracing::warn!("{text}"),
        }
        self.queue.record(vec![self.fact(kind, code, text)]);
    }

    fn fact(&self, kind: EventType, code: &str, text: String) -> Fact {
        Fact::new(self.clock.wall(), kind, "Archive", code, text)
    }

    /// Removes what is kept longer than so many days, at least one, counted from the last addition to its day's folder. Files
    /// that are none of ours stay, with their folder, and are said once.
    pub async fn purge(&self, days: u32) {
        let Ok(_one) = self.purging.try_lock() else { return };
        if let Err(error) = self.purge_days(DAY * days.max(1)).await {
            tracing::warn!("the archive cannot be cleaned up: {error}");
        }
    }

    async fn purge_days(&self, kept: Duration) -> Result<(), NotArchived> {
        let known = self.queue.archive_days().await.map_err(queue_error)?;
        let folder = self.folder.clone();
        let found =
            in_background(move || day_folders(&folder).map_err(|error| named(&folder, &error).into()));
        let found = found.await?;
        for day in found.iter().filter(|day| !known.iter().any(|(known, _)| known == *day)) {
            // Left by a crash, or copied here: kept as long as what is archived today.
            self.queue.find_day(*day).await.map_err(queue_error)?;
        }
        let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let before = Moment(self.queue.common_now().0.saturating_sub(kept));
        let today = Day::of(self.clock.wall());
        for (day, known) in known {
            let removed = match known {
                ArchivedDay::Kept { last } if last <= before => {
                    match self.queue.forget_sent(day, before).await.map_err(queue_error)? {
                        true => self.remove_files(day, true).await,
                        false => Ok(()),
                    }
                }
                ArchivedDay::Kept { .. } => Ok(()),
                // A message may just be on its way there, before the commit that makes the day known again.
                ArchivedDay::Forgotten if day == today => Ok(()),
                ArchivedDay::Forgotten => self.remove_files(day, false).await,
            };
            // One day's folder that cannot be removed keeps no other.
            if let Err(error) = removed {
                tracing::warn!("the archive cannot be cleaned up: {error}");
            }
        }
        Ok(())
    }

    /// Removes what is ours of a day whose records are gone, and its folder. Foreign files are said the first time, and again
    /// only where something of ours was beside them, as after a purge that was interrupted.
    async fn remove_files(&self, day: Day, is_first: bool) -> Result<(), NotArchived> {
        let folder = self.folder.join(day.to_string());
        let mut is_news = is_first;
        loop {
            let here = folder.clone();
            let removing = move || remove_some(&here).map_err(|error| named(&here, &error).into());
            match in_background(removing).await? {
                Removed::Some => {
                    is_news = true;
                    tokio::task::yield_now().await;
                }
                Removed::All => return self.queue.forget_day(day).await.map_err(queue_error),
                Removed::AllButForeign { removed, foreign } => {
                    if is_news || removed > 0 {
                        let text = format!(
                            "{foreign} files in {} are none of Postroom's: they are left there, and so is the folder",
                            folder.display()
                        );
                        self.record(EventType::Warning, code::STORAGE, text);
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// The file of a message in an archive.
pub fn file(folder: &Path, sent_at: Timestamp, id: QueueId) -> PathBuf {
    folder.join(Day::of(sent_at).to_string()).join(format!("{id}.eml"))
}

/// The content of a sent message.
pub struct ArchivedContent(File);

impl ArchivedContent {
    /// Opens the file in the archive of that folder, blocking, see [`Archive::open`].
    pub fn open(folder: &Path, sent: &SentMessage) -> io::Result<ArchivedContent> {
        let path = file(folder, sent.sent_at, sent.message.id);
        let opened = unix::open_regular_file(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (size, file) = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => named(&path, &io::Error::new(error.kind(), "the file is gone")),
            _ => named(&path, &error),
        })?;
        if size != sent.message.size {
            let what = format!("the file has {size} octets, and the message had {}", sent.message.size);
            return Err(named(&path, &io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        Ok(ArchivedContent(file))
    }

    /// The next `most` octets, fewer at the end, and what comes behind them.
    pub async fn piece(mut self, most: usize) -> io::Result<(Bytes, ArchivedContent)> {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::new();
            Read::by_ref(&mut self.0).take(most as u64).read_to_end(&mut piece)?;
            Ok((piece.into(), self))
        });
        read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

impl Read for ArchivedContent {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

/// Why a message was not archived.
#[derive(Debug, thiserror::Error)]
enum NotArchived {
    #[error("{free} octets are free, and {keep_free} are to be")]
    LittleSpace { free: u64, keep_free: u64 },
    /// There is room, but not for this message.
    #[error("with {size} octets more less than {keep_free} would be free")]
    TooBig { size: u64, keep_free: u64 },
    #[error("{0}")]
    Content(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The error, with the path that it is about.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn in_words(octets: u64) -> bytesize::Display {
    bytesize::ByteSize::b(octets).display().iec()
}

fn queue_error(error: QueueError) -> NotArchived {
    NotArchived::Content(error.to_string())
}

/// A file on its way; removed again if it does not become whole.
struct Partial {
    /// None once it is whole.
    file: Option<File>,
    path: PathBuf,
}

impl Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// On a thread where it may block.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotArchived> + Send + 'static,
) -> Result<T, NotArchived> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error).into()))
}
