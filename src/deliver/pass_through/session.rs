//! One transaction at an upstream beside a client's: the steps of `deliver::transact`, with the client between them.
//!
//! What the replies decide is in `deliver::transaction`, as for queued mail. Nothing but [`PassedSession::finish`] writes the
//! final dot: dropped before, the connection is closed, and the upstream has taken nothing.

use super::super::connection::{Connection, ConnectionState};
use super::super::context::AttemptContext;
use super::super::envelope::{OutboundEnvelope, OutboundRecipient};
use super::super::health_report;
use super::super::outgoing::ContentEncoder;
use super::super::session_error::{SessionError, SessionErrorKind};
use super::super::slot::Slot;
use super::super::too_many_connections;
use super::super::transact::{self, Transfer, WRITE_SIZE};
use super::super::transaction::{AfterCommands, OutboundCommand, OutboundTransaction};
use super::super::transaction_result::{RecipientAnswer, TransactionStep};
use super::super::transactions_under_way::{TransactionGuard, TransactionUnderWay};
use super::super::way_out::WayOut;
use crate::config::settings::Upstream;
use crate::mail::attempt::StepTimes;
use crate::mail::{Address, FieldFilter, Message, Reply};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For what is put in front of a content when its size is announced.
const ROOM_FOR_FIELDS: u64 = 1024;

/// A transaction that an upstream has answered a RCPT of.
pub(super) struct PassedSession {
    slot: Slot,
    connection: Box<Connection>,
    pub(super) envelope: OutboundEnvelope,
    transaction: OutboundTransaction,
    /// MAIL has said SMTPUTF8.
    pub(super) says_smtp_utf8: bool,
    times: StepTimes,
    encoder: ContentEncoder,
    /// How long it took to have a session.
    pub(super) connecting: Duration,
    is_lost: bool,
    /// A command has left and its reply has not come: given up there, the connection is of no further use.
    is_midway: bool,
    _under_way: TransactionGuard,
}

/// What came of the first commands at an upstream.
pub(super) enum Beginning {
    /// It has answered a RCPT: no other upstream is asked.
    Begun(Box<PassedSession>),
    /// It has refused the sender, or cannot take the first recipient.
    Refused(RecipientAnswer),
    /// No session, or one that was lost. `answered`: after it had answered a RCPT.
    Lost { began: bool, answered: bool },
    /// The mail of that site is handled otherwise by now: nothing was said to the upstream.
    HandlingChanged,
}

/// The session is over before the transaction is.
pub(super) struct PassedSessionLost;

impl PassedSession {
    /// MAIL and the recipients of `envelope` at the upstream of `slot`.
    pub(super) async fn begin(
        context: &AttemptContext,
        mut slot: Slot,
        message: &Message,
        envelope: OutboundEnvelope,
        deadline: Duration,
    ) -> Beginning {
        let (upstream, services) = (slot.upstream().clone(), &context.services);
        loop {
            let start = services.clock.monotonic();
            let opened = WayOut::open(context, &upstream, &mut slot, deadline).await;
            let mut connection = match opened {
                Ok(WayOut::Connection(connection)) => connection,
                // A folder has nothing to answer, and is no candidate.
                Ok(WayOut::Pickup(_)) => return Beginning::Lost { began: false, answered: false },
                Err(error) => {
                    health_report::failed(context, message.id, &mut slot, &error);
                    return Beginning::Lost { began: false, answered: false };
                }
            };
            let under_way = services.transactions.begin(TransactionUnderWay {
                queue_id: message.id,
                site: message.site.clone(),
                upstream: upstream.name.clone(),
                settings: context.settings.clone(),
            });
            let needs = |one: &OutboundRecipient| connection.capabilities().missing(&envelope, &one.address);
            let transaction = OutboundTransaction::new(envelope.recipients.iter().map(needs));
            let changed = context.has_handling_changed(&message.site);
            if changed || !transaction.expects_commands() {
                services.pool.give_back(*connection);
                slot.released();
                let unable = || transaction.into_answers().into_iter().next();
                return match (changed, unable()) {
                    (false, Some(unable)) => Beginning::Refused(unable),
                    _ => Beginning::HandlingChanged,
                };
            }
            let reused = connection.transactions() > 0;
            let needs_reset = connection.begin_transaction() == ConnectionState::NeedsReset;
            let size = connection.capabilities().with_room(envelope.size, ROOM_FOR_FIELDS);
            let mut session = PassedSession {
                says_smtp_utf8: connection.capabilities().says_smtp_utf8(&envelope),
                slot,
                connection,
                envelope: OutboundEnvelope { size, ..envelope.clone() },
                transaction,
                times: StepTimes::default(),
                encoder: ContentEncoder::default(),
                connecting: services.clock.monotonic() - start,
                is_lost: false,
                is_midway: false,
                _under_way: under_way,
            };
            let mut commands = session.transaction.commands(needs_reset);
            // DATA waits for the client's.
            commands.pop();
            let ended = session.transfer().exchange(&commands).await;
            session.is_midway = false;
            let lost = ended.err().map(|interruption| {
                let PassedSession { connection, transaction, .. } = &mut session;
                transact::after(interruption, connection, transaction, reused)
            });
            if let Some(Some(error)) = &lost
                && error.kind == SessionErrorKind::Stale
            {
                slot = session.slot;
                continue;
            }
            return session.begun(context, message, lost);
        }
    }

    /// What the replies to the first commands came to; `lost`: the session is over, with the error, if it is one.
    fn begun(
        mut self,
        context: &AttemptContext,
        message: &Message,
        lost: Option<Option<SessionError>>,
    ) -> Beginning {
        if self.transaction.is_answered() {
            self.slot.answered();
        }
        let is_of = |answer: &RecipientAnswer, of: TransactionStep| match answer {
            RecipientAnswer::Refused { step, .. } => *step == of,
            _ => false,
        };
        let idle = context.services.pool.idle(&self.upstream().name);
        let answers = self.transaction.answers();
        if let Some(reply) = too_many_connections::find_in(answers) {
            self.slot.too_many_connections(&reply, idle);
        }
        let of_mail = answers.iter().find(|answer| is_of(answer, TransactionStep::Mail)).cloned();
        let rcpt_answered = !self.transaction.accepted().is_empty()
            || answers.iter().any(|answer| is_of(answer, TransactionStep::Rcpt));
        let unauthorized = matches!(&lost, Some(Some(error)) if error.kind == SessionErrorKind::Unauthorized);
        // An upstream that takes other mail has said something about this sender, and nothing about itself.
        let of_the_sender = unauthorized && self.slot.upstream_has_worked();
        if !unauthorized || of_the_sender {
            self.slot.began();
        }
        match (lost, of_mail) {
            (Some(Some(error)), answer) if !of_the_sender || answer.is_none() => {
                self.on_error(context, message, &error);
                Beginning::Lost { began: !unauthorized, answered: rcpt_answered }
            }
            (Some(_), Some(answer)) => Beginning::Refused(answer),
            (Some(_), None) => Beginning::Lost { began: true, answered: rcpt_answered },
            (None, Some(answer)) => {
                self.close(context);
                Beginning::Refused(answer)
            }
            (None, None) => {
                if self.slot.is_probe() {
                    // The client may take its time; others need not wait for it.
                    health_report::succeeded(context, &mut self.slot);
                }
                Beginning::Begun(Box::new(self))
            }
        }
    }

    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        self.connection.upstream()
    }

    /// One more recipient. Its place.
    pub(super) async fn recipient(
        &mut self,
        context: &AttemptContext,
        message: &Message,
        address: Address,
    ) -> Result<usize, PassedSessionLost> {
        let missing = self.connection.capabilities().missing(&self.envelope, &address);
        let is_offered = missing.is_none();
        let place = self.transaction.add_recipient(missing);
        self.envelope.recipients.push(address.into());
        if is_offered {
            let ended = self.transfer().exchange(&[OutboundCommand::Rcpt(place)]).await;
            self.heard(context, message, ended)?;
        }
        Ok(place)
    }

    /// What each recipient of the envelope was answered.
    pub(super) fn answers(&self) -> &[RecipientAnswer] {
        self.transaction.answers()
    }

    /// The reply to the last RCPT that was accepted.
    pub(super) fn acceptance(&self) -> Option<&Reply> {
        self.transaction.acceptance()
    }

    /// DATA. What the upstream says where it refuses.
    pub(super) async fn data(
        &mut self,
        context: &AttemptContext,
        message: &Message,
    ) -> Result<Option<RecipientAnswer>, PassedSessionLost> {
        let place = self.transaction.accepted().first().copied();
        let ended = self.transfer().exchange(&[OutboundCommand::Data]).await;
        self.heard(context, message, ended)?;
        match self.transaction.after_commands() {
            AfterCommands::SendContent => {
                self.connection.buffer.clear();
                Ok(None)
            }
            AfterCommands::Reset => {
                self.connection.state = ConnectionState::NeedsReset;
                Ok(place.map(|place| self.answers()[place].clone()))
            }
            AfterCommands::Close => Err(PassedSessionLost),
        }
    }

    /// What goes in front of the content, and what its header goes through.
    pub(super) fn begin_content(&mut self, prefix: &[u8], filter: FieldFilter) {
        self.encoder = ContentEncoder::filtering(filter);
        self.encoder.prefix(prefix, &mut self.connection.buffer);
    }

    /// More of the content; leaves when there is enough of it. An error, too, where the upstream refuses it: then its answers
    /// say so.
    pub(super) async fn content(
        &mut self,
        context: &AttemptContext,
        message: &Message,
        bytes: &[u8],
    ) -> Result<(), PassedSessionLost> {
        self.encoder.push(bytes, &mut self.connection.buffer);
        if self.connection.buffer.len() >= WRITE_SIZE {
            let ended = self.transfer().write_content().await;
            self.heard(context, message, ended)?;
        }
        Ok(())
    }

    /// The rest of the content, the final dot, and the reply to it, which is in the answers.
    pub(super) async fn finish(&mut self, context: &AttemptContext, message: &Message) {
        self.encoder.finish(&mut self.connection.buffer);
        if self.transfer().must_leave_separately() {
            let ended = self.transfer().write_content().await;
            if self.heard(context, message, ended).is_err() {
                return;
            }
        }
        let ended = self.transfer().finish().await;
        if self.heard(context, message, ended).is_ok() {
            self.connection.state = ConnectionState::Ready;
        }
    }

    /// Whether the final dot has left, or some of it, and nobody knows what the upstream did: the process is stopping, say.
    pub(super) fn give_up(&mut self, why: &str) {
        self.transaction.on_session_end(why.to_owned());
    }

    /// The transaction is over, or given up.
    pub(super) fn close(self, context: &AttemptContext) {
        let PassedSession {
            mut slot,
            mut connection,
            transaction,
            is_lost,
            is_midway,
            times,
            connecting,
            ..
        } = self;
        if transaction.answers().iter().any(RecipientAnswer::is_accepted) {
            let connect_ms = u64::try_from(connecting.as_millis()).unwrap_or(u64::MAX);
            slot.took_a_message(StepTimes { connect_ms, ..times }.total_ms());
        }
        if !is_lost {
            if connection.state == ConnectionState::InTransaction
                && transaction.is_before_content()
                && !is_midway
            {
                connection.state = ConnectionState::NeedsReset;
            }
            if transaction.is_answered() {
                health_report::succeeded(context, &mut slot);
            }
        }
        // Nothing of it is kept, neither here nor with the next message on this connection.
        drop(connection.take_dialogue());
        context.services.pool.give_back(*connection);
        slot.released();
    }

    fn transfer(&mut self) -> Transfer<'_> {
        self.is_midway = true;
        Transfer {
            connection: &mut self.connection,
            envelope: &self.envelope,
            transaction: &mut self.transaction,
            times: &mut self.times,
            last_reply: Instant::now(),
        }
    }

    fn heard(
        &mut self,
        context: &AttemptContext,
        message: &Message,
        ended: Result<(), transact::Interruption>,
    ) -> Result<(), PassedSessionLost> {
        let Err(interruption) = ended else {
            self.is_midway = false;
            return Ok(());
        };
        if let Some(error) = transact::after(interruption, &self.connection, &mut self.transaction, false) {
            self.on_error(context, message, &error);
        }
        Err(PassedSessionLost)
    }

    fn on_error(&mut self, context: &AttemptContext, message: &Message, error: &SessionError) {
        self.is_lost = true;
        health_report::failed(context, message.id, &mut self.slot, error);
    }
}
