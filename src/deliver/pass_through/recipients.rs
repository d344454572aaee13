//! Recipients: what is planned for the first one, which upstream is asked, and what it says of each.

use super::super::envelope::OutboundEnvelope;
use super::super::health::Availability;
use super::super::recipient_progress::RecipientProgress;
use super::super::route::{self, RouteConstraints};
use super::super::slot::Slot;
use super::super::transaction_result::RecipientAnswer;
use super::passed::{Passed, Stage};
use super::replies;
use super::session::{Beginning, PassedSession, PassedSessionLost};
use crate::config::handling::Handling;
use crate::config::settings::Upstream;
use crate::mail::{Address, BodyType, DsnRequest, HoldReason, Mode, Recipient, Reply};
use crate::policy::changes::Changes;
use crate::policy::plan::{self, Action, EnvelopeKind, PlannedEnvelope};
use std::sync::Arc;
use std::time::Duration;

impl Passed {
    pub(super) async fn ask(&mut self, address: Address) -> Reply {
        if !self.asked.contains(&address) {
            self.asked.push(address.clone());
        }
        if let Some(reply) = self.must_end() {
            self.break_off(&reply);
        }
        match &self.stage {
            Stage::NobodyAsked | Stage::LogOnly => self.plan(address).await,
            Stage::Upstream(..) => self.ask_upstream(address).await,
            Stage::Over(reply) => {
                let reply = reply.clone();
                self.refuse(&address, &reply, None)
            }
        }
    }

    /// What is to happen to the first recipient, and what debug does with each.
    pub(super) async fn plan(&mut self, address: Address) -> Reply {
        // Alone: it may be planned otherwise than those before it.
        let alone = vec![Recipient::pending(address.clone())];
        let others = std::mem::replace(&mut self.message.recipients, alone);
        let handling = self.context.settings.handling_of(&self.message.site);
        let action = plan::plan(handling, &self.message).action;
        self.message.recipients = others;
        match action {
            Action::Wait => self.refuse(&address, &replies::sending_is_off(), None),
            Action::Hold(HoldReason::SiteGone) => self.refuse(&address, &replies::site_is_gone(), None),
            Action::Hold(_) => self.refuse(&address, &replies::nobody_to_report_to(), None),
            Action::Simulate => {
                self.counts = true;
                self.refuse(&address, &replies::simulated(), Some(Mode::Simulate))
            }
            Action::LogOnly(debug) => {
                self.counts = true;
                self.stage = Stage::LogOnly;
                if self.context.services.dice.fails(&debug) {
                    return self.refuse(&address, &replies::failed_under_debug(), Some(Mode::Debug));
                }
                self.message.recipients.push(Recipient::pending(address));
                replies::recipient_ok()
            }
            Action::Send(envelopes) => match envelopes.into_iter().next() {
                Some(planned) => {
                    self.unanswered = Some(address.clone());
                    let reply = self.begin(address, &planned).await;
                    self.unanswered = None;
                    reply
                }
                None => self.refuse(&address, &replies::nothing_available(), None),
            },
        }
    }

    /// Asks one upstream after the other, until one has answered a RCPT.
    pub(super) async fn begin(&mut self, address: Address, planned: &PlannedEnvelope) -> Reply {
        let candidates = self.candidates(&self.message.site);
        let mut progress = RecipientProgress::new(&Recipient::pending(address.clone()), 0, &candidates);
        let (mut tried, mut said) = (Vec::new(), None);
        while let Some(slot) = self.wait_for_slot(&candidates, &tried).await {
            let upstream = slot.upstream().clone();
            tried.push(upstream.name.clone());
            let envelope = self.envelope(planned, &upstream);
            match PassedSession::begin(&self.context, slot, &self.message, envelope, self.deadline).await {
                Beginning::Begun(session) => {
                    self.counts = true;
                    self.stage = Stage::Upstream(session, planned.kind.clone());
                    return self.begun(address);
                }
                Beginning::Refused(answer) => {
                    self.counts |= matches!(answer, RecipientAnswer::Refused { .. });
                    progress.record(&upstream, &answer, answer.disposition());
                    said = replies::of_refusal(&answer).or(said);
                }
                Beginning::Lost { began, answered } => {
                    self.counts |= began;
                    if answered {
                        return self.refuse_all(&address, replies::session_lost());
                    }
                }
                Beginning::HandlingChanged => {
                    return self.refuse_all(&address, replies::handling_has_changed());
                }
            }
        }
        let is_open = |candidate: &Arc<Upstream>| progress.is_open_at(candidate);
        let reply = match said {
            // Final only when every candidate has said so (rule 3).
            Some(reply) if !candidates.iter().any(is_open) => reply,
            Some(reply) if reply.is_transient() => reply,
            _ => replies::nothing_available(),
        };
        self.refuse_all(&address, reply)
    }

    /// The servers among the upstreams that may take mail of that site: a folder has nothing to answer.
    pub(super) fn candidates(&self, site: &str) -> Vec<Arc<Upstream>> {
        let all = route::candidates(&self.context.settings, site);
        all.filter(|upstream| upstream.pickup_directory.is_none()).cloned().collect()
    }

    /// A place at the best upstream. Where none is free it is waited for, as long as one works at all.
    pub(super) async fn wait_for_slot(&self, candidates: &[Arc<Upstream>], tried: &[String]) -> Option<Slot> {
        let (health, clock) = (&self.context.services.health, &self.context.services.clock);
        let constraints = RouteConstraints { tried, ..RouteConstraints::default() };
        loop {
            let freed = health.freed();
            if let Some(slot) = route::choose(candidates, constraints, health) {
                return Some(slot);
            }
            let now = clock.monotonic();
            let left = self.patient_until.saturating_sub(now);
            let soon = |time: jiff::Timestamp| {
                time.duration_since(clock.wall()).try_into().is_ok_and(|wait: Duration| wait <= left)
            };
            let works = |upstream: &Arc<Upstream>| {
                let status = health.status(upstream);
                match status.availability {
                    Availability::Ok | Availability::Busy | Availability::Probing => true,
                    Availability::Limited => status.rate_limit_free_at.is_some_and(soon),
                    Availability::Open | Availability::Disabled => false,
                }
            };
            let mut others = candidates.iter().filter(|upstream| !tried.contains(&upstream.name));
            if left.is_zero() || !others.any(works) {
                return None;
            }
            let by_time = health.next_change(candidates, now).unwrap_or(self.patient_until);
            tokio::select! {
                () = freed => {}
                () = clock.sleep_until(by_time.min(self.patient_until)) => {}
            }
        }
    }

    pub(super) fn envelope(&self, planned: &PlannedEnvelope, upstream: &Upstream) -> OutboundEnvelope {
        let changes = self.changes(planned, upstream);
        OutboundEnvelope {
            reverse_path: changes.reverse_path.clone(),
            recipients: planned.recipients.iter().cloned().map(Into::into).collect(),
            // What comes is not known yet, and some applications send 8-bit content without declaring it.
            body: BodyType::EightBitMime,
            smtp_utf8: self.message.smtp_utf8 || changes.wants_smtp_utf8(),
            size: self.message.size,
            dsn: DsnRequest::default(),
        }
    }

    pub(super) fn changes(&self, planned: &PlannedEnvelope, upstream: &Upstream) -> Changes {
        Changes::new(planned, &self.message, self.handling(), upstream)
    }

    pub(super) fn handling(&self) -> &Handling {
        self.context.settings.handling_or_global(&self.message.site)
    }

    /// What the upstream has said to the first recipient.
    pub(super) fn begun(&mut self, address: Address) -> Reply {
        let Stage::Upstream(session, kind) = &self.stage else { return replies::session_lost() };
        let place = match kind {
            EnvelopeKind::Direct => 0,
            EnvelopeKind::ReportCopy(_) => return self.answer_with_copies(address),
        };
        self.answer_of(place, session.envelope.recipients[place].address.clone())
    }

    pub(super) async fn ask_upstream(&mut self, address: Address) -> Reply {
        let redirect = &self.handling().redirect;
        let is_allowed = !redirect.enabled || redirect.allows(&address);
        let Stage::Upstream(session, kind) = &mut self.stage else { return replies::session_lost() };
        let place = match (kind, is_allowed) {
            (EnvelopeKind::Direct, true) => {
                session.recipient(&self.context, &self.message, address.clone()).await
            }
            (EnvelopeKind::ReportCopy(_), false) => return self.answer_with_copies(address),
            _ => return self.refuse(&address, &replies::other_kind(), None),
        };
        match place {
            Ok(place) => self.answer_of(place, address),
            Err(PassedSessionLost) => {
                let reply = replies::session_lost();
                self.break_off(&reply);
                reply
            }
        }
    }

    /// The upstream's own reply to a RCPT; what is refused gets its outcome when the transaction ends.
    pub(super) fn answer_of(&mut self, place: usize, address: Address) -> Reply {
        let Stage::Upstream(session, _) = &self.stage else { return replies::session_lost() };
        match (replies::of_refusal(&session.answers()[place]), session.acceptance()) {
            (Some(refusal), _) => refusal,
            (None, Some(acceptance)) => {
                self.message.recipients.push(Recipient::pending(address));
                acceptance.clone()
            }
            (None, None) => replies::session_lost(),
        }
    }

    /// A redirected recipient gets the reply that the report addresses got: an acceptance, if there was one.
    pub(super) fn answer_with_copies(&mut self, address: Address) -> Reply {
        let Stage::Upstream(session, _) = &self.stage else { return replies::session_lost() };
        let refusal = || session.answers().iter().rev().find_map(replies::of_refusal);
        let reply = session.acceptance().cloned().or_else(refusal).unwrap_or_else(replies::session_lost);
        if self.message.recipients.iter().all(|one| one.address != address) {
            self.message.recipients.push(Recipient::pending(address));
        }
        reply
    }
}
