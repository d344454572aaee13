//! The folders that mail is taken from: a task for each, changed by a reload, stopped with the listeners.

use crate::config::settings::Pickup;
use crate::pickup::{self, PickupServices};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long a file that is being read may keep a reload that changes its pickup.
const CHANGE_GRACE: Duration = Duration::from_secs(10);

/// All folders of the server.
pub(super) struct Pickups {
    services: Arc<PickupServices>,
    open: Vec<OpenPickup>,
}

struct OpenPickup {
    pickup: Pickup,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Pickups {
    /// None open yet.
    pub(super) fn new(services: PickupServices) -> Pickups {
        Pickups { services: Arc::new(services), open: Vec::new() }
    }

    /// Begins to take mail from those that are wanted and not open yet, and stops with the others.
    pub(super) async fn change(&mut self, wanted: &[Pickup]) {
        let (stays, goes) =
            std::mem::take(&mut self.open).into_iter().partition(|open| wanted.contains(&open.pickup));
        self.open = stays;
        let end = Instant::now() + CHANGE_GRACE;
        close(goes, end, Duration::ZERO).await;
        for pickup in wanted {
            if !self.open.iter().any(|open| open.pickup == *pickup) {
                let stop = CancellationToken::new();
                let task = tokio::spawn(pickup::run(self.services.clone(), pickup.clone(), stop.clone()));
                self.open.push(OpenPickup { pickup: pickup.clone(), stop, task });
            }
        }
    }

    /// Takes no further file. Those that are being read may come to their end until `end`; what is cut short then is not queued,
    /// and stays where it is.
    pub(super) async fn close(&mut self, end: Instant, abort_grace: Duration) {
        close(std::mem::take(&mut self.open), end, abort_grace).await;
    }
}

async fn close(all: Vec<OpenPickup>, end: Instant, abort_grace: Duration) {
    all.iter().for_each(|open| open.stop.cancel());
    for mut open in all {
        if timeout_at(end, &mut open.task).await.is_err() {
            open.task.abort();
            let _ = timeout(abort_grace, &mut open.task).await;
        }
    }
}
