//! Mail that waits for long: it expires, or its sender is told that it is late.

use super::concurrently::run_all;
use super::context::AttemptContext;
use super::route;
use super::settlement::{self, Deferral, LATE_AFTER};
use crate::config::handling::Handling;
use crate::config::settings::BounceTo;
use crate::event::{EventType, Fact, code, named_site};
use crate::mail::{EnhancedCode, Grounds, Message, Mode, Outcome, QueueId, Recipient, Verdict};
use crate::queue::{Claim, ClaimGroup, QueueError, RecipientVerdict, Settlement};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longer than it takes to write a batch; what is not settled by then may be claimed again.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);
/// Messages expired or told of at a time.
const BATCH: usize = 500;
/// Batches of notices in a row: should they fail, they are tried again a minute later.
const MOST_BATCHES: usize = 20;

/// Has the mail of a site expire that has waited for too long, where no upstream can be asked. With the last error of each.
pub(super) async fn expire(context: &AttemptContext, site: &str, stop: &CancellationToken) {
    let (queue, settings) = (&context.services.queue, &context.settings);
    let reply = nobody_available(context, site);
    let life = settings.queue.expire_after;
    let mut not_old: Vec<Claim> = Vec::new();
    while !stop.is_cancelled() {
        let old = match queue.claim_old(vec![site.to_owned()], life, LEASE, BATCH).await {
            Ok(old) if old.is_empty() => break,
            Ok(old) => old,
            Err(error) => {
                cannot_be_checked(&error);
                break;
            }
        };
        // Time under debug or simulate does not count, and the search does not know of it.
        let now = queue.now_of(site);
        let (old, young): (Vec<_>, Vec<_>) =
            old.into_iter().partition(|claim| claim.message.age(now) >= life);
        // Given back at the end, so that they are not found again.
        not_old.extend(young);
        settlement::defer_all(context, stop, old, &reply, Deferral::NobodyAvailable).await;
    }
    not_old.into_iter().for_each(|claim| queue.put_back(claim));
}

/// Tells the senders of late mail that it is, whatever it waits for: an attempt that would say so may not come for long. Nobody
/// is told of what a mode has decided.
pub(super) async fn tell_late(context: &AttemptContext, stop: &CancellationToken) {
    let (queue, settings) = (&context.services.queue, &context.settings);
    if settings.queue.bounce == BounceTo::Nobody {
        return;
    }
    let groups: Vec<ClaimGroup> = settings.handlings().flat_map(groups_to_tell).collect();
    // Given back at the end, so that it is not found again.
    let mut nobody_to_tell: Vec<Claim> = Vec::new();
    for _ in 0..MOST_BATCHES {
        match queue.claim_late(groups.clone(), LATE_AFTER, LEASE, BATCH).await {
            Ok(late) if late.is_empty() || stop.is_cancelled() => {
                nobody_to_tell.extend(late);
                break;
            }
            Ok(late) => {
                let told = late.into_iter().map(|claim| tell_one(context.clone(), claim));
                nobody_to_tell.extend(run_all(stop, told).await.into_iter().flatten());
            }
            Err(error) => {
                cannot_be_checked(&error);
                break;
            }
        }
    }
    nobody_to_tell.into_iter().for_each(|claim| queue.put_back(claim));
}

/// Of mail under redirect those hear whose recipients `allow` names.
fn groups_to_tell((site, handling): (&str, &Handling)) -> Vec<ClaimGroup> {
    let under_mode: &[bool] = match handling.mode() {
        None => &[false],
        Some(Mode::Redirect) if !handling.redirect.allow.is_empty() => &[false, true],
        Some(_) => &[],
    };
    under_mode
        .iter()
        .map(|under_mode| ClaimGroup { site: site.to_owned(), under_mode: *under_mode })
        .collect()
}

async fn tell_one(context: AttemptContext, claim: Claim) -> Option<Claim> {
    let why = nobody_available(&context, &claim.message.site);
    let telling = settlement::tell_late(&context, claim.clone(), &why);
    // After a panic it is given back like the others, and not leased for a day.
    AssertUnwindSafe(telling).catch_unwind().await.unwrap_or(Some(claim))
}

/// The message that a notice calls late, where that is late no more: it is gone, or nobody of it is waited for.
pub(super) async fn no_longer_late(context: &AttemptContext, notice: &Message) -> Option<QueueId> {
    let late = notice.says_late?;
    match context.services.queue.show(late).await {
        Ok(message) => message.open_recipients().next().is_none().then_some(late),
        Err(QueueError::NotFound(_)) => Some(late),
        // Better told for nothing than not told.
        Err(_) => None,
    }
}

/// Drops a notice that says nothing but that a message is late, when that is late no more.
pub(super) async fn drop_outdated(context: &AttemptContext, claim: &Claim, late: QueueId) {
    let message = &claim.message;
    let reply = format!("message {late} is not late any more");
    let verdict = |(_, recipient): (usize, &Recipient)| RecipientVerdict {
        role: recipient.role,
        address: recipient.address.clone(),
        verdict: Verdict {
            outcome: Outcome::Failed,
            upstream: None,
            reply: reply.clone(),
            grounds: Grounds::NotAsked,
            enhanced: EnhancedCode(5, 4, 7),
            refused_by: Vec::new(),
        },
        mode: None,
    };
    let fact = Fact {
        queue_id: Some(message.id),
        site: named_site(&message.site),
        ..Fact::new(
            context.services.clock.wall(),
            EventType::Information,
            "Mail",
            code::DELETED,
            format!("this notice is not sent: {reply}"),
        )
    };
    let outdated = Settlement {
        verdicts: message.open_recipients().map(verdict).collect(),
        facts: vec![fact],
        ..Settlement::unchanged(context.services.queue.now_of(&message.site))
    };
    settlement::commit(context, claim, outdated).await;
}

/// With the last error of each upstream that the mail of this site may go to.
fn nobody_available(context: &AttemptContext, site: &str) -> String {
    let last_error = |upstream: &std::sync::Arc<crate::config::settings::Upstream>| {
        Some(format!("{}: {}", upstream.name, context.services.health.status(upstream).last_error?))
    };
    let mut last_errors: Vec<String> =
        route::candidates(&context.settings, site).filter_map(last_error).collect();
    last_errors.sort();
    match last_errors.is_empty() {
        true => "no upstream was available".to_owned(),
        false => format!("no upstream was available; {}", last_errors.join("; ")),
    }
}

fn cannot_be_checked(error: &QueueError) {
    tracing::error!("the age of waiting mail cannot be checked, which is tried again in a minute: {error}");
}
