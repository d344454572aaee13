//! The circuit of one upstream: closed while it works, open while no connection to it is tried, then one probe decides.
//!
//! It stays open one second, doubling to a minute; after a refused AUTH five minutes to an hour, because accounts get
//! locked. Times are monotonic.

use super::remedies::known_remedy;
use super::session_error::{SessionError, SessionErrorKind};
use crate::config::Topic;
use crate::config::settings::Upstream;
use crate::event::{EventType, Fact, code};
use jiff::Timestamp;
use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const FIRST_WAIT_AFTER_AUTH: Duration = Duration::from_secs(5 * 60);
const LONGEST_WAIT_AFTER_AUTH: Duration = Duration::from_secs(60 * 60);

/// A change of a circuit, which the caller records as an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CircuitChange {
    /// No connection to the upstream is tried for that long.
    Opened(Duration),
    Closed,
}

impl CircuitChange {
    /// The event that tells of it. `error`: what opened it.
    pub(super) fn fact(self, now: Timestamp, upstream: &Upstream, error: Option<&SessionError>) -> Fact {
        let name = &upstream.name;
        let (kind, code, text) = match self {
            CircuitChange::Opened(wait) => {
                let kind = match error.map(|error| error.kind) {
                    Some(SessionErrorKind::AuthRefused) => EventType::Error,
                    _ => EventType::Warning,
                };
                let wait = humantime::format_duration(wait);
                let why = error.map(|error| error.text.as_str()).unwrap_or_default();
                let remedy = known_remedy(upstream, why).map(|remedy| format!(" ({remedy})"));
                let remedy = remedy.unwrap_or_default();
                (kind, code::CIRCUIT_OPEN, format!("{name} is left alone for {wait}: {why}{remedy}"))
            }
            CircuitChange::Closed => {
                (EventType::Information, code::CIRCUIT_CLOSED, format!("{name} works again"))
            }
        };
        Fact { upstream: Some(name.clone()), ..Fact::new(now, kind, "Upstream", code, text) }
            .on(Topic::Circuit)
    }
}

#[derive(Default, Clone, Copy, PartialEq)]
pub(super) enum Circuit {
    #[default]
    Closed,
    Open {
        until: Duration,
        wait: Duration,
    },
    /// One message is on its way to find out.
    Probing {
        wait: Duration,
    },
}

impl Circuit {
    /// Whether a message may go through: closed, or open for long enough that one may probe.
    pub(super) fn admits(&self, now: Duration) -> bool {
        match self {
            Circuit::Closed => true,
            Circuit::Open { until, .. } => *until <= now,
            Circuit::Probing { .. } => false,
        }
    }

    /// When a probe may start, if that is what it waits for.
    pub(super) fn probe_at(&self) -> Option<Duration> {
        match self {
            Circuit::Open { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// An open circuit begins to probe. Says whether the message that it admits is the probe.
    pub(super) fn begin_probe(&mut self) -> bool {
        let Circuit::Open { wait, .. } = *self else { return false };
        *self = Circuit::Probing { wait };
        true
    }

    /// The probe found nothing out: the next one may start at `now`.
    pub(super) fn end_probe_without_result(&mut self, now: Duration) {
        if let Circuit::Probing { wait } = *self {
            *self = Circuit::Open { until: now, wait };
        }
    }

    /// The probe's connection worked, and its message did not: the next one may start after the shortest wait.
    pub(super) fn probe_again_soon(&mut self, now: Duration) {
        *self = Circuit::Open { until: now + FIRST_WAIT, wait: FIRST_WAIT };
    }

    /// Does not wait any longer for its next probe.
    pub(super) fn probe_now(&mut self, now: Duration) {
        if let Circuit::Open { until, .. } = self {
            *until = (*until).min(now);
        }
    }

    /// Opens, for twice as long as the last time without a success between, and says for how long.
    pub(super) fn open(&mut self, auth_refused: bool, now: Duration) -> Duration {
        let (first, longest) = match auth_refused {
            true => (FIRST_WAIT_AFTER_AUTH, LONGEST_WAIT_AFTER_AUTH),
            false => (FIRST_WAIT, LONGEST_WAIT),
        };
        let wait = match self {
            Circuit::Probing { wait } | Circuit::Open { wait, .. } => (*wait * 2).clamp(first, longest),
            Circuit::Closed => first,
        };
        *self = Circuit::Open { until: now + wait, wait };
        wait
    }
}
