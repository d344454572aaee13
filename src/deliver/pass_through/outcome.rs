//! What a transaction in pass-through has decided about each recipient: log lines and events, as of an attempt. Nothing else is
//! kept.

use super::super::context::AttemptContext;
use super::super::mode_words;
use super::super::settlement;
use super::super::transaction_result::RecipientAnswer;
use super::session::PassedSession;
use crate::event::Fact;
use crate::event::outcome::{Delays, OutcomeRecord};
use crate::mail::{Address, EnhancedCode, Grounds, Message, Mode, Outcome, Reply, Role, Verdict};
use crate::policy::plan::{Action, Plan};
use crate::queue::RecipientVerdict;
use std::time::Duration;

/// Whom the envelope at the upstream was for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PassedKind {
    Direct,
    ReportCopy,
}

/// Of a recipient whom no upstream was asked about, or none has answered.
pub(super) fn refused(address: &Address, reply: &Reply, mode: Option<Mode>) -> RecipientVerdict {
    let said = match mode {
        Some(Mode::Simulate) => mode_words::simulated(address),
        Some(_) => mode_words::failed(address),
        None => reply.to_string(),
    };
    let outcome = if reply.is_permanent() { Outcome::Failed } else { Outcome::Deferred };
    let verdict = verdict(outcome, None, said, reply.enhanced.unwrap_or(EnhancedCode(4, 0, 0)));
    RecipientVerdict { role: Role::Original, address: address.clone(), verdict, mode }
}

/// Of a recipient whose mail debug has taken.
pub(super) fn logged_only(address: Address) -> RecipientVerdict {
    let verdict =
        verdict(Outcome::Delivered, None, mode_words::LOGGED_ONLY.to_owned(), EnhancedCode(2, 0, 0));
    RecipientVerdict { role: Role::Original, address, verdict, mode: Some(Mode::Debug) }
}

/// Of everybody in the transaction. `reply`: what the client was told where the upstream has not decided; without it the client
/// has given up, and nobody who is undecided has an outcome.
pub(super) fn verdicts(
    session: &PassedSession,
    message: &Message,
    kind: PassedKind,
    reply: Option<&Reply>,
) -> Vec<RecipientVerdict> {
    let (role, mode) = match kind {
        PassedKind::Direct => (Role::Original, None),
        PassedKind::ReportCopy => (Role::ReportCopy, Some(Mode::Redirect)),
    };
    let of = |answer: &RecipientAnswer| -> Option<(Outcome, String)> {
        let outcome = match answer {
            RecipientAnswer::Accepted(_) => Outcome::Delivered,
            RecipientAnswer::Refused { reply, .. } if reply.is_transient() => Outcome::Deferred,
            RecipientAnswer::Refused { .. } | RecipientAnswer::Unable(_) => Outcome::Failed,
            RecipientAnswer::Unknown(_) => Outcome::Deferred,
            RecipientAnswer::Undecided => return Some((Outcome::Deferred, reply?.to_string())),
        };
        Some((outcome, answer.describe()))
    };
    let recipients = || session.envelope.recipients.iter().zip(session.answers());
    let verdict_of = |(outcome, said), answer: &RecipientAnswer| {
        verdict(outcome, Some(session.upstream().name.clone()), said, answer.enhanced_code())
    };
    let mut verdicts: Vec<RecipientVerdict> = recipients()
        .filter_map(|(recipient, answer)| {
            let verdict = verdict_of(of(answer)?, answer);
            Some(RecipientVerdict { role, address: recipient.address.clone(), verdict, mode })
        })
        .collect();
    let is_decided = recipients().all(|(_, answer)| of(answer).is_some());
    if kind == PassedKind::ReportCopy && is_decided {
        let redirected = message.recipients.iter().map(|one| one.address.clone()).collect();
        let dropped_copies = Vec::new();
        let plan = Plan { mode, dropped_copies, redirected, action: Action::Send(Vec::new()) };
        verdicts.extend(settlement::of_redirected(message, &plan, &verdicts));
    }
    verdicts
}

fn verdict(outcome: Outcome, upstream: Option<String>, reply: String, enhanced: EnhancedCode) -> Verdict {
    // In pass-through there are no notices that would ask.
    let grounds = Grounds::NotAsked;
    Verdict { outcome, upstream, reply, grounds, enhanced, refused_by: Vec::new() }
}

/// Records them as events, and writes their lines.
pub(super) fn record(
    context: &AttemptContext,
    message: &Message,
    verdicts: Vec<RecipientVerdict>,
    transmit: Duration,
    connect: Duration,
) {
    let delays = Delays { connect, transmit, ..Delays::default() };
    let time = context.services.clock.wall();
    let outcomes: Vec<OutcomeRecord<'_>> = settlement::records(message, &verdicts, time, delays).collect();
    let facts: Vec<Fact> = outcomes.iter().map(OutcomeRecord::fact).collect();
    if !facts.is_empty() {
        context.services.queue.record(facts);
        for outcome in &outcomes {
            outcome.log();
            outcome.count(&context.services.metrics);
        }
        if let Some(upstream) = verdicts.iter().find_map(|one| one.verdict.upstream.as_ref()) {
            context.services.metrics.attempt(upstream, connect + transmit);
        }
    }
}
