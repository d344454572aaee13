//! DATA, header, content and final dot.

use super::super::attempt_record;
use super::super::transaction_result::RecipientAnswer;
use super::outcome;
use super::passed::{Passed, Stage};
use super::replies;
use super::session::PassedSessionLost;
use crate::config::handling::Handling;
use crate::mail::{Address, FieldFilter, Mode, Reply, SenderFacts};
use crate::pass_through::PassedHeader;
use crate::policy::added;
use crate::policy::plan::{EnvelopeKind, PlannedEnvelope};
use std::time::Duration;

impl Passed {
    pub(super) async fn begin_content(&mut self) -> Result<(), Reply> {
        if let Some(reply) = self.must_end() {
            return Err(self.break_off(&reply));
        }
        let Passed { stage, context, message, .. } = self;
        match stage {
            Stage::LogOnly => Ok(()),
            Stage::Upstream(session, _) => match session.data(context, message).await {
                Ok(None) => Ok(()),
                Ok(Some(answer)) => Err(replies::of_refusal(&answer).unwrap_or_else(replies::session_lost)),
                Err(PassedSessionLost) => Err(self.break_off(&replies::session_lost())),
            },
            Stage::NobodyAsked => Err(replies::session_lost()),
            Stage::Over(reply) => Err(reply.clone()),
        }
    }

    pub(super) async fn send_header(&mut self, header: PassedHeader<'_>) -> Result<(), Reply> {
        if let Some(reply) = self.must_end().or_else(|| self.belongs_elsewhere(&header.site)) {
            return Err(self.break_off(&reply));
        }
        self.message.site = header.site;
        self.message.header = header.facts;
        self.begin_upstream_content(&header.sender);
        self.logged = true;
        attempt_record::write_with(&self.context, self.asked.iter(), header.bytes).await;
        Ok(())
    }

    /// The site that the message belongs to after all, where its mail is handled otherwise or has other upstreams.
    pub(super) fn belongs_elsewhere(&self, site: &str) -> Option<Reply> {
        if site == self.message.site {
            return None;
        }
        let settings = &self.context.settings;
        let same_handling = act_alike(settings.handling_of(site), settings.handling_of(&self.message.site));
        let may_take = match &self.stage {
            Stage::Upstream(session, _) => {
                self.candidates(site).iter().any(|one| one.name == session.upstream().name)
            }
            _ => true,
        };
        let changed = self.context.has_handling_changed(site);
        (!same_handling || !may_take || changed).then(replies::other_site)
    }

    pub(super) fn begin_upstream_content(&mut self, sender: &SenderFacts) {
        let Stage::Upstream(session, kind) = &self.stage else { return };
        let originals = || self.message.recipients.iter().map(|one| one.address.clone()).collect();
        let kind = match kind {
            EnvelopeKind::Direct => EnvelopeKind::Direct,
            EnvelopeKind::ReportCopy(_) => EnvelopeKind::ReportCopy(originals()),
        };
        let recipients = session.envelope.recipients.iter().map(|one| one.address.clone()).collect();
        let planned = PlannedEnvelope { kind, recipients };
        let utf8 = session.says_smtp_utf8;
        let changes = self.changes(&planned, session.upstream()).header(sender, utf8);
        let (hostname, instance) = (&self.context.settings.hostname, self.context.services.queue.instance());
        let added = added::added(&self.message, &changes, hostname, instance, utf8);
        if let Stage::Upstream(session, _) = &mut self.stage {
            session.begin_content(&added, FieldFilter::renaming(changes.renames));
        }
    }

    pub(super) async fn send_content(&mut self, content: &[u8]) -> Result<(), Reply> {
        if self.context.services.clock.monotonic() >= self.deadline {
            return Err(self.break_off(&replies::session_lost()));
        }
        let Passed { stage, context, message, .. } = self;
        let sent = match stage {
            Stage::Upstream(session, _) => session.content(context, message, content).await,
            _ => Ok(()),
        };
        sent.map_err(|PassedSessionLost| match self.said_to_content() {
            Some(refusal) => refusal,
            None => self.break_off(&replies::session_lost()),
        })
    }

    pub(super) async fn send_final_dot(&mut self) -> Reply {
        if let Some(reply) = self.must_end() {
            return self.break_off(&reply);
        }
        let Passed { stage, context, message, .. } = self;
        match stage {
            Stage::Upstream(session, _) => session.finish(context, message).await,
            Stage::LogOnly => return self.take_under_debug(),
            _ => {}
        }
        match self.said_to_content() {
            Some(reply) => reply,
            None => self.break_off(&replies::session_lost()),
        }
    }

    /// What has become of those whose RCPT was accepted.
    pub(super) fn said_to_content(&self) -> Option<Reply> {
        let Stage::Upstream(session, _) = &self.stage else { return None };
        // What was refused before comes last: it says nothing of the content.
        let of_content = |answer: &RecipientAnswer| match answer {
            RecipientAnswer::Accepted(reply) => Some(reply.clone()),
            RecipientAnswer::Unknown(_) => Some(replies::uncertain()),
            answer if answer.is_of_content() => replies::of_refusal(answer),
            _ => None,
        };
        session.answers().iter().find_map(of_content)
    }

    /// Debug has taken the message of everybody whom it did not choose to fail.
    pub(super) fn take_under_debug(&mut self) -> Reply {
        let all: Vec<Address> = self.message.recipients.drain(..).map(|one| one.address).collect();
        let verdicts = all.into_iter().map(outcome::logged_only).collect();
        outcome::record(&self.context, &self.message, verdicts, self.elapsed(), Duration::ZERO);
        replies::logged_only()
    }
}

/// Whether the same happens to mail under both.
fn act_alike(one: Option<&Handling>, other: Option<&Handling>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    let mode = one.mode();
    mode == other.mode()
        && one.sending_off == other.sending_off
        && one.sender == other.sender
        && (mode != Some(Mode::Redirect) || one.redirect == other.redirect)
}
