//! The queue in one file of the embedded database redb.
//!
//! Promises: those of [`super::Queue`]. Put and settle return when their commit is on disk (fsync); many callers share
//! one commit. A start after a kill takes no scan of the file. After an I/O error or a full disk work goes on by itself
//! as soon as it is possible.
//!
//! Limits: one process has the file at a time. Space that deleted mail leaves is used again, but not given back to the
//! file system while the proxy runs. A disk that says "synced" and lies is believed.
//!
//! Reading order: `tables` (what is stored), `record` and `content` (as which bytes), `file` (opening),
//! `writer` (the one thread that commits), `batch` and `orders` (what it does to the tables), `recovery` (when
//! that fails), `claim` and `reader` (who reads beside it), `shared` (what is known in memory), `usage` and `space`
//! (how much room there is), `timeline`, `journal`.

mod batch;
mod claim;
mod content;
mod damage;
mod file;
mod journal;
mod lane;
mod migration;
mod op;
mod open_error;
mod orders;
mod overlay;
mod reader;
mod record;
mod recovery;
mod shared;
mod space;
mod store;
mod tables;
mod timeline;
mod usage;
mod writer;

pub use open_error::OpenError;
pub use reader::Reader;

use super::{Claim, Filter, Health, Obeyed, Order, Page, Pending, Queue, QueueError, Settlement};
use crate::clock::{Clock, Moment};
use crate::event::{Event, Fact};
use crate::mail::{Message, QueueId};
use bytes::Bytes;
use claim::{Leased, Next, Unreadable};
use file::Source;
use jiff::Timestamp;
use op::{Answer, Op};
use redb::{Database, StorageBackend};
use shared::Shared;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;
use store::{queue_error, unless_it_panics};
use tokio::sync::{Notify, broadcast, oneshot};

/// How many messages one transaction deletes or changes for an operator, so that mail need not wait for it long.
const ORDERS_AT_ONCE: usize = 500;

/// How a queue is opened.
#[derive(Clone)]
pub struct Options {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How many events of each type are kept.
    pub keep_events: u64,
    /// Pages of the file that are kept in memory, in bytes. Half of it may hold what is being written.
    pub cache_size: usize,
}

impl Options {
    /// With this clock, 100,000 events of each type and a cache of 16 MiB.
    pub fn new(clock: Arc<dyn Clock>) -> Options {
        Options { clock, keep_events: 100_000, cache_size: 16 * 1024 * 1024 }
    }
}

/// See the module. Dropped without [`Queue::close`] it finishes what it was asked, blocking, and closes the file.
pub struct RedbQueue {
    shared: Arc<Shared>,
    inbox: Option<Sender<Op>>,
    writer: Option<JoinHandle<()>>,
}

impl RedbQueue {
    /// Opens the queue file, which is made (mode 0600) if it is missing. A file that is empty, cut short, not a queue
    /// or of a newer format is refused and left as it is.
    pub fn open(path: &Path, options: Options) -> Result<RedbQueue, OpenError> {
        unless_it_panics(|| {
            let (source, database) = Source::file(path, options.cache_size)?;
            RedbQueue::start(source, database, options)
        })
        .unwrap_or_else(|error| Err(OpenError::damaged(path, error)))
    }

    /// Opens a queue on other storage, which `backend` hands out anew each time the database is opened: at once,
    /// and after an I/O error.
    pub fn open_on<B: StorageBackend>(
        backend: impl Fn() -> io::Result<B> + Send + 'static,
        options: Options,
    ) -> Result<RedbQueue, OpenError> {
        unless_it_panics(|| {
            let (source, database) = Source::backend(backend, options.cache_size)?;
            RedbQueue::start(source, database, options)
        })
        .unwrap_or_else(|error| Err(OpenError::damaged(Path::new("(storage backend)"), error)))
    }

    /// Opens an existing queue file for reading only, while no proxy has it.
    pub fn open_read_only(path: &Path) -> Result<Reader, OpenError> {
        Reader::open(path)
    }

    fn start(source: Source, database: Database, options: Options) -> Result<RedbQueue, OpenError> {
        let file::Opened { mut ledger, instance, format } = source.examine(&database)?;
        source.migrate(&database, format)?;
        source.remove_orphans(&database, &mut ledger)?;
        let timeline = timeline::Timeline::resume(options.clock, ledger.timeline);
        let space = space::Space::new(source.path().map(Path::to_owned));
        let store = store::Store::new(database);
        let shared = Arc::new(Shared::new(store, timeline, space, &ledger, options.keep_events, instance));
        let (inbox, work) = std::sync::mpsc::channel();
        let writer = writer::Writer::new(shared.clone(), source, work, ledger);
        let thread = std::thread::Builder::new().name("queue-writer".to_owned()).spawn(move || writer.run());
        let writer = thread.map_err(OpenError::no_thread)?;
        Ok(RedbQueue { shared, inbox: Some(inbox), writer: Some(writer) })
    }

    /// Hands an operation to the writer, at once and in the order of the calls; the answer comes with the commit.
    fn ask<T: Send + 'static>(&self, op: impl FnOnce(Answer<T>) -> Op) -> Pending<'static, T> {
        let (answer, answered) = oneshot::channel();
        self.tell(op(answer));
        Box::pin(async move { answered.await.unwrap_or(Err(QueueError::Closed)) })
    }

    fn tell(&self, op: Op) {
        let refused = match &self.inbox {
            Some(inbox) => inbox.send(op).err().map(|refused| refused.0),
            None => Some(op),
        };
        if let Some(op) = refused {
            op.refuse(&QueueError::Closed);
        }
    }

    /// Runs what reads more than a page or two on a thread where that may block.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared>) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result,
            Err(error) => Err(QueueError::Storage(format!("reading failed: {error}"))),
        }
    }

    /// Searches the index of what waits: at once where all that waits is in memory, and on a thread where reading the file
    /// may block where it is not.
    async fn search<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared>) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        if self.shared.state().all_is_fresh() {
            return unless_it_panics(|| work(&self.shared)).map_err(queue_error)?;
        }
        self.read(work).await
    }

    fn hand_out(&self, leased: Leased) -> Vec<Claim> {
        let (claims, unreadable) = leased.take();
        for Unreadable { key, what } in unreadable {
            self.tell(match what {
                Some(what) => Op::SetAside { id: key.id, key: Some(key), what },
                None => Op::Misplaced { key },
            });
        }
        claims
    }
}

fn site_numbers(sites: &[String]) -> Vec<u64> {
    sites.iter().map(|site| lane::site_number(site)).collect()
}

impl Drop for RedbQueue {
    fn drop(&mut self) {
        drop(self.inbox.take());
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been reported where it happened.
            let _ = writer.join();
        }
    }
}

impl Queue for RedbQueue {
    fn now(&self) -> Moment {
        self.shared.timeline.now()
    }

    fn wall(&self, moment: Moment) -> Timestamp {
        self.shared.timeline.wall(moment)
    }

    fn freeze(&self, frozen: bool) {
        if self.shared.timeline.freeze(frozen) {
            self.tell(Op::Touch);
        }
    }

    fn stage(&self, id: QueueId, number: u32, chunk: Bytes) -> Pending<'_, ()> {
        let handed = self.shared.space.hand(content::usage(chunk.len()));
        self.ask(|answer| Op::Stage { id, number, chunk, _handed: handed, answer })
    }

    fn discard(&self, id: QueueId) {
        self.tell(Op::Discard { id });
    }

    fn put(&self, message: Message, tail: Bytes, facts: Vec<Fact>) -> Pending<'_, ()> {
        let mut usage = content::usage(tail.len());
        usage.add_message(&message);
        let handed = self.shared.space.hand(usage);
        self.ask(|answer| Op::Put { message: Box::new(message), tail, facts, _handed: handed, answer })
    }

    fn claim(&self, now: Moment, lease: Duration, sites: &[String], limit: usize) -> Pending<'_, Vec<Claim>> {
        let sites = site_numbers(sites);
        Box::pin(async move {
            let take =
                move |shared: &Arc<Shared>| claim::take_due(shared, now, lease, &sites, limit)?.read(shared);
            Ok(self.hand_out(self.search(take).await?))
        })
    }

    fn chunk(&self, id: QueueId, number: u32) -> Pending<'_, Bytes> {
        let fresh = self.shared.state().fresh.chunk(id, number);
        Box::pin(async move {
            if let Some(chunk) = fresh {
                return Ok(chunk);
            }
            let read = self.read(move |shared| reader::chunk(&shared.store, id, number)).await;
            if let Err(QueueError::Damaged { what, .. }) = &read {
                self.tell(Op::SetAside { id, key: None, what: what.clone() });
            }
            read
        })
    }

    fn settle(&self, claim: Claim, settlement: Settlement) -> Pending<'_, ()> {
        if !self.shared.state().begin_settling(claim.message.id, claim.token) {
            return Box::pin(std::future::ready(Ok(())));
        }
        self.ask(|answer| Op::Settle { claim, settlement, answer })
    }

    fn put_back(&self, claim: Claim) {
        let id = claim.message.id;
        let (ended, doomed) = {
            let mut state = self.shared.state();
            (state.end_lease(id, claim.token), state.doomed.contains(&id))
        };
        match (ended, doomed) {
            (true, true) => self.tell(Op::Sweep { id }),
            (true, false) => self.shared.woken.notify_one(),
            (false, _) => {}
        }
    }

    fn next_due(&self, sites: &[String]) -> Pending<'_, Option<Moment>> {
        let sites = site_numbers(sites);
        Box::pin(async move {
            let next = self.search(move |shared| claim::next_due(shared, &sites)).await?;
            Ok(next.map(|Next { key, misplaced }| {
                if misplaced {
                    self.tell(Op::Misplaced { key });
                }
                Moment(key.due)
            }))
        })
    }

    fn claim_old(
        &self,
        now: Moment,
        born_by: Moment,
        lease: Duration,
        limit: usize,
    ) -> Pending<'_, Vec<Claim>> {
        Box::pin(async move {
            let take = move |shared: &Arc<Shared>| {
                let taken = claim::take_old(shared, now, born_by, lease, limit)?;
                taken.map(|taken| taken.read(shared)).transpose()
            };
            Ok(self.read(take).await?.map(|leased| self.hand_out(leased)).unwrap_or_default())
        })
    }

    fn order(&self, order: Order, ids: Vec<QueueId>) -> Pending<'_, Vec<Obeyed>> {
        Box::pin(async move {
            let mut obeyed = Vec::with_capacity(ids.len());
            for ids in ids.chunks(ORDERS_AT_ONCE) {
                let ids = ids.to_vec();
                obeyed.extend(self.ask(|answer| Op::Order { order, ids, answer }).await?);
            }
            Ok(obeyed)
        })
    }

    fn remove_failed(&self, before: Timestamp) -> Pending<'_, u64> {
        let before_ms = u64::try_from(before.as_millisecond()).unwrap_or(0);
        Box::pin(async move {
            let mut removed = 0;
            loop {
                let limit = ORDERS_AT_ONCE;
                let now = self.ask(|answer| Op::RemoveFailed { before_ms, limit, answer }).await?;
                removed += now;
                if now < limit as u64 {
                    return Ok(removed);
                }
            }
        })
    }

    fn hasten_refused(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let mut from = Some(0);
            while let Some(next) = from {
                from = self
                    .ask(|answer| Op::HastenRefused { from: next, limit: ORDERS_AT_ONCE, answer })
                    .await?;
            }
            Ok(())
        })
    }

    fn list(&self, filter: Filter, cursor: Option<QueueId>, limit: usize) -> Pending<'_, Page> {
        Box::pin(self.read(move |shared| reader::list(&shared.store, &filter, cursor, limit)))
    }

    fn show(&self, id: QueueId) -> Pending<'_, Arc<Message>> {
        Box::pin(
            async move { unless_it_panics(|| reader::show(&self.shared.store, id)).map_err(queue_error)? },
        )
    }

    fn record(&self, facts: Vec<Fact>) {
        self.tell(Op::Record { facts });
    }

    fn events(&self, from: Option<u64>, limit: usize) -> Pending<'_, Vec<Event>> {
        Box::pin(self.read(move |shared| reader::events(&shared.store, from, limit)))
    }

    fn follow(&self) -> broadcast::Receiver<Arc<Event>> {
        self.shared.events.subscribe()
    }

    fn keep_events(&self, keep: u64) {
        self.shared.keep_events.store(keep, Ordering::Relaxed);
    }

    fn woken(&self) -> Arc<Notify> {
        self.shared.woken.clone()
    }

    fn health(&self) -> Health {
        let now = self.shared.monotonic();
        let state = self.shared.state();
        let claimed = state.leases.values().filter(|lease| lease.settling || lease.until > now).count();
        Health { writable: state.writable, claimed: claimed as u64, ..state.counts.health() }
    }

    fn room(&self) -> Option<u64> {
        let usage = self.shared.state().usage;
        self.shared.space.room(self.shared.monotonic(), usage)
    }

    fn instance(&self) -> &str {
        &self.shared.instance
    }

    fn close(&self) -> Pending<'_, ()> {
        let closed = self.ask(|answer| Op::Close { answer });
        Box::pin(async move {
            match closed.await {
                // Closed before, by somebody else.
                Err(QueueError::Closed) => Ok(()),
                result => result,
            }
        })
    }
}
