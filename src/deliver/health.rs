//! Health of the upstreams: which have a free connection, an open circuit, a used up rate limit.
//!
//! A circuit opens when a new connection yields no usable session while none works, or after three sessions in a row were
//! lost with no success between; then one message probes on a new connection (`circuit.rs`). A new connection
//! that fails while others work only lowers the number of connections (`effective_limit.rs`). Nothing of this
//! outlives the process (rule 3).

use super::circuit::Circuit;
use super::effective_limit::EffectiveLimit;
use super::rate_limit::SentTimes;
use super::session_error::SessionError;
use crate::clock::Clock;
use crate::config::settings::Upstream;
use crate::mail::ReplyCode;
use crate::mail::attempt::TlsFacts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use utoipa::ToSchema;

/// What is known of all upstreams, shared by engine and attempts.
pub struct UpstreamHealth {
    states: Mutex<BTreeMap<String, UpstreamState>>,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
    /// The same, for all who wait for a slot by themselves.
    freed: Notify,
}

#[derive(Default)]
pub(super) struct UpstreamState {
    pub(super) slots: Slots,
    /// Transactions that were answered.
    pub(super) answered: u64,
    pub(super) lost_in_a_row: u32,
    pub(super) circuit: Circuit,
    pub(super) limit: EffectiveLimit,
    pub(super) last_error: Option<String>,
    /// By the wall clock.
    pub(super) last_error_at: Option<Timestamp>,
    last_error_code: Option<ReplyCode>,
    /// When it took a message, by the wall clock, and how many milliseconds it needed.
    pub(super) last_success: Option<(Timestamp, u64)>,
    pub(super) sent: SentTimes,
    token: Option<TokenStatus>,
    tls: Option<TlsFacts>,
}

/// How the OAuth 2 token of an upstream fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenStatus {
    /// By the wall clock; none where there is no token.
    pub expires_at: Option<Timestamp>,
    /// Why there is none.
    pub error: Option<String>,
}

/// Slots in use, by what is known of their connections.
#[derive(Default, Clone, Copy)]
pub(super) struct Slots {
    pub(super) all: usize,
    /// Their connection is being opened.
    pub(super) opening: usize,
    pub(super) usable: usize,
}

/// Whether an upstream may be given mail now, and why not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    Ok,
    /// Works, and all its connections are in use.
    Busy,
    /// Works, and its `rate_limit` is used up.
    Limited,
    /// Its circuit is open.
    Open,
    /// One message is on its way to find out whether it works again.
    Probing,
    /// Its settings say `enabled = false`.
    Disabled,
}

impl Availability {
    /// Each of them.
    pub const ALL: [Availability; 6] = [
        Availability::Ok,
        Availability::Busy,
        Availability::Limited,
        Availability::Open,
        Availability::Probing,
        Availability::Disabled,
    ];
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Availability::Ok => "ok",
            Availability::Busy => "busy",
            Availability::Limited => "limited",
            Availability::Open => "open",
            Availability::Probing => "probing",
            Availability::Disabled => "disabled",
        })
    }
}

/// The state of an upstream as the admin API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Whether it may be given mail now.
    pub availability: Availability,
    /// Connections in use by attempts.
    pub in_flight: usize,
    /// Connections that the server is known to allow at a time: `connection_limit`, or fewer.
    pub effective_limit: usize,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When, by the wall clock.
    pub last_error_at: Option<Timestamp>,
    /// Of the reply that it was, where it was one.
    pub last_error_code: Option<ReplyCode>,
    /// When it took a message last, by the wall clock.
    pub last_success_at: Option<Timestamp>,
    /// Milliseconds that it needed for that: from MAIL, or from connecting where a connection was opened for it, to the reply
    /// to the final dot. What a client took in pass-through is not in it.
    pub latency_ms: Option<u64>,
    /// When an open circuit lets a message probe, by the wall clock.
    pub probe_at: Option<Timestamp>,
    /// When `rate_limit` lets another message go, by the wall clock; none while it does.
    pub rate_limit_free_at: Option<Timestamp>,
    /// Of an upstream with `auth = "oauth2"`, once one was asked for.
    pub token: Option<TokenStatus>,
    /// Of the connection that was opened last; none without TLS.
    pub tls: Option<TlsFacts>,
}

impl UpstreamHealth {
    /// Every upstream is available until a session with it fails.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<UpstreamHealth> {
        Arc::new(UpstreamHealth {
            states: Mutex::default(),
            clock,
            changed: Arc::default(),
            freed: Notify::new(),
        })
    }

    /// Notified when an upstream may have become available.
    pub(super) fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// Ready when an upstream may have become available since this was called.
    pub fn freed(&self) -> impl Future<Output = ()> {
        self.freed.notified()
    }

    /// Connections still free, or none if the upstream is not available now: busy, circuit open, rate used up.
    pub(super) fn free(&self, upstream: &Upstream) -> Option<usize> {
        self.update(&upstream.name, |state, now| {
            let limit = state.limit.at(now, upstream.connection_limit);
            state.is_available(upstream, now).then(|| limit.saturating_sub(state.slots.all))
        })
    }

    /// When the next upstream becomes available by time alone, later than `after` (both monotonic); none if no upstream
    /// waits for a time. Those whose time came before `after` are available already.
    pub(super) fn next_change(&self, upstreams: &[Arc<Upstream>], after: Duration) -> Option<Duration> {
        let states = self.lock();
        let waits = |upstream: &Arc<Upstream>| {
            let state = states.get(&upstream.name)?;
            let rate = upstream.rate_limit.and_then(|limit| state.sent.allow_another_at(limit));
            Some([state.circuit.probe_at().max(rate), state.limit.rises_at()])
        };
        let enabled = upstreams.iter().filter(|upstream| upstream.enabled);
        enabled.filter_map(waits).flatten().flatten().filter(|at| *at > after).min()
    }

    /// Every open circuit gets one probe at once, every lowered limit one trial: an operator asked for a retry.
    pub fn probe_now(&self) {
        let now = self.clock.monotonic();
        for state in self.lock().values_mut() {
            state.circuit.probe_now(now);
            state.limit.try_one_more_now(now);
        }
        self.notify_changed();
    }

    /// Forgets what is known of upstreams that a reload changed or removed; their connections under way still count.
    pub fn forget(&self, names: &[String]) {
        let mut states = self.lock();
        for name in names {
            if let Some(state) = states.get_mut(name) {
                *state = UpstreamState { slots: state.slots, ..UpstreamState::default() };
            }
        }
        drop(states);
        self.notify_changed();
    }

    /// For listings.
    pub fn status(&self, upstream: &Upstream) -> UpstreamStatus {
        let wall =
            |wait: Duration| self.clock.wall().checked_add(jiff::SignedDuration::try_from(wait).ok()?).ok();
        self.update(&upstream.name, |state, now| {
            let limit = state.limit.at(now, upstream.connection_limit);
            let available = state.is_available(upstream, now);
            let availability = match state.circuit {
                _ if !upstream.enabled => Availability::Disabled,
                Circuit::Open { .. } => Availability::Open,
                Circuit::Probing { .. } => Availability::Probing,
                Circuit::Closed if available => Availability::Ok,
                Circuit::Closed if state.slots.all >= limit => Availability::Busy,
                Circuit::Closed => Availability::Limited,
            };
            UpstreamStatus {
                availability,
                in_flight: state.slots.all,
                effective_limit: state.limit.known(upstream.connection_limit),
                last_error: state.last_error.clone(),
                last_error_at: state.last_error_at,
                last_error_code: state.last_error_code,
                last_success_at: state.last_success.map(|(at, _)| at),
                latency_ms: state.last_success.map(|(_, latency)| latency),
                probe_at: state.circuit.probe_at().and_then(|at| wall(at.saturating_sub(now))),
                rate_limit_free_at: state.rate_limit_free_in(upstream, now).and_then(wall),
                token: state.token.clone(),
                tls: state.tls.clone(),
            }
        })
    }

    pub(super) fn note_token(&self, upstream: &str, status: TokenStatus) {
        self.update(upstream, |state, _| state.token = Some(status));
    }

    pub(super) fn note_tls(&self, upstream: &str, tls: Option<TlsFacts>) {
        self.update(upstream, |state, _| state.tls = tls);
    }

    /// Changes what is known of that upstream.
    pub(super) fn update<T>(
        &self,
        upstream: &str,
        change: impl FnOnce(&mut UpstreamState, Duration) -> T,
    ) -> T {
        let now = self.clock.monotonic();
        change(self.lock().entry(upstream.to_owned()).or_default(), now)
    }

    pub(super) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Notifies that an upstream may have become available.
    pub(super) fn notify_changed(&self) {
        self.changed.notify_one();
        self.freed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, UpstreamState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UpstreamState {
    /// How long `rate_limit` lets no further message go; none while it does.
    fn rate_limit_free_in(&mut self, upstream: &Upstream, now: Duration) -> Option<Duration> {
        let limit = upstream.rate_limit?;
        let waits = !self.sent.allow_another(limit, now);
        waits.then(|| self.sent.allow_another_at(limit)).flatten().map(|at| at.saturating_sub(now))
    }

    pub(super) fn note_error(&mut self, error: &SessionError, at: Timestamp) {
        (self.last_error, self.last_error_at) = (Some(error.text.clone()), Some(at));
        self.last_error_code = error.code;
    }

    pub(super) fn is_available(&mut self, upstream: &Upstream, now: Duration) -> bool {
        self.circuit.admits(now)
            && self.slots.all < self.limit.at(now, upstream.connection_limit)
            && upstream.rate_limit.is_none_or(|limit| self.sent.allow_another(limit, now))
    }
}
