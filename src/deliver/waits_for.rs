//! Why mail that is due does not leave: what keeps each upstream that may take it from being asked.

use super::health::{Availability, UpstreamHealth};
use super::route;
use crate::config::Settings;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An upstream that cannot be asked at this moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WaitsFor {
    pub upstream: String,
    pub state: Availability,
    /// By the wall clock: when it is asked again, where that is known.
    pub until: Option<Timestamp>,
    /// What went wrong there last.
    pub error: Option<String>,
}

/// What mail of that site (`""`: of none) waits for; nothing where some upstream takes mail at this moment.
pub fn waits_for(settings: &Settings, health: &UpstreamHealth, site: &str) -> Vec<WaitsFor> {
    let mut all = Vec::new();
    for upstream in route::candidates(settings, site) {
        let status = health.status(upstream);
        let (until, error) = match status.availability {
            Availability::Ok => return Vec::new(),
            Availability::Open => (status.probe_at, status.last_error),
            Availability::Probing => (None, status.last_error),
            Availability::Limited => (status.rate_limit_free_at, None),
            Availability::Busy | Availability::Disabled => (None, None),
        };
        all.push(WaitsFor { upstream: upstream.name.clone(), state: status.availability, until, error });
    }
    all
}
