//! One content under way from the client into the queue.
//!
//! Promises: memory does not follow its size, because every full chunk is staged in the queue while the next one
//! fills; a reception that is dropped before its end leaves nothing in the queue; [`Reception::store`] replies 250 only after
//! the queue has confirmed.
//!
//! A message that fits into one chunk is never staged.

use super::command::RcptCommand;
use super::content::{ContentError, ContentReader};
use super::dialogue::{Dialogue, InboundEnvelope};
use super::disk_space::SpaceReservation;
use super::reply::{self, ReplyToClient};
use super::server::SmtpServer;
use super::session_context::SessionContext;
use crate::config::Settings;
use crate::event::{EventType, Fact, code, named_site};
use crate::mail::address_list::mailboxes;
use crate::mail::header::HeaderScan;
use crate::mail::{Address, Message, Origin, QueueId, Recipient, RecipientDsn, ReversePath, SenderScan};
use crate::queue::{CHUNK_SIZE, MailStore, Pending, QueueError};
use bytes::Bytes;
use std::task::Poll;
use tokio::sync::OwnedSemaphorePermit;

/// Memory that one reception may hold at a time: the chunk that fills and the one that is being staged.
pub(super) const RESERVATION: usize = 2 * CHUNK_SIZE;
/// A chunk grows by doubling up to this size, then at once to its full size.
const SMALL: usize = 32 * 1024;

/// Carries one content into the queue.
pub(super) struct Reception<'q> {
    queue: &'q dyn MailStore,
    id: QueueId,
    reader: ContentReader,
    scan: HeaderScan,
    /// Reads From, where the site depends on it.
    author: Option<SenderScan>,
    chunks: Chunks,
    staged: u32,
    staging: Option<Pending<'q, ()>>,
    failed: Option<ReplyToClient>,
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

impl<'q> Reception<'q> {
    /// Nothing read yet. `reservation` is the share of `content_memory` for [`RESERVATION`], `space` what was reserved at MAIL.
    pub(super) fn new(
        server: &'q SmtpServer,
        dialogue: &Dialogue,
        reader: ContentReader,
        reservation: OwnedSemaphorePermit,
        space: SpaceReservation<'q>,
    ) -> Reception<'q> {
        let now = u64::try_from(server.clock.wall().as_millisecond()).unwrap_or_default();
        Reception {
            queue: &*server.queue,
            id: QueueId::fresh(now),
            reader,
            scan: HeaderScan::new(server.queue.instance()),
            author: dialogue.needs_author().then(|| SenderScan::new(&[])),
            chunks: Chunks::default(),
            staged: 0,
            staging: None,
            failed: None,
            space,
            _reservation: reservation,
        }
    }

    /// How many bytes to read at once: more when the message has turned out to be large.
    pub(super) fn read_hint(&self) -> usize {
        if self.reader.size() > SMALL as u64 { 64 * 1024 } else { 16 * 1024 }
    }

    /// Reads on, see [`ContentReader::read`]; then stages the chunks that have become full.
    pub(super) async fn read(&mut self, input: &[u8]) -> (usize, bool) {
        let Reception { reader, scan, author, chunks, failed, .. } = self;
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
                Poll::Ready(done) => self.failed = done.err().as_ref().map(not_stored),
                Poll::Pending => self.staging = Some(staging),
            }
        }
    }

    async fn staging_done(&mut self) {
        if let Some(staging) = self.staging.take()
            && let Err(error) = staging.await
        {
            self.failed.get_or_insert(not_stored(&error));
        }
    }

    /// Why the content that has come so far cannot be accepted.
    pub(super) fn refusal(&self, dialogue: &Dialogue) -> Option<ReplyToClient> {
        let limits = &dialogue.context().settings.limits;
        match (self.reader.error(), &self.failed) {
            (Some(ContentError::TooLarge), _) => Some(reply::message_too_large(limits.message_size)),
            (Some(ContentError::Nul), _) => Some(reply::NUL_IN_CONTENT),
            (Some(ContentError::BareNewline), _) => Some(reply::BARE_NEWLINE_IN_CONTENT),
            (None, failed) => failed.clone(),
        }
    }

    /// The content is complete: puts the message into the queue. The reply is 250 if, and only if, the queue confirms it.
    pub(super) async fn store(
        mut self,
        server: &SmtpServer,
        dialogue: &Dialogue,
        envelope: &InboundEnvelope,
    ) -> ReplyToClient {
        let Reception { reader, scan, author, chunks, .. } = &mut self;
        reader.finish(|content| {
            scan.push(content);
            if let Some(author) = author {
                author.push(content);
            }
            chunks.push(content);
        });
        self.stage().await;
        self.staging_done().await;
        if let Some(reply) = self.refusal(dialogue) {
            return reply;
        }
        let settings = &dialogue.context().settings;
        if self.scan.own_instance_seen() || self.scan.facts().received_hops > settings.limits.received_hops {
            return reply::MAIL_LOOP;
        }
        let tail = self.chunks.filling.len() as u64;
        if let Err(reply) =
            server.disk_space.check_message_count(settings).and_then(|()| self.space.ensure(tail))
        {
            return reply;
        }
        let message = self.message(server, dialogue, envelope);
        let fact = queued(&message);
        let (size, recipients) = (message.size, message.recipients.len());
        // The content may stay in memory until it has been delivered, so the unused part of its buffer is given back.
        let content: Box<[u8]> = std::mem::take(&mut self.chunks.filling).into_boxed_slice();
        // From here on the message may exist, so dropping this must not discard its chunks.
        let staged = std::mem::take(&mut self.staged);
        let stored = self.queue.put(message, content.into(), vec![fact]);
        self.space.stored(u64::MAX);
        match stored.await {
            Ok(()) => {
                let SessionContext { client, listener, user, .. } = dialogue.context();
                let (listener, user) = (&listener.name, user.as_deref());
                let (id, from) = (self.id, envelope.mail.reverse_path.as_str());
                tracing::info!(queue_id = %id, %client, %listener, user, from, size, recipients, "accepted");
                reply::queued(id)
            }
            Err(error) => {
                self.staged = staged;
                tracing::warn!(queue_id = %self.id, %error, "not stored");
                not_stored(&error)
            }
        }
    }

    fn message(&self, server: &SmtpServer, dialogue: &Dialogue, envelope: &InboundEnvelope) -> Message {
        let context = dialogue.context();
        let (helo, extended) = dialogue
            .client_name()
            .map_or((String::new(), false), |client| (client.name.clone(), client.extended));
        // Of this moment: the session may have begun under other settings, and mail must not escape a mode that was switched on
        // since, nor one that it was accepted under.
        let now_in_force = server.settings.borrow().clone();
        let site = self.site(context, &now_in_force, envelope);
        let handling = now_in_force.handling_of(&site);
        let now = server.queue.now_of(&site);
        let reception = server.clock.monotonic().saturating_sub(envelope.began);
        Message {
            recipients: envelope.recipients.iter().map(recipient).collect(),
            body: envelope.mail.parameters.body,
            smtp_utf8: envelope.mail.parameters.smtp_utf8,
            size: self.reader.size(),
            chunks: self.staged + u32::from(!self.chunks.filling.is_empty()),
            header: self.scan.facts(),
            origin: Origin {
                listener: context.listener.name.clone(),
                client: Some(context.client),
                user: context.user.clone(),
                helo,
                protocol: protocol(context, extended, envelope),
            },
            under_mode: handling.is_some_and(|handling| handling.mode().is_some()),
            site,
            class: context.class().unwrap_or_else(|| self.scan.class()),
            received_at: server.clock.wall(),
            reception_ms: u64::try_from(reception.as_millis()).unwrap_or(u64::MAX),
            due: Some(now),
            life_start: now,
            returns: envelope.mail.parameters.dsn.returns,
            envelope_id: envelope.mail.parameters.dsn.envelope_id.clone(),
            ..Message::new(self.id, envelope.mail.reverse_path.clone())
        }
    }
}

impl Reception<'_> {
    /// The site of the user or the listener, else the one that the reverse-path belongs to, or From for `<>` (rule 2).
    fn site(&self, context: &SessionContext, now: &Settings, envelope: &InboundEnvelope) -> String {
        let of_sender = |address: &Address| now.site_of_sender(address);
        let of_author = || {
            let from = &self.author.as_ref()?.facts().from;
            let mailboxes = from.iter().flat_map(|value| mailboxes(&String::from_utf8_lossy(value)));
            mailboxes.filter_map(|mailbox| mailbox.parse().ok()).find_map(|address| of_sender(&address))
        };
        if let Some(site) = context.site(now) {
            return site.to_owned();
        }
        let site = match &envelope.mail.reverse_path {
            ReversePath::Address(address) => of_sender(address),
            ReversePath::Null => of_author(),
        };
        site.map(|site| site.name.clone()).unwrap_or_default()
    }
}

/// The transmission type (RFC 3848, RFC 6531): S with TLS, A with AUTH.
fn protocol(context: &SessionContext, extended: bool, envelope: &InboundEnvelope) -> String {
    if !extended {
        return "SMTP".to_owned();
    }
    let name = if envelope.mail.parameters.smtp_utf8 { "UTF8SMTP" } else { "ESMTP" };
    let tls = if context.is_tls { "S" } else { "" };
    let auth = if context.user.is_some() { "A" } else { "" };
    format!("{name}{tls}{auth}")
}

impl Drop for Reception<'_> {
    fn drop(&mut self) {
        if self.staged > 0 {
            self.staging = None;
            self.queue.discard(self.id);
        }
    }
}

fn recipient(rcpt: &RcptCommand) -> Recipient {
    let RecipientDsn { notify, original_recipient } = rcpt.dsn.clone();
    Recipient { notify, original_recipient, ..Recipient::pending(rcpt.address.clone()) }
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
    fact.site = named_site(&message.site);
    fact
}

/// The reply to a client whose message the queue could not store.
fn not_stored(error: &QueueError) -> ReplyToClient {
    match error {
        QueueError::Full(_) => reply::DISK_FULL,
        _ => reply::QUEUE_NOT_WRITABLE,
    }
}
