//! One session: the only place where a client's commands and content are read and replied to.
//!
//! It reads lines and content, asks [`Dialogue`] what to do, and does it. Every wait has a total deadline, so a client that
//! sends a byte now and then ends like one that is silent. When the server stops, a session without a transaction ends at
//! once, and a transaction may finish within the grace.

use super::client_stream::{ClientStream, CommandLine, SessionEnd};
use super::command::{announces_chunk, announces_content, announces_mail};
use super::content::ContentReader;
use super::dialogue::{Dialogue, SessionAction};
use super::disk_space::SpaceReservation;
use super::reception::{RESERVATION, Reception};
use super::reply::{self, ReplyToClient};
use super::server::{Shutdown, SmtpServer};
use super::session_context::SessionContext;
use crate::config::settings::{BareNewline, Limits};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

/// What is read at once of a chunk that is skipped.
const SKIP_READ: usize = 16 * 1024;
/// The longest wait for a share of `content_memory`.
const MEMORY_WAIT: Duration = Duration::from_secs(60);

struct Session<'d, S> {
    server: &'d SmtpServer,
    shutdown: &'d Shutdown,
    stream: ClientStream<'d, S>,
    dialogue: Dialogue,
    /// Disk space for the message that MAIL has announced, until its content comes.
    space: Option<SpaceReservation<'d>>,
    /// A message that comes in chunks, between two of them.
    reception: Option<Box<Reception<'d>>>,
    /// The last command was a DATA that was refused.
    data_refused: bool,
}

/// Serves a client from the greeting to the end. `early_talker`: the client has sent something before the greeting (CASES
/// B25).
pub async fn run<S>(
    server: &SmtpServer,
    stream: &mut S,
    context: SessionContext,
    early_talker: bool,
    shutdown: &Shutdown,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let timeout = context.settings.limits.command_timeout;
    let mut stream = ClientStream::new(stream, timeout, &shutdown.grace_over);
    if early_talker {
        tracing::info!(client = %context.client, listener = %context.listener, "refused: spoke before the greeting");
        server.refusals.add(context.client, &context.listener, &reply::EARLY_TALKER);
        return stream.close(Some(&reply::EARLY_TALKER), true).await;
    }
    let greeted = stream.reply(&reply::greeting(&context.settings.hostname)).await;
    let dialogue = Dialogue::new(context);
    let mut session =
        Session { server, shutdown, stream, dialogue, space: None, reception: None, data_refused: false };
    let ended = match greeted {
        Ok(()) => session.converse().await,
        Err(end) => Err(end),
    };
    let last = match ended {
        Ok(()) => None,
        Err(SessionEnd::Closed) => return,
        Err(SessionEnd::TimedOut) => Some(reply::TIMEOUT),
        Err(SessionEnd::Stopping) => Some(reply::STOPPING),
        Err(SessionEnd::EndlessLine) => Some(reply::ENDLESS_LINE),
    };
    if let Some(last) = &last {
        session.log(last);
        if ended == Err(SessionEnd::EndlessLine) {
            session.count_refusal(last);
        }
    }
    // Only where the client may still be sending.
    let linger = ended == Err(SessionEnd::EndlessLine)
        || session.dialogue.envelope().is_some()
        || !session.stream.input().is_empty();
    // Closing takes a moment; what an unfinished message holds is given back before.
    (session.space, session.reception) = (None, None);
    session.stream.close(last.as_ref(), linger).await;
}

impl<'d, S: AsyncRead + AsyncWrite + Unpin + Send> Session<'d, S> {
    /// Until QUIT or another reason to close. The last reply may not have been sent yet then.
    async fn converse(&mut self) -> Result<(), SessionEnd> {
        loop {
            match self.next_action().await? {
                SessionAction::Reply(reply) if self.data_refused => {
                    if !self.refuse_data(&reply).await? {
                        return Ok(());
                    }
                }
                SessionAction::Reply(reply) => self.reply(&reply).await?,
                SessionAction::ReplyAndClose(reply) => {
                    if reply.is_refusal() {
                        self.count_refusal(&reply);
                    }
                    return self.reply(&reply).await;
                }
                // Boxed, so that the memory that content needs exists only while it comes.
                SessionAction::ReceiveData => {
                    if !Box::pin(self.receive_data()).await? {
                        return Ok(());
                    }
                }
                SessionAction::ReceiveChunk { size, last } => {
                    Box::pin(self.receive_chunk(size, last)).await?;
                }
                SessionAction::SkipChunk { size, reply } => {
                    self.skip(size, Instant::now() + self.limits().data_timeout).await?;
                    self.reply(&reply).await?;
                }
            }
        }
    }

    async fn next_action(&mut self) -> Result<SessionAction, SessionEnd> {
        let idle = self.dialogue.envelope().is_none();
        if idle && self.shutdown.started.is_cancelled() {
            return Err(SessionEnd::Stopping);
        }
        let stop = if idle { &self.shutdown.started } else { &self.shutdown.grace_over };
        let deadline = Instant::now() + self.limits().command_timeout;
        let behind_refused_data = std::mem::take(&mut self.data_refused);
        let action = match self.stream.line(deadline, stop).await? {
            CommandLine::TooLong => self.dialogue.refuse(reply::LINE_TOO_LONG),
            CommandLine::Complete(length) => self.execute_line(length),
        };
        let action = match action {
            // No command that any client knows: it is content, sent without waiting for 354.
            SessionAction::Reply(reply) if behind_refused_data && reply.code == 500 => {
                SessionAction::ReplyAndClose(reply)
            }
            action => action,
        };
        if self.dialogue.envelope().is_none() {
            (self.space, self.reception) = (None, None);
        }
        Ok(action)
    }

    /// Executes the command line that is the first `length` bytes of the input.
    fn execute_line(&mut self, length: usize) -> SessionAction {
        let line = &self.stream.input()[..length];
        let strict = self.limits().bare_newline == BareNewline::Reject;
        let action = if strict && !line.ends_with(b"\r\n") {
            match announces_chunk(line) {
                true => SessionAction::ReplyAndClose(reply::BARE_LF_IN_COMMAND),
                false => self.dialogue.refuse(reply::BARE_LF_IN_COMMAND),
            }
        } else {
            let settings = self.dialogue.context().settings.clone();
            let reserve = |size| {
                self.space = Some(self.server.disk_space.reserve(&settings, size)?);
                Ok(())
            };
            self.dialogue.execute_line(line, self.server.clock.monotonic(), reserve)
        };
        let (is_data, is_mail) = (announces_content(line), announces_mail(line));
        self.stream.consume(length);
        if let SessionAction::Reply(reply) = &action {
            self.data_refused = is_data;
            if is_mail {
                self.count_refused_mail(reply);
            }
        }
        action
    }

    /// Refuses DATA. False: the session ends with that, because the client has sent more already. DATA is the last of a group
    /// of pipelined commands (RFC 2920 section 3.1), so what follows is content, in which somebody may have written commands
    /// (CASES B41).
    async fn refuse_data(&mut self, reply: &ReplyToClient) -> Result<bool, SessionEnd> {
        self.data_refused = true;
        let content_follows = self.stream.has_more().await;
        self.reply(reply).await?;
        if content_follows {
            let SessionContext { client, listener, .. } = self.dialogue.context();
            tracing::info!(%client, %listener, "closed: the client sent on behind a DATA that was refused");
            self.count_refusal(reply);
        }
        Ok(!content_follows)
    }

    /// DATA: from 354 to CRLF.CRLF, then one reply. False: the session ends with that.
    async fn receive_data(&mut self) -> Result<bool, SessionEnd> {
        let Some(memory) = self.reserve_memory().await? else {
            return self.refuse_data(&reply::CONTENT_MEMORY_USED_UP).await;
        };
        let reader = ContentReader::data(self.limits().bare_newline, self.limits().message_size);
        let space = self.take_space();
        let mut reception = Reception::new(self.server, &self.dialogue, reader, memory, space);
        self.stream.reply(&reply::START_CONTENT).await?;
        let deadline = Instant::now() + self.limits().data_timeout;
        loop {
            let (used, ended) = reception.read(self.stream.input()).await;
            self.stream.consume(used);
            if ended {
                return self.store(reception).await.map(|()| true);
            }
            self.stream.fill(reception.read_hint(), deadline, &self.shutdown.grace_over).await?;
        }
    }

    /// BDAT: one chunk, then one reply (RFC 3030).
    async fn receive_chunk(&mut self, size: u64, last: bool) -> Result<(), SessionEnd> {
        let deadline = Instant::now() + self.limits().data_timeout;
        let mut reception = match self.reception.take() {
            Some(reception) => reception,
            None => {
                let Some(memory) = self.reserve_memory().await? else {
                    self.skip(size, deadline).await?;
                    self.dialogue.end_transaction(false);
                    return self.reply(&reply::CONTENT_MEMORY_USED_UP).await;
                };
                let reader = ContentReader::bdat(self.limits().bare_newline, self.limits().message_size);
                let space = self.take_space();
                Box::new(Reception::new(self.server, &self.dialogue, reader, memory, space))
            }
        };
        let mut left = size;
        loop {
            let part = at_most(self.stream.input(), left);
            let (used, _) = reception.read(part).await;
            self.stream.consume(used);
            left -= used as u64;
            if left == 0 {
                break;
            }
            self.stream.fill(reception.read_hint(), deadline, &self.shutdown.grace_over).await?;
        }
        if last {
            return self.store(*reception).await;
        }
        match reception.refusal(&self.dialogue) {
            Some(reply) => {
                self.dialogue.end_transaction(false);
                self.count_refused_mail(&reply);
                self.reply(&reply).await
            }
            None => {
                self.reception = Some(reception);
                self.reply(&reply::chunk_received(size)).await
            }
        }
    }

    /// Reads a chunk and drops it, so that none of its bytes is read as a command.
    async fn skip(&mut self, size: u64, deadline: Instant) -> Result<(), SessionEnd> {
        let mut left = size;
        loop {
            let part = at_most(self.stream.input(), left).len();
            self.stream.consume(part);
            left -= part as u64;
            if left == 0 {
                return Ok(());
            }
            self.stream.fill(SKIP_READ, deadline, &self.shutdown.grace_over).await?;
        }
    }

    /// Puts a complete message into the queue and replies what came of it.
    async fn store(&mut self, reception: Reception<'d>) -> Result<(), SessionEnd> {
        let reply = match self.dialogue.envelope() {
            Some(envelope) => reception.store(self.server, &self.dialogue, envelope).await,
            None => reply::NO_TRANSACTION,
        };
        self.dialogue.end_transaction(reply.code == 250);
        self.count_refused_mail(&reply);
        self.reply(&reply).await
    }

    /// The disk space that was reserved at MAIL.
    fn take_space(&mut self) -> SpaceReservation<'d> {
        let settings = &self.dialogue.context().settings;
        self.space.take().unwrap_or_else(|| self.server.disk_space.reserve_nothing(settings))
    }

    /// Takes the share of `content_memory` that one content needs; waits for it where all is in use. None: waited in vain.
    async fn reserve_memory(&mut self) -> Result<Option<OwnedSemaphorePermit>, SessionEnd> {
        let all = usize::try_from(self.limits().content_memory / 1024).unwrap_or(usize::MAX);
        let permits = u32::try_from((RESERVATION / 1024).min(all).max(1)).unwrap_or(u32::MAX);
        let memory = &self.server.content_memory;
        if let Ok(permit) = memory.clone().try_acquire_many_owned(permits) {
            return Ok(Some(permit));
        }
        self.stream.flush().await?;
        let wait = self.limits().command_timeout.min(MEMORY_WAIT);
        tokio::select! {
            waited = timeout_at(Instant::now() + wait, memory.clone().acquire_many_owned(permits)) => {
                Ok(waited.ok().and_then(Result::ok))
            }
            () = self.shutdown.grace_over.cancelled() => Err(SessionEnd::Stopping),
        }
    }

    async fn reply(&mut self, reply: &ReplyToClient) -> Result<(), SessionEnd> {
        if reply.is_refusal() {
            self.log(reply);
        }
        self.stream.reply(reply).await
    }

    fn log(&self, reply: &ReplyToClient) {
        let SessionContext { client, listener, .. } = self.dialogue.context();
        tracing::info!(%client, %listener, code = reply.code, "refused: {}", reply.text);
    }

    /// Counts a reply to MAIL, RCPT or content where it refuses mail for good. 503 does not count: either no mail was
    /// offered yet, or the reply before it was counted.
    fn count_refused_mail(&self, reply: &ReplyToClient) {
        if reply.is_permanent() && reply.code != 503 {
            self.count_refusal(reply);
        }
    }

    fn count_refusal(&self, reply: &ReplyToClient) {
        let SessionContext { client, listener, .. } = self.dialogue.context();
        self.server.refusals.add(*client, listener, reply);
    }

    fn limits(&self) -> &Limits {
        &self.dialogue.context().settings.limits
    }
}

/// At most `left` bytes of the input.
fn at_most(input: &[u8], left: u64) -> &[u8] {
    let end = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    &input[..end]
}
