//! What the engine keeps of an attempt that is under way: that it counts, whose claim it has, and how many sessions its
//! message has lost so far.

use crate::mail::QueueId;
use crate::queue::{Claim, Queue};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Beyond so many messages what was lost before is forgotten: some of them were deleted and would stay here for ever.
const LOSSES_KEPT: usize = 10_000;

/// One attempt that is under way. However it ends, it is counted off and the engine is told; unless its verdicts are
/// settled, its claim is given back.
pub(super) struct AttemptGuard {
    count: Arc<AtomicUsize>,
    ended: Arc<Notify>,
    queue: Arc<dyn Queue>,
    claim: Option<Claim>,
}

impl AttemptGuard {
    /// Counts it. `ended` is told when it is over.
    pub(super) fn new(
        count: &Arc<AtomicUsize>,
        ended: Arc<Notify>,
        queue: Arc<dyn Queue>,
        claim: Claim,
    ) -> AttemptGuard {
        count.fetch_add(1, Ordering::Relaxed);
        AttemptGuard { count: count.clone(), ended, queue, claim: Some(claim) }
    }

    /// There is nothing to give back any more.
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
