//! What delivery works with: the services, shared by the engine and its attempts, and the configuration that an
//! attempt has.

use super::dice::Dice;
use super::health::UpstreamHealth;
use super::peer_cache::PeerCache;
use super::pool::Pool;
use super::transactions_under_way::TransactionsUnderWay;
use crate::clock::Clock;
use crate::config::Settings;
use crate::event::logemails::LogEmails;
use crate::metrics::Metrics;
use crate::queue::{Archive, DeliveryQueue};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// What the engine and its attempts share. Whoever starts the engine makes it.
pub struct Services {
    /// Where messages come from and their verdicts go.
    pub queue: Arc<dyn DeliveryQueue>,
    /// Where the contents of what is sent are kept.
    pub archive: Arc<Archive>,
    /// The wall clock and the monotonic one.
    pub clock: Arc<dyn Clock>,
    /// The state of each upstream: free connections, circuit, rate.
    pub health: Arc<UpstreamHealth>,
    /// Connections that wait for the next message.
    pub pool: Arc<Pool>,
    /// In KiB, shared with reception.
    pub content_memory: Arc<Semaphore>,
    /// Where it is counted what becomes of mail.
    pub metrics: Arc<Metrics>,
    /// Transactions that have not ended.
    pub transactions: TransactionsUnderWay,
    /// Chooses whose sending is said to have failed under debug.
    pub dice: Dice,
    /// In force; an attempt takes the present ones when it starts.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// What was learned of servers; replaced when the settings are.
    pub peer_cache: watch::Receiver<Arc<PeerCache>>,
    /// `logemails.log`, where the settings switch it on.
    pub log_emails: watch::Receiver<Option<Arc<LogEmails>>>,
}

impl Services {
    /// What an attempt under these settings works with.
    pub(super) fn context(self: &Arc<Services>, settings: Arc<Settings>) -> AttemptContext {
        AttemptContext {
            services: Arc::clone(self),
            settings,
            peer_cache: self.peer_cache.borrow().clone(),
            log_emails: self.log_emails.borrow().clone(),
        }
    }
}

/// What one attempt works with: a reload while it runs does not change it.
#[derive(Clone)]
pub struct AttemptContext {
    pub(super) services: Arc<Services>,
    /// In force when the attempt started.
    pub(super) settings: Arc<Settings>,
    /// Made for these settings.
    pub(super) peer_cache: Arc<PeerCache>,
    /// `logemails.log`, where it was switched on.
    pub(super) log_emails: Option<Arc<LogEmails>>,
}

impl AttemptContext {
    /// Whether mail of that site is handled otherwise by now.
    pub(super) fn has_handling_changed(&self, site: &str) -> bool {
        let now = self.services.settings.borrow().clone();
        !Arc::ptr_eq(&now, &self.settings) && now.handling_of(site) != self.settings.handling_of(site)
    }
}
