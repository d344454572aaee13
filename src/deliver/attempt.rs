//! One attempt: a message, upstreams in order, exactly one verdict per recipient.
//!
//! Going on to the next upstream is the same attempt. What is decided of a recipient stays decided: the next upstream
//! gets only those that are still open. From the first byte of the final dot on only an explicit reply decides; without
//! one the recipient is deferred and never sent at once to another upstream (rules 3 to 5).
//!
//! Where no upstream decided anything the claim is given back and nothing is counted: the failure of an
//! upstream says nothing about the message. A message whose sessions are lost again and again is deferred all the
//! same, so that a message that makes an upstream fail is not tried without end.

use super::circuit::CircuitChange;
use super::connection::Connection;
use super::context::AttemptContext;
use super::disposition::Disposition;
use super::envelope::OutboundEnvelope;
use super::outgoing::Outgoing;
use super::route::{self, RouteConstraints};
use super::session_error::{SessionError, SessionErrorKind};
use super::settlement::{Deferral, previous_reply, settle};
use super::slot::Slot;
use super::too_many_connections;
use super::transact::transact_until;
use super::transaction_result::TransactionResult;
use crate::config::settings::Upstream;
use crate::event::logemails;
use crate::event::outcome::Delays;
use crate::event::{EventType, Fact, code};
use crate::mail::{Address, BodyType, EnhancedCode, Outcome, Refusal, Verdict};
use crate::policy::added;
use crate::queue::{CHUNK_SIZE, Claim};
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::time::Duration;

/// Sessions that may be lost during transactions of one message before it is deferred and the attempt counts.
const MAX_LOST_SESSIONS: u32 = 3;
/// How long an attempt may take in all. Its steps have deadlines of their own, but with a thousand recipients and five
/// minutes for each answer they would add up to days.
const MAX_ATTEMPT_TIME: Duration = Duration::from_secs(2 * 60 * 60);
/// Transactions in a row for one message at one upstream that takes only some recipients at a time.
const MAX_TRANSACTIONS_PER_UPSTREAM: usize = 100;

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Its verdicts are settled.
    Settled,
    /// No upstream decided anything: the claim is to be given back.
    Waiting {
        /// Sessions that were lost under way with this message.
        lost_sessions: u32,
    },
}

/// One open recipient on its way through the attempt.
struct RecipientProgress {
    address: Address,
    refused_by: Vec<Refusal>,
    /// The upstream and reply of an earlier attempt, where one of those refused it.
    before: Option<(Option<String>, String)>,
    /// The verdict, once it is final or no other upstream may be asked in this attempt.
    decided: Option<Verdict>,
    /// The verdict of the last answer that left it open.
    last: Option<Verdict>,
}

impl RecipientProgress {
    fn is_refused_by(&self, upstream: &Upstream) -> bool {
        self.refused_by.iter().any(|refusal| refusal.upstream == upstream.name)
    }
}

struct Attempt<'a> {
    context: &'a AttemptContext,
    claim: &'a Claim,
    recipients: Vec<RecipientProgress>,
    /// Upstreams that are not asked again in this attempt.
    tried: Vec<String>,
    failed_upstream: Option<String>,
    last_error: Option<(String, SessionError)>,
    began: bool,
    /// The record in `logemails.log` is written.
    logged: bool,
    lost_sessions: u32,
    /// Monotonic; by then the attempt ends.
    deadline: Duration,
    delays: Delays,
}

/// Runs the attempt to its end and settles it. `losses` counts the sessions this message has lost before.
pub async fn run(context: &AttemptContext, claim: &Claim, first: Slot, losses: u32) -> End {
    let message = &claim.message;
    let recipients = message
        .open_recipients()
        .map(|(_, recipient)| RecipientProgress {
            address: recipient.address.clone(),
            refused_by: route::refusals_in_force(&recipient.refused_by, &context.settings.upstreams),
            before: previous_reply(recipient),
            decided: None,
            last: None,
        })
        .collect();
    let in_queue = context.services.clock.wall().duration_since(message.received_at);
    let mut attempt = Attempt {
        context,
        claim,
        recipients,
        tried: Vec::new(),
        failed_upstream: None,
        last_error: None,
        began: false,
        logged: false,
        lost_sessions: 0,
        deadline: context.services.clock.monotonic() + MAX_ATTEMPT_TIME,
        delays: Delays {
            before_queue: Duration::from_millis(message.reception_ms),
            in_queue: in_queue.try_into().unwrap_or_default(),
            ..Delays::default()
        },
    };
    // The one place where content is held in memory on its way out.
    let kib = message.size.min(2 * CHUNK_SIZE as u64).div_ceil(1024).max(1);
    let _memory = context.services.content_memory.acquire_many(u32::try_from(kib).unwrap_or(u32::MAX)).await;

    let mut next = Some(first);
    while let Some(mut slot) = next {
        let upstream = slot.upstream().clone();
        attempt.try_upstream(&upstream, &mut slot).await;
        attempt.tried.push(upstream.name.clone());
        drop(slot);
        next = attempt.next_upstream();
    }
    attempt.finish(losses).await
}

impl Attempt<'_> {
    /// Transactions at one upstream until it has answered for every recipient that it is asked about, or fails.
    async fn try_upstream(&mut self, upstream: &Arc<Upstream>, slot: &mut Slot) {
        let mut left_over: Option<Vec<usize>> = None;
        for _ in 0..MAX_TRANSACTIONS_PER_UPSTREAM {
            if self.is_out_of_time() {
                return;
            }
            let start = self.context.services.clock.monotonic();
            let mut connection = match self.connect(upstream, slot).await {
                Ok(connection) => connection,
                Err(error) => return self.on_session_error(upstream, slot, error),
            };
            self.delays.connect += self.context.services.clock.monotonic() - start;
            let asked = left_over.clone().unwrap_or_else(|| self.open_at(upstream));
            let transaction = self.transact(&mut connection, &asked).await;
            if transaction.lost.as_ref().is_some_and(|error| error.kind == SessionErrorKind::Stale) {
                continue;
            }
            if transaction.began {
                self.began = true;
                slot.began();
            }
            self.delays.transmit += Duration::from_millis(transaction.transmit_ms);
            if transaction.answered {
                slot.answered();
            }
            // An upstream that takes other mail has said something about this sender, and nothing about itself.
            let of_the_sender = slot.upstream_has_worked()
                && transaction
                    .lost
                    .as_ref()
                    .is_some_and(|error| error.kind == SessionErrorKind::Unauthorized);
            let again = self.record_answers(upstream, &asked, &transaction, of_the_sender);
            if let Some(reply) = too_many_connections::find_in(&transaction.answers) {
                slot.too_many_connections(&reply, self.context.services.pool.idle(&upstream.name));
            }
            match transaction.lost {
                Some(_) if of_the_sender => {
                    self.began = true;
                    slot.began();
                    slot.released();
                    return;
                }
                Some(error) => {
                    let met_it = transaction.began || error.kind == SessionErrorKind::Unauthorized;
                    self.lost_sessions += u32::from(met_it);
                    return self.on_session_error(upstream, slot, error);
                }
                None => {
                    if let Some(change) = slot.succeeded() {
                        self.announce(upstream, change, None);
                    }
                    self.context.services.pool.give_back(connection);
                    slot.released();
                }
            }
            if again.is_empty() {
                return;
            }
            left_over = Some(again);
        }
    }

    async fn connect(&self, upstream: &Arc<Upstream>, slot: &mut Slot) -> Result<Connection, SessionError> {
        let pool = &self.context.services.pool;
        slot.connecting();
        if slot.is_probe() {
            // A session from before says nothing about new ones, and may be the only one that the server allows.
            pool.discard(&upstream.name);
        } else if let Some(connection) = pool.take(upstream) {
            slot.connected(false);
            return Ok(connection);
        }
        pool.all_closed(&upstream.name).await;
        let opening = Connection::open(upstream, &self.context.settings.hostname, &self.context.peer_cache);
        let opened = tokio::select! {
            opened = opening => opened?,
            () = self.context.services.clock.sleep_until(self.deadline) => {
                let text = format!("{}: no session before the attempt had to end", upstream.name);
                return Err(SessionError { kind: SessionErrorKind::OutOfTime, text });
            }
        };
        slot.connected(true);
        Ok(opened)
    }

    async fn transact(&mut self, connection: &mut Connection, asked: &[usize]) -> TransactionResult {
        let message = &self.claim.message;
        let mut envelope = OutboundEnvelope {
            reverse_path: message.reverse_path.clone(),
            recipients: asked.iter().map(|place| self.recipients[*place].address.clone()).collect(),
            // Some applications send such content without declaring it.
            body: if message.header.has_eight_bit { BodyType::EightBitMime } else { message.body },
            smtp_utf8: message.smtp_utf8,
            size: 0,
        };
        let (hostname, instance) = (&self.context.settings.hostname, self.context.services.queue.instance());
        let utf8 = connection.capabilities().says_smtp_utf8(&envelope);
        let added = added::added(message, hostname, instance, utf8);
        if !added.is_ascii() {
            envelope.body = BodyType::EightBitMime;
        }
        let mut content = Outgoing::stored(added, self.context.services.queue.clone(), message);
        envelope.size = content.size();
        if !self.logged && connection.capabilities().serves(&envelope) {
            self.logged = true;
            self.log_email().await;
        }
        let out_of_time = self.context.services.clock.sleep_until(self.deadline);
        transact_until(connection, &envelope, &mut content, out_of_time).await
    }

    fn is_out_of_time(&self) -> bool {
        self.context.services.clock.monotonic() >= self.deadline
    }

    /// Places of the recipients that this upstream is asked about.
    fn open_at(&self, upstream: &Upstream) -> Vec<usize> {
        let open =
            |recipient: &RecipientProgress| recipient.decided.is_none() && !recipient.is_refused_by(upstream);
        (0..self.recipients.len()).filter(|place| open(&self.recipients[*place])).collect()
    }

    /// Records what each answer means for its recipient. Returns those that go in another transaction at this upstream,
    /// because they were only too many for one. `of_the_sender`: a 530 to MAIL speaks of this message.
    fn record_answers(
        &mut self,
        upstream: &Upstream,
        asked: &[usize],
        transaction: &TransactionResult,
        of_the_sender: bool,
    ) -> Vec<usize> {
        let mut again = Vec::new();
        for (place, answer) in asked.iter().zip(&transaction.answers) {
            let recipient = &mut self.recipients[*place];
            let verdict = |outcome, refused_by: &Vec<Refusal>| Verdict {
                outcome,
                upstream: Some(upstream.name.clone()),
                reply: answer.describe(),
                enhanced: answer.enhanced_code(),
                refused_by: refused_by.clone(),
            };
            match answer.disposition() {
                Disposition::Delivered => {
                    recipient.decided = Some(verdict(Outcome::Delivered, &recipient.refused_by))
                }
                Disposition::Failed => {
                    recipient.decided = Some(verdict(Outcome::Failed, &recipient.refused_by))
                }
                Disposition::Unknown => {
                    recipient.decided = Some(verdict(Outcome::Deferred, &recipient.refused_by));
                    self.failed_upstream = Some(upstream.name.clone());
                }
                // With a lost session there is no other transaction to be had there now.
                Disposition::NextTransaction if transaction.lost.is_none() => {
                    recipient.last = Some(verdict(Outcome::Deferred, &recipient.refused_by));
                    again.push(*place);
                }
                Disposition::NoSession if !of_the_sender => {}
                Disposition::NextUpstream | Disposition::NextTransaction | Disposition::NoSession => {
                    recipient.last = Some(verdict(Outcome::Deferred, &recipient.refused_by));
                    self.failed_upstream = Some(upstream.name.clone());
                }
                Disposition::RefusedHere => {
                    let (upstream, revision) = (upstream.name.clone(), upstream.revision());
                    recipient.refused_by.push(Refusal { upstream, revision });
                    recipient.last = Some(verdict(Outcome::Deferred, &recipient.refused_by));
                }
                Disposition::SessionLost => {}
            }
        }
        again
    }

    /// Reports a failed session to the health of its upstream, logs it, and records a change of the circuit as an event.
    fn on_session_error(&mut self, upstream: &Arc<Upstream>, slot: &mut Slot, error: SessionError) {
        tracing::info!(queue_id = %self.claim.message.id, upstream = upstream.name, "{error}");
        if let Some(change) = slot.failed(&error, self.context.services.pool.idle(&upstream.name)) {
            self.announce(upstream, change, Some(&error));
        }
        if error.kind != SessionErrorKind::Content {
            self.failed_upstream = Some(upstream.name.clone());
        }
        self.last_error = Some((upstream.name.clone(), error));
    }

    fn announce(&self, upstream: &Upstream, change: CircuitChange, error: Option<&SessionError>) {
        let now = self.context.services.clock.wall();
        let why = error.map(|error| error.text.clone()).unwrap_or_default();
        let (kind, code, text) = match change {
            CircuitChange::Opened(wait) => {
                let kind = if error.is_some_and(|error| error.kind == SessionErrorKind::AuthRefused) {
                    EventType::Error
                } else {
                    EventType::Warning
                };
                let wait = humantime::format_duration(wait);
                (kind, code::CIRCUIT_OPEN, format!("{} is left alone for {wait}: {why}", upstream.name))
            }
            CircuitChange::Closed => {
                (EventType::Information, code::CIRCUIT_CLOSED, format!("{} works again", upstream.name))
            }
        };
        let fact =
            Fact { upstream: Some(upstream.name.clone()), ..Fact::new(now, kind, "Upstream", code, text) };
        tracing::warn!(upstream = upstream.name, "{}", fact.message);
        self.context.services.queue.record(vec![fact]);
    }

    /// The next upstream for whatever is still open, if one is available now.
    fn next_upstream(&self) -> Option<Slot> {
        let content_failed =
            self.last_error.as_ref().is_some_and(|(_, error)| error.kind == SessionErrorKind::Content);
        let open: Vec<&RecipientProgress> =
            self.recipients.iter().filter(|recipient| recipient.decided.is_none()).collect();
        if open.is_empty() || content_failed || self.is_out_of_time() {
            return None;
        }
        let refused_by = route::common(open.iter().map(|recipient| recipient.refused_by.as_slice()));
        let constraints = RouteConstraints {
            failed_last: self.claim.message.failed_upstream.as_deref(),
            tried: &self.tried,
            refused_by: &refused_by,
        };
        route::choose(&self.context.settings.upstreams, constraints, &self.context.services.health)
    }

    /// `logemails.log`: one record per attempt at its start. A write error is an event, never a lost mail.
    async fn log_email(&self) {
        let Some(log) = &self.context.log_emails else { return };
        let message = &self.claim.message;
        let header = match message.chunks {
            0 => bytes::Bytes::new(),
            _ => self.context.services.queue.chunk(message.id, 0).await.unwrap_or_default(),
        };
        let now = self.context.services.clock.wall();
        let recipients: Vec<&str> = message.recipients.iter().map(|one| one.address.as_str()).collect();
        let record = logemails::render(&now.to_zoned(TimeZone::system()), &recipients, &header);
        // A slow disk must not block the other tasks of this thread.
        let log = log.clone();
        let written = tokio::task::spawn_blocking(move || log.append(&record)).await;
        if let Err(error) = written.unwrap_or_else(|panicked| Err(panicked.into())) {
            let text = format!("logemails.log cannot be written: {error}");
            self.context.services.queue.record(vec![Fact::new(
                now,
                EventType::Error,
                "Mail",
                code::STORAGE,
                text,
            )]);
        }
    }

    async fn finish(mut self, losses: u32) -> End {
        let touched =
            self.recipients.iter().any(|recipient| recipient.decided.is_some() || recipient.last.is_some());
        let lost_too_often = self.lost_sessions > 0 && losses + self.lost_sessions >= MAX_LOST_SESSIONS;
        if !touched && !lost_too_often && !self.is_out_of_time() {
            return End::Waiting { lost_sessions: self.lost_sessions };
        }
        // Whoever met it again and again has had its attempt.
        self.began |= lost_too_often;
        let verdicts: Vec<Verdict> = std::mem::take(&mut self.recipients)
            .into_iter()
            .map(|recipient| self.final_verdict(recipient))
            .collect();
        settle(
            self.context,
            self.claim,
            verdicts,
            self.began,
            self.failed_upstream,
            self.delays,
            Deferral::Decided,
        )
        .await;
        End::Settled
    }

    /// The verdict on a recipient when no other upstream is to be asked now.
    fn final_verdict(&self, recipient: RecipientProgress) -> Verdict {
        if let Some(verdict) = recipient.decided {
            return verdict;
        }
        let all_refused = route::candidates(&self.context.settings.upstreams)
            .all(|candidate| recipient.is_refused_by(candidate));
        let before = recipient.before;
        let mut verdict = recipient.last.unwrap_or_else(|| {
            let error = self.last_error.as_ref();
            let error = error.map(|(name, error)| (Some(name.clone()), error.text.clone()));
            // In this attempt time ran out: that is newer than the reply of an earlier attempt.
            let (first, second) = if self.is_out_of_time() { (error, before) } else { (before, error) };
            let (upstream, reply) =
                first.or(second).unwrap_or_else(|| (None, "no upstream was available".into()));
            let enhanced = EnhancedCode(4, 4, 2);
            Verdict { outcome: Outcome::Deferred, upstream, reply, enhanced, refused_by: Vec::new() }
        });
        if all_refused && !recipient.refused_by.is_empty() {
            verdict.outcome = Outcome::Failed;
        }
        verdict.refused_by = recipient.refused_by;
        verdict
    }
}
