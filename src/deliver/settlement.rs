//! The end of an attempt: its verdicts, their log lines and events, and when the rest is due again, in one commit.

use super::context::AttemptContext;
use super::retry;
use crate::event::outcome::{Delays, OutcomeRecord};
use crate::event::{EventType, Fact, code};
use crate::mail::{EnhancedCode, Message, Outcome, Recipient, Verdict};
use crate::queue::{Claim, Settlement};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Why something is deferred.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deferral {
    /// An attempt has decided so.
    Decided,
    /// Nobody can be asked: the waiting goes on, one step longer.
    NobodyAvailable,
    /// Who could be asked works and has no connection free: the waiting goes on, as long as before.
    OthersBusy,
}

/// What an attempt came to.
pub(super) struct AttemptOutcome {
    /// One for each recipient that the claim had open, in their order.
    pub(super) verdicts: Vec<Verdict>,
    /// It counts as an attempt (rule 12).
    pub(super) counted: bool,
    /// The upstream that failed last.
    pub(super) failed_upstream: Option<String>,
    pub(super) delays: Delays,
}

/// Writes verdicts: outcomes older than the life time become expired, each recipient gets its line and its fact. Of a
/// waiting that goes on only its end is told: what was said when it began still holds.
pub(super) async fn settle(
    context: &AttemptContext,
    claim: &Claim,
    outcome: AttemptOutcome,
    deferral: Deferral,
) {
    let AttemptOutcome { mut verdicts, counted, failed_upstream, delays } = outcome;
    let message = &claim.message;
    let (now, wall) = (context.services.queue.now(), context.services.clock.wall());
    let rules = &context.settings.queue;
    let expired = now.since(message.life_start) >= rules.expire_after;
    for verdict in verdicts.iter_mut().filter(|verdict| expired && verdict.outcome == Outcome::Deferred) {
        verdict.outcome = Outcome::Expired;
        verdict.enhanced = EnhancedCode(4, 4, 7);
    }
    let quiet = deferral != Deferral::Decided && !expired;
    let outcomes = |verdicts| records(message, verdicts, wall, delays).filter(|_| !quiet);
    let mut facts: Vec<Fact> = outcomes(&verdicts).map(|outcome| outcome.fact()).collect();
    let any = |outcome| verdicts.iter().filter(|verdict| verdict.outcome == outcome).count();
    let steps_on = deferral != Deferral::OthersBusy;
    let wait =
        retry::delay(&rules.retry, message.deferrals + u32::from(steps_on), fastrand::f64() * 2.0 - 1.0);
    let next_due = now.after(wait);
    let about_all = |kind, code, text: String| Fact {
        queue_id: Some(message.id),
        upstream: failed_upstream.clone(),
        ..Fact::new(wall, kind, "Mail", code, text)
    };
    if any(Outcome::Deferred) > 0 && !quiet {
        let (open, at) = (any(Outcome::Deferred), context.services.queue.wall(next_due));
        let mut text = format!("{open} of {} recipients deferred until {at:.0}", message.recipients.len());
        if let Some(names) = refused_by(&verdicts) {
            text += &format!("; {names} refused, the other upstreams are waited for");
        }
        facts.push(about_all(EventType::Warning, code::DEFERRED, text));
    }
    if any(Outcome::Expired) > 0 {
        let life = humantime::format_duration(rules.expire_after);
        let text = format!("tried for longer than {life}: {} recipients given up", any(Outcome::Expired));
        facts.push(about_all(EventType::Error, code::EXPIRED, text));
    }
    let settlement =
        Settlement { verdicts: verdicts.clone(), counted, steps_on, next_due, failed_upstream, facts };
    match context.services.queue.settle(claim.clone(), settlement).await {
        // What the log says is on disk.
        Ok(()) => outcomes(&verdicts).for_each(|outcome| outcome.log()),
        // The queue itself retries what can be retried; what comes here is a fenced-off or closed claim.
        Err(error) => {
            tracing::error!(queue_id = %message.id, "the outcome could not be recorded: {error}");
        }
    }
}

/// The outcome record of each recipient that the claim had open.
fn records<'a>(
    message: &'a Message,
    verdicts: &'a [Verdict],
    time: Timestamp,
    delays: Delays,
) -> impl Iterator<Item = OutcomeRecord<'a>> {
    message.open_recipients().zip(verdicts).map(move |((_, recipient), verdict)| OutcomeRecord {
        time,
        queue_id: message.id,
        reverse_path: &message.reverse_path,
        recipient: &recipient.address,
        site: &message.site,
        verdict,
        delays,
    })
}

/// Defers a message without asking anybody: because nobody can be asked, or because its attempt broke off
/// ([`Deferral::Decided`], counted as one). Its age is looked at.
pub(super) async fn defer(context: &AttemptContext, claim: &Claim, why: &str, deferral: Deferral) {
    let verdict = |recipient: &Recipient| {
        let (upstream, reply) = recipient.previous_refusal().unwrap_or_else(|| (None, why.to_owned()));
        Verdict {
            outcome: Outcome::Deferred,
            upstream,
            reply,
            enhanced: EnhancedCode(4, 4, 1),
            refused_by: recipient.refused_by.clone(),
        }
    };
    let verdicts = claim.message.open_recipients().map(|(_, recipient)| verdict(recipient)).collect();
    let failed_upstream = claim.message.failed_upstream.clone();
    let counted = deferral == Deferral::Decided;
    let outcome = AttemptOutcome { verdicts, counted, failed_upstream, delays: Delays::default() };
    settle(context, claim, outcome, deferral).await;
}

/// Names of the upstreams that refused what is deferred; none where none did.
fn refused_by(verdicts: &[Verdict]) -> Option<String> {
    let deferred = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Deferred);
    let names: BTreeSet<&str> =
        deferred.flat_map(|verdict| &verdict.refused_by).map(|refusal| refusal.upstream.as_str()).collect();
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(", "))
}
