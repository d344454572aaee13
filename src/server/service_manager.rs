//! What systemd is told (`Type=notify`): that the proxy is ready, loads its configuration, stops, and that it still works,
//! with a line on the queue that `systemctl status` shows.
//!
//! The sign of life is given by the task that reloads and stops the proxy. Without systemd nothing of this happens.

use crate::queue::Queue;
use crate::unix::{self, ServiceState};
use std::sync::Arc;
use std::time::Duration;

/// How often the line on the queue is written anew.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Tells systemd, where it wants to know.
pub(super) struct ServiceManager {
    queue: Arc<dyn Queue>,
    /// None: nobody wants to know.
    interval: Option<Duration>,
}

impl ServiceManager {
    pub(super) fn new(queue: Arc<dyn Queue>) -> ServiceManager {
        // Half of what is allowed, as sd_watchdog_enabled(3) recommends.
        let interval =
            unix::watchdog_interval().map_or(STATUS_INTERVAL, |limit| STATUS_INTERVAL.min(limit / 2));
        let interval = unix::is_watched_by_systemd().then_some(interval.max(Duration::from_millis(10)));
        ServiceManager { queue, interval }
    }

    /// Mail is taken and sent.
    pub(super) fn ready(&self) {
        self.tell(ServiceState::Ready, &self.status());
    }

    pub(super) fn reloading(&self) {
        self.tell(ServiceState::Reloading, "loading the configuration again");
    }

    pub(super) fn stopping(&self) {
        self.tell(ServiceState::Stopping, "stopping: what is under way may end");
    }

    pub(super) fn alive(&self) {
        self.tell(ServiceState::Alive, &self.status());
    }

    /// Waits until it is time for [`ServiceManager::alive`]; for ever where nobody wants to know.
    pub(super) async fn due(&self) {
        match self.interval {
            Some(interval) => tokio::time::sleep(interval).await,
            None => std::future::pending().await,
        }
    }

    fn status(&self) -> String {
        let status = self.queue.status();
        format!(
            "{} queued, {} deferred, {} held, {} failed; {} being sent",
            status.queued, status.deferred, status.held, status.failed, status.claimed
        )
    }

    fn tell(&self, state: ServiceState, status: &str) {
        if self.interval.is_some()
            && let Err(error) = unix::tell_systemd(state, status)
        {
            tracing::warn!(%error, "systemd cannot be told how the proxy fares");
        }
    }
}
