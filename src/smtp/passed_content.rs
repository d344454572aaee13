//! One content under way from the client to an upstream (rule 15): what is read is passed on at once, but for the header, which
//! is read whole before, because what goes in front of it depends on it.
//!
//! Promise: the final dot leaves only where the whole content was received and is sound. Everything else ends the upstream's
//! transaction without it; the client's content is then read to its end, and refused.

use super::dialogue::Dialogue;
use super::origin;
use super::reply::{self, ReplyToClient};
use crate::config::Settings;
use crate::mail::{HeaderScan, Message, QueueId, Reply, ReversePath, SenderScan};
use crate::metrics::Metrics;
use crate::pass_through::{PassThrough, PassedHeader, PassedMail, PassedTransaction};
use crate::policy::changes::RENAMES;
use crate::reception::content::ContentReader;
use crate::reception::not_accepted::NotAccepted;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// The longest header that is read whole.
pub(super) const MAX_HEADER: usize = 128 * 1024;

/// Bytes of a header that are passed on at once.
const PIECE: usize = 32 * 1024;

/// A transaction at an upstream, beside the client's.
pub(super) struct PassedOn {
    /// In force when it began.
    settings: Arc<Settings>,
    /// None once it has ended.
    transaction: Option<Box<dyn PassedTransaction>>,
}

impl PassedOn {
    /// With nobody asked yet.
    pub(super) fn new(settings: Arc<Settings>, relay: &dyn PassThrough, mail: PassedMail) -> PassedOn {
        PassedOn { settings, transaction: Some(relay.begin(mail)) }
    }

    /// For the next question; none once it has ended.
    pub(super) fn transaction(&mut self) -> Option<&mut Box<dyn PassedTransaction>> {
        self.transaction.as_mut()
    }

    /// Ends it, wherever it is. `told`: what the client is told.
    pub(super) async fn end(&mut self, told: Option<&ReplyToClient>) {
        if let Some(transaction) = self.transaction.take() {
            let comes_again = told.filter(|reply| reply.is_refusal() && !reply.is_permanent());
            transaction.end(comes_again.map(Reply::from)).await;
        }
    }
}

/// Carries one content to the upstream.
pub(super) struct PassedContent {
    reader: ContentReader,
    scan: HeaderScan,
    sender: SenderScan,
    /// What has come of the content before its header was read whole.
    header: Option<Vec<u8>>,
    refusal: Option<ContentRefusal>,
    /// Known with the header.
    site: String,
    /// Its share of `content_memory`, given back when this is dropped.
    _reservation: OwnedSemaphorePermit,
}

/// Why a content is not passed on, or not any more.
#[derive(Clone)]
pub(super) struct ContentRefusal {
    pub(super) reply: ReplyToClient,
    /// We have found something wrong with it, and no upstream.
    pub(super) is_ours: bool,
}

impl From<ReplyToClient> for ContentRefusal {
    fn from(reply: ReplyToClient) -> ContentRefusal {
        ContentRefusal { reply, is_ours: true }
    }
}

/// What the transaction at the upstream came to.
impl From<Reply> for ContentRefusal {
    fn from(reply: Reply) -> ContentRefusal {
        ContentRefusal { reply: reply.into(), is_ours: false }
    }
}

impl PassedContent {
    /// Nothing read yet. `instance` is our own name, which shows mail that has been here before.
    pub(super) fn new(
        reader: ContentReader,
        instance: &str,
        reservation: OwnedSemaphorePermit,
    ) -> PassedContent {
        PassedContent {
            reader,
            scan: HeaderScan::new(instance),
            sender: SenderScan::new(&RENAMES),
            header: Some(Vec::new()),
            refusal: None,
            site: String::new(),
            _reservation: reservation,
        }
    }

    /// Reads on, see [`ContentReader::read`], and passes on what has come.
    pub(super) async fn read(
        &mut self,
        input: &[u8],
        passed_on: &mut PassedOn,
        dialogue: &Dialogue,
    ) -> (usize, bool) {
        let PassedContent { reader, scan, sender, .. } = self;
        let mut content = Vec::with_capacity(input.len());
        let read = reader.read(input, |bytes| {
            scan.push(bytes);
            sender.push(bytes);
            content.extend_from_slice(bytes);
        });
        self.pass_on(&content, read.1, passed_on, dialogue).await;
        read
    }

    /// Why what has come so far is not passed on.
    pub(super) fn refusal(&self) -> Option<&ContentRefusal> {
        self.refusal.as_ref()
    }

    /// The content is complete: the final dot, and what the upstream says to it.
    pub(super) async fn finish(
        mut self,
        passed_on: &mut PassedOn,
        dialogue: &Dialogue,
        metrics: &Metrics,
    ) -> ContentRefusal {
        let PassedContent { reader, scan, sender, .. } = &mut self;
        let mut content = Vec::new();
        reader.finish(|bytes| {
            scan.push(bytes);
            sender.push(bytes);
            content.extend_from_slice(bytes);
        });
        self.pass_on(&content, true, passed_on, dialogue).await;
        let said = match (self.refusal, passed_on.transaction()) {
            (Some(refusal), _) => refusal,
            (None, Some(transaction)) => transaction.finish().await.into(),
            (None, None) => reply::NO_TRANSACTION.into(),
        };
        if said.reply.is_positive() {
            let recipients = dialogue.envelope().map_or(0, |envelope| envelope.recipients.len());
            let listener = &dialogue.context().listener.name;
            metrics.accepted(listener, &self.site, recipients, self.reader.size());
        }
        said
    }

    async fn pass_on(&mut self, content: &[u8], ended: bool, passed_on: &mut PassedOn, dialogue: &Dialogue) {
        if self.refusal.is_some() {
            return;
        }
        let done = match self.reader.error() {
            Some(error) => {
                let limit = dialogue.context().settings.limits.message_size;
                Err(reply::not_accepted(NotAccepted::of_content(error, limit)).into())
            }
            None => self.pass_on_sound(content, ended, passed_on, dialogue).await,
        };
        if let Err(refusal) = done {
            passed_on.end(Some(&refusal.reply)).await;
            self.refusal = Some(refusal);
        }
    }

    async fn pass_on_sound(
        &mut self,
        content: &[u8],
        ended: bool,
        passed_on: &mut PassedOn,
        dialogue: &Dialogue,
    ) -> Result<(), ContentRefusal> {
        let settings = passed_on.settings.clone();
        let Some(transaction) = passed_on.transaction() else { return Err(reply::NO_TRANSACTION.into()) };
        let Some(held) = &mut self.header else { return Ok(transaction.content(content).await?) };
        held.extend_from_slice(content);
        if !self.scan.is_at_body() && !ended {
            return if held.len() > MAX_HEADER { Err(reply::HEADER_TOO_LONG.into()) } else { Ok(()) };
        }
        let facts = self.scan.facts();
        let context = dialogue.context();
        if self.scan.own_instance_seen() || facts.received_hops > context.settings.limits.received_hops {
            return Err(reply::not_accepted(NotAccepted::Loop).into());
        }
        let null = ReversePath::Null;
        let reverse_path = dialogue.envelope().map_or(&null, |envelope| &envelope.mail.reverse_path);
        let site = origin::site(context, &settings, reverse_path, Some(self.sender.facts()));
        let sender = self.sender.facts().clone();
        let held = self.header.take().unwrap_or_default();
        self.site.clone_from(&site);
        transaction.header(PassedHeader { facts, sender, site, bytes: &held }).await?;
        for piece in held.chunks(PIECE) {
            transaction.content(piece).await?;
        }
        Ok(())
    }
}

/// What is known of the message that MAIL has begun.
pub(super) fn passed_mail(
    dialogue: &Dialogue,
    settings: Arc<Settings>,
    now: jiff::Timestamp,
    patience: Duration,
) -> Option<PassedMail> {
    let (context, envelope) = (dialogue.context(), dialogue.envelope()?);
    let id = QueueId::fresh_at(now);
    let (reverse_path, parameters) = (envelope.mail.reverse_path.clone(), &envelope.mail.parameters);
    let site = origin::site(context, &settings, &reverse_path, None);
    let message = Message {
        body: parameters.body,
        smtp_utf8: parameters.smtp_utf8,
        size: parameters.size,
        origin: origin::origin(dialogue, envelope),
        site,
        received_at: now,
        ..Message::new(id, reverse_path)
    };
    Some(PassedMail { settings, message, patience })
}
