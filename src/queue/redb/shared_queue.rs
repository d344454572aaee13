//! What the queue's handle, the readers and the writer share.

use super::lane_scheduler::LaneScheduler;
use super::memory_state::MemoryState;
use super::shared_database::SharedDatabase;
use super::space::FreeSpace;
use super::stored::Metadata;
use super::timelines::Timelines;
use crate::event::Event;
use crate::metrics::Metrics;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast};

/// How many events a subscriber may be behind before it misses some.
const EVENTS_BUFFERED: usize = 4_096;

/// See the module.
pub(super) struct SharedQueue {
    pub(super) database: SharedDatabase,
    pub(super) timelines: Timelines,
    pub(super) space: FreeSpace,
    state: Mutex<MemoryState>,
    /// Locked by a search of the due index to its end, so that one search runs at a time.
    pub(super) scheduler: Mutex<LaneScheduler>,
    pub(super) due_changed: Arc<Notify>,
    pub(super) event_sender: broadcast::Sender<Arc<Event>>,
    pub(super) keep_events: AtomicU64,
    pub(super) instance: String,
    pub(super) metrics: Arc<Metrics>,
}

impl SharedQueue {
    pub(super) fn new(
        database: SharedDatabase,
        timelines: Timelines,
        space: FreeSpace,
        metadata: &Metadata,
        keep: u64,
        instance: String,
        metrics: Arc<Metrics>,
    ) -> SharedQueue {
        let state = MemoryState::new(metadata);
        SharedQueue {
            database,
            timelines,
            space,
            state: Mutex::new(state),
            scheduler: Mutex::default(),
            due_changed: Arc::default(),
            event_sender: broadcast::Sender::new(EVENTS_BUFFERED),
            keep_events: AtomicU64::new(keep),
            instance,
            metrics,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn monotonic(&self) -> Duration {
        self.timelines.clock().monotonic()
    }
}
