//! One session: the only place where a client's commands and content are read and replied to.
//!
//! It reads lines and content, asks [`Dialogue`] what to do, and does it. Every wait has a total deadline, so a client that
//! sends a byte now and then ends like one that is silent. When the server stops, a session without a transaction ends at
//! once, and a transaction may finish within the grace.

mod pass_through;

use super::auth_exchange::SentCredentials;
use super::authenticator::AuthResult;
use super::client_stream::{ClientStream, CommandLine, HandshakeError, SessionEnd};
use super::command::{announces_chunk, announces_content, announces_mail};
use super::dialogue::{Dialogue, SessionAction};
use super::handshake_failure;
use super::inbound_stream::InboundStream;
use super::passed_content::{PassedContent, PassedOn};
use super::reception::Reception;
use super::refusal_reason;
use super::reply::{self, ReplyToClient};
use super::server::{Shutdown, SmtpServer};
use super::session_context::SessionContext;
use crate::config::settings::{BareNewline, Limits, TlsMode};
use crate::reception::content::ContentReader;
use crate::reception::disk_space::SpaceReservation;
use crate::reception::staged_content;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// What is read at once of a chunk that is skipped.
const SKIP_READ: usize = 16 * 1024;
/// The longest wait for a share of `content_memory`.
const MEMORY_WAIT: Duration = Duration::from_secs(60);
/// A TLS handshake takes no longer, nor than `command_timeout`.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

struct Session<'d, S> {
    server: &'d SmtpServer,
    shutdown: &'d Shutdown,
    stream: ClientStream<'d, S>,
    dialogue: Dialogue,
    /// Disk space for the message that MAIL has announced, until its content comes.
    space: Option<SpaceReservation<'d>>,
    /// A message that comes in chunks, between two of them.
    reception: Option<Box<Reception<'d>>>,
    /// In pass-through: the transaction at the upstream, and a content in chunks.
    passed_on: Option<Box<PassedOn>>,
    passed_content: Option<Box<PassedContent>>,
    /// The last command was a DATA that was refused.
    data_refused: bool,
}

/// Serves a client from the greeting to the end. `early_talker`: the client has sent something before the greeting (CASES
/// B25); with implicit TLS that is the handshake, and what counts is what comes behind it.
pub async fn run<S>(
    server: &SmtpServer,
    stream: &mut InboundStream<S>,
    context: SessionContext,
    mut early_talker: bool,
    shutdown: &Shutdown,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let timeout = context.settings.limits.command_timeout;
    let stream = ClientStream::new(stream, timeout, &shutdown.grace_over);
    let dialogue = Dialogue::new(context);
    let mut session = Session {
        server,
        shutdown,
        stream,
        dialogue,
        space: None,
        reception: None,
        passed_on: None,
        passed_content: None,
        data_refused: false,
    };
    if session.dialogue.context().listener.tls == TlsMode::Implicit {
        if Box::pin(session.start_tls(&shutdown.started)).await.is_err() {
            return;
        }
        early_talker = session.stream.has_more().await;
    }
    if early_talker {
        session.note(&reply::EARLY_TALKER);
        session.count_refusal(&reply::EARLY_TALKER);
        return session.stream.close(Some(&reply::EARLY_TALKER), true).await;
    }
    let greeting = reply::greeting(&session.dialogue.context().settings.hostname);
    let ended = match session.stream.reply(&greeting).await {
        Ok(()) => session.converse().await,
        Err(end) => Err(end),
    };
    let last = match ended {
        Ok(()) => None,
        // An upstream's transaction ends as with QUIT.
        Err(SessionEnd::Closed) => return session.drop_message(None).await,
        Err(SessionEnd::TimedOut) => Some(reply::TIMEOUT),
        Err(SessionEnd::Stopping) => Some(reply::STOPPING),
        Err(SessionEnd::EndlessLine) => Some(reply::ENDLESS_LINE),
        Err(SessionEnd::TlsHello) => Some(reply::TLS_HELLO),
    };
    if let Some(last) = &last {
        session.note(last);
        if matches!(ended, Err(SessionEnd::EndlessLine | SessionEnd::TlsHello)) {
            session.count_refusal(last);
        }
    }
    // Only where the client may still be sending.
    let linger = ended == Err(SessionEnd::EndlessLine)
        || session.dialogue.envelope().is_some()
        || !session.stream.input().is_empty();
    // Closing takes a moment; what an unfinished message holds is given back before.
    session.drop_message(last.as_ref()).await;
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
                    self.drop_message(Some(&reply)).await;
                    return self.reply(&reply).await;
                }
                SessionAction::StartTls => {
                    self.reply(&reply::STARTTLS_READY).await?;
                    Box::pin(self.start_tls(&self.shutdown.started)).await?;
                }
                SessionAction::CheckPassword(said) => {
                    let action = Box::pin(self.check_password(said)).await?;
                    let (reply, closes) = match action {
                        SessionAction::ReplyAndClose(reply) => (reply, true),
                        SessionAction::Reply(reply) => (reply, false),
                        _ => continue,
                    };
                    self.reply(&reply).await?;
                    if closes {
                        return Ok(());
                    }
                }
                SessionAction::AskUpstream(rcpt) => {
                    let reply = Box::pin(self.ask_upstream(rcpt)).await?;
                    self.reply(&reply).await?;
                }
                SessionAction::ReceiveData if self.passed_on.is_some() => {
                    if !Box::pin(self.pass_data()).await? {
                        return Ok(());
                    }
                }
                SessionAction::ReceiveChunk { size, last } if self.passed_on.is_some() => {
                    Box::pin(self.pass_chunk(size, last)).await?;
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

    /// The TLS handshake. After an error the connection is closed.
    async fn start_tls(&mut self, stop: &CancellationToken) -> Result<(), SessionEnd> {
        let Some(certificate) = self.dialogue.context().listener.certificate.clone() else {
            return Err(SessionEnd::Closed);
        };
        let deadline = Instant::now() + self.limits().command_timeout.min(HANDSHAKE_TIMEOUT);
        let result = self.stream.start_tls(certificate.tls.clone(), deadline, stop).await;
        let word = if result.is_ok() { "done" } else { "failed" };
        self.server.metrics.handshake(&self.dialogue.context().listener.name, word);
        let failed = match result {
            Ok(()) => {
                self.dialogue.tls_started();
                return Ok(());
            }
            Err(HandshakeError::Ended(SessionEnd::TimedOut)) => "it did not end in time".to_owned(),
            Err(HandshakeError::Ended(end)) => return Err(end),
            Err(HandshakeError::Failed(error)) => handshake_failure::describe(&error),
        };
        let refusal = reply::handshake_failed(&failed);
        self.log(&refusal);
        self.server.metrics.refused(&self.dialogue.context().listener.name, refusal_reason::TLS);
        self.count_refusal(&refusal);
        Err(SessionEnd::Closed)
    }

    /// Checks a password, and waits where it was wrong.
    async fn check_password(&mut self, said: SentCredentials) -> Result<SessionAction, SessionEnd> {
        self.stream.flush().await?;
        let context = self.dialogue.context();
        let result = self.server.authenticator.check(context, &said).await;
        self.server.metrics.login(&context.listener.name, result.word());
        // Other names may be anything, even passwords that were typed into the wrong field.
        let user = context.settings.users.get(&said.name).map(|user| user.name.clone());
        if let AuthResult::Refused(wait) = result {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shutdown.started.cancelled() => return Err(SessionEnd::Stopping),
            }
        }
        let action = self.dialogue.password_checked(said.name, result);
        if let SessionAction::Reply(reply) | SessionAction::ReplyAndClose(reply) = &action
            && matches!(result, AuthResult::Refused(_) | AuthResult::TooMany)
        {
            let of_user = user.map(|user| format!(" (user {user})")).unwrap_or_default();
            self.count_refusal(&ReplyToClient {
                text: format!("{}{of_user}", reply.text).into(),
                ..reply.clone()
            });
        }
        Ok(action)
    }

    /// There is no transaction any more: what it held is given back. `told`: what the client is told instead of its end.
    async fn drop_message(&mut self, told: Option<&ReplyToClient>) {
        (self.space, self.reception, self.passed_content) = (None, None, None);
        if let Some(mut passed_on) = self.passed_on.take() {
            passed_on.end(told).await;
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
            self.drop_message(None).await;
        }
        Ok(action)
    }

    /// Executes the command line that is the first `length` bytes of the input.
    fn execute_line(&mut self, length: usize) -> SessionAction {
        let line = &self.stream.input()[..length];
        let is_command = !self.dialogue.is_in_exchange();
        let strict = self.limits().bare_newline == BareNewline::Reject;
        let action = if strict && !line.ends_with(b"\r\n") {
            match is_command && announces_chunk(line) {
                true => SessionAction::ReplyAndClose(reply::BARE_LF_IN_COMMAND),
                false => self.dialogue.refuse(reply::BARE_LF_IN_COMMAND),
            }
        } else {
            let settings = self.dialogue.context().settings.clone();
            let reserve = |size| {
                if !settings.queue.enabled {
                    return Ok(());
                }
                self.space =
                    Some(self.server.disk_space.reserve(&settings, size).map_err(reply::not_accepted)?);
                Ok(())
            };
            self.dialogue.execute_line(line, self.server.clock.monotonic(), reserve)
        };
        let is_data = is_command && announces_content(line);
        let is_mail = is_command && announces_mail(line);
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
            let listener = &listener.name;
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
        let permits = staged_content::permits(self.limits());
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
            self.note(reply);
        }
        self.stream.reply(reply).await
    }

    /// A refusal has its line, and is counted.
    fn note(&self, reply: &ReplyToClient) {
        self.server.metrics.refused(&self.dialogue.context().listener.name, refusal_reason::of(reply));
        self.log(reply);
    }

    fn log(&self, reply: &ReplyToClient) {
        let SessionContext { client, listener, .. } = self.dialogue.context();
        let listener = &listener.name;
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
        self.server.refusals.add(*client, &listener.name, reply);
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
