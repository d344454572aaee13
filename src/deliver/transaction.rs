//! One mail transaction: MAIL, RCPT, DATA, the content, the final dot, and what the server said to each.
//!
//! With PIPELINING (RFC 2920) MAIL, the recipients and DATA leave in one write, and their replies are read one by one.
//! Everything that was answered counts, whatever happens to the session afterwards, unless replies and
//! commands no longer match; what was not answered is undecided. From the first byte of the final dot on the server may
//! have the message, so only a valid reply decides (rule 5), and nothing but `Transaction::finish` writes it.

use super::connection::Connection;
use super::disposition::{self, Disposition};
use super::envelope::OutboundEnvelope;
use super::outgoing::Outgoing;
use super::session_error::SessionErrorKind;
use super::too_many_connections;
use super::transaction_result::{RecipientAnswer, TransactionResult, TransactionStep};
use super::wire::{NotSent, WireError};
use crate::mail::Reply;
use crate::queue::QueueError;
use lettre::transport::smtp::commands::{Data, Rset};
use std::io::Write;
use std::time::{Duration, Instant};

/// Commands that leave in one write: their replies fit into the buffers between the two sides, so that nobody waits
/// for the other to read.
const PIPELINE_WINDOW: usize = 100;

/// Bytes of content that leave in one write.
const WRITE_SIZE: usize = 64 * 1024;

/// Longest content that leaves together with the final dot when it is encrypted: one TLS record. (In clear text the
/// system says how much of a failed write it took, so the dot can always go along.)
const TLS_RECORD_SIZE: usize = 16 * 1024;

/// How long a server that stopped reading may take to send a last reply.
const FINAL_REPLY_GRACE: Duration = Duration::from_secs(1);

const FINAL_DOT: &[u8] = b".\r\n";

const OUT_OF_TIME: &str = "the attempt took too long in all and was ended";

/// Offers one message to the upstream, see [`Connection::transact_until`].
pub(super) async fn run(
    connection: &mut Connection,
    envelope: &OutboundEnvelope,
    content: &mut Outgoing,
    out_of_time: impl Future<Output = ()>,
) -> TransactionResult {
    let recipients = initial_states(connection, envelope);
    if recipients.iter().all(RcptState::is_decided) {
        let answers = recipients.into_iter().map(RcptState::answer).collect();
        return TransactionResult { answers, lost: None, began: false, answered: false, transmit_ms: 0 };
    }
    let start = Instant::now();
    let reused = connection.transactions > 0;
    connection.transactions += 1;
    // Until the end is reached: a connection that is dropped half-way must not be used again.
    connection.in_step = false;
    let mut transaction = Transaction::new(connection, envelope, recipients);
    let ended = tokio::select! {
        biased;
        ended = transaction.run(content) => ended,
        () = out_of_time => Err(transaction.out_of_time()),
    };
    let Transaction { mut recipients, mut began, answered, offered, .. } = transaction;
    let known = |recipient: &RcptState| match recipient {
        RcptState::Decided(answer) => !matches!(answer, RecipientAnswer::Unknown(_)),
        RcptState::Pending | RcptState::Accepted => false,
    };
    let decided = recipients.iter().all(known);
    let mut lost = None;
    match ended {
        Ok(()) => connection.in_step = true,
        Err(Break::Close) => {}
        // The pooled connection was closed before it answered: the attempt opens a new one and counts nothing.
        Err(Break::Lost(WireError::Closed | WireError::Failed(_) | WireError::ServiceClosing(_)))
            if reused && !answered =>
        {
            let why = "the idle connection was closed by the server";
            lost = Some(connection.session_error(SessionErrorKind::Stale, &why));
            began = false;
        }
        // The server closed after it had decided about every recipient: nothing was lost.
        Err(Break::Lost(WireError::Closed)) if decided => {}
        Err(Break::Lost(fault)) => {
            if matches!(fault, WireError::Protocol(_)) && !offered {
                // It cannot be told which command each of the replies was for.
                recipients = initial_states(connection, envelope);
                connection.stop_pipelining();
            }
            lost = Some(connection.session_error(too_many_connections::kind_of_loss(&fault), &fault));
        }
        Err(Break::OutOfTime) => {
            lost = Some(connection.session_error(SessionErrorKind::OutOfTime, &OUT_OF_TIME))
        }
        Err(Break::Content(error)) => {
            lost = Some(connection.session_error(SessionErrorKind::Content, &error))
        }
        Err(Break::Unusable(reply)) => {
            let why = format!("MAIL refused: {reply}");
            lost = Some(connection.session_error(SessionErrorKind::Unauthorized, &why));
            recipients.fill(RcptState::Decided(RecipientAnswer::Refused(TransactionStep::Mail, reply)));
            began = false;
        }
    }
    let answers = recipients.into_iter().map(RcptState::answer).collect();
    let transmit_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    TransactionResult { answers, lost, began, answered, transmit_ms }
}

/// Before MAIL: a recipient that needs what the server does not offer is decided, the others are still offered.
fn initial_states(connection: &Connection, envelope: &OutboundEnvelope) -> Vec<RcptState> {
    let of = |recipient| match connection.capabilities().missing(envelope, recipient) {
        Some(missing) => RcptState::Decided(RecipientAnswer::Unable(missing)),
        None => RcptState::Pending,
    };
    envelope.recipients.iter().map(of).collect()
}

/// What the server has said of one recipient so far.
#[derive(Clone)]
enum RcptState {
    Pending,
    /// 2xx to RCPT: the reply to the content decides.
    Accepted,
    Decided(RecipientAnswer),
}

impl RcptState {
    fn is_decided(&self) -> bool {
        matches!(self, RcptState::Decided(_))
    }

    fn answer(self) -> RecipientAnswer {
        match self {
            RcptState::Decided(answer) => answer,
            RcptState::Pending | RcptState::Accepted => RecipientAnswer::Undecided,
        }
    }
}

/// Why a transaction ends with its connection.
enum Break {
    /// The connection cannot be used any more, without an error of either side.
    Close,
    Lost(WireError),
    OutOfTime,
    Content(QueueError),
    /// The server wants TLS or authentication before MAIL: this was no usable session.
    Unusable(Reply),
}

impl From<WireError> for Break {
    fn from(fault: WireError) -> Break {
        Break::Lost(fault)
    }
}

#[derive(Clone, Copy)]
enum Command {
    Reset,
    Mail,
    Rcpt(usize),
    Data,
}

struct Transaction<'a> {
    connection: &'a mut Connection,
    envelope: &'a OutboundEnvelope,
    recipients: Vec<RcptState>,
    mail_refused: bool,
    /// 354 was said.
    go_ahead: bool,
    /// MAIL was sent.
    began: bool,
    /// The server answered something other than 421.
    answered: bool,
    /// All commands have had their replies.
    offered: bool,
    /// Some of the final dot may have left.
    dot_begun: bool,
}

impl<'a> Transaction<'a> {
    fn new(
        connection: &'a mut Connection,
        envelope: &'a OutboundEnvelope,
        recipients: Vec<RcptState>,
    ) -> Transaction<'a> {
        Transaction {
            connection,
            envelope,
            recipients,
            mail_refused: false,
            go_ahead: false,
            began: false,
            answered: false,
            offered: false,
            dot_begun: false,
        }
    }

    async fn run(&mut self, content: &mut Outgoing) -> Result<(), Break> {
        self.offer().await?;
        self.offered = true;
        let taken = self.recipients.iter().any(|recipient| matches!(recipient, RcptState::Accepted));
        match (self.go_ahead, taken) {
            (true, true) => {}
            // 354 although nobody is left to send to: any dot from here on would be a message (RFC 2920 section 3.1).
            (true, false) => return Err(Break::Close),
            (false, _) => {
                self.connection.needs_reset = true;
                return Ok(self.connection.wire.expect_no_reply()?);
            }
        }
        self.send_content(content).await?;
        self.finish().await
    }

    /// MAIL, RCPT and DATA, as many in one write as the server can take.
    async fn offer(&mut self) -> Result<(), Break> {
        if self.connection.wire.has_unexpected_input() {
            // The only reply that may come here is 421.
            let within = self.connection.upstream.command_timeout;
            let reply = self.connection.wire.reply(within).await?;
            return Err(Break::Lost(WireError::ServiceClosing(reply)));
        }
        let reset = std::mem::take(&mut self.connection.needs_reset).then_some(Command::Reset);
        let open = |number: &usize| !self.recipients[*number].is_decided();
        let recipients = (0..self.recipients.len()).filter(open).map(Command::Rcpt);
        let all = reset.into_iter().chain([Command::Mail]).chain(recipients).chain([Command::Data]);
        let commands: Vec<Command> = all.collect();
        let window = if self.connection.pipelines() { PIPELINE_WINDOW } else { 1 };
        for commands in commands.chunks(window) {
            let nobody_left = self.recipients.iter().all(RcptState::is_decided);
            if nobody_left || self.mail_refused {
                return Ok(());
            }
            self.send_commands(commands).await?;
            for command in commands {
                let reply = self.connection.wire.reply(self.connection.upstream.command_timeout).await?;
                self.on_reply(*command, reply)?;
            }
            self.connection.wire.expect_no_reply()?;
        }
        Ok(())
    }

    async fn send_commands(&mut self, commands: &[Command]) -> Result<(), WireError> {
        let Transaction { connection, envelope, began, .. } = self;
        *began = true;
        let Connection { wire, buffer, upstream, capabilities, .. } = &mut **connection;
        buffer.clear();
        for command in commands {
            // Addresses are written as they came, byte for byte; writing to a Vec does not fail.
            let _ = match command {
                Command::Reset => write!(buffer, "{Rset}"),
                Command::Mail => {
                    let parameters = capabilities.mail_parameters(envelope);
                    write!(buffer, "MAIL FROM:<{}>{parameters}\r\n", envelope.reverse_path.as_str())
                }
                Command::Rcpt(number) => write!(buffer, "RCPT TO:<{}>\r\n", envelope.recipients[*number]),
                Command::Data => write!(buffer, "{Data}"),
            };
        }
        // A server that refuses and closes while we still write has its replies read all the same (CASES F33).
        match wire.send(buffer, upstream.command_timeout).await {
            Err(NotSent { fault: fault @ WireError::TimedOut(_), .. }) => Err(fault),
            _ => Ok(()),
        }
    }

    /// Records the reply to a command.
    fn on_reply(&mut self, command: Command, reply: Reply) -> Result<(), Break> {
        let step = match command {
            Command::Rcpt(_) => TransactionStep::Rcpt,
            Command::Data => TransactionStep::Data,
            Command::Mail | Command::Reset => TransactionStep::Mail,
        };
        let refused = is_refusal(&reply);
        let means = refused.then(|| disposition::meaning(step, &reply, false));
        if means == Some(Disposition::SessionLost) {
            return Err(Break::Lost(WireError::ServiceClosing(reply)));
        }
        self.answered = true;
        match command {
            Command::Mail if means == Some(Disposition::NoSession) => {
                return Err(Break::Unusable(reply));
            }
            Command::Mail if refused => {
                self.mail_refused = true;
                for recipient in self.recipients.iter_mut().filter(|recipient| !recipient.is_decided()) {
                    *recipient =
                        RcptState::Decided(RecipientAnswer::Refused(TransactionStep::Mail, reply.clone()));
                }
            }
            Command::Rcpt(_) if self.mail_refused => {}
            Command::Rcpt(number) if refused => {
                self.recipients[number] =
                    RcptState::Decided(RecipientAnswer::Refused(TransactionStep::Rcpt, reply));
            }
            Command::Rcpt(number) if reply.is_positive() => self.recipients[number] = RcptState::Accepted,
            Command::Data if refused => self.decide(&RecipientAnswer::Refused(TransactionStep::Data, reply)),
            Command::Data if reply.code == 354 => self.go_ahead = true,
            Command::Reset | Command::Mail if reply.is_positive() => {}
            _ => {
                let name = match command {
                    Command::Reset => "RSET",
                    Command::Mail => "MAIL",
                    Command::Rcpt(_) => "RCPT",
                    Command::Data => "DATA",
                };
                return Err(Break::Lost(WireError::Protocol(format!("{name} was answered with {reply}"))));
            }
        }
        Ok(())
    }

    /// The answer for everybody whose recipient was taken.
    fn decide(&mut self, answer: &RecipientAnswer) {
        for recipient in
            self.recipients.iter_mut().filter(|recipient| matches!(recipient, RcptState::Accepted))
        {
            *recipient = RcptState::Decided(answer.clone());
        }
    }

    /// All content but what is left in the buffer at its end.
    async fn send_content(&mut self, content: &mut Outgoing) -> Result<(), Break> {
        content.rewind();
        self.connection.buffer.clear();
        loop {
            let end = content.fill(&mut self.connection.buffer, WRITE_SIZE).await.map_err(Break::Content)?;
            let separately =
                self.connection.wire.is_encrypted() && self.connection.buffer.len() > TLS_RECORD_SIZE;
            if !end || separately {
                let Connection { wire, buffer, upstream, .. } = &mut *self.connection;
                match wire.send_until_reply(buffer, upstream.data_timeout).await {
                    Ok(true) => buffer.clear(),
                    Ok(false) => return Err(self.interrupted(None).await),
                    Err(not_sent) => return Err(self.interrupted(Some(not_sent.fault)).await),
                }
            }
            if end {
                return Ok(());
            }
        }
    }

    /// The server spoke, or stopped reading, before the final dot: a refusal counts, everything else is its fault.
    async fn interrupted(&mut self, fault: Option<WireError>) -> Break {
        let within = match fault {
            Some(_) => FINAL_REPLY_GRACE,
            None => self.connection.upstream.command_timeout,
        };
        match self.connection.wire.reply(within).await {
            Ok(reply) if is_refusal(&reply) => self.refused_content(reply).err().unwrap_or(Break::Close),
            Ok(reply) => Break::Lost(WireError::Protocol(format!("the content was interrupted by {reply}"))),
            Err(silence) => Break::Lost(fault.unwrap_or(silence)),
        }
    }

    /// There is no more time. What was answered stays.
    fn out_of_time(&mut self) -> Break {
        if self.dot_begun {
            self.decide(&RecipientAnswer::Unknown(OUT_OF_TIME.to_owned()));
        }
        Break::OutOfTime
    }

    /// An explicit refusal of the content, with or without its final dot.
    fn refused_content(&mut self, reply: Reply) -> Result<(), Break> {
        if disposition::meaning(TransactionStep::Content, &reply, false) == Disposition::SessionLost {
            return Err(Break::Lost(WireError::ServiceClosing(reply)));
        }
        self.decide(&RecipientAnswer::Refused(TransactionStep::Content, reply));
        Ok(())
    }

    /// The rest of the content and the final dot. From its first byte on only a valid reply decides.
    async fn finish(&mut self) -> Result<(), Break> {
        if self.connection.wire.has_unexpected_input() {
            return Err(self.interrupted(None).await);
        }
        let Connection { wire, buffer, upstream, .. } = &mut *self.connection;
        let dot = buffer.len();
        buffer.extend_from_slice(FINAL_DOT);
        let mut within = upstream.final_timeout;
        self.dot_begun = true;
        if let Err(NotSent { sent, fault }) = wire.send(buffer, upstream.data_timeout).await {
            if !wire.is_encrypted() && sent <= dot {
                self.dot_begun = false;
                return Err(self.interrupted(Some(fault)).await);
            }
            within = FINAL_REPLY_GRACE;
        }
        let fault = match wire.reply(within).await {
            Ok(reply) if reply.is_positive() => {
                self.decide(&RecipientAnswer::Accepted(reply));
                return self.connection.wire.expect_no_reply().map_err(|_| Break::Close);
            }
            Ok(reply) if is_refusal(&reply) => {
                self.refused_content(reply)?;
                return self.connection.wire.expect_no_reply().map_err(|_| Break::Close);
            }
            Ok(reply) => WireError::Protocol(format!("the final dot was answered with {reply}")),
            Err(fault) => fault,
        };
        self.decide(&RecipientAnswer::Unknown(format!("no valid reply to the final dot: {fault}")));
        Err(Break::Lost(fault))
    }
}

fn is_refusal(reply: &Reply) -> bool {
    reply.is_transient() || reply.is_permanent()
}
