//! The state machine of one session, without I/O: a command line in, what the session has to do out (RFC 5321 sections
//! 4.1.4 and 4.3).
//!
//! Promise: what comes out depends on nothing but the lines so far and the context of the session. The order of commands,
//! limits and relay control are decided here; [`super::session`] reads, writes, keeps deadlines and fills the queue.

use super::command::{self, Command, CommandError, MailCommand, RcptCommand};
use super::completion::AddressCompletion;
use super::reply::{self, ReplyToClient};
use super::session_context::SessionContext;
use crate::config::Settings;
use crate::config::handling::Site;
use crate::mail::{Address, ReversePath};
use std::collections::HashSet;
use std::time::Duration;

/// What the session does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionAction {
    /// Give this reply and wait for the next command.
    Reply(ReplyToClient),
    /// Give this reply and end the session.
    ReplyAndClose(ReplyToClient),
    /// Reply 354, then receive content up to CRLF.CRLF.
    ReceiveData,
    /// Receive a chunk of content; then reply 250, or end the message where it was the last chunk.
    ReceiveChunk {
        /// Bytes that follow the line.
        size: u64,
        /// The message ends with them.
        last: bool,
    },
    /// A chunk follows that is refused: skip its bytes, then give this reply.
    SkipChunk {
        /// Bytes that follow the line.
        size: u64,
        reply: ReplyToClient,
    },
}

/// What MAIL and RCPT said so far.
#[derive(Clone, Debug)]
pub struct InboundEnvelope {
    pub(super) mail: MailCommand,
    /// In the order of RCPT, each address exactly once: what its first RCPT said of it holds.
    pub recipients: Vec<RcptCommand>,
    /// Monotonic time of MAIL.
    pub(super) began: Duration,
    /// The same recipients, so that a repeated one is found quickly.
    known: HashSet<Address>,
    /// BDAT was used, so DATA and RCPT are out of order.
    chunked: bool,
}

/// The state of one session.
#[derive(Debug)]
pub struct Dialogue {
    context: SessionContext,
    client_name: Option<ClientName>,
    /// The transaction that is open, if one is.
    envelope: Option<InboundEnvelope>,
    /// Refused commands since the last message that was accepted.
    errors: u32,
}

/// What the client called itself with EHLO or HELO.
#[derive(Clone, Debug)]
pub(super) struct ClientName {
    pub(super) name: String,
    /// With EHLO, so that the session is ESMTP.
    pub(super) extended: bool,
}

impl Dialogue {
    /// The session has just been greeted.
    pub fn new(context: SessionContext) -> Dialogue {
        Dialogue { context, client_name: None, envelope: None, errors: 0 }
    }

    pub(super) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The transaction that is open: from an accepted MAIL to its end.
    pub fn envelope(&self) -> Option<&InboundEnvelope> {
        self.envelope.as_ref()
    }

    /// Whether the site of the message under way depends on its From.
    pub(super) fn needs_author(&self) -> bool {
        let is_null = |envelope: &InboundEnvelope| envelope.mail.reverse_path == ReversePath::Null;
        let has_senders = |site: &Site| !site.senders.is_empty();
        self.context.site().is_none()
            && self.context.settings.sites.values().any(has_senders)
            && self.envelope.as_ref().is_some_and(is_null)
    }

    pub(super) fn client_name(&self) -> Option<&ClientName> {
        self.client_name.as_ref()
    }

    /// The content came to its end, accepted or not, and with it the transaction (RFC 5321 section 4.1.1.4).
    pub fn end_transaction(&mut self, accepted: bool) {
        self.envelope = None;
        if accepted {
            self.errors = 0;
        }
    }

    /// Executes a command line. `now` is monotonic; `reserve` is called by MAIL with the announced size and says why a
    /// message of that size cannot be taken now.
    pub fn execute_line(
        &mut self,
        line: &[u8],
        now: Duration,
        reserve: impl FnOnce(u64) -> Result<(), ReplyToClient>,
    ) -> SessionAction {
        let Settings { default_domain, aliases, .. } = &*self.context.settings;
        let completion = AddressCompletion { domain: default_domain, aliases: Some(aliases) };
        let action = match command::parse(line, completion) {
            Ok(command) => self.execute(command, now, reserve),
            Err(CommandError::Refused(reply)) => SessionAction::Reply(reply),
            Err(CommandError::Fatal(reply)) => SessionAction::ReplyAndClose(reply),
        };
        match action {
            SessionAction::Reply(reply) if reply.is_permanent() => self.refuse(reply),
            action => action,
        }
    }

    /// Counts a refused command; the session ends when there were more than `errors_per_session`.
    pub(super) fn refuse(&mut self, reply: ReplyToClient) -> SessionAction {
        self.errors += 1;
        if self.errors > self.context.settings.limits.errors_per_session {
            return SessionAction::ReplyAndClose(reply::TOO_MANY_ERRORS);
        }
        SessionAction::Reply(reply)
    }

    fn execute(
        &mut self,
        command: Command,
        now: Duration,
        reserve: impl FnOnce(u64) -> Result<(), ReplyToClient>,
    ) -> SessionAction {
        match command {
            Command::Ehlo(name) => self.hello(ClientName { name, extended: true }),
            Command::Helo(name) => self.hello(ClientName { name, extended: false }),
            Command::Mail(mail) => SessionAction::Reply(self.mail(mail, now, reserve)),
            Command::Rcpt(rcpt) => SessionAction::Reply(self.rcpt(rcpt)),
            Command::Data => self.data(),
            Command::Bdat { size, last } => self.bdat(size, last),
            Command::Rset => {
                self.envelope = None;
                SessionAction::Reply(reply::RESET)
            }
            Command::Noop => SessionAction::Reply(reply::OK),
            Command::Help => SessionAction::Reply(reply::HELP),
            Command::Vrfy => SessionAction::Reply(reply::CANNOT_VERIFY),
            Command::Quit => {
                self.envelope = None;
                SessionAction::ReplyAndClose(reply::BYE)
            }
        }
    }

    /// EHLO and HELO end a transaction (RFC 5321 section 4.1.4).
    fn hello(&mut self, client_name: ClientName) -> SessionAction {
        self.envelope = None;
        let Settings { hostname, limits, .. } = &*self.context.settings;
        let reply = match client_name.extended {
            true => reply::ehlo(hostname, limits.message_size),
            false => reply::helo(hostname),
        };
        self.client_name = Some(client_name);
        SessionAction::Reply(reply)
    }

    fn mail(
        &mut self,
        mail: MailCommand,
        now: Duration,
        reserve: impl FnOnce(u64) -> Result<(), ReplyToClient>,
    ) -> ReplyToClient {
        if self.client_name.is_none() {
            return reply::HELLO_FIRST;
        }
        if self.envelope.is_some() {
            return reply::TRANSACTION_OPEN;
        }
        let limit = self.context.settings.limits.message_size;
        if mail.parameters.size > limit {
            return reply::message_too_large(limit);
        }
        if let Err(reply) = reserve(mail.parameters.size) {
            return reply;
        }
        self.envelope = Some(InboundEnvelope {
            mail,
            recipients: Vec::new(),
            began: now,
            known: HashSet::new(),
            chunked: false,
        });
        reply::SENDER_OK
    }

    fn rcpt(&mut self, rcpt: RcptCommand) -> ReplyToClient {
        let Some(envelope) = &mut self.envelope else {
            return reply::MAIL_FIRST;
        };
        if envelope.chunked {
            return reply::RCPT_AFTER_BDAT;
        }
        if !self.context.may_relay {
            let SessionContext { client, listener, .. } = &self.context;
            return reply::may_not_relay(*client, listener);
        }
        if !rcpt.address.is_ascii() && !envelope.mail.parameters.smtp_utf8 {
            return reply::NEEDS_SMTPUTF8;
        }
        if !envelope.known.contains(&rcpt.address) {
            if envelope.recipients.len() >= self.context.settings.limits.recipients {
                return reply::TOO_MANY_RECIPIENTS;
            }
            envelope.known.insert(rcpt.address.clone());
            envelope.recipients.push(rcpt);
        }
        reply::RECIPIENT_OK
    }

    fn data(&self) -> SessionAction {
        match self.ready() {
            Err(reply) => SessionAction::Reply(reply),
            Ok(envelope) if envelope.chunked => SessionAction::Reply(reply::DATA_AFTER_BDAT),
            Ok(_) => SessionAction::ReceiveData,
        }
    }

    fn bdat(&mut self, size: u64, last: bool) -> SessionAction {
        if let Err(reply) = self.ready() {
            // Not counted as an error: a client may send all chunks of a message before it reads that the first was refused.
            return SessionAction::SkipChunk { size, reply };
        }
        if let Some(envelope) = &mut self.envelope {
            envelope.chunked = true;
        }
        SessionAction::ReceiveChunk { size, last }
    }

    fn ready(&self) -> Result<&InboundEnvelope, ReplyToClient> {
        match &self.envelope {
            None => Err(reply::MAIL_AND_RCPT_FIRST),
            Some(envelope) if envelope.recipients.is_empty() => Err(reply::NO_RECIPIENT),
            Some(envelope) => Ok(envelope),
        }
    }
}
