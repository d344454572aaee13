//! What the work on all folders shares.

use super::status::PickupStatus;
use crate::clock::Clock;
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::queue::TakenFiles;
use crate::reception::disk_space::DiskSpace;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// What all folders share.
pub(crate) struct PickupServices {
    /// In force.
    pub(crate) settings: watch::Receiver<Arc<Settings>>,
    /// Where messages go.
    pub(crate) files: Arc<dyn TakenFiles>,
    pub(crate) clock: Arc<dyn Clock>,
    /// In KiB, shared with the other ways in and with delivery.
    pub(crate) content_memory: Arc<Semaphore>,
    pub(crate) disk_space: Arc<DiskSpace>,
    pub(crate) status: Arc<PickupStatus>,
    /// Where messages are counted.
    pub(crate) metrics: Arc<Metrics>,
}
