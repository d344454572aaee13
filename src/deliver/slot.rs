//! A place among an upstream's connections, and what its holder learns of the upstream.

use super::circuit::{Circuit, CircuitChange};
use super::effective_limit;
use super::health::{Slots, UpstreamHealth, UpstreamState};
use super::session_error::{SessionError, SessionErrorKind};
use crate::config::settings::Upstream;
use crate::mail::Reply;
use std::sync::Arc;
use std::time::Duration;

/// So many sessions lost in a row open a circuit.
const LOST_IN_A_ROW: u32 = 3;

/// What is known of the connection that a slot stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SlotSession {
    /// None is open or being opened: not yet, or it failed, or it waits in the pool again.
    None,
    Opening,
    Usable,
}

/// A place among an upstream's connections, held by one attempt at a time.
pub struct Slot {
    upstream: Arc<Upstream>,
    health: Arc<UpstreamHealth>,
    probing: bool,
    /// Monotonic.
    taken: Duration,
    used: bool,
    session: SlotSession,
    /// The upstream has answered a command of a transaction.
    answered: bool,
    /// How many transactions the upstream had answered when the connection was begun.
    answered_before: u64,
}

impl Slot {
    /// Takes a place; none if there is none after all. It is given back by dropping the slot.
    pub fn take(health: &Arc<UpstreamHealth>, upstream: &Arc<Upstream>) -> Option<Slot> {
        health.update(&upstream.name, |state, now| {
            if !state.is_available(upstream, now) {
                return None;
            }
            let probing = state.circuit.begin_probe();
            state.slots.all += 1;
            if upstream.rate_limit.is_some() {
                state.sent.add(now);
            }
            Some(Slot {
                upstream: upstream.clone(),
                health: health.clone(),
                probing,
                taken: now,
                used: false,
                session: SlotSession::None,
                answered: false,
                answered_before: 0,
            })
        })
    }

    /// Whose place it is.
    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Whether it is the probe of an open circuit, for which only a new connection counts.
    pub(super) fn is_probe(&self) -> bool {
        self.probing
    }

    /// A connection is taken from the pool or opened. From now on it counts as another connection when one is refused.
    pub(super) fn connecting(&mut self) {
        self.update(|slot, state, _| {
            slot.set_session(SlotSession::Opening, &mut state.slots);
            slot.answered_before = state.answered;
        });
    }

    /// The connection waits in the pool again.
    pub(super) fn released(&mut self) {
        self.update(|slot, state, _| slot.set_session(SlotSession::None, &mut state.slots));
    }

    /// There is a usable session, on a connection that was opened for it (`new`) or had been idle.
    pub(super) fn connected(&mut self, new: bool) {
        self.update(|slot, state, now| {
            slot.set_session(SlotSession::Usable, &mut state.slots);
            if new {
                state.limit.works_with(state.slots.usable, slot.upstream.connection_limit, now);
            }
        });
    }

    /// A command of the transaction was answered: whatever became of it, new connections work.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }

    /// Whether the upstream has brought a transaction to its end since it was set up as it is.
    pub(super) fn upstream_has_worked(&self) -> bool {
        self.health.update(&self.upstream.name, |state, _| state.answered > 0)
    }

    /// MAIL was sent: the place counts for the rate limit.
    pub(super) fn began(&mut self) {
        self.used = true;
    }

    /// The upstream gave a valid answer to a transaction, whatever it said. Only the probe closes a circuit: sessions from
    /// before it opened may go on working while every new connection is refused, and would close it again and again.
    pub(super) fn succeeded(&mut self) -> Option<CircuitChange> {
        let closes = self.update(|slot, state, _| {
            state.lost_in_a_row = 0;
            state.answered += 1;
            let closes = std::mem::take(&mut slot.probing) && state.circuit != Circuit::Closed;
            if closes {
                state.circuit = Circuit::Closed;
            }
            closes
        });
        if closes {
            self.health.notify_changed();
        }
        closes.then_some(CircuitChange::Closed)
    }

    /// The upstream has taken a message: at least one recipient's. `latency_ms`: what it needed for that.
    pub(super) fn took_a_message(&mut self, latency_ms: u64) {
        let at = self.health.wall();
        self.update(|_, state, _| state.last_success = Some((at, latency_ms)));
    }

    /// The upstream was at fault. `idle`: connections to it that wait in the pool.
    pub fn failed(&mut self, error: &SessionError, idle: usize) -> Option<CircuitChange> {
        let at = self.health.wall();
        self.update(|slot, state, now| {
            state.note_error(error, at);
            let opens = match error.kind {
                SessionErrorKind::Stale | SessionErrorKind::Content => return None,
                // Lost with this message, on a connection that worked: that says little of other mail.
                SessionErrorKind::Lost | SessionErrorKind::OutOfTime if slot.probing && slot.answered => {
                    slot.set_session(SlotSession::None, &mut state.slots);
                    slot.probing = false;
                    state.circuit.probe_again_soon(now);
                    return None;
                }
                SessionErrorKind::Unauthorized | SessionErrorKind::Folder => true,
                SessionErrorKind::Lost | SessionErrorKind::OutOfTime => {
                    state.lost_in_a_row += 1;
                    slot.probing || state.lost_in_a_row >= LOST_IN_A_ROW
                }
                SessionErrorKind::AuthRefused => true,
                _ => slot.probing || !slot.lower_limit(state, error, idle, now),
            };
            slot.set_session(SlotSession::None, &mut state.slots);
            // Others that were under way when the circuit opened say nothing new: the first one's wait stands.
            if !opens || (matches!(state.circuit, Circuit::Open { .. }) && !slot.probing) {
                return None;
            }
            slot.probing = false;
            state.limit.forget_unproven();
            Some(CircuitChange::Opened(state.circuit.open(error.kind == SessionErrorKind::AuthRefused, now)))
        })
    }

    /// The server took the connection and refused the message because of other connections, in these words.
    pub(super) fn too_many_connections(&mut self, reply: &Reply, idle: usize) {
        let error = SessionError {
            code: Some(reply.reply_code()),
            ..SessionError::new(SessionErrorKind::TooManyConnections, reply.to_string())
        };
        let at = self.health.wall();
        self.update(|slot, state, now| {
            slot.lower_limit(state, &error, idle, now);
            state.note_error(&error, at);
        });
    }

    /// The connection of this slot was refused. False: no other one works or has worked meanwhile, so that there is nothing
    /// to lower the limit to.
    fn lower_limit(
        &self,
        state: &mut UpstreamState,
        error: &SessionError,
        idle: usize,
        now: Duration,
    ) -> bool {
        let Slots { opening, usable, .. } = state.slots;
        let mine = |session| usize::from(self.session == session);
        let working = usable.saturating_sub(mine(SlotSession::Usable)) + idle;
        // Those that are being opened count: of two connections begun together, the refusal of the second may be known
        // before the first has a session. Should all of them fail, the last one to fail has no others.
        let others = working + opening.saturating_sub(mine(SlotSession::Opening));
        // One that was there when this one was begun may have come to its regular end in the meantime.
        if others == 0 && state.answered == self.answered_before {
            return false;
        }
        let proven = working > 0;
        let trial_delay = match error.kind {
            SessionErrorKind::Greeting | SessionErrorKind::Hello | SessionErrorKind::TooManyConnections => {
                effective_limit::AFTER_REFUSAL
            }
            _ => effective_limit::AFTER_FAILURE,
        };
        let configured = self.upstream.connection_limit;
        state.limit.lower(others, proven, trial_delay, self.taken, (now, configured));
        let limit = state.limit.known(configured);
        tracing::info!(
            upstream = self.upstream.name,
            limit,
            configured,
            "fewer connections at a time for a while"
        );
        true
    }

    fn set_session(&mut self, session: SlotSession, slots: &mut Slots) {
        let mut count = |session, change: fn(usize, usize) -> usize| match session {
            SlotSession::None => {}
            SlotSession::Opening => slots.opening = change(slots.opening, 1),
            SlotSession::Usable => slots.usable = change(slots.usable, 1),
        };
        count(std::mem::replace(&mut self.session, session), usize::saturating_sub);
        count(session, usize::saturating_add);
    }

    fn update<T>(&mut self, change: impl FnOnce(&mut Slot, &mut UpstreamState, Duration) -> T) -> T {
        let (health, upstream) = (self.health.clone(), self.upstream.clone());
        health.update(&upstream.name, |state, now| change(self, state, now))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.update(|slot, state, _| {
            slot.set_session(SlotSession::None, &mut state.slots);
            state.slots.all = state.slots.all.saturating_sub(1);
            if slot.probing {
                // A probe that found nothing out leaves the question to the next one.
                state.circuit.end_probe_without_result(slot.taken);
            }
            if !slot.used && slot.upstream.rate_limit.is_some() {
                state.sent.take_back(slot.taken);
            }
        });
        self.health.notify_changed();
    }
}
