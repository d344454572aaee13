//! The queue's handle: each method of the contract, sent to the writer or read from a snapshot.

mod delivery_queue;
mod sent_mail;

use super::super::{
    ActionResult, Claim, EventLog, FileIdentity, Filter, MailStore, Operations, OperatorAction, Page,
    Pending, Queue, QueueError, QueueFigures, QueueStatus, TakenFile, TakenFiles, Timeline,
};
use super::content;
use super::database_opener::{DatabaseOpener, FileHeader};
use super::event_log::LogPart;
use super::figures;
use super::layout::FileKey;
use super::leased::{LeasedClaims, UnreadableEntry};
use super::listing;
use super::op::Op;
use super::open_error::OpenError;
use super::queries;
use super::read_only_queue::ReadOnlyQueue;
use super::redb_error::{catch_redb_panic, queue_error};
use super::shared_database::SharedDatabase;
use super::shared_queue::SharedQueue;
use super::space::FreeSpace;
use super::taken_files;
use super::timelines::Timelines;
use super::writer::Writer;
use super::writer_handle::WriterHandle;
use crate::clock::{Clock, Moment};
use crate::event::{Event, EventFilter, Fact};
use crate::mail::{AttemptRecord, Message, QueueId};
use crate::metrics::Metrics;
use bytes::Bytes;
use jiff::Timestamp;
use redb::{Database, StorageBackend};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::broadcast;

/// How many messages one transaction deletes or changes for an operator, so that mail waits for it only shortly.
const ACTIONS_PER_COMMIT: usize = 500;

/// How a queue is opened.
#[derive(Clone)]
pub struct Options {
    /// The wall clock and the monotonic one.
    pub clock: Arc<dyn Clock>,
    /// How many events of each type are kept.
    pub keep_events: u64,
    /// Pages of the file that are kept in memory, in bytes. Half of it may hold what is being written.
    pub cache_size: usize,
    /// Where commits and events are counted.
    pub metrics: Arc<Metrics>,
}

impl Options {
    /// With this clock, 100,000 events of each type and a cache of 16 MiB.
    pub fn new(clock: Arc<dyn Clock>) -> Options {
        Options { clock, keep_events: 100_000, cache_size: 16 * 1024 * 1024, metrics: Arc::default() }
    }
}

/// A queue in one redb file. Dropped without [`Queue::close`] it finishes what was asked, blocking, and closes the file.
pub struct RedbQueue {
    pub(super) shared: Arc<SharedQueue>,
    writer: WriterHandle,
}

impl RedbQueue {
    /// Opens the queue file, which is made (mode 0600) if it is missing. A file that is empty, cut short, not a queue
    /// or of a newer format is refused and left as it is.
    pub fn open(path: &Path, options: Options) -> Result<RedbQueue, OpenError> {
        catch_redb_panic(|| {
            let (opener, database) = DatabaseOpener::file(path, options.cache_size)?;
            RedbQueue::start(opener, database, options)
        })
        .unwrap_or_else(|error| Err(OpenError::damaged(path, error)))
    }

    /// Opens a queue on other storage. `backend` makes a new storage backend each time the database is opened: at the
    /// start, and after each I/O error.
    pub fn open_on<B: StorageBackend>(
        backend: impl Fn() -> io::Result<B> + Send + 'static,
        options: Options,
    ) -> Result<RedbQueue, OpenError> {
        catch_redb_panic(|| {
            let (opener, database) = DatabaseOpener::backend(backend, options.cache_size)?;
            RedbQueue::start(opener, database, options)
        })
        .unwrap_or_else(|error| Err(OpenError::damaged(Path::new("(storage backend)"), error)))
    }

    /// Opens an existing queue file for reading only, while no proxy has it.
    pub fn open_read_only(path: &Path) -> Result<ReadOnlyQueue, OpenError> {
        ReadOnlyQueue::open(path)
    }

    fn start(opener: DatabaseOpener, database: Database, options: Options) -> Result<RedbQueue, OpenError> {
        let FileHeader { metadata, instance, .. } = opener.prepare(&database)?;
        let timelines = Timelines::resume(options.clock, metadata.timeline, &metadata.site_timelines);
        let space = FreeSpace::new(opener.path().map(Path::to_owned));
        let database = SharedDatabase::new(database);
        let (keep, metrics) = (options.keep_events, options.metrics);
        let shared =
            Arc::new(SharedQueue::new(database, timelines, space, &metadata, keep, instance, metrics));
        let writer = WriterHandle::start(|inbox| Writer::new(shared.clone(), opener, inbox, metadata));
        Ok(RedbQueue { shared, writer: writer.map_err(OpenError::no_thread)? })
    }

    /// `file`: what it is remembered by.
    fn put_as(
        &self,
        message: Message,
        tail: Bytes,
        facts: Vec<Fact>,
        file: Option<FileKey>,
    ) -> Pending<'_, ()> {
        let mut usage = content::usage(tail.len());
        usage.add_message(&message);
        let reservation = self.shared.space.reserve(usage);
        self.writer.request(|responder| Op::Put {
            message: Box::new(message),
            tail,
            facts,
            file,
            _reservation: reservation,
            responder,
        })
    }

    /// Runs what reads more than a page or two on a thread where that may block.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<SharedQueue>) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result,
            Err(error) => Err(QueueError::Storage(format!("reading failed: {error}"))),
        }
    }

    /// Searches the index of what waits: at once when all waiting messages are in memory, otherwise on a thread where
    /// reading the file may block.
    async fn search<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<SharedQueue>) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        if self.shared.state().all_due_are_cached() {
            return catch_redb_panic(|| work(&self.shared)).map_err(queue_error)?;
        }
        self.read(work).await
    }

    /// The claims for the caller; damage that was found on the way is reported to the writer.
    fn hand_out(&self, leased: LeasedClaims) -> Vec<Claim> {
        let (claims, unreadable) = leased.take();
        for UnreadableEntry { key, what } in unreadable {
            self.writer.send(match what {
                Some(what) => Op::SetAside { id: key.id, key: Some(key), what },
                None => Op::Misplaced { key },
            });
        }
        claims
    }
}

impl Timeline for RedbQueue {
    fn now_of(&self, site: &str) -> Moment {
        self.shared.timelines.now_of(site)
    }

    fn wall_of(&self, site: &str, moment: Moment) -> Timestamp {
        self.shared.timelines.wall_of(site, moment)
    }

    fn common_now(&self) -> Moment {
        self.shared.timelines.common_now()
    }

    fn freeze(&self, site: &str, frozen: bool) {
        if self.shared.timelines.freeze(site, frozen) {
            self.writer.send(Op::WriteMetadata);
        }
    }
}

impl EventLog for RedbQueue {
    fn record(&self, facts: Vec<Fact>) {
        self.writer.send(Op::Record { facts });
    }

    fn events_where(&self, filter: EventFilter, from: Option<u64>, limit: usize) -> Pending<'_, Vec<Event>> {
        let part = from.map_or(LogPart::NEWEST, LogPart::From);
        Box::pin(self.read(move |shared| queries::events(&shared.database, &filter, part, limit)))
    }

    fn events_before(
        &self,
        filter: EventFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Pending<'_, Vec<Event>> {
        let part = before.map_or(LogPart::NEWEST, LogPart::Before);
        Box::pin(self.read(move |shared| queries::events(&shared.database, &filter, part, limit)))
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.shared.event_sender.subscribe()
    }

    fn keep_events(&self, keep: u64) {
        self.shared.keep_events.store(keep, Ordering::Relaxed);
    }
}

impl MailStore for RedbQueue {
    fn stage(&self, id: QueueId, number: u32, chunk: Bytes) -> Pending<'_, ()> {
        let reservation = self.shared.space.reserve(content::usage(chunk.len()));
        self.writer.request(|responder| Op::Stage { id, number, chunk, _reservation: reservation, responder })
    }

    fn discard(&self, id: QueueId) {
        self.writer.send(Op::Discard { id });
    }

    fn put(&self, message: Message, tail: Bytes, facts: Vec<Fact>) -> Pending<'_, ()> {
        self.put_as(message, tail, facts, None)
    }

    fn chunk(&self, id: QueueId, number: u32) -> Pending<'_, Bytes> {
        let fresh = self.shared.state().cache.chunk(id, number);
        Box::pin(async move {
            if let Some(chunk) = fresh {
                return Ok(chunk);
            }
            let read = self.read(move |shared| queries::chunk(&shared.database, id, number)).await;
            if let Err(QueueError::Damaged { what, .. }) = &read {
                self.writer.send(Op::SetAside { id, key: None, what: what.clone() });
            }
            read
        })
    }

    fn show(&self, id: QueueId) -> Pending<'_, Arc<Message>> {
        Box::pin(self.read(move |shared| queries::show(&shared.database, id)))
    }

    fn remove_failed(&self, before: Moment) -> Pending<'_, u64> {
        Box::pin(async move {
            let mut removed = 0;
            loop {
                let limit = ACTIONS_PER_COMMIT;
                let now =
                    self.writer.request(|responder| Op::RemoveFailed { before, limit, responder }).await?;
                removed += now;
                if now < limit as u64 {
                    return Ok(removed);
                }
            }
        })
    }

    fn status(&self) -> QueueStatus {
        let now = self.shared.monotonic();
        let state = self.shared.state();
        let claimed = state.leases.values().filter(|lease| lease.settling || lease.until > now).count();
        QueueStatus { writable: state.writable, claimed: claimed as u64, ..state.counts.status() }
    }

    fn free_space(&self) -> Option<u64> {
        let usage = self.shared.state().usage;
        self.shared.space.free_space(self.shared.monotonic(), usage)
    }

    fn instance(&self) -> &str {
        &self.shared.instance
    }
}

impl TakenFiles for RedbQueue {
    fn put_file(
        &self,
        message: Message,
        tail: Bytes,
        facts: Vec<Fact>,
        folder: &str,
        file: FileIdentity,
    ) -> Pending<'_, ()> {
        self.put_as(message, tail, facts, Some(taken_files::key(folder, file)))
    }

    fn taken_files(&self, folder: &str) -> Pending<'_, Vec<TakenFile>> {
        let folder = folder.to_owned();
        Box::pin(self.read(move |shared| taken_files::list(&shared.database, &folder)))
    }

    fn note_told(&self, folder: &str, files: Vec<FileIdentity>) -> Pending<'_, ()> {
        let told = files.into_iter().map(|file| taken_files::key(folder, file)).collect();
        self.writer.request(|responder| Op::ChangeTakenFiles { told, forgotten: Vec::new(), responder })
    }

    fn forget_files(&self, folder: &str, files: Vec<FileIdentity>) -> Pending<'_, ()> {
        let forgotten = files.into_iter().map(|file| taken_files::key(folder, file)).collect();
        self.writer.request(|responder| Op::ChangeTakenFiles { told: Vec::new(), forgotten, responder })
    }
}

impl Operations for RedbQueue {
    fn figures(&self) -> Pending<'_, QueueFigures> {
        Box::pin(self.read(|shared| figures::read(shared)))
    }

    fn act_where(
        &self,
        action: OperatorAction,
        ids: Vec<QueueId>,
        filter: Filter,
    ) -> Pending<'_, Vec<ActionResult>> {
        Box::pin(async move {
            let filter = Arc::new(filter);
            let mut results = Vec::with_capacity(ids.len());
            for ids in ids.chunks(ACTIONS_PER_COMMIT) {
                let (ids, filter) = (ids.to_vec(), filter.clone());
                let act = |responder| Op::Act { action, ids, filter, responder };
                results.extend(self.writer.request(act).await?);
            }
            Ok(results)
        })
    }

    fn attempts(&self, id: QueueId) -> Pending<'_, Vec<AttemptRecord>> {
        Box::pin(self.read(move |shared| queries::attempts(&shared.database, id)))
    }

    fn list(&self, filter: Filter, cursor: Option<QueueId>, limit: usize) -> Pending<'_, Page> {
        Box::pin(self.read(move |shared| listing::list(&shared.database, &filter, cursor, limit)))
    }

    fn list_damaged(&self, filter: Filter, cursor: Option<QueueId>, limit: usize) -> Pending<'_, Page> {
        Box::pin(self.read(move |shared| listing::list_damaged(&shared.database, &filter, cursor, limit)))
    }
}

impl Queue for RedbQueue {
    fn close(&self) -> Pending<'_, ()> {
        let closed = self.writer.request(|responder| Op::Close { responder });
        Box::pin(async move {
            match closed.await {
                // Closed before, by somebody else.
                Err(QueueError::Closed) => Ok(()),
                result => result,
            }
        })
    }
}
