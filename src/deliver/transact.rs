//! The I/O of one mail transaction: MAIL, RCPT, DATA, the content, the final dot. What the replies decide is in
//! `OutboundTransaction`.
//!
//! With PIPELINING (RFC 2920) MAIL, the recipients and DATA leave in one write, and their replies are read one by one.
//! Nothing but `Transfer::finish` writes the final dot.

use super::connection::{Connection, ConnectionState};
use super::envelope::{OutboundEnvelope, OutboundRecipient};
use super::outgoing::Outgoing;
use super::session_error::{SessionError, SessionErrorKind};
use super::too_many_connections;
use super::transaction::{AfterCommands, OutboundCommand, OutboundTransaction, UpstreamSessionEnd};
use super::transaction_result::{TransactionResult, TransactionStep};
use super::wire::{NotSent, WireError};
use crate::mail::Reply;
use crate::mail::attempt::StepTimes;
use crate::queue::QueueError;
use lettre::transport::smtp::commands::{Data, Rset};
use std::io::Write;
use std::time::{Duration, Instant};

/// Commands that leave in one write: their replies fit into the buffers between the two sides, so that nobody waits
/// for the other to read.
const PIPELINE_WINDOW: usize = 100;

/// Bytes of content that leave in one write.
pub(super) const WRITE_SIZE: usize = 64 * 1024;

/// Longest content that leaves together with the final dot when it is encrypted: one TLS record. (In clear text the
/// system says how much of a failed write it took, so the dot can always go along.)
const TLS_RECORD_SIZE: usize = 16 * 1024;

/// How long a server that stopped reading may take to send a last reply.
const FINAL_REPLY_GRACE: Duration = Duration::from_secs(1);

const FINAL_DOT: &[u8] = b".\r\n";

pub(super) const OUT_OF_TIME: &str = "the attempt took too long in all and was ended";

/// Offers one message to the upstream. Never fails: what went wrong is in the answers and in
/// [`TransactionResult::lost`]. Afterwards see [`Connection::is_reusable`].
pub async fn transact(
    connection: &mut Connection,
    envelope: &OutboundEnvelope,
    content: &mut Outgoing,
) -> TransactionResult {
    transact_until(connection, envelope, content, std::future::pending()).await
}

/// The same, given up when `out_of_time` is ready: each step has its own deadline, but a thousand steps may take days.
pub(super) async fn transact_until(
    connection: &mut Connection,
    envelope: &OutboundEnvelope,
    content: &mut Outgoing,
    out_of_time: impl Future<Output = ()>,
) -> TransactionResult {
    let needs =
        |recipient: &OutboundRecipient| connection.capabilities().missing(envelope, &recipient.address);
    let transaction = OutboundTransaction::new(envelope.recipients.iter().map(needs));
    if !transaction.expects_commands() {
        let answers = transaction.into_answers();
        return TransactionResult {
            answers,
            lost: None,
            began: false,
            answered: false,
            transmit_ms: 0,
            times: StepTimes::default(),
        };
    }
    let start = Instant::now();
    let reused = connection.transactions > 0;
    let needs_reset = connection.begin_transaction() == ConnectionState::NeedsReset;
    let (mut transaction, mut times) = (transaction, StepTimes::default());
    let mut transfer = Transfer {
        connection: &mut *connection,
        envelope,
        transaction: &mut transaction,
        times: &mut times,
        last_reply: start,
    };
    let ended = tokio::select! {
        biased;
        ended = transfer.run(needs_reset, content) => ended,
        () = out_of_time => Err(Interruption::OutOfTime),
    };
    let (began, answered) = (transaction.has_begun(), transaction.is_answered());
    let lost = match ended {
        Ok(next) => {
            connection.state = next;
            None
        }
        Err(interruption) => after(interruption, connection, &mut transaction, reused),
    };
    // Neither a pooled connection that was closed nor a refusal of all mail is a begun attempt.
    let met_it = |error: &SessionError| {
        !matches!(error.kind, SessionErrorKind::Stale | SessionErrorKind::Unauthorized)
    };
    let began = began && lost.as_ref().is_none_or(met_it);
    let transmit_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    TransactionResult { answers: transaction.into_answers(), lost, began, answered, transmit_ms, times }
}

/// What an interruption leaves of a transaction on a connection that had others before (`reused`). The error where the session
/// was lost.
pub(super) fn after(
    interruption: Interruption,
    connection: &Connection,
    transaction: &mut OutboundTransaction,
    reused: bool,
) -> Option<SessionError> {
    match interruption {
        Interruption::Close => None,
        // The pooled connection was closed before it answered: the attempt opens a new one and counts nothing.
        Interruption::Lost(WireError::Closed | WireError::Failed(_) | WireError::ServiceClosing(_))
            if reused && !transaction.is_answered() =>
        {
            let why = "the idle connection was closed by the server";
            Some(connection.session_error(SessionErrorKind::Stale, &why))
        }
        // The server closed after it had decided about every recipient: nothing was lost.
        Interruption::Lost(WireError::Closed) if transaction.is_decided() => None,
        Interruption::Lost(fault) => {
            transaction.on_session_end(format!("no valid reply to the final dot: {fault}"));
            Some(connection.session_error(too_many_connections::kind_of_loss(&fault), &fault))
        }
        Interruption::RepliesMismatch(fault) => {
            transaction.forget_replies();
            connection.stop_pipelining();
            Some(connection.session_error(SessionErrorKind::Lost, &fault))
        }
        Interruption::OutOfTime => {
            transaction.on_session_end(OUT_OF_TIME.to_owned());
            Some(connection.session_error(SessionErrorKind::OutOfTime, &OUT_OF_TIME))
        }
        Interruption::Content(error) => Some(connection.session_error(SessionErrorKind::Content, &error)),
        Interruption::Unauthorized(reply) => {
            let why = format!("MAIL refused: {reply}");
            Some(connection.session_error(SessionErrorKind::Unauthorized, &why))
        }
    }
}

/// Why a transaction ends with its connection.
pub(super) enum Interruption {
    /// The connection cannot be used any more, without an error of either side.
    Close,
    Lost(WireError),
    /// There are more or other replies than commands.
    RepliesMismatch(WireError),
    OutOfTime,
    Content(QueueError),
    /// The server wants TLS or authentication before MAIL: this was no usable session.
    Unauthorized(Reply),
}

impl From<WireError> for Interruption {
    fn from(fault: WireError) -> Interruption {
        Interruption::Lost(fault)
    }
}

impl From<UpstreamSessionEnd> for Interruption {
    fn from(end: UpstreamSessionEnd) -> Interruption {
        match end {
            UpstreamSessionEnd::Lost(fault) => Interruption::Lost(fault),
            UpstreamSessionEnd::Unauthorized(reply) => Interruption::Unauthorized(reply),
        }
    }
}

/// A transaction under way on its connection.
pub(super) struct Transfer<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) envelope: &'a OutboundEnvelope,
    pub(super) transaction: &'a mut OutboundTransaction,
    pub(super) times: &'a mut StepTimes,
    pub(super) last_reply: Instant,
}

impl Transfer<'_> {
    /// Returns what may be sent on the connection next.
    async fn run(&mut self, reset: bool, content: &mut Outgoing) -> Result<ConnectionState, Interruption> {
        let commands = self.transaction.commands(reset);
        self.exchange(&commands).await?;
        match self.transaction.after_commands() {
            AfterCommands::SendContent => {}
            AfterCommands::Reset => return Ok(ConnectionState::NeedsReset),
            AfterCommands::Close => return Err(Interruption::Close),
        }
        self.send_content(content).await?;
        self.finish().await?;
        Ok(ConnectionState::Ready)
    }

    /// These commands, and their replies.
    pub(super) async fn exchange(&mut self, commands: &[OutboundCommand]) -> Result<(), Interruption> {
        match self.send_and_hear(commands).await {
            Err(Interruption::Lost(fault @ WireError::Protocol(_))) => {
                Err(Interruption::RepliesMismatch(fault))
            }
            sent => sent,
        }
    }

    /// As many in one write as the server can take.
    async fn send_and_hear(&mut self, commands: &[OutboundCommand]) -> Result<(), Interruption> {
        let within = self.connection.upstream.command_timeout;
        if self.connection.wire.has_unexpected_input() {
            // The only reply that may come here is 421.
            let reply = self.connection.wire.reply(within).await?;
            return Err(Interruption::Lost(WireError::ServiceClosing(reply)));
        }
        let window = if self.connection.pipelines() { PIPELINE_WINDOW } else { 1 };
        for commands in commands.chunks(window) {
            if !self.transaction.expects_commands() {
                return Ok(());
            }
            self.send_commands(commands).await?;
            for command in commands {
                let reply = self.connection.wire.reply(within).await?;
                self.note_time(command.step());
                self.transaction.on_reply(*command, reply)?;
            }
            self.connection.wire.expect_no_reply()?;
        }
        Ok(())
    }

    async fn send_commands(&mut self, commands: &[OutboundCommand]) -> Result<(), WireError> {
        let Transfer { connection, envelope, transaction, .. } = self;
        let Connection { wire, buffer, upstream, capabilities, .. } = &mut **connection;
        buffer.clear();
        for command in commands {
            // Addresses are written as they came, byte for byte; writing to a Vec does not fail.
            let _ = match command {
                OutboundCommand::Reset => write!(buffer, "{Rset}"),
                OutboundCommand::Mail => {
                    let parameters = capabilities.mail_parameters(envelope);
                    write!(buffer, "MAIL FROM:<{}>{parameters}\r\n", envelope.reverse_path.as_str())
                }
                OutboundCommand::Rcpt(place) => {
                    let recipient = &envelope.recipients[*place];
                    let parameters = capabilities.rcpt_parameters(recipient);
                    write!(buffer, "RCPT TO:<{}>{parameters}\r\n", recipient.address)
                }
                OutboundCommand::Data => write!(buffer, "{Data}"),
            };
        }
        transaction.on_commands_sent();
        wire.transcript.commands(buffer);
        // A server that refuses and closes while we still write has its replies read all the same (CASES F33).
        match wire.send(buffer, upstream.command_timeout).await {
            Err(NotSent { fault: fault @ WireError::TimedOut(_), .. }) => Err(fault),
            _ => Ok(()),
        }
    }

    /// All content but what is left in the buffer at its end.
    async fn send_content(&mut self, content: &mut Outgoing) -> Result<(), Interruption> {
        content.rewind();
        self.connection.buffer.clear();
        loop {
            let filled = content.fill(&mut self.connection.buffer, WRITE_SIZE).await;
            let end = filled.map_err(Interruption::Content)?;
            if !end || self.must_leave_separately() {
                self.write_content().await?;
            }
            if end {
                return Ok(());
            }
        }
    }

    /// What the buffer holds of the content.
    pub(super) async fn write_content(&mut self) -> Result<(), Interruption> {
        let Connection { wire, buffer, upstream, .. } = &mut *self.connection;
        match wire.send_until_reply(buffer, upstream.data_timeout).await {
            Ok(true) => {
                buffer.clear();
                Ok(())
            }
            Ok(false) => Err(self.interrupted(None).await),
            Err(not_sent) => Err(self.interrupted(Some(not_sent.fault)).await),
        }
    }

    /// Whether content that is at its end leaves before the final dot does.
    pub(super) fn must_leave_separately(&self) -> bool {
        self.connection.wire.is_encrypted() && self.connection.buffer.len() > TLS_RECORD_SIZE
    }

    /// The server spoke, or stopped reading, before the final dot: a refusal counts, everything else is its fault.
    async fn interrupted(&mut self, fault: Option<WireError>) -> Interruption {
        let within = match fault {
            Some(_) => FINAL_REPLY_GRACE,
            None => self.connection.upstream.command_timeout,
        };
        match self.connection.wire.reply(within).await {
            Ok(reply) => match self.transaction.on_content_reply(reply) {
                Ok(()) => Interruption::Close,
                Err(fault) => Interruption::Lost(fault),
            },
            Err(silence) => Interruption::Lost(fault.unwrap_or(silence)),
        }
    }

    /// A step has its reply.
    fn note_time(&mut self, step: TransactionStep) {
        let now = Instant::now();
        let taken = now.duration_since(std::mem::replace(&mut self.last_reply, now));
        let times = &mut self.times;
        let of_step = match step {
            TransactionStep::Mail => &mut times.mail_ms,
            TransactionStep::Rcpt => &mut times.rcpt_ms,
            TransactionStep::Data => &mut times.data_ms,
            TransactionStep::Content => &mut times.final_ms,
        };
        *of_step = of_step.saturating_add(u64::try_from(taken.as_millis()).unwrap_or(u64::MAX));
    }

    /// The rest of the content, the final dot, and the reply to it.
    pub(super) async fn finish(&mut self) -> Result<(), Interruption> {
        if self.connection.wire.has_unexpected_input() {
            return Err(self.interrupted(None).await);
        }
        let Connection { wire, buffer, upstream, .. } = &mut *self.connection;
        wire.transcript.content(self.envelope.size);
        let dot = buffer.len();
        buffer.extend_from_slice(FINAL_DOT);
        let mut within = upstream.final_timeout;
        self.transaction.begin_final_dot();
        if let Err(NotSent { sent, fault }) = wire.send(buffer, upstream.data_timeout).await {
            if !wire.is_encrypted() && sent <= dot {
                self.transaction.final_dot_not_sent();
                return Err(self.interrupted(Some(fault)).await);
            }
            within = FINAL_REPLY_GRACE;
        }
        let reply = wire.reply(within).await?;
        self.note_time(TransactionStep::Content);
        self.transaction.on_content_reply(reply)?;
        self.connection.wire.expect_no_reply().map_err(|_| Interruption::Close)
    }
}
