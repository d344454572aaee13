//! One attempt: a message, upstreams in order, exactly one verdict per recipient of the plan's envelopes.
//!
//! Going on to the next upstream is the same attempt. What is decided of a recipient stays decided: the next upstream
//! gets only those that are still open. From the first byte of the final dot on only an explicit reply decides; without
//! one the recipient is deferred and never sent at once to another upstream (rules 3 to 5).
//!
//! Where no upstream decided anything the claim is given back and nothing is counted: the failure of an
//! upstream says nothing about the message. A message whose sessions are lost again and again is deferred all the
//! same, so that a message that makes an upstream fail is not tried without end.

use super::attempt_record;
use super::context::AttemptContext;
use super::disposition::Disposition;
use super::envelope::{OutboundEnvelope, OutboundRecipient};
use super::health_report;
use super::history;
use super::outgoing::{Outgoing, sender_facts};
use super::recipient_progress::RecipientProgress;
use super::route::{self, RouteConstraints};
use super::session_error::{SessionError, SessionErrorKind};
use super::settlement::{AttemptOutcome, Deferral, settle};
use super::slot::Slot;
use super::too_many_connections;
use super::transaction_result::{RecipientAnswer, TransactionResult};
use super::transactions_under_way::TransactionUnderWay;
use super::way_out::WayOut;
use crate::config::settings::Upstream;
use crate::event::outcome::Delays;
use crate::mail::attempt::SentChanges;
use crate::mail::{Address, AttemptRecord, BodyType, DsnRequest, Message, Recipient, Role, SenderFacts};
use crate::policy::added;
use crate::policy::changes::{Changes, reverse_path_after_sender};
use crate::policy::plan::{Plan, PlannedEnvelope};
use crate::policy::sent::sent_changes;
use crate::queue::{CHUNK_SIZE, Claim, QueueError};
use std::collections::{HashMap, VecDeque};
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
pub(super) enum AttemptEnd {
    /// Its verdicts are settled.
    Settled,
    /// No upstream decided anything: the claim is to be given back.
    Waiting {
        /// Sessions that were lost under way with this message.
        lost_sessions: u32,
    },
}

struct Attempt<'a> {
    context: &'a AttemptContext,
    claim: &'a Claim,
    plan: &'a Plan,
    envelopes: &'a [PlannedEnvelope],
    /// The upstreams that may take its site's mail.
    candidates: Vec<Arc<Upstream>>,
    recipients: Vec<RecipientProgress>,
    /// Upstreams that are not asked again in this attempt.
    tried: Vec<String>,
    failed_upstream: Option<String>,
    last_error: Option<(String, SessionError)>,
    began: bool,
    /// Why it must begin no other transaction, where it must not, in words.
    stopped: Option<&'static str>,
    /// The queue knows that a mode applies to the message.
    mode_is_noted: bool,
    /// Upstreams that report on delivery themselves.
    offer_dsn: Vec<String>,
    /// The record in `logemails.log` is written.
    logged: bool,
    lost_sessions: u32,
    /// What is kept of it.
    records: Vec<AttemptRecord>,
    /// Monotonic; by then the attempt ends.
    deadline: Duration,
    delays: Delays,
}

/// Sends `envelopes`, which are the plan's, and settles what comes of it. `lost_before`: the sessions that this message has
/// lost before.
pub(super) async fn run(
    context: &AttemptContext,
    claim: &Claim,
    plan: &Plan,
    envelopes: &[PlannedEnvelope],
    first: Slot,
    lost_before: u32,
) -> AttemptEnd {
    let message = &claim.message;
    let candidates: Vec<_> = route::candidates(&context.settings, &message.site).cloned().collect();
    let stored: HashMap<(Role, &Address), &Recipient> =
        message.recipients.iter().map(|one| ((one.role, &one.address), one)).collect();
    let progress = |(number, envelope): (usize, &PlannedEnvelope)| {
        let of = |address: &Address| {
            let role = envelope.role();
            let new = || Recipient { role, ..Recipient::pending(address.clone()) };
            let recipient = stored.get(&(role, address)).map_or_else(new, |one| Recipient::clone(one));
            RecipientProgress::new(&recipient, number, &candidates)
        };
        envelope.recipients.iter().map(of).collect::<Vec<_>>()
    };
    let recipients = envelopes.iter().enumerate().flat_map(progress).collect();
    let in_queue = context.services.clock.wall().duration_since(message.received_at);
    let mut attempt = Attempt {
        context,
        claim,
        plan,
        envelopes,
        candidates,
        recipients,
        tried: Vec::new(),
        failed_upstream: None,
        last_error: None,
        began: false,
        stopped: None,
        mode_is_noted: false,
        offer_dsn: Vec::new(),
        logged: false,
        lost_sessions: 0,
        records: Vec::new(),
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
    attempt.finish(lost_before).await
}

impl Attempt<'_> {
    /// Transactions at one upstream until it has answered for every recipient that it is asked about, or fails.
    async fn try_upstream(&mut self, upstream: &Arc<Upstream>, slot: &mut Slot) {
        let mut groups = self.open_at(upstream);
        let refused_by =
            route::common(self.recipients.iter().map(|recipient| recipient.refused_by.as_slice()));
        let constraints = self.constraints(&refused_by);
        let why = history::why(upstream, &self.candidates, constraints, &self.context.services.health);
        for _ in 0..MAX_TRANSACTIONS_PER_UPSTREAM {
            if self.is_out_of_time() {
                return;
            }
            let Some(asked) = groups.pop_front() else { return };
            let (start, at) = (self.context.services.clock.monotonic(), self.context.services.clock.wall());
            let opened = WayOut::open(self.context, upstream, slot, self.deadline).await;
            let connecting = self.context.services.clock.monotonic() - start;
            let mut way_out = match opened {
                Ok(way_out) => way_out,
                Err(error) => {
                    self.records.push(history::no_session(at, upstream, why, connecting, &error));
                    return self.on_session_error(upstream, slot, error);
                }
            };
            self.delays.connect += connecting;
            if let Err(error) = self.note_mode().await {
                let error = way_out.session_error(SessionErrorKind::Content, &error);
                way_out.give_back(&self.context.services.pool);
                return self.on_session_error(upstream, slot, error);
            }
            let under_way = self.context.services.transactions.begin(TransactionUnderWay {
                queue_id: self.claim.message.id,
                site: self.claim.message.site.clone(),
                upstream: upstream.name.clone(),
                settings: self.context.settings.clone(),
            });
            if self.must_stop() {
                way_out.give_back(&self.context.services.pool);
                slot.released();
                return;
            }
            let (transaction, sent) = self.transact(upstream, &mut way_out, &asked).await;
            drop(under_way);
            if transaction.lost.as_ref().is_some_and(|error| error.kind == SessionErrorKind::Stale) {
                groups.push_front(asked);
                continue;
            }
            let took = connecting + Duration::from_millis(transaction.transmit_ms);
            self.context.services.metrics.attempt(&upstream.name, took);
            let recipients: Vec<_> = asked.iter().map(|place| &self.recipients[*place].address).collect();
            let (why, to) = (why.clone(), &mut way_out);
            let record = history::transaction(at, why, connecting, &recipients, &transaction, sent, to);
            if transaction.answers.iter().any(RecipientAnswer::is_accepted) {
                slot.took_a_message(record.times.total_ms());
            }
            self.records.push(record);
            match self.on_transaction(upstream, slot, &asked, transaction) {
                Some(again) => {
                    way_out.give_back(&self.context.services.pool);
                    slot.released();
                    if !again.is_empty() {
                        groups.push_front(again);
                    }
                }
                None => return,
            }
        }
    }

    /// What a transaction means for its recipients and for the upstream. Returns those that go in another one, none where this
    /// upstream is not to be asked any more.
    fn on_transaction(
        &mut self,
        upstream: &Arc<Upstream>,
        slot: &mut Slot,
        asked: &[usize],
        transaction: TransactionResult,
    ) -> Option<Vec<usize>> {
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
            && transaction.lost.as_ref().is_some_and(|error| error.kind == SessionErrorKind::Unauthorized);
        let again = self.record_answers(upstream, asked, &transaction, of_the_sender);
        if let Some(reply) = too_many_connections::find_in(&transaction.answers) {
            slot.too_many_connections(&reply, self.context.services.pool.idle(&upstream.name));
        }
        match transaction.lost {
            Some(_) if of_the_sender => {
                self.began = true;
                slot.began();
                slot.released();
                None
            }
            Some(error) => {
                let met_it = transaction.began || error.kind == SessionErrorKind::Unauthorized;
                self.lost_sessions += u32::from(met_it);
                self.on_session_error(upstream, slot, error);
                None
            }
            None => {
                // Where it could take no recipient of these, it was asked nothing.
                if transaction.answered {
                    health_report::succeeded(self.context, slot);
                }
                Some(again)
            }
        }
    }

    /// Has the queue know, before the first MAIL, that a mode applies to the message: whatever becomes of this attempt, the
    /// message then never goes to its addressees by itself (rule 6).
    async fn note_mode(&mut self) -> Result<(), QueueError> {
        if self.plan.mode.is_some() && !self.claim.message.under_mode && !self.mode_is_noted {
            self.context.services.queue.note_mode(self.claim.message.id).await?;
            self.mode_is_noted = true;
        }
        Ok(())
    }

    /// Looked at before each MAIL: what was decided under other settings must not begin any more (rule 6), nor what an operator
    /// has held or deleted meanwhile (rule 13).
    fn must_stop(&mut self) -> bool {
        if self.context.has_handling_changed(&self.claim.message.site) {
            self.stopped = Some("what is to happen to its site's mail has changed");
        } else if !self.context.services.queue.may_go_on(self.claim) {
            self.stopped = Some("it was held or deleted while the attempt was under way");
        }
        self.stopped.is_some()
    }

    /// Sends the message to some recipients of one envelope. Also how it left otherwise than it is stored.
    async fn transact(
        &mut self,
        upstream: &Upstream,
        way_out: &mut WayOut,
        asked: &[usize],
    ) -> (TransactionResult, Option<SentChanges>) {
        let (context, message) = (self.context, &self.claim.message);
        let changes = self.changes(upstream, asked);
        let facts = match changes.needs_header() {
            true => sender_facts(&*context.services.queue, message).await,
            false => Ok(SenderFacts::default()),
        };
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => {
                let error = way_out.session_error(SessionErrorKind::Content, &error);
                return (TransactionResult::not_begun(asked.len(), error), None);
            }
        };
        let mut envelope = OutboundEnvelope {
            reverse_path: changes.reverse_path.clone(),
            recipients: asked.iter().map(|place| self.outbound(*place)).collect(),
            // Some applications send such content without declaring it.
            body: if message.header.has_eight_bit { BodyType::EightBitMime } else { message.body },
            smtp_utf8: message.smtp_utf8 || changes.wants_smtp_utf8(),
            size: 0,
            dsn: self.dsn_request(asked),
        };
        if !self.reports_to_sender(&envelope) {
            envelope.ask_nothing_for_others();
        } else if way_out.capabilities().dsn && !self.offer_dsn.contains(&upstream.name) {
            self.offer_dsn.push(upstream.name.clone());
        }
        let (hostname, instance) = (&context.settings.hostname, context.services.queue.instance());
        let utf8 = way_out.capabilities().says_smtp_utf8(&envelope);
        let changes = changes.header(&facts, utf8);
        let added = added::added(message, &changes, hostname, instance, utf8);
        if !added.is_ascii() {
            envelope.body = BodyType::EightBitMime;
        }
        let sent = sent_changes(&envelope.reverse_path, &added, &changes.renames);
        let mut content = Outgoing::stored(added, context.services.queue.clone(), message, changes);
        envelope.size = content.size();
        if !self.logged && way_out.capabilities().serves(&envelope) {
            self.logged = true;
            attempt_record::write(context, message).await;
        }
        let out_of_time = context.services.clock.sleep_until(self.deadline);
        let role = asked.first().map_or(Role::Original, |place| self.recipients[*place].role);
        (way_out.transact(message.id, role, &envelope, &mut content, out_of_time).await, Some(sent))
    }

    /// Whether what a server reports goes to whom our own notices go to. An upstream's `sender` has it report to a mailbox of its own.
    fn reports_to_sender(&self, envelope: &OutboundEnvelope) -> bool {
        let (settings, message) = (&self.context.settings, &self.claim.message);
        let handling = settings.handling_or_global(&message.site);
        envelope.reverse_path == reverse_path_after_sender(message, handling)
    }

    /// What the client has asked to be told, of its own recipients: of report copies nothing is.
    fn dsn_request(&self, asked: &[usize]) -> DsnRequest {
        let Message { returns, envelope_id, .. } = &*self.claim.message;
        match asked.iter().all(|place| self.recipients[*place].role == Role::Original) {
            true => DsnRequest { returns: *returns, envelope_id: envelope_id.clone() },
            false => DsnRequest::default(),
        }
    }

    fn outbound(&self, place: usize) -> OutboundRecipient {
        let RecipientProgress { address, dsn, .. } = &self.recipients[place];
        OutboundRecipient { address: address.clone(), dsn: dsn.clone() }
    }

    /// What redirect and `sender` change for these recipients, who are of one envelope.
    fn changes(&self, upstream: &Upstream, asked: &[usize]) -> Changes {
        let (settings, message) = (&self.context.settings, &self.claim.message);
        let handling = settings.handling_or_global(&message.site);
        let number = asked.first().map_or(0, |place| self.recipients[*place].envelope);
        Changes::new(&self.envelopes[number], message, handling, upstream)
    }

    fn is_out_of_time(&self) -> bool {
        self.context.services.clock.monotonic() >= self.deadline
    }

    /// Places of the recipients that this upstream is asked about, those of one envelope together.
    fn open_at(&self, upstream: &Upstream) -> VecDeque<Vec<usize>> {
        let of_envelope = |number: usize| -> Vec<usize> {
            let open = |place: &usize| {
                let recipient = &self.recipients[*place];
                recipient.envelope == number && recipient.is_open_at(upstream)
            };
            (0..self.recipients.len()).filter(open).collect()
        };
        (0..self.envelopes.len()).map(of_envelope).filter(|places| !places.is_empty()).collect()
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
            let means = match answer.disposition() {
                // With a lost session there is no other transaction to be had there now.
                Disposition::NextTransaction if transaction.lost.is_some() => Disposition::NextUpstream,
                Disposition::NoSession if of_the_sender => Disposition::NextUpstream,
                means => means,
            };
            self.recipients[*place].record(upstream, answer, means);
            match means {
                Disposition::NextTransaction => again.push(*place),
                Disposition::NextUpstream | Disposition::Unknown => {
                    self.failed_upstream = Some(upstream.name.clone());
                }
                _ => {}
            }
        }
        again
    }

    /// Reports a failed session to the health of its upstream, logs it, and records a change of the circuit as an event.
    fn on_session_error(&mut self, upstream: &Arc<Upstream>, slot: &mut Slot, error: SessionError) {
        health_report::failed(self.context, self.claim.message.id, slot, &error);
        if error.kind != SessionErrorKind::Content {
            self.failed_upstream = Some(upstream.name.clone());
        }
        self.last_error = Some((upstream.name.clone(), error));
    }

    /// The next upstream for whatever is still open, if one is available now.
    fn next_upstream(&self) -> Option<Slot> {
        let content_failed =
            self.last_error.as_ref().is_some_and(|(_, error)| error.kind == SessionErrorKind::Content);
        let open: Vec<&RecipientProgress> =
            self.recipients.iter().filter(|recipient| !recipient.is_decided).collect();
        if open.is_empty() || content_failed || self.stopped.is_some() || self.is_out_of_time() {
            return None;
        }
        let refused_by = route::common(open.iter().map(|recipient| recipient.refused_by.as_slice()));
        route::choose(&self.candidates, self.constraints(&refused_by), &self.context.services.health)
    }

    fn constraints<'a>(&'a self, refused_by: &'a [String]) -> RouteConstraints<'a> {
        let failed_last = self.claim.message.failed_upstream.as_deref();
        RouteConstraints { failed_last, tried: &self.tried, refused_by }
    }

    async fn finish(mut self, lost_before: u32) -> AttemptEnd {
        let answered = self.recipients.iter().any(RecipientProgress::is_answered);
        let lost_too_often = self.lost_sessions > 0 && lost_before + self.lost_sessions >= MAX_LOST_SESSIONS;
        if !answered && !lost_too_often && !self.is_out_of_time() {
            // Nothing is counted and nothing else changes, but whoever asks why it waits is told (rule 12).
            if !self.records.is_empty() {
                self.context
                    .services
                    .queue
                    .add_attempts(self.claim.message.id, std::mem::take(&mut self.records));
            }
            return AttemptEnd::Waiting { lost_sessions: self.lost_sessions };
        }
        // Whoever met it again and again has had its attempt.
        self.began |= lost_too_often;
        let last_error = match self.stopped {
            Some(why) => Some((None, why.to_owned())),
            None => self.last_error.as_ref().map(|(name, error)| (Some(name.clone()), error.text.clone())),
        };
        let (candidates, out_of_time) = (&self.candidates, self.is_out_of_time());
        let verdict = |recipient: RecipientProgress| {
            recipient.into_verdict(candidates, last_error.clone(), out_of_time)
        };
        let verdicts = std::mem::take(&mut self.recipients).into_iter().map(verdict).collect();
        let Attempt { plan, began: counted, failed_upstream, offer_dsn, delays, records, .. } = self;
        let outcome = AttemptOutcome { verdicts, plan, counted, failed_upstream, offer_dsn, delays, records };
        let deferral = if self.stopped.is_some() { Deferral::Stopped } else { Deferral::Decided };
        settle(self.context, self.claim, outcome, deferral).await;
        AttemptEnd::Settled
    }
}
