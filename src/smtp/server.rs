//! What all listeners and sessions share, and how they are stopped.

use super::authenticator::Authenticator;
use super::refusals::Refusals;
use super::session_permit::SessionPermits;
use crate::clock::Clock;
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::pass_through::PassThrough;
use crate::queue::MailStore;
use crate::reception::disk_space::DiskSpace;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What all listeners and sessions share.
pub struct SmtpServer {
    /// The settings in force. A session keeps those that it found at its start.
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    /// Where accepted mail goes.
    pub(super) queue: Arc<dyn MailStore>,
    /// For the time of reception.
    pub(super) clock: Arc<dyn Clock>,
    /// `content_memory` in permits of one KiB, shared with delivery.
    pub(super) content_memory: Arc<Semaphore>,
    pub(super) permits: Arc<SessionPermits>,
    pub(super) authenticator: Authenticator,
    /// Where mail is passed on that is not to be queued.
    pub(super) relay: Option<Arc<dyn PassThrough>>,
    /// Where it is counted what clients do.
    pub(super) metrics: Arc<Metrics>,
    /// Whether there is space for mail.
    pub disk_space: Arc<DiskSpace>,
    /// Which clients were refused.
    pub refusals: Refusals,
}

impl SmtpServer {
    /// Without sessions. `content_memory` has one permit for each KiB.
    pub fn new(
        settings: watch::Receiver<Arc<Settings>>,
        queue: Arc<dyn MailStore>,
        clock: Arc<dyn Clock>,
        content_memory: Arc<Semaphore>,
    ) -> SmtpServer {
        SmtpServer {
            permits: Arc::default(),
            authenticator: Authenticator::new(clock.clone()),
            relay: None,
            metrics: Arc::default(),
            disk_space: Arc::new(DiskSpace::new(queue.clone(), clock.clone())),
            refusals: Refusals::new(queue.clone(), clock.clone()),
            settings,
            queue,
            clock,
            content_memory,
        }
    }

    /// Mail that is not to be queued is passed on there.
    pub fn passing_through(self, relay: Arc<dyn PassThrough>) -> SmtpServer {
        SmtpServer { relay: Some(relay), ..self }
    }

    /// What clients do is counted there.
    pub fn counted_by(self, metrics: Arc<Metrics>) -> SmtpServer {
        SmtpServer { metrics, ..self }
    }
}

/// How listeners and sessions are stopped: in two steps, so that transactions may finish.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled first: no new sessions and transactions; sessions without a transaction end with 421.
    pub started: CancellationToken,
    /// Cancelled later: transactions that have not finished end with 421, and nothing of theirs is queued.
    pub grace_over: CancellationToken,
    /// Every session is one of its tasks: close it and wait for it.
    pub sessions: TaskTracker,
}
