//! One content under way from the client into the queue, by [`crate::reception`].
//!
//! Promise: [`Reception::store`] replies 250 only after the queue has confirmed.

use super::command::RcptCommand;
use super::dialogue::{Dialogue, InboundEnvelope};
use super::origin;
use super::reply::{self, ReplyToClient};
use super::server::SmtpServer;
use super::session_context::SessionContext;
use crate::mail::{Message, QueueId, Recipient, RecipientDsn};
use crate::reception::accepted::queued_fact;
use crate::reception::content::ContentReader;
use crate::reception::disk_space::SpaceReservation;
use crate::reception::not_accepted::NotAccepted;
use crate::reception::staged_content::StagedContent;
use tokio::sync::OwnedSemaphorePermit;

/// Carries one content into the queue.
pub(super) struct Reception<'q> {
    content: StagedContent<'q>,
}

impl<'q> Reception<'q> {
    /// Nothing read yet. `reservation` is its share of `content_memory`, `space` what was reserved at MAIL.
    pub(super) fn new(
        server: &'q SmtpServer,
        dialogue: &Dialogue,
        reader: ContentReader,
        reservation: OwnedSemaphorePermit,
        space: SpaceReservation<'q>,
    ) -> Reception<'q> {
        let (id, needs_author) = (QueueId::fresh_at(server.clock.wall()), dialogue.needs_author());
        Reception {
            content: StagedContent::new(&*server.queue, id, reader, needs_author, reservation, space),
        }
    }

    /// How many bytes to read at once.
    pub(super) fn read_hint(&self) -> usize {
        self.content.read_hint()
    }

    /// Reads on, see [`ContentReader::read`].
    pub(super) async fn read(&mut self, input: &[u8]) -> (usize, bool) {
        self.content.read(input).await
    }

    /// Why the content that has come so far cannot be accepted.
    pub(super) fn refusal(&self, dialogue: &Dialogue) -> Option<ReplyToClient> {
        self.content.refusal(&dialogue.context().settings).map(reply::not_accepted)
    }

    /// The content is complete: puts the message into the queue. The reply is 250 if, and only if, the queue confirms it.
    pub(super) async fn store(
        mut self,
        server: &'q SmtpServer,
        dialogue: &Dialogue,
        envelope: &InboundEnvelope,
    ) -> ReplyToClient {
        if let Err(why) = self.content.finish(&dialogue.context().settings, &server.disk_space).await {
            return reply::not_accepted(why);
        }
        let message = self.message(server, dialogue, envelope);
        let fact = queued_fact(&message);
        let (id, size, recipients) = (message.id, message.size, message.recipients.len());
        let site = message.site.clone();
        let put = |tail| server.queue.put(message, tail, vec![fact]);
        match self.content.put_with(put).await {
            Ok(()) => {
                let SessionContext { client, listener, user, .. } = dialogue.context();
                let (listener, user) = (&listener.name, user.as_deref());
                let from = envelope.mail.reverse_path.as_str();
                tracing::info!(queue_id = %id, %client, %listener, user, from, size, recipients, "accepted");
                server.metrics.accepted(listener, &site, recipients, size);
                reply::queued(id)
            }
            Err(error) => {
                tracing::warn!(queue_id = %id, %error, "not stored");
                reply::not_accepted(NotAccepted::from(&error))
            }
        }
    }

    fn message(&self, server: &SmtpServer, dialogue: &Dialogue, envelope: &InboundEnvelope) -> Message {
        let context = dialogue.context();
        // Of this moment: the session may have begun under other settings, and mail must not escape a mode that was switched on
        // since, nor one that it was accepted under.
        let now_in_force = server.settings.borrow().clone();
        let site = origin::site(context, &now_in_force, &envelope.mail.reverse_path, self.content.author());
        let handling = now_in_force.handling_of(&site);
        let now = server.queue.now_of(&site);
        let reception = server.clock.monotonic().saturating_sub(envelope.began);
        Message {
            recipients: envelope.recipients.iter().map(recipient).collect(),
            body: envelope.mail.parameters.body,
            smtp_utf8: envelope.mail.parameters.smtp_utf8,
            size: self.content.size(),
            chunks: self.content.chunk_count(),
            header: self.content.header(),
            origin: origin::origin(dialogue, envelope),
            under_mode: handling.is_some_and(|handling| handling.mode().is_some()),
            site,
            class: context.class().unwrap_or_else(|| self.content.class()),
            received_at: server.clock.wall(),
            reception_ms: u64::try_from(reception.as_millis()).unwrap_or(u64::MAX),
            due: Some(now),
            life_start: now,
            returns: envelope.mail.parameters.dsn.returns,
            envelope_id: envelope.mail.parameters.dsn.envelope_id.clone(),
            ..Message::new(self.content.id(), envelope.mail.reverse_path.clone())
        }
    }
}

fn recipient(rcpt: &RcptCommand) -> Recipient {
    let RecipientDsn { notify, original_recipient } = rcpt.dsn.clone();
    let original_recipient = original_recipient.or_else(|| rcpt.before_alias.clone());
    Recipient { notify, original_recipient, ..Recipient::pending(rcpt.address.clone()) }
}
