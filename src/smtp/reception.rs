//! One content under way from the client into the queue.
//!
//! Promises: memory does not follow its size, because every full chunk is staged in the queue while the next one
//! fills; what is given up, by whatever way out, leaves nothing behind; 250 is the answer of [`Reception::store`] only
//! after the queue has confirmed.
//!
//! A message that fits into one chunk is never staged.

use super::FrontDoor;
use super::content::{ContentReader, Fault};
use super::reply::Reply;
use super::room::Promise;
use super::transaction::{Dialogue, Envelope, Terms, too_big};
use crate::event::{EventType, Fact, code};
use crate::mail::header::HeaderScan;
use crate::mail::{Message, Origin, QueueId, Recipient};
use crate::queue::{CHUNK_SIZE, MailStore, Pending, QueueError};
use bytes::Bytes;
use std::task::Poll;
use tokio::sync::OwnedSemaphorePermit;

/// What one reception may hold at a time: the chunk that fills and the one that is being staged.
pub const RESERVATION: usize = 2 * CHUNK_SIZE;
/// A chunk grows by doubling up to here, then at once to its full size.
const SMALL: usize = 32 * 1024;

/// Carries one content into the queue.
pub struct Reception<'q> {
    queue: &'q dyn MailStore,
    id: QueueId,
    reader: ContentReader,
    scan: HeaderScan,
    chunks: Chunks,
    staged: u32,
    staging: Option<Pending<'q, ()>>,
    failed: Option<Reply>,
    /// Room for what is still to come.
    room: Promise<'q>,
    /// Of `content_memory`: given back when this is dropped.
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

impl<'q> Reception<'q> {
    /// Nothing read yet. `reservation` is what [`RESERVATION`] takes of `content_memory`, `room` what was promised at MAIL.
    pub fn new(
        door: &'q FrontDoor,
        reader: ContentReader,
        reservation: OwnedSemaphorePermit,
        room: Promise<'q>,
    ) -> Reception<'q> {
        let now = u64::try_from(door.clock.wall().as_millisecond()).unwrap_or_default();
        Reception {
            queue: &*door.queue,
            id: QueueId::fresh(now),
            reader,
            scan: HeaderScan::new(door.queue.instance()),
            chunks: Chunks::default(),
            staged: 0,
            staging: None,
            failed: None,
            room,
            _reservation: reservation,
        }
    }

    /// How much should be read at once now: a lot when the message has shown to be large.
    pub fn appetite(&self) -> usize {
        if self.reader.size() > SMALL as u64 { 64 * 1024 } else { 16 * 1024 }
    }

    /// Reads on, see [`ContentReader::read`]; then stages the chunks that have become full.
    pub async fn read(&mut self, input: &[u8]) -> (usize, bool) {
        let Reception { reader, scan, chunks, failed, .. } = self;
        let read = reader.read(input, |content| {
            scan.push(content);
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
                self.failed = self.room.cover(octets).err();
            }
            if self.failed.is_some() {
                return;
            }
            let mut staging = self.queue.stage(self.id, self.staged, chunk);
            self.room.stored(octets);
            self.staged += 1;
            // Polled once, so that it is under way while the next chunk fills.
            match futures_util::poll!(&mut staging) {
                Poll::Ready(done) => self.failed = done.err().as_ref().map(unstored),
                Poll::Pending => self.staging = Some(staging),
            }
        }
    }

    async fn staging_done(&mut self) {
        if let Some(staging) = self.staging.take()
            && let Err(error) = staging.await
        {
            self.failed.get_or_insert(unstored(&error));
        }
    }

    /// What speaks against the content so far.
    pub fn refusal(&self, dialogue: &Dialogue) -> Option<Reply> {
        let limits = &dialogue.terms().settings.limits;
        match (self.reader.fault(), &self.failed) {
            (Some(Fault::TooBig), _) => Some(too_big(limits.message_size)),
            (Some(Fault::Nul), _) => Some(Reply::new(
                550,
                6,
                0,
                "the content holds a NUL: encode binary parts, for example in base64",
            )),
            (Some(Fault::BareNewline), _) => {
                Some(Reply::new(550, 5, 2, "the content holds a bare CR or LF: end every line with CRLF"))
            }
            (None, failed) => failed.clone(),
        }
    }

    /// The content is complete: has the queue make it exist. The answer is 250 if, and only if, the queue says so.
    pub async fn store(mut self, door: &FrontDoor, dialogue: &Dialogue, envelope: &Envelope) -> Reply {
        let Reception { reader, scan, chunks, .. } = &mut self;
        reader.finish(|content| {
            scan.push(content);
            chunks.push(content);
        });
        self.stage().await;
        self.staging_done().await;
        if let Some(reply) = self.refusal(dialogue) {
            return reply;
        }
        let settings = &dialogue.terms().settings;
        if self.scan.own_instance_seen() || self.scan.facts().received_hops > settings.limits.received_hops {
            return Reply::new(
                554,
                4,
                6,
                "the message goes round in a loop: see that no upstream sends mail back here, or raise \
                 `received_hops` under [limits]",
            );
        }
        let tail = self.chunks.filling.len() as u64;
        if let Err(reply) = door.below_cap(settings).and_then(|()| self.room.cover(tail)) {
            return reply;
        }
        let message = self.message(door, dialogue, envelope);
        let fact = queued(&message);
        let (size, recipients) = (message.size, message.recipients.len());
        // It may stay in memory until it has been delivered: without the room that it had to grow.
        let content: Box<[u8]> = std::mem::take(&mut self.chunks.filling).into_boxed_slice();
        // From here on the queue decides alone: a chunk given up now might belong to a message that exists.
        let staged = std::mem::take(&mut self.staged);
        let stored = self.queue.put(message, content.into(), vec![fact]);
        self.room.stored(u64::MAX);
        match stored.await {
            Ok(()) => {
                let Terms { client, listener, .. } = dialogue.terms();
                let (id, from) = (self.id, envelope.reverse_path.as_str());
                tracing::info!(queue_id = %id, %client, %listener, from, size, recipients, "accepted");
                Reply::new(250, 0, 0, format!("queued as {id}"))
            }
            Err(error) => {
                self.staged = staged;
                tracing::warn!(queue_id = %self.id, %error, "not stored");
                unstored(&error)
            }
        }
    }

    fn message(&self, door: &FrontDoor, dialogue: &Dialogue, envelope: &Envelope) -> Message {
        let terms = dialogue.terms();
        let (helo, extended) =
            dialogue.hello().map_or((String::new(), false), |hello| (hello.name.clone(), hello.extended));
        let protocol = match (extended, envelope.smtp_utf8) {
            (false, _) => "SMTP",
            (true, false) => "ESMTP",
            (true, true) => "UTF8SMTP",
        };
        let now = door.queue.now();
        let reception = door.clock.monotonic().saturating_sub(envelope.began);
        Message {
            recipients: envelope.recipients.iter().cloned().map(Recipient::pending).collect(),
            body: envelope.body,
            smtp_utf8: envelope.smtp_utf8,
            size: self.reader.size(),
            chunks: self.staged + u32::from(!self.chunks.filling.is_empty()),
            header: self.scan.facts(),
            origin: Origin {
                listener: terms.listener.to_string(),
                client: Some(terms.client),
                user: None,
                helo,
                protocol: protocol.to_owned(),
            },
            class: terms.class().unwrap_or_else(|| self.scan.class()),
            received_at: door.clock.wall(),
            reception_ms: u64::try_from(reception.as_millis()).unwrap_or(u64::MAX),
            due: Some(now),
            life_start: now,
            ..Message::new(self.id, envelope.reverse_path.clone())
        }
    }
}

impl Drop for Reception<'_> {
    fn drop(&mut self) {
        if self.staged > 0 {
            self.staging = None;
            self.queue.discard(self.id);
        }
    }
}

fn queued(message: &Message) -> Fact {
    let recipients = message.recipients.len();
    let text = format!(
        "from <{}> for {recipients} recipient{}, {} bytes",
        message.reverse_path.as_str(),
        if recipients == 1 { "" } else { "s" },
        message.size
    );
    let mut fact = Fact::new(message.received_at, EventType::Information, "Mail", code::QUEUED, text);
    fact.queue_id = Some(message.id);
    fact
}

/// What a client is told when the queue could not store its message.
fn unstored(error: &QueueError) -> Reply {
    match error {
        QueueError::Full(_) => Reply::new(
            452,
            3,
            1,
            "the disk is full: try again later, and make room on the disk of Postroom's queue",
        ),
        _ => Reply::new(451, 3, 0, "the queue cannot be written: try again later, and see Postroom's log"),
    }
}
