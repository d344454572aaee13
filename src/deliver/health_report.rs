//! What a session with an upstream has shown of its health: told to the slot, and recorded where a circuit changes by it.

use super::circuit::CircuitChange;
use super::context::AttemptContext;
use super::session_error::SessionError;
use super::slot::Slot;
use crate::config::settings::Upstream;
use crate::mail::QueueId;

/// A session failed, or could not be had.
pub(super) fn failed(context: &AttemptContext, id: QueueId, slot: &mut Slot, error: &SessionError) {
    let upstream = slot.upstream().clone();
    tracing::info!(queue_id = %id, upstream = upstream.name, "{error}");
    context.services.metrics.upstream_failed(&upstream.name, error.kind.word());
    if let Some(change) = slot.failed(error, context.services.pool.idle(&upstream.name)) {
        record(context, &upstream, change, Some(error));
    }
}

/// The upstream has answered a transaction, whatever it said.
pub(super) fn succeeded(context: &AttemptContext, slot: &mut Slot) {
    let upstream = slot.upstream().clone();
    let now = context.services.clock.wall().as_second();
    context.services.metrics.upstream_answered(&upstream.name, now);
    if let Some(change) = slot.succeeded() {
        record(context, &upstream, change, None);
    }
}

fn record(
    context: &AttemptContext,
    upstream: &Upstream,
    change: CircuitChange,
    error: Option<&SessionError>,
) {
    let fact = change.fact(context.services.clock.wall(), upstream, error);
    tracing::warn!(upstream = upstream.name, "{}", fact.message);
    context.services.queue.record(vec![fact]);
}
