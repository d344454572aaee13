//! A claimed message that waits for an upstream.

use super::health::{Availability, UpstreamHealth};
use super::route::{self, RouteConstraints};
use super::slot::Slot;
use crate::config::Settings;
use crate::config::settings::Upstream;
use crate::mail::{Address, Refusal};
use crate::policy::plan::Plan;
use crate::queue::Claim;
use std::sync::Arc;
use std::time::Duration;

/// How often a claim that some upstream has refused is looked at, though nothing has become available.
pub(super) const RECHECK_CLAIM_AFTER: Duration = Duration::from_secs(1);

/// A claim that waits for an upstream.
pub(super) struct WaitingClaim {
    pub(super) claim: Claim,
    /// What was planned for it when it was claimed.
    pub(super) plan: Plan,
    /// The upstreams that may take its site's mail.
    candidates: Vec<Arc<Upstream>>,
    /// Monotonic.
    pub(super) since: Duration,
    /// The upstreams that no recipient of it can be sent through: it waits for one of the others.
    refused_by: Vec<String>,
}

impl WaitingClaim {
    /// Claimed at `since` (monotonic).
    pub(super) fn new(claim: Claim, plan: Plan, settings: &Settings, since: Duration) -> WaitingClaim {
        let candidates: Vec<_> = route::candidates(settings, &claim.message.site).cloned().collect();
        let refusals = |role, address: &Address| {
            let recipient = claim.message.recipient(role, address);
            recipient.map(|one| route::refusals_in_force(&one.refused_by, &candidates)).unwrap_or_default()
        };
        let all: Vec<Vec<Refusal>> = plan
            .envelopes()
            .iter()
            .flat_map(|envelope| envelope.recipients.iter().map(|address| refusals(envelope.role(), address)))
            .collect();
        let refused_by = route::common(all.iter().map(Vec::as_slice));
        WaitingClaim { claim, plan, candidates, since, refused_by }
    }

    /// Whether some upstream has refused the message for all its recipients.
    pub(super) fn is_refused(&self) -> bool {
        !self.refused_by.is_empty()
    }

    /// A place at the best upstream that is available to it.
    pub(super) fn take_slot(&self, health: &Arc<UpstreamHealth>) -> Option<Slot> {
        let failed_last = self.claim.message.failed_upstream.as_deref();
        let constraints = RouteConstraints { failed_last, tried: &[], refused_by: &self.refused_by };
        route::choose(&self.candidates, constraints, health)
    }

    /// Whether some upstream can be asked now.
    pub(super) fn has_available_upstream(&self, health: &UpstreamHealth) -> bool {
        self.candidates.iter().any(|upstream| health.free(upstream).is_some())
    }

    /// Whether some upstream that has not refused the message works, and only has no connection free.
    pub(super) fn has_busy_upstream(&self, health: &UpstreamHealth) -> bool {
        self.candidates
            .iter()
            .filter(|upstream| !self.refused_by.contains(&upstream.name))
            .any(|upstream| health.status(upstream).availability != Availability::Open)
    }
}
