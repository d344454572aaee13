//! Mail that waits for long: it expires, or its sender is told that it is late.

use super::concurrently::run_all;
use super::context::AttemptContext;
use super::route;
use super::settlement::{self, Deferral, LATE_AFTER};
use crate::config::settings::BounceTo;
use crate::queue::{Claim, QueueError};
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
    let without_mode = settings.handlings().filter(|(_, handling)| handling.mode().is_none());
    let sites: Vec<String> = without_mode.map(|(site, _)| site.to_owned()).collect();
    for _ in 0..MOST_BATCHES {
        match queue.claim_late(sites.clone(), LATE_AFTER, LEASE, BATCH).await {
            Ok(late) if late.is_empty() || stop.is_cancelled() => {
                return late.into_iter().for_each(|claim| queue.put_back(claim));
            }
            Ok(late) => {
                run_all(stop, late.into_iter().map(|claim| tell_one(context.clone(), claim))).await;
            }
            Err(error) => {
                cannot_be_checked(&error);
                return;
            }
        }
    }
}

async fn tell_one(context: AttemptContext, claim: Claim) {
    let why = nobody_available(&context, &claim.message.site);
    settlement::tell_late(&context, claim, &why).await;
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
