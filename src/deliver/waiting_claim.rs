//! A claimed message that waits for an upstream.

use super::context::Services;
use super::health::{Availability, UpstreamHealth};
use super::route::{self, RouteConstraints};
use super::slot::Slot;
use crate::config::Settings;
use crate::mail::Message;
use crate::queue::Claim;
use std::sync::Arc;
use std::time::Duration;

/// A claim that has waited for longer is compared with the queue before its attempt starts.
pub(super) const RECHECK_CLAIM_AFTER: Duration = Duration::from_secs(1);

/// A claim that waits for an upstream.
pub(super) struct WaitingClaim {
    pub(super) claim: Claim,
    /// Monotonic.
    pub(super) since: Duration,
    /// When it was last compared with the queue. Monotonic.
    checked: Duration,
    /// The upstreams that no recipient of it can be sent through: it waits for one of the others.
    refused_by: Vec<String>,
}

impl WaitingClaim {
    /// Claimed at `since` (monotonic).
    pub(super) fn new(claim: Claim, settings: &Settings, since: Duration) -> WaitingClaim {
        let open = claim.message.open_recipients();
        let refusals: Vec<_> = open
            .map(|(_, recipient)| route::refusals_in_force(&recipient.refused_by, &settings.upstreams))
            .collect();
        let refused_by = route::common(refusals.iter().map(Vec::as_slice));
        WaitingClaim { claim, since, checked: since, refused_by }
    }

    /// Whether some upstream has refused the message for all its recipients.
    pub(super) fn is_refused(&self) -> bool {
        !self.refused_by.is_empty()
    }

    /// A place at the best upstream that is available to it.
    pub(super) fn take_slot(&self, settings: &Settings, health: &Arc<UpstreamHealth>) -> Option<Slot> {
        let failed_last = self.claim.message.failed_upstream.as_deref();
        let constraints = RouteConstraints { failed_last, tried: &[], refused_by: &self.refused_by };
        route::choose(&settings.upstreams, constraints, health)
    }

    /// Whether some upstream that has not refused the message works, and only has no connection free.
    pub(super) fn has_busy_upstream(&self, settings: &Settings, health: &UpstreamHealth) -> bool {
        route::candidates(&settings.upstreams)
            .filter(|upstream| !self.refused_by.contains(&upstream.name))
            .any(|upstream| health.status(upstream).availability != Availability::Open)
    }

    /// Whether the message is as it was when it was claimed: an operator may have held or deleted it since.
    pub(super) async fn is_unchanged(&mut self, services: &Services) -> bool {
        let now = services.clock.monotonic();
        if now < self.checked + RECHECK_CLAIM_AFTER {
            return true;
        }
        self.checked = now;
        let claimed = &self.claim.message;
        let as_claimed = |now: Arc<Message>| now.due == claimed.due && now.recipients == claimed.recipients;
        services.queue.show(claimed.id).await.is_ok_and(as_claimed)
    }
}
