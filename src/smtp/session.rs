//! One session: the only place where a client's commands and content are read and answered.
//!
//! It reads lines and content, asks [`Dialogue`] what they mean, and says what comes of it. Every wait has a total deadline,
//! so a client that drips ends like one that is silent. When the front door closes, an idle session ends at once and
//! a transaction may finish within the grace.

use super::channel::{Channel, Line, Lost};
use super::command::{announces_chunk, announces_content, announces_mail};
use super::content::ContentReader;
use super::reception::{RESERVATION, Reception};
use super::reply::Reply;
use super::room::Promise;
use super::transaction::{Dialogue, Step, Terms};
use super::{FrontDoor, Stopping};
use crate::config::settings::{BareNewline, Limits};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

struct Session<'d, S> {
    door: &'d FrontDoor,
    stopping: &'d Stopping,
    channel: Channel<'d, S>,
    dialogue: Dialogue,
    /// Room for the message that MAIL has announced, until its content comes.
    promise: Option<Promise<'d>>,
    /// A message that comes in chunks, between two of them.
    reception: Option<Box<Reception<'d>>>,
    /// The last command was a DATA that was refused.
    data_refused: bool,
}

/// Serves a client from the greeting to the end. `hasty`: the client has spoken before the greeting (CASES B25).
pub async fn run<S>(door: &FrontDoor, stream: &mut S, terms: Terms, hasty: bool, stopping: &Stopping)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let timeout = terms.settings.limits.command_timeout;
    let mut channel = Channel::new(stream, timeout, &stopping.grace_over);
    if hasty {
        tracing::info!(client = %terms.client, listener = %terms.listener, "refused: spoke before the greeting");
        let reply = Reply::new(
            554,
            5,
            1,
            "you spoke before the greeting: this is SMTP, where the server speaks first",
        );
        door.refused(terms.client, &terms.listener, &reply);
        return channel.close(Some(&reply), true).await;
    }
    let greeting = Reply::plain(220, format!("{} ESMTP Postroom", terms.settings.hostname));
    let said = channel.say(&greeting).await;
    let dialogue = Dialogue::new(terms);
    let mut session =
        Session { door, stopping, channel, dialogue, promise: None, reception: None, data_refused: false };
    let ended = match said {
        Ok(()) => session.converse().await,
        Err(lost) => Err(lost),
    };
    let last = match ended {
        Ok(()) => None,
        Err(Lost::Closed) => return,
        Err(Lost::TimedOut) => {
            Some(Reply::new(421, 4, 2, "timeout: send faster, or raise the timeouts under [limits]"))
        }
        Err(Lost::Stopping) => Some(Reply::new(421, 3, 2, "Postroom is stopping: try again later")),
        Err(Lost::Endless) => {
            Some(Reply::new(500, 5, 2, "the line does not end: this is SMTP, end lines with CRLF"))
        }
    };
    if let Some(last) = &last {
        session.log(last);
        if ended == Err(Lost::Endless) {
            session.refused(last);
        }
    }
    // Only where the client may be sending still.
    let linger = ended == Err(Lost::Endless)
        || session.dialogue.envelope().is_some()
        || !session.channel.input().is_empty();
    // What was being received is given up before the farewell, which takes its time.
    (session.promise, session.reception) = (None, None);
    session.channel.close(last.as_ref(), linger).await;
}

impl<'d, S: AsyncRead + AsyncWrite + Unpin + Send> Session<'d, S> {
    /// Until QUIT or another reason to close. What was said last may not have been sent yet.
    async fn converse(&mut self) -> Result<(), Lost> {
        loop {
            match self.next_step().await? {
                Step::Say(reply) if self.data_refused => {
                    if !self.refuse_data(&reply).await? {
                        return Ok(());
                    }
                }
                Step::Say(reply) => self.say(&reply).await?,
                Step::Close(reply) => {
                    if reply.code >= 400 {
                        self.refused(&reply);
                    }
                    return self.say(&reply).await;
                }
                // Content is boxed so that the memory it needs exists only while it flows.
                Step::Data => {
                    if !Box::pin(self.data()).await? {
                        return Ok(());
                    }
                }
                Step::Chunk { size, last } => Box::pin(self.chunk(size, last)).await?,
                Step::SkipChunk { size, reply } => {
                    self.skip(size, Instant::now() + self.limits().data_timeout).await?;
                    self.say(&reply).await?;
                }
            }
        }
    }

    async fn next_step(&mut self) -> Result<Step, Lost> {
        let idle = self.dialogue.envelope().is_none();
        if idle && self.stopping.closing.is_cancelled() {
            return Err(Lost::Stopping);
        }
        let stop = if idle { &self.stopping.closing } else { &self.stopping.grace_over };
        let deadline = Instant::now() + self.limits().command_timeout;
        let behind_data = std::mem::take(&mut self.data_refused);
        let step = match self.channel.line(deadline, stop).await? {
            Line::TooLong => {
                self.dialogue.refuse(Reply::new(500, 5, 2, "the line is longer than 4096 octets"))
            }
            Line::Whole(length) => {
                let line = &self.channel.input()[..length];
                let is_data = announces_content(line);
                let strict = self.limits().bare_newline == BareNewline::Reject;
                let step = if strict && !line.ends_with(b"\r\n") {
                    let reply = Reply::new(500, 5, 2, "a bare LF ends no command: end lines with CRLF");
                    if announces_chunk(line) { Step::Close(reply) } else { self.dialogue.refuse(reply) }
                } else {
                    let settings = self.dialogue.terms().settings.clone();
                    let room = |size| {
                        let promised = self.door.promise(&settings, size);
                        promised.map(|promise| self.promise = Some(promise)).err()
                    };
                    self.dialogue.step(line, self.door.clock.monotonic(), room)
                };
                let about_mail = announces_mail(line);
                self.channel.consume(length);
                if let Step::Say(reply) = &step
                    && about_mail
                {
                    self.mail_refused(reply);
                }
                self.data_refused = is_data && matches!(step, Step::Say(_));
                step
            }
        };
        let step = match step {
            // No command that any client knows: it has not waited for 354.
            Step::Say(reply) if behind_data && reply.code == 500 => Step::Close(reply),
            step => step,
        };
        if self.dialogue.envelope().is_none() {
            (self.promise, self.reception) = (None, None);
        }
        Ok(step)
    }

    /// Refuses DATA. False: the session ends with that, because bytes stand behind the command already. DATA ends a group
    /// of commands (RFC 2920 section 3.1), so they are content, in which somebody may have written commands (CASES B41).
    async fn refuse_data(&mut self, reply: &Reply) -> Result<bool, Lost> {
        self.data_refused = true;
        let content_follows = self.channel.has_more().await;
        self.say(reply).await?;
        if content_follows {
            let Terms { client, listener, .. } = self.dialogue.terms();
            tracing::info!(%client, %listener, "closed: the client sent on behind a DATA that was refused");
            self.refused(reply);
        }
        Ok(!content_follows)
    }

    /// DATA: from 354 to CRLF.CRLF, then one reply. False: the session ends with that.
    async fn data(&mut self) -> Result<bool, Lost> {
        let Some(reservation) = self.reserve().await? else {
            return self.refuse_data(&no_memory()).await;
        };
        let reader = ContentReader::data(self.limits().bare_newline, self.limits().message_size);
        let mut reception = Reception::new(self.door, reader, reservation, self.promised());
        self.channel.say(&Reply::plain(354, "end with <CRLF>.<CRLF>")).await?;
        let deadline = Instant::now() + self.limits().data_timeout;
        loop {
            let (used, ended) = reception.read(self.channel.input()).await;
            self.channel.consume(used);
            if ended {
                return self.store(reception).await.map(|()| true);
            }
            self.channel.fill(reception.appetite(), deadline, &self.stopping.grace_over).await?;
        }
    }

    /// BDAT: one chunk, then one reply (RFC 3030).
    async fn chunk(&mut self, size: u64, last: bool) -> Result<(), Lost> {
        let deadline = Instant::now() + self.limits().data_timeout;
        let mut reception = match self.reception.take() {
            Some(reception) => reception,
            None => {
                let Some(reservation) = self.reserve().await? else {
                    self.skip(size, deadline).await?;
                    self.dialogue.end(false);
                    return self.say(&no_memory()).await;
                };
                let reader = ContentReader::bdat(self.limits().bare_newline, self.limits().message_size);
                Box::new(Reception::new(self.door, reader, reservation, self.promised()))
            }
        };
        let mut left = size;
        loop {
            let part = within(self.channel.input(), left);
            let (used, _) = reception.read(part).await;
            self.channel.consume(used);
            left -= used as u64;
            if left == 0 {
                break;
            }
            self.channel.fill(reception.appetite(), deadline, &self.stopping.grace_over).await?;
        }
        if last {
            return self.store(*reception).await;
        }
        match reception.refusal(&self.dialogue) {
            Some(reply) => {
                self.dialogue.end(false);
                self.mail_refused(&reply);
                self.say(&reply).await
            }
            None => {
                self.reception = Some(reception);
                self.say(&Reply::new(250, 0, 0, format!("{size} octets received"))).await
            }
        }
    }

    /// Reads and forgets a chunk, so that none of its bytes is taken for a command.
    async fn skip(&mut self, size: u64, deadline: Instant) -> Result<(), Lost> {
        let mut left = size;
        loop {
            let part = within(self.channel.input(), left).len();
            self.channel.consume(part);
            left -= part as u64;
            if left == 0 {
                return Ok(());
            }
            self.channel.fill(16 * 1024, deadline, &self.stopping.grace_over).await?;
        }
    }

    async fn store(&mut self, reception: Reception<'d>) -> Result<(), Lost> {
        let reply = match self.dialogue.envelope() {
            Some(envelope) => reception.store(self.door, &self.dialogue, envelope).await,
            None => Reply::new(503, 5, 1, "there is no transaction"),
        };
        self.dialogue.end(reply.code == 250);
        self.mail_refused(&reply);
        self.say(&reply).await
    }

    /// What was promised at MAIL.
    fn promised(&mut self) -> Promise<'d> {
        self.promise.take().unwrap_or_else(|| self.door.no_promise(&self.dialogue.terms().settings))
    }

    /// Takes what one content needs of `content_memory`, waiting for it where it is used up. None: in vain.
    async fn reserve(&mut self) -> Result<Option<OwnedSemaphorePermit>, Lost> {
        let all = usize::try_from(self.limits().content_memory / 1024).unwrap_or(usize::MAX);
        let permits = u32::try_from((RESERVATION / 1024).min(all).max(1)).unwrap_or(u32::MAX);
        let memory = &self.door.content_memory;
        if let Ok(permit) = memory.clone().try_acquire_many_owned(permits) {
            return Ok(Some(permit));
        }
        self.channel.flush().await?;
        let wait = self.limits().command_timeout.min(Duration::from_secs(60));
        tokio::select! {
            waited = timeout_at(Instant::now() + wait, memory.clone().acquire_many_owned(permits)) => {
                Ok(waited.ok().and_then(Result::ok))
            }
            () = self.stopping.grace_over.cancelled() => Err(Lost::Stopping),
        }
    }

    async fn say(&mut self, reply: &Reply) -> Result<(), Lost> {
        if reply.code >= 400 {
            self.log(reply);
        }
        self.channel.say(reply).await
    }

    fn log(&self, reply: &Reply) {
        let Terms { client, listener, .. } = self.dialogue.terms();
        tracing::info!(%client, %listener, code = reply.code, "refused: {}", reply.text);
    }

    /// The answer to MAIL, RCPT or content: an event where mail is refused for good. 503 is none: what it follows was one,
    /// or nothing was offered yet.
    fn mail_refused(&self, reply: &Reply) {
        if reply.is_permanent() && reply.code != 503 {
            self.refused(reply);
        }
    }

    fn refused(&self, reply: &Reply) {
        let Terms { client, listener, .. } = self.dialogue.terms();
        self.door.refused(*client, listener, reply);
    }

    fn limits(&self) -> &Limits {
        &self.dialogue.terms().settings.limits
    }
}

/// At most `left` bytes of the input.
fn within(input: &[u8], left: u64) -> &[u8] {
    let end = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    &input[..end]
}

fn no_memory() -> Reply {
    Reply::new(452, 3, 1, "`content_memory` is used up: try again later, or raise it under [limits]")
}
