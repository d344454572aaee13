//! What the routes work with.

use super::live_changes::LiveChanges;
use super::logins::Logins;
use super::rendered_events::RenderedEvents;
use crate::clock::Clock;
use crate::config::{Change, ChangeError, ChangedKey, ConfigErrors, InForce, Settings};
use crate::deliver::health::UpstreamHealth;
use crate::deliver::peer_cache::PeerCache;
use crate::deliver::transactions_under_way::TransactionsUnderWay;
use crate::metrics::{Bucket, Metrics, TrafficHistory, Window};
use crate::pickup::status::PickupStatus;
use crate::queue::{Archive, Filter, FilterError, Queue};
use crate::reception::disk_space::DiskSpace;
use crate::webhook::WebhookStatus;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// What the server is asked for: one after the other.
pub(crate) enum ConfigRequest {
    /// To load the configuration again; answered with what changed, in words, or every error.
    Reload {
        /// Who wants it: for people.
        by: String,
        answer: oneshot::Sender<Result<Vec<String>, ConfigErrors>>,
    },
    /// To change the configuration.
    Change {
        change: Change,
        /// Who wants it: for people.
        by: String,
        /// In force when this is answered.
        answer: oneshot::Sender<Result<ChangeResult, ChangeError>>,
    },
}

/// What a change has done.
#[derive(Debug, Default)]
pub(crate) struct ChangeResult {
    /// Empty: it was so already.
    pub(crate) changes: Vec<ChangedKey>,
    /// Transactions that go on as they were begun, in words (rule 6).
    pub(crate) under_way: Vec<String>,
    /// What may be a mistake, because of the change.
    pub(crate) warnings: Vec<String>,
}

/// What the routes work with.
#[derive(Clone)]
pub(crate) struct AdminState {
    pub(crate) queue: Arc<dyn Queue>,
    /// Contents of sent mail.
    pub(crate) archive: Arc<Archive>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) health: Arc<UpstreamHealth>,
    /// What is being sent at this moment.
    pub(crate) transactions: TransactionsUnderWay,
    pub(crate) settings: watch::Receiver<Arc<Settings>>,
    /// What was learned of servers, their tokens included; replaced when the settings are.
    pub(crate) peer_cache: watch::Receiver<Arc<PeerCache>>,
    /// The listeners are up and nobody has asked for a stop.
    pub(crate) listening: Arc<AtomicBool>,
    /// What is in force, as it is shown, and where it was given.
    pub(crate) in_force: watch::Receiver<Arc<InForce>>,
    pub(crate) requests: mpsc::Sender<ConfigRequest>,
    pub(crate) metrics: Arc<Metrics>,
    /// What was counted, over the last week.
    pub(crate) history: Arc<TrafficHistory>,
    /// In KiB, shared with the ways in and with delivery.
    pub(crate) content_memory: Arc<Semaphore>,
    /// Whether there is space for another message.
    pub(crate) disk_space: Arc<DiskSpace>,
    /// What is wrong with the folders that mail is taken from.
    pub(crate) pickups: Arc<PickupStatus>,
    /// Who is logged in over TCP.
    pub(crate) logins: Arc<Logins>,
    /// How webhooks fare.
    pub(crate) webhooks: Arc<WebhookStatus>,
    /// Tells open pages that something has changed.
    pub(crate) live: Arc<LiveChanges>,
    /// Events as streams send them.
    pub(crate) rendered_events: Arc<RenderedEvents>,
}

impl AdminState {
    /// What came and went over that time, until now, oldest first.
    pub(super) fn series(&self, window: Window) -> Vec<Bucket> {
        self.history.series(window, self.clock.wall(), self.metrics.totals())
    }

    /// What an expression of the filter language means now.
    pub(super) fn filter(&self, expression: &str) -> Result<Filter, FilterError> {
        self.filter_at(expression, self.clock.wall())
    }

    /// What it meant at that time.
    pub(super) fn filter_at(&self, expression: &str, time: Timestamp) -> Result<Filter, FilterError> {
        Filter::parse(expression, &time.to_zoned(TimeZone::system()))
    }
}
