//! An upstream as a card of the dashboard and the list of upstreams show it.

use super::shown::{ShownTime, short};
use crate::admin::json::UpstreamJson;

/// Characters of an error.
const ERROR: usize = 300;

/// See the module.
pub(super) struct UpstreamCard {
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) state: String,
    pub(super) priority: String,
    pub(super) in_flight: usize,
    pub(super) effective_limit: usize,
    /// When it may be given mail again, and what it is until then.
    pub(super) until: Option<ShownTime>,
    pub(super) until_word: &'static str,
    pub(super) last_success: Option<ShownTime>,
    pub(super) latency: Option<String>,
    pub(super) last_error: Option<String>,
    pub(super) last_error_at: Option<ShownTime>,
    pub(super) tls: Option<String>,
    pub(super) certificate_expires: Option<ShownTime>,
    pub(super) token_expires: Option<ShownTime>,
    pub(super) token_error: Option<String>,
}

impl From<UpstreamJson> for UpstreamCard {
    fn from(upstream: UpstreamJson) -> UpstreamCard {
        let error = upstream.last_error.map(|error| match upstream.remedy {
            Some(remedy) => format!("{}; {remedy}", short(&error, ERROR)),
            None => short(&error, ERROR),
        });
        let (until, until_word) = match upstream.probe_at {
            Some(_) => (upstream.probe_at, "Asked again"),
            None => (upstream.rate_limit_free_at, "Limited until"),
        };
        UpstreamCard {
            name: upstream.name,
            enabled: upstream.enabled,
            state: upstream.state,
            priority: upstream.priority,
            in_flight: upstream.in_flight,
            effective_limit: upstream.effective_limit,
            until: until.map(ShownTime::from),
            until_word,
            last_success: upstream.last_success_at.map(ShownTime::from),
            latency: upstream.latency_ms.map(|ms| format!("{ms} ms")),
            last_error: error,
            last_error_at: upstream.last_error_at.map(ShownTime::from),
            certificate_expires: upstream
                .tls
                .as_ref()
                .and_then(|tls| tls.certificate_expires)
                .map(ShownTime::from),
            tls: upstream.tls.map(|tls| format!("{}, {}", tls.version, tls.cipher)),
            token_expires: upstream.token_expires_at.map(ShownTime::from),
            token_error: upstream.token_error.map(|error| short(&error, ERROR)),
        }
    }
}

/// As they are asked, those that are not asked at the end.
pub(super) fn in_order(mut upstreams: Vec<UpstreamJson>) -> Vec<UpstreamJson> {
    let rank = |one: &UpstreamJson| {
        ["default", "high", "normal", "low"].iter().position(|word| *word == one.priority)
    };
    upstreams.sort_by(|one, other| {
        (!one.enabled, rank(one), &one.name).cmp(&(!other.enabled, rank(other), &other.name))
    });
    upstreams
}
