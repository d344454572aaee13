//! The end of an attempt: its verdicts, their log lines and events, and when the rest is due again, in one commit.

use super::bounce::{self, NoticeExtent};
use super::concurrently::run_all;
use super::context::AttemptContext;
use super::retry;
use crate::event::outcome::{Delays, OutcomeRecord};
use crate::event::{EventType, Fact, code, named_site};
use crate::mail::{
    Address, AttemptRecord, EnhancedCode, Grounds, Message, Mode, Outcome, Recipient, RecipientState, Role,
    Verdict,
};
use crate::policy::bounce::told::{self, DsnAction, DueNotice};
use crate::policy::plan::{self, Plan};
use crate::queue::{Claim, QueueError, RecipientVerdict, Settled, Settlement};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// From then on a sender who asked for it is told that a message is late (RFC 3461 section 4.1), once.
pub(super) const LATE_AFTER: Duration = Duration::from_secs(4 * 60 * 60);

/// Why something is deferred.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deferral {
    /// An attempt has decided so.
    Decided,
    /// No upstream can be asked: the retry schedule goes one step on.
    NobodyAvailable,
    /// Those that could be asked work and have no connection free: the schedule stays where it is.
    OthersBusy,
    /// The attempt was to begin no other transaction: its site is handled otherwise from now on, or an operator has held the message
    /// or deleted it. What is open and not held is due at once.
    Stopped,
}

/// What an attempt came to.
pub(super) struct AttemptOutcome<'a> {
    /// One for each recipient that the plan has sent to.
    pub(super) verdicts: Vec<RecipientVerdict>,
    pub(super) plan: &'a Plan,
    /// It counts as an attempt (rule 12).
    pub(super) counted: bool,
    /// The upstream that failed last.
    pub(super) failed_upstream: Option<String>,
    /// Upstreams that report on delivery themselves, because they offer DSN.
    pub(super) offer_dsn: Vec<String>,
    pub(super) delays: Delays,
    /// Which upstreams were asked, and what they said.
    pub(super) records: Vec<AttemptRecord>,
}

/// Writes verdicts: outcomes older than the life time become expired, each recipient gets its line and its fact. A message
/// that is deferred again without an attempt gets no further line or event; only its expiry does.
pub(super) async fn settle(
    context: &AttemptContext,
    claim: &Claim,
    outcome: AttemptOutcome<'_>,
    deferral: Deferral,
) {
    let AttemptOutcome { mut verdicts, plan, counted, failed_upstream, offer_dsn, delays, records: attempts } =
        outcome;
    let message = &claim.message;
    let (now, wall) = (context.services.queue.now_of(&message.site), context.services.clock.wall());
    let rules = &context.settings.queue;
    let life_counts = !matches!(plan.mode, Some(Mode::Debug | Mode::Simulate));
    let expired = life_counts && message.age(now) >= rules.expire_after;
    let deferred = |one: &&mut RecipientVerdict| one.verdict.outcome == Outcome::Deferred;
    for RecipientVerdict { verdict, .. } in verdicts.iter_mut().filter(|one| expired && deferred(one)) {
        verdict.outcome = Outcome::Expired;
        verdict.enhanced = EnhancedCode(4, 4, 7);
    }
    verdicts.extend(of_redirected(message, plan, &verdicts));
    let quiet = deferral != Deferral::Decided && !expired;
    let is_told = |record: &OutcomeRecord<'_>| !quiet || record.verdict.outcome != Outcome::Deferred;
    let outcomes = |verdicts| records(message, verdicts, wall, delays).filter(is_told);
    let mut facts: Vec<Fact> = outcomes(&verdicts).map(|outcome| outcome.fact()).collect();
    let any = |outcome| verdicts.iter().filter(|one| one.verdict.outcome == outcome).count();
    let steps_on = !matches!(deferral, Deferral::OthersBusy | Deferral::Stopped);
    let wait =
        retry::delay(&rules.retry, message.deferrals + u32::from(steps_on), fastrand::f64() * 2.0 - 1.0);
    let next_due = if deferral == Deferral::Stopped { now } else { now.after(wait) };
    let about_all = |kind, code, text: String| Fact {
        queue_id: Some(message.id),
        upstream: failed_upstream.clone(),
        site: named_site(&message.site),
        ..Fact::new(wall, kind, "Mail", code, text)
    };
    if any(Outcome::Deferred) > 0 && !quiet {
        let open = any(Outcome::Deferred);
        let at = context.services.queue.wall_of(&message.site, next_due);
        let all = message.recipients.len().max(verdicts.len());
        let mut text = format!("{open} of {all} recipients deferred until {at:.0}");
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
    let archived = archive(context, message, &verdicts).await;
    let is_late = message.age(now) >= LATE_AFTER;
    let offers_dsn = |name: &str| offer_dsn.iter().any(|one| one == name);
    let notice = told::due(&context.settings, message, &verdicts, is_late, offers_dsn);
    let settlement = Settlement {
        verdicts: verdicts.clone(),
        dropped_copies: plan.dropped_copies.clone(),
        mode: plan.mode,
        counted,
        steps_on,
        failed_upstream: failed_upstream.clone(),
        archived,
        attempts,
        facts,
        ..Settlement::unchanged(next_due)
    };
    if commit_with_notice(context, claim, settlement, notice.as_ref()).await {
        // What the log says is on disk.
        outcomes(&verdicts).for_each(|outcome| {
            outcome.log();
            outcome.count(&context.services.metrics);
        });
    }
}

/// Archives the content of a message that these verdicts end well, where sent mail is kept: what debug took in any case, so that
/// it can be looked at (rule 14). Should an operator open a recipient again at this moment, the next settlement writes the file
/// again.
async fn archive(
    context: &AttemptContext,
    message: &Message,
    verdicts: &[RecipientVerdict],
) -> Option<Timestamp> {
    let rules = &context.settings.queue;
    let debugged = || {
        let stored = message.originals().map(|one| one.mode);
        verdicts.iter().map(|one| one.mode).chain(stored).any(|mode| mode == Some(Mode::Debug))
    };
    if rules.archive_days == 0 && !debugged() {
        return None;
    }
    let of_originals = || verdicts.iter().filter(|one| one.role == Role::Original);
    let decided: HashSet<&Address> = of_originals().map(|one| &one.address).collect();
    let delivered = of_originals().all(|one| one.verdict.outcome == Outcome::Delivered)
        && message
            .originals()
            .all(|one| one.state == RecipientState::Delivered || decided.contains(&one.address));
    if !delivered {
        return None;
    }
    context.services.archive.keep(message, rules.min_free_space.saturating_mul(2)).await
}

/// The verdicts and the notice about them are on disk together or not at all.
async fn commit_with_notice(
    context: &AttemptContext,
    claim: &Claim,
    mut settlement: Settlement,
    notice: Option<&DueNotice<'_>>,
) -> bool {
    let id = claim.message.id;
    // With all that it should hold; where that cannot be staged, with what needs no staging.
    for extent in [NoticeExtent::Full, NoticeExtent::Least] {
        let made = match notice {
            Some(notice) => bounce::follow_up(context, &claim.message, notice, extent).await.map(Some),
            None if extent == NoticeExtent::Least => break,
            None => bounce::without_returned(context, &claim.message, &settlement.verdicts).await,
        };
        let follow_up = match made {
            Ok(Some(follow_up)) => follow_up,
            Ok(None) => return commit(context, claim, settlement).await,
            Err(error) => {
                tracing::warn!(queue_id = %id, "the notice about it cannot be stored as it should be: {error}");
                continue;
            }
        };
        let notice_id = follow_up.message.id;
        let with_notice = Settlement { follow_up: Some(follow_up), ..settlement.clone() };
        match context.services.queue.settle(claim.clone(), with_notice).await {
            Ok(settled) => {
                drop_archived(context, &claim.message, settlement.archived, settled).await;
                let (told, failed) =
                    notice.map_or((0, 0), |due| (due.told.len(), due.count(DsnAction::Failed)));
                let what = if failed > 0 { "bounced" } else { "notified" };
                context.services.metrics.notice(what);
                tracing::info!(queue_id = %id, notice = %notice_id, recipients = told, "{what}");
                return true;
            }
            Err(QueueError::StagedLost(_)) => {}
            Err(error) => return not_recorded(claim, &error),
        }
    }
    let lost = "the notice about it cannot be stored: its sender is not told";
    tracing::error!(queue_id = %id, "{lost}");
    context.services.metrics.notice("lost");
    settlement.facts.push(Fact {
        queue_id: Some(id),
        site: named_site(&claim.message.site),
        ..Fact::new(context.services.clock.wall(), EventType::Error, "Queue", code::STORAGE, lost)
    });
    commit(context, claim, settlement).await
}

/// Whether it is on disk.
pub(super) async fn commit(context: &AttemptContext, claim: &Claim, settlement: Settlement) -> bool {
    let archived = settlement.archived;
    match context.services.queue.settle(claim.clone(), settlement).await {
        Ok(settled) => {
            drop_archived(context, &claim.message, archived, settled).await;
            true
        }
        // The queue itself retries what can be retried: what comes here is fenced off, or the queue is closed.
        Err(error) => not_recorded(claim, &error),
    }
}

/// An operator deleted the message at the last moment: no record would name its file.
async fn drop_archived(
    context: &AttemptContext,
    message: &Message,
    archived: Option<Timestamp>,
    settled: Settled,
) {
    if let (Some(archived), Settled::MessageGone) = (archived, settled) {
        context.services.archive.discard(message.id, archived).await;
    }
}

fn not_recorded(claim: &Claim, error: &QueueError) -> bool {
    tracing::error!(queue_id = %claim.message.id, "the outcome could not be recorded: {error}");
    false
}

/// The verdicts on the original recipients of a redirected message: they follow from those on its copies.
pub(super) fn of_redirected(
    message: &Message,
    plan: &Plan,
    verdicts: &[RecipientVerdict],
) -> Vec<RecipientVerdict> {
    if plan.redirected.is_empty() {
        return Vec::new();
    }
    let decided = || verdicts.iter().filter(|one| one.role == Role::ReportCopy);
    let stored = message.recipients.iter().filter(|one| {
        // A copy that was taken before did not stand for those that are still open.
        one.role == Role::ReportCopy
            && one.state != RecipientState::Delivered
            && !plan.dropped_copies.contains(&one.address)
            && !decided().any(|other| other.address == one.address)
    });
    let states: Vec<RecipientState> =
        decided().map(|one| one.verdict.outcome.into()).chain(stored.map(|one| one.state)).collect();
    let outcome = plan::redirected_outcome(&states).unwrap_or(Outcome::Deferred);
    // The copy that has decided it, or the last one that was asked.
    let says = decided().find(|one| one.verdict.outcome == outcome).or_else(|| decided().next_back());
    let verdict = match says {
        Some(copy) => Verdict {
            outcome,
            reply: format!("{} (redirected to {})", copy.verdict.reply, copy.address),
            refused_by: Vec::new(),
            ..copy.verdict.clone()
        },
        None => Verdict {
            outcome,
            upstream: None,
            reply: "redirected, and no report address has answered yet".to_owned(),
            grounds: Grounds::NotAsked,
            enhanced: EnhancedCode(4, 4, 1),
            refused_by: Vec::new(),
        },
    };
    let of = |address: &_| RecipientVerdict {
        role: Role::Original,
        address: Clone::clone(address),
        verdict: verdict.clone(),
        mode: Some(Mode::Redirect),
    };
    plan.redirected.iter().map(of).collect()
}

/// The outcome record of each recipient.
pub(super) fn records<'a>(
    message: &'a Message,
    verdicts: &'a [RecipientVerdict],
    time: Timestamp,
    delays: Delays,
) -> impl Iterator<Item = OutcomeRecord<'a>> {
    verdicts.iter().map(move |one| OutcomeRecord {
        time,
        queue_id: message.id,
        reverse_path: &message.reverse_path,
        role: one.role,
        recipient: &one.address,
        site: &message.site,
        mode: one.mode,
        verdict: &one.verdict,
        delays,
    })
}

/// Defers a message without asking anybody: because nobody can be asked, or because its attempt broke off
/// ([`Deferral::Decided`], counted as one). Its age is looked at.
pub(super) async fn defer(context: &AttemptContext, claim: &Claim, why: &str, deferral: Deferral) {
    let message = &claim.message;
    let handling = context.settings.handling_of(&message.site);
    let plan = Plan {
        mode: handling.and_then(|handling| handling.mode()),
        dropped_copies: Vec::new(),
        redirected: Vec::new(),
        action: plan::Action::Wait,
    };
    let verdicts = without_attempt(context, message, why);
    let failed_upstream = message.failed_upstream.clone();
    let counted = deferral == Deferral::Decided;
    let outcome = AttemptOutcome {
        verdicts,
        plan: &plan,
        counted,
        failed_upstream,
        offer_dsn: Vec::new(),
        delays: Delays::default(),
        records: Vec::new(),
    };
    settle(context, claim, outcome, deferral).await;
}

/// Defers all together, so that they share commits.
pub(super) async fn defer_all(
    context: &AttemptContext,
    stop: &CancellationToken,
    claims: Vec<Claim>,
    why: &str,
    deferral: Deferral,
) {
    let defer_one = |claim| {
        let (context, why) = (context.clone(), why.to_owned());
        async move { defer(&context, &claim, &why, deferral).await }
    };
    run_all(stop, claims.into_iter().map(defer_one)).await;
}

/// Has its sender told that a message is late. Nothing else of it changes. Returns the claim where there is nobody to tell.
pub(super) async fn tell_late(context: &AttemptContext, claim: Claim, why: &str) -> Option<Claim> {
    let message = &claim.message;
    let verdicts = without_attempt(context, message, why);
    let notice = told::due(&context.settings, message, &verdicts, true, |_| false);
    let (Some(notice), Some(due)) = (notice, message.due) else { return Some(claim) };
    commit_with_notice(context, &claim, Settlement::unchanged(due), Some(&notice)).await;
    None
}

/// What is said of the open recipients of a message that nobody was asked about.
fn without_attempt(context: &AttemptContext, message: &Message, why: &str) -> Vec<RecipientVerdict> {
    let handling = context.settings.handling_of(&message.site);
    let mode = handling.and_then(|handling| handling.mode());
    // Those whom `allow` names would have got their own mail: their outcome is no mode's.
    let is_allowed = |address: &Address| {
        mode == Some(Mode::Redirect) && handling.is_some_and(|one| one.redirect.allows(address))
    };
    let verdict = |(_, recipient): (usize, &Recipient)| {
        let own = recipient.role == Role::Original && is_allowed(&recipient.address);
        let (upstream, reply) = recipient.previous_refusal().unwrap_or_else(|| (None, why.to_owned()));
        RecipientVerdict {
            role: recipient.role,
            address: recipient.address.clone(),
            verdict: Verdict {
                outcome: Outcome::Deferred,
                upstream,
                reply,
                grounds: Grounds::NotAsked,
                enhanced: EnhancedCode(4, 4, 1),
                refused_by: recipient.refused_by.clone(),
            },
            mode: mode.filter(|_| !own),
        }
    };
    message.open_recipients().map(verdict).collect()
}

/// Names of the upstreams that refused what is deferred; none where none did.
fn refused_by(verdicts: &[RecipientVerdict]) -> Option<String> {
    let deferred = verdicts.iter().filter(|one| one.verdict.outcome == Outcome::Deferred);
    let refusals = deferred.flat_map(|one| &one.verdict.refused_by);
    let names: BTreeSet<&str> = refusals.map(|refusal| refusal.upstream.as_str()).collect();
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(", "))
}
