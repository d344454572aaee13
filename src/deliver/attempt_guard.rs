//! A guard for each running attempt, which ends its count and gives its claim back, and the number of sessions that
//! each message has lost.

use crate::mail::QueueId;
use crate::queue::{Claim, DeliveryQueue};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// With more messages than this all counts are dropped: those of deleted messages would never be removed otherwise.
const LOSSES_KEPT: usize = 10_000;

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

/// Sessions lost under way, by message; in memory only.
#[derive(Clone, Default)]
pub(super) struct Losses(Arc<Mutex<HashMap<QueueId, u32>>>);

impl Losses {
    /// How many this message has lost.
    pub(super) fn of(&self, id: QueueId) -> u32 {
        self.lock().get(&id).copied().unwrap_or(0)
    }

    /// So many more.
    pub(super) fn count(&self, id: QueueId, more: u32) {
        if more == 0 {
            return;
        }
        let mut losses = self.lock();
        if losses.len() >= LOSSES_KEPT {
            losses.clear();
        }
        *losses.entry(id).or_default() += more;
    }

    /// The message has its verdicts.
    pub(super) fn forget(&self, id: QueueId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<QueueId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
