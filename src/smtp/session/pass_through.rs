//! A session in pass-through (rule 15): each recipient, DATA and the final dot wait for the upstream.

use super::super::command::RcptCommand;
use super::super::passed_content::{ContentRefusal, PassedContent, PassedOn, passed_mail};
use super::super::reply::{self, ReplyToClient};
use super::{ContentReader, Instant, Session, SessionEnd, at_most};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// How long a client waits for an upstream that works and is in use, nor longer than `command_timeout`.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read at once.
const READ: usize = 32 * 1024;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<'_, S> {
    /// Asks about a recipient: the upstream's own reply, where it gave one.
    pub(super) async fn ask_upstream(&mut self, rcpt: RcptCommand) -> Result<ReplyToClient, SessionEnd> {
        self.stream.flush().await?;
        if self.passed_on.is_none() {
            self.passed_on = self.begin_passing_on().map(Box::new);
        }
        let grace_over = &self.shutdown.grace_over;
        let transaction = self.passed_on.as_mut().and_then(|passed_on| passed_on.transaction());
        let Some(transaction) = transaction else { return Ok(reply::NO_TRANSACTION) };
        let answered = until_stopped(transaction.recipient(rcpt.address.clone()), grace_over).await?;
        let reply = ReplyToClient::from(answered);
        self.dialogue.recipient_answered(rcpt, reply.is_positive());
        Ok(reply)
    }

    fn begin_passing_on(&self) -> Option<PassedOn> {
        // Of this moment: the session may have begun under other settings, and mail must not escape a mode.
        let settings = self.server.settings.borrow().clone();
        let patience = self.limits().command_timeout.min(PATIENCE);
        let now = self.server.clock.wall();
        let mail = passed_mail(&self.dialogue, settings.clone(), now, patience)?;
        let super::SessionContext { client, listener, user, .. } = self.dialogue.context();
        let (listener, user) = (&listener.name, user.as_deref());
        let (id, from) = (mail.message.id, mail.message.reverse_path.as_str());
        tracing::info!(queue_id = %id, %client, %listener, user, from, "passing on");
        Some(PassedOn::new(settings, self.server.relay.as_deref()?, mail))
    }

    /// DATA: the upstream's reply, the content, the upstream's reply. False: the session ends with that.
    pub(super) async fn pass_data(&mut self) -> Result<bool, SessionEnd> {
        let mut content = match self.begin_content(false).await? {
            Ok(content) => content,
            Err(refusal) => {
                self.end_passing_on(&refusal).await;
                return self.refuse_data(&refusal).await;
            }
        };
        self.stream.reply(&reply::START_CONTENT).await?;
        let deadline = Instant::now() + self.limits().data_timeout;
        loop {
            let Some(passed_on) = &mut self.passed_on else { return Err(SessionEnd::Closed) };
            let passing = content.read(self.stream.input(), passed_on, &self.dialogue);
            let (used, ended) = until_stopped(passing, &self.shutdown.grace_over).await?;
            self.stream.consume(used);
            if ended {
                return self.finish_passing_on(content).await.map(|()| true);
            }
            self.stream.fill(READ, deadline, &self.shutdown.grace_over).await?;
        }
    }

    /// BDAT: one chunk, then one reply, which is the upstream's behind the last one.
    pub(super) async fn pass_chunk(&mut self, size: u64, last: bool) -> Result<(), SessionEnd> {
        let deadline = Instant::now() + self.limits().data_timeout;
        let mut content = match self.passed_content.take() {
            Some(content) => content,
            None => match self.begin_content(true).await? {
                Ok(content) => Box::new(content),
                Err(refusal) => {
                    self.skip(size, deadline).await?;
                    self.end_passing_on(&refusal).await;
                    return self.reply(&refusal).await;
                }
            },
        };
        let mut left = size;
        loop {
            let Some(passed_on) = &mut self.passed_on else { return Err(SessionEnd::Closed) };
            let part = at_most(self.stream.input(), left);
            let passing = content.read(part, passed_on, &self.dialogue);
            let (used, _) = until_stopped(passing, &self.shutdown.grace_over).await?;
            self.stream.consume(used);
            left -= used as u64;
            if left == 0 {
                break;
            }
            self.stream.fill(READ, deadline, &self.shutdown.grace_over).await?;
        }
        if last {
            return self.finish_passing_on(*content).await;
        }
        match content.refusal().cloned() {
            Some(ContentRefusal { reply, is_ours }) => {
                self.end_passing_on(&reply).await;
                if is_ours {
                    self.count_refused_mail(&reply);
                }
                self.reply(&reply).await
            }
            None => {
                self.passed_content = Some(content);
                self.reply(&reply::chunk_received(size)).await
            }
        }
    }

    /// Asks the upstream for 354; its reply where it refuses.
    async fn begin_content(
        &mut self,
        chunked: bool,
    ) -> Result<Result<PassedContent, ReplyToClient>, SessionEnd> {
        let Some(memory) = self.reserve_memory().await? else {
            return Ok(Err(reply::CONTENT_MEMORY_USED_UP));
        };
        self.stream.flush().await?;
        let transaction = self.passed_on.as_mut().and_then(|passed_on| passed_on.transaction());
        let Some(transaction) = transaction else { return Ok(Err(reply::NO_TRANSACTION)) };
        let asked = until_stopped(transaction.data(), &self.shutdown.grace_over).await?;
        if let Err(refusal) = asked {
            return Ok(Err(refusal.into()));
        }
        let limits = self.limits();
        let new = if chunked { ContentReader::bdat } else { ContentReader::data };
        let reader = new(limits.bare_newline, limits.message_size);
        Ok(Ok(PassedContent::new(reader, self.server.queue.instance(), memory)))
    }

    /// The final dot, and what came of it.
    async fn finish_passing_on(&mut self, content: PassedContent) -> Result<(), SessionEnd> {
        let Some(passed_on) = &mut self.passed_on else { return Err(SessionEnd::Closed) };
        let finishing = content.finish(passed_on, &self.dialogue, &self.server.metrics);
        let ContentRefusal { reply, is_ours } = until_stopped(finishing, &self.shutdown.grace_over).await?;
        if is_ours {
            self.count_refused_mail(&reply);
        }
        self.end_passing_on(&reply).await;
        self.reply(&reply).await
    }

    async fn end_passing_on(&mut self, told: &ReplyToClient) {
        self.dialogue.end_transaction(told.is_positive());
        self.drop_message(Some(told)).await;
    }
}

/// Waits for an upstream, unless the server stops.
async fn until_stopped<T>(
    passing: impl Future<Output = T>,
    grace_over: &CancellationToken,
) -> Result<T, SessionEnd> {
    tokio::select! {
        biased;
        passed = passing => Ok(passed),
        () = grace_over.cancelled() => Err(SessionEnd::Stopping),
    }
}
