//! A guard for each running attempt, which ends its count and gives its claim back.

use crate::queue::{Claim, DeliveryQueue};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Held by a running attempt. When it is dropped the attempt is no longer counted and the engine is woken; the claim is
/// given back unless [`AttemptGuard::settled`] was called.
pub(super) struct AttemptGuard {
    count: Arc<AtomicUsize>,
    ended: Arc<Notify>,
    queue: Arc<dyn DeliveryQueue>,
    claim: Option<Claim>,
}

impl AttemptGuard {
    /// Counts the attempt. `ended` is notified when it is over.
    pub(super) fn new(
        count: &Arc<AtomicUsize>,
        ended: Arc<Notify>,
        queue: Arc<dyn DeliveryQueue>,
        claim: Claim,
    ) -> AttemptGuard {
        count.fetch_add(1, Ordering::Relaxed);
        AttemptGuard { count: count.clone(), ended, queue, claim: Some(claim) }
    }

    /// The verdicts are settled: the claim is not given back.
    pub(super) fn settled(mut self) {
        self.claim = None;
    }
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.queue.put_back(claim);
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.ended.notify_one();
    }
}
