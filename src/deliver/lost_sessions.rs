//! How many sessions each message has lost before anything was decided: a message that makes upstreams fail is deferred in
//! the end.

use crate::mail::QueueId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// With more messages than this all counts are dropped: those of deleted messages would never be removed otherwise.
const LOSSES_KEPT: usize = 10_000;

/// Sessions lost under way, by message; in memory only.
#[derive(Clone, Default)]
pub(super) struct LostSessions(Arc<Mutex<HashMap<QueueId, u32>>>);

impl LostSessions {
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
