//! One content on its way into the queue.
//!
//! Promises: memory does not follow its size, because every full chunk is staged in the queue while the next one
//! fills; what is dropped before its end leaves nothing in the queue.
//!
//! A message that fits into one chunk is never staged.

use super::content::{ContentError, ContentReader};
use super::disk_space::{DiskSpace, SpaceReservation};
use super::not_accepted::NotAccepted;
use crate::config::Settings;
use crate::config::settings::Limits;
use crate::mail::header::HeaderScan;
use crate::mail::{Class, HeaderFacts, QueueId, SenderFacts, SenderScan};
use crate::queue::{CHUNK_SIZE, MailStore, Pending, QueueError};
use bytes::Bytes;
use std::task::Poll;
use tokio::sync::OwnedSemaphorePermit;

/// Memory that one content may hold at a time: the chunk that fills and the one that is being staged.
const RESERVATION: usize = 2 * CHUNK_SIZE;
/// The same in permits of `content_memory`, which are KiB: all that there are where there are fewer.
pub(crate) fn permits(limits: &Limits) -> u32 {
    let all = usize::try_from(limits.content_memory / 1024).unwrap_or(usize::MAX);
    u32::try_from((RESERVATION / 1024).min(all).max(1)).unwrap_or(u32::MAX)
}

/// A chunk grows by doubling up to this size, then at once to its full size.
const SMALL: usize = 32 * 1024;

/// Carries one content into the queue.
pub(crate) struct StagedContent<'q> {
    queue: &'q dyn MailStore,
    id: QueueId,
    reader: ContentReader,
    scan: HeaderScan,
    /// Reads From, where the site depends on it.
    author: Option<SenderScan>,
    chunks: Chunks,
    staged: u32,
    staging: Option<Pending<'q, ()>>,
    failed: Option<NotAccepted>,
    /// For what is still to come.
    space: SpaceReservation<'q>,
    /// Its share of `content_memory`, given back when this is dropped.
    _reservation: OwnedSemaphorePermit,
}

/// Content, cut into chunks.
#[derive(Default)]
struct Chunks {
    filling: Vec<u8>,
    full: Vec<Bytes>,
}

impl Chunks {
    /// The last chunk stays here even when it is full, because every message needs a last one.
    fn push(&mut self, mut content: &[u8]) {
        while !content.is_empty() {
            if self.filling.len() == CHUNK_SIZE {
                self.full.push(std::mem::take(&mut self.filling).into());
            }
            let part = content.len().min(CHUNK_SIZE - self.filling.len());
            let needed = self.filling.len() + part;
            if needed > self.filling.capacity() {
                let size = if needed > SMALL { CHUNK_SIZE } else { needed.next_power_of_two() };
                self.filling.reserve_exact(size - self.filling.len());
            }
            self.filling.extend_from_slice(&content[..part]);
            content = &content[part..];
        }
    }
}

impl<'q> StagedContent<'q> {
    /// Nothing read yet. `needs_author`: its From is to be read, too. `reservation` is its share of `content_memory`, as
    /// [`permits`] says, `space` what was reserved on the disk.
    pub(crate) fn new(
        queue: &'q dyn MailStore,
        id: QueueId,
        reader: ContentReader,
        needs_author: bool,
        reservation: OwnedSemaphorePermit,
        space: SpaceReservation<'q>,
    ) -> StagedContent<'q> {
        StagedContent {
            queue,
            id,
            reader,
            scan: HeaderScan::new(queue.instance()),
            author: needs_author.then(|| SenderScan::new(&[])),
            chunks: Chunks::default(),
            staged: 0,
            staging: None,
            failed: None,
            space,
            _reservation: reservation,
        }
    }

    /// How many bytes to read at once: more when the message has turned out to be large.
    pub(crate) fn read_hint(&self) -> usize {
        if self.reader.size() > SMALL as u64 { 64 * 1024 } else { 16 * 1024 }
    }

    /// Reads on, see [`ContentReader::read`]; then stages the chunks that have become full.
    pub(crate) async fn read(&mut self, input: &[u8]) -> (usize, bool) {
        let StagedContent { reader, scan, author, chunks, failed, .. } = self;
        let read = reader.read(input, |content| {
            scan.push(content);
            if let Some(author) = author {
                author.push(content);
            }
            if failed.is_none() {
                chunks.push(content);
            }
        });
        self.stage().await;
        read
    }

    /// Asks the queue to take full chunks; waits for each only when the next one is full.
    async fn stage(&mut self) {
        for chunk in std::mem::take(&mut self.chunks.full) {
            self.staging_done().await;
            let octets = chunk.len() as u64;
            if self.failed.is_none() {
                self.failed = self.space.ensure(octets).err();
            }
            if self.failed.is_some() {
                return;
            }
            let mut staging = self.queue.stage(self.id, self.staged, chunk);
            self.space.stored(octets);
            self.staged += 1;
            // Polled once, so that it is under way while the next chunk fills.
            match futures_util::poll!(&mut staging) {
                Poll::Ready(done) => self.failed = done.err().as_ref().map(NotAccepted::from),
                Poll::Pending => self.staging = Some(staging),
            }
        }
    }

    async fn staging_done(&mut self) {
        if let Some(staging) = self.staging.take()
            && let Err(error) = staging.await
        {
            self.failed.get_or_insert(NotAccepted::from(&error));
        }
    }

    /// Why the content that has come so far cannot be accepted.
    pub(crate) fn refusal(&self, settings: &Settings) -> Option<NotAccepted> {
        let of_content = |error: ContentError| NotAccepted::of_content(error, settings.limits.message_size);
        self.reader.error().map(of_content).or(self.failed)
    }

    /// The content is complete: it can be put, or why not.
    pub(crate) async fn finish(
        &mut self,
        settings: &Settings,
        disk_space: &DiskSpace,
    ) -> Result<(), NotAccepted> {
        let StagedContent { reader, scan, author, chunks, .. } = self;
        reader.finish(|content| {
            scan.push(content);
            if let Some(author) = author {
                author.push(content);
            }
            chunks.push(content);
        });
        self.stage().await;
        self.staging_done().await;
        if let Some(why) = self.refusal(settings) {
            return Err(why);
        }
        if self.scan.own_instance_seen() || self.scan.facts().received_hops > settings.limits.received_hops {
            return Err(NotAccepted::Loop);
        }
        let tail = self.chunks.filling.len() as u64;
        disk_space.check_message_count(settings)?;
        self.space.ensure(tail)
    }

    /// Its message's id.
    pub(crate) fn id(&self) -> QueueId {
        self.id
    }

    /// Octets so far, as stored.
    pub(crate) fn size(&self) -> u64 {
        self.reader.size()
    }

    /// In how many chunks it will be stored.
    pub(crate) fn chunk_count(&self) -> u32 {
        self.staged + u32::from(!self.chunks.filling.is_empty())
    }

    /// What is known of its header.
    pub(crate) fn header(&self) -> HeaderFacts {
        self.scan.facts()
    }

    /// The class that its header asks for.
    pub(crate) fn class(&self) -> Class {
        self.scan.class()
    }

    /// Who wrote it, where that was to be read.
    pub(crate) fn author(&self) -> Option<&SenderFacts> {
        self.author.as_ref().map(SenderScan::facts)
    }

    /// Puts the message into the queue: `put` gets the last chunk.
    pub(crate) async fn put_with(
        mut self,
        put: impl FnOnce(Bytes) -> Pending<'q, ()>,
    ) -> Result<(), QueueError> {
        // The content may stay in memory until it has been delivered, so the unused part of its buffer is given back.
        let content: Box<[u8]> = std::mem::take(&mut self.chunks.filling).into_boxed_slice();
        // From here on the message may exist, so dropping this must not discard its chunks.
        let staged = std::mem::take(&mut self.staged);
        let stored = put(content.into());
        self.space.stored(u64::MAX);
        let result = stored.await;
        if result.is_err() {
            self.staged = staged;
        }
        result
    }
}

impl Drop for StagedContent<'_> {
    fn drop(&mut self) {
        if self.staged > 0 {
            self.staging = None;
            self.queue.discard(self.id);
        }
    }
}
