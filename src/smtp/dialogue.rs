//! The state machine of one session, without I/O: a command line in, what the session has to do out (RFC 5321 sections
//! 4.1.4 and 4.3).
//!
//! Promise: what comes out depends on nothing but the lines so far and the context of the session. The order of commands,
//! limits and relay control are decided here; [`super::session`] reads, writes, keeps deadlines and fills the queue.

use super::auth_exchange::{AuthCommand, AuthExchange, AuthStep, SentCredentials};
use super::authenticator::AuthResult;
use super::command::{self, Command, CommandError, MailCommand, RcptCommand};
use super::failed_logins::MAX_BY_SESSION;
use super::reply::{self, Offers, ReplyToClient};
use super::session_context::SessionContext;
use crate::config::{Secret, Settings};
use crate::mail::{Address, DsnRequest, RecipientDsn, ReversePath};
use crate::reception::completion::AddressCompletion;
use secrecy::ExposeSecret;
use std::collections::HashMap;
use std::time::Duration;

/// What the session does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionAction {
    /// Give this reply and wait for the next command.
    Reply(ReplyToClient),
    /// Give this reply and end the session.
    ReplyAndClose(ReplyToClient),
    /// Reply 220, then the TLS handshake and [`Dialogue::tls_started`].
    StartTls,
    /// Check them, then [`Dialogue::password_checked`].
    CheckPassword(SentCredentials),
    /// In pass-through: ask the upstream about it, then [`Dialogue::recipient_answered`].
    AskUpstream(RcptCommand),
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
    /// In the order of RCPT, each address exactly once, with all that its RCPTs ask to be told and the ORCPT of the first.
    pub recipients: Vec<RcptCommand>,
    /// How many RCPTs an upstream was asked about, in pass-through: those that it refused, too.
    asked: usize,
    /// Monotonic time of MAIL.
    pub(super) began: Duration,
    /// Their places, so that a repeated one is found quickly.
    known: HashMap<Address, usize>,
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
    /// AUTH was said and the client's next line belongs to it.
    exchange: Option<AuthExchange>,
    /// Wrong passwords.
    failed_logins: u32,
    /// Refused commands since the last message that was accepted.
    errors: u32,
}

/// Whether RCPT names somebody whom no RCPT of this transaction has named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IsNew {
    Yes,
    No,
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
        Dialogue { context, client_name: None, envelope: None, exchange: None, failed_logins: 0, errors: 0 }
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
        // Whatever the settings say now: a reload may come before the content ends.
        self.envelope.as_ref().is_some_and(is_null)
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

    /// Whether the next line is no command but belongs to AUTH.
    pub fn is_in_exchange(&self) -> bool {
        self.exchange.is_some()
    }

    /// TLS is on from now on. What the client said in clear text is forgotten (RFC 3207 section 4.2).
    pub fn tls_started(&mut self) {
        self.context.is_tls = true;
        self.context.user = None;
        (self.client_name, self.envelope, self.exchange) = (None, None, None);
    }

    /// What follows from the check of a name and its password.
    pub fn password_checked(&mut self, name: String, result: AuthResult) -> SessionAction {
        match result {
            AuthResult::Accepted => {
                self.context.user = Some(name);
                SessionAction::Reply(reply::AUTH_OK)
            }
            AuthResult::Refused(_) => {
                self.failed_logins += 1;
                match self.failed_logins < MAX_BY_SESSION {
                    true => self.refuse(reply::AUTH_FAILED),
                    false => SessionAction::ReplyAndClose(reply::TOO_MANY_FAILED_LOGINS),
                }
            }
            AuthResult::TooMany => SessionAction::ReplyAndClose(reply::TOO_MANY_FAILED_LOGINS),
            AuthResult::NotChecked => SessionAction::Reply(reply::PASSWORD_NOT_CHECKED),
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
        let action = match self.exchange.take() {
            Some(exchange) => self.continue_auth(exchange.on_response(without_line_end(line))),
            None => match command::parse(line, completion) {
                Ok(command) => self.execute(command, now, reserve),
                Err(CommandError::Refused(reply)) => SessionAction::Reply(reply),
                Err(CommandError::Fatal(reply)) => SessionAction::ReplyAndClose(reply),
            },
        };
        match action {
            SessionAction::Reply(reply) if reply.is_permanent() => self.refuse(reply),
            action => action,
        }
    }

    /// Counts a refused command; the session ends when there were more than `errors_per_session`. A refused line of AUTH ends
    /// the exchange.
    pub(super) fn refuse(&mut self, reply: ReplyToClient) -> SessionAction {
        self.exchange = None;
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
            Command::Rcpt(rcpt) => self.rcpt(rcpt),
            Command::StartTls => self.start_tls(),
            Command::Auth(rest) => self.auth(&rest),
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
            true => {
                let offers = Offers {
                    starttls: self.context.offers_starttls(),
                    auth: self.context.may_authenticate().is_ok(),
                    dsn: !self.context.passes_through(),
                };
                reply::ehlo(hostname, limits.message_size, offers)
            }
            false => reply::helo(hostname),
        };
        self.client_name = Some(client_name);
        SessionAction::Reply(reply)
    }

    fn start_tls(&self) -> SessionAction {
        match self.context.offers_starttls() {
            true if self.envelope.is_some() => SessionAction::Reply(reply::TRANSACTION_OPEN),
            true => SessionAction::StartTls,
            false if self.context.is_tls => SessionAction::Reply(reply::TLS_ALREADY),
            false => SessionAction::Reply(reply::STARTTLS_NOT_OFFERED),
        }
    }

    /// AUTH. Where it is not offered nobody looks at what stands behind it.
    fn auth(&mut self, rest: &Secret) -> SessionAction {
        if let Err(reply) = self.context.may_authenticate() {
            return SessionAction::Reply(reply);
        }
        if self.envelope.is_some() {
            return SessionAction::Reply(reply::TRANSACTION_OPEN);
        }
        if self.client_name.is_none() {
            return SessionAction::Reply(reply::HELLO_FIRST);
        }
        match AuthCommand::parse(rest.expose_secret().as_bytes()) {
            Ok(command) => self.continue_auth(command.begin()),
            Err(reply) => SessionAction::Reply(reply),
        }
    }

    fn continue_auth(&mut self, step: AuthStep) -> SessionAction {
        match step {
            AuthStep::Challenge(reply, exchange) => {
                self.exchange = Some(exchange);
                SessionAction::Reply(reply)
            }
            AuthStep::SentCredentials(said) => SessionAction::CheckPassword(said),
            AuthStep::Refused(reply) => SessionAction::Reply(reply),
        }
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
        if let Err(reply) = self.context.may_send(&mail.reverse_path) {
            return reply;
        }
        if self.context.passes_through() && mail.parameters.dsn != DsnRequest::default() {
            return reply::UNKNOWN_PARAMETER;
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
            asked: 0,
            began: now,
            known: HashMap::new(),
            chunked: false,
        });
        reply::SENDER_OK
    }

    fn rcpt(&mut self, rcpt: RcptCommand) -> SessionAction {
        match self.may_add(&rcpt) {
            Err(reply) => SessionAction::Reply(reply),
            Ok(IsNew::Yes) if self.context.passes_through() => SessionAction::AskUpstream(rcpt),
            Ok(is_new) => {
                match is_new {
                    IsNew::Yes => self.add(rcpt),
                    IsNew::No => self.ask_more(&rcpt),
                }
                SessionAction::Reply(reply::RECIPIENT_OK)
            }
        }
    }

    /// In pass-through: the upstream has accepted a recipient, or not.
    pub fn recipient_answered(&mut self, rcpt: RcptCommand, accepted: bool) {
        if let Some(envelope) = &mut self.envelope {
            envelope.asked += 1;
        }
        if accepted {
            self.add(rcpt);
        }
    }

    fn may_add(&self, rcpt: &RcptCommand) -> Result<IsNew, ReplyToClient> {
        let Some(envelope) = &self.envelope else {
            return Err(reply::MAIL_FIRST);
        };
        if envelope.chunked {
            return Err(reply::RCPT_AFTER_BDAT);
        }
        self.context.may_relay()?;
        if !rcpt.address.is_ascii() && !envelope.mail.parameters.smtp_utf8 {
            return Err(reply::NEEDS_SMTPUTF8);
        }
        if self.context.passes_through() && rcpt.dsn != RecipientDsn::default() {
            return Err(reply::UNKNOWN_PARAMETER);
        }
        if envelope.known.contains_key(&rcpt.address) {
            return Ok(IsNew::No);
        }
        // Whom the upstream refuses takes memory until the transaction ends, as everybody else.
        let so_far = envelope.asked.max(envelope.recipients.len());
        match so_far < self.context.settings.limits.recipients {
            true => Ok(IsNew::Yes),
            false => Err(reply::TOO_MANY_RECIPIENTS),
        }
    }

    /// A recipient was named once more.
    fn ask_more(&mut self, rcpt: &RcptCommand) {
        let Some(envelope) = &mut self.envelope else { return };
        let place = envelope.known.get(&rcpt.address).copied();
        if let Some(known) = place.and_then(|place| envelope.recipients.get_mut(place)) {
            known.dsn.notify = known.dsn.notify.and(rcpt.dsn.notify);
        }
    }

    fn add(&mut self, rcpt: RcptCommand) {
        if let Some(envelope) = &mut self.envelope {
            envelope.known.insert(rcpt.address.clone(), envelope.recipients.len());
            envelope.recipients.push(rcpt);
        }
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

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
