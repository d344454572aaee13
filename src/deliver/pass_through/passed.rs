//! One transaction as a whole: where it stands, and its ends.

use super::super::attempt_record;
use super::super::context::AttemptContext;
use super::outcome::{self, PassedKind};
use super::replies;
use super::session::PassedSession;
use crate::mail::{Address, Message, Mode, Reply};
use crate::policy::plan::EnvelopeKind;
use std::time::Duration;

/// As long as an attempt may take.
const MAX_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// One transaction.
pub(super) struct Passed {
    pub(super) context: AttemptContext,
    /// Its recipients are those that were accepted, and under redirect all that the copies stand for.
    pub(super) message: Message,
    /// Everybody whom RCPT named.
    pub(super) asked: Vec<Address>,
    /// The recipient that is asked about while an upstream is chosen, until one has answered.
    pub(super) unanswered: Option<Address>,
    pub(super) stage: Stage,
    /// Monotonic.
    pub(super) patient_until: Duration,
    began_at: Duration,
    pub(super) deadline: Duration,
    /// MAIL was sent, or a mode has decided: it is an attempt (rule 12).
    pub(super) counts: bool,
    /// The record in `logemails.log` is written.
    pub(super) logged: bool,
}

pub(super) enum Stage {
    NobodyAsked,
    /// Debug takes the message.
    LogOnly,
    Upstream(Box<PassedSession>, EnvelopeKind),
    /// Whatever is asked, that is the answer.
    Over(Reply),
}

impl Passed {
    /// With nobody asked yet.
    pub(super) fn new(context: AttemptContext, message: Message, patience: Duration) -> Passed {
        let now = context.services.clock.monotonic();
        Passed {
            context,
            message,
            asked: Vec::new(),
            unanswered: None,
            stage: Stage::NobodyAsked,
            patient_until: now + patience,
            began_at: now,
            deadline: now + MAX_TIME,
            counts: false,
            logged: false,
        }
    }

    /// Why it must not go on: looked at before each step.
    pub(super) fn must_end(&self) -> Option<Reply> {
        let is_over = matches!(self.stage, Stage::Over(_));
        if is_over {
            None
        } else if self.context.has_handling_changed(&self.message.site) {
            Some(replies::handling_has_changed())
        } else if self.context.services.clock.monotonic() >= self.deadline {
            Some(replies::session_lost())
        } else {
            None
        }
    }

    /// Ends what there is of an upstream's transaction; whoever was accepted is told that.
    pub(super) fn break_off(&mut self, reply: &Reply) -> Reply {
        match std::mem::replace(&mut self.stage, Stage::Over(reply.clone())) {
            Stage::Upstream(session, kind) => self.close_session(*session, &kind, Some(reply)),
            Stage::LogOnly => {
                for recipient in std::mem::take(&mut self.message.recipients) {
                    self.refuse(&recipient.address, reply, None);
                }
            }
            Stage::NobodyAsked => {}
            Stage::Over(before) => self.stage = Stage::Over(before),
        }
        reply.clone()
    }

    /// Nobody else is asked in this transaction.
    pub(super) fn refuse_all(&mut self, address: &Address, reply: Reply) -> Reply {
        self.stage = Stage::Over(reply.clone());
        self.refuse(address, &reply, None)
    }

    /// A recipient whom no upstream has answered, with the mode that decided it.
    pub(super) fn refuse(&self, address: &Address, reply: &Reply, mode: Option<Mode>) -> Reply {
        let verdicts = vec![outcome::refused(address, reply, mode)];
        outcome::record(&self.context, &self.message, verdicts, self.elapsed(), Duration::ZERO);
        reply.clone()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.context.services.clock.monotonic().saturating_sub(self.began_at)
    }

    pub(super) fn close_session(&self, session: PassedSession, kind: &EnvelopeKind, reply: Option<&Reply>) {
        let kind = match kind {
            EnvelopeKind::Direct => PassedKind::Direct,
            EnvelopeKind::ReportCopy(_) => PassedKind::ReportCopy,
        };
        let verdicts = outcome::verdicts(&session, &self.message, kind, reply);
        let connecting = session.connecting;
        let transmit = self.elapsed().saturating_sub(connecting);
        session.close(&self.context);
        outcome::record(&self.context, &self.message, verdicts, transmit, connecting);
    }

    /// It is over; `told` as in [`crate::pass_through::PassedTransaction::end`].
    pub(super) async fn close(mut self: Box<Self>, told: Option<Reply>) {
        if let Stage::Upstream(session, _) = &mut self.stage {
            session.give_up("the client's session ended before the reply to the final dot");
        }
        if let Some(reply) = told {
            self.break_off(&reply);
            if let Some(address) = self.unanswered.take() {
                self.refuse(&address, &reply, None);
            }
        } else if let Stage::Upstream(session, kind) =
            std::mem::replace(&mut self.stage, Stage::Over(replies::session_lost()))
        {
            self.close_session(*session, &kind, None);
        }
        if self.counts && !self.logged {
            attempt_record::write_with(&self.context, self.asked.iter(), b"").await;
        }
    }
}
