//! Tells open pages that something has changed, so that they need not ask again and again.
//!
//! A page is not woken for each event: one task listens to the queue, the upstreams and the settings, and wakes all pages together,
//! at once when something changes, and then not again before [`INTERVAL`] is over. While no page is open it listens to nothing.

use crate::clock::Clock;
use crate::config::Settings;
use crate::deliver::health::UpstreamHealth;
use crate::queue::Queue;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};

/// The least time from one change that pages are told of to the next.
const INTERVAL: Duration = Duration::from_millis(500);

/// Where pages subscribe to changes.
#[derive(Default)]
pub(crate) struct LiveChanges {
    /// How often something has changed while a page was open.
    count: watch::Sender<u64>,
    subscribed: Notify,
}

/// What one open page waits with.
pub(crate) struct ChangeSubscription(watch::Receiver<u64>);

impl LiveChanges {
    /// Its first [`ChangeSubscription::changed`] is ready at once: what the page shows was read earlier.
    pub(crate) fn subscribe(&self) -> ChangeSubscription {
        let mut receiver = self.count.subscribe();
        receiver.mark_changed();
        self.subscribed.notify_one();
        ChangeSubscription(receiver)
    }

    /// Tells the subscribers until the proxy ends.
    pub(crate) async fn forward(
        self: Arc<LiveChanges>,
        queue: Arc<dyn Queue>,
        health: Arc<UpstreamHealth>,
        clock: Arc<dyn Clock>,
        mut settings: watch::Receiver<Arc<Settings>>,
    ) {
        loop {
            while self.count.is_closed() {
                self.subscribed.notified().await;
            }
            // First, so that nothing falls between two rounds.
            let (mut events, freed) = (queue.subscribe(), health.freed());
            settings.mark_unchanged();
            self.count.send_modify(|count| *count = count.wrapping_add(1));
            let not_before = clock.monotonic() + INTERVAL;
            tokio::select! {
                () = self.count.closed() => {}
                event = events.recv() => if matches!(event, Err(RecvError::Closed)) { return },
                () = freed => {}
                changed = settings.changed() => if changed.is_err() { return },
            }
            clock.sleep_until(not_before).await;
        }
    }
}

impl ChangeSubscription {
    /// Waits until something has changed since this returned last. After the end of the proxy it waits for good.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::config::{self, Sources};
    use crate::event::{EventType, Fact};
    use crate::queue::redb::{Options, RedbQueue};
    use jiff::Timestamp;
    use tokio::task::JoinHandle;

    struct Stage {
        live: Arc<LiveChanges>,
        clock: Arc<ManualClock>,
        queue: Arc<dyn Queue>,
        settings: watch::Sender<Arc<Settings>>,
        forwarding: JoinHandle<()>,
        _folder: tempfile::TempDir,
    }

    fn stage() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let file = folder.path().join("queue.redb");
        let queue: Arc<dyn Queue> = Arc::new(RedbQueue::open(&file, Options::new(clock.clone())).unwrap());
        let file = folder.path().join("postroom.toml");
        std::fs::write(&file, "").unwrap();
        let sources = Sources { file: Some(file), ..Sources::default() };
        let (settings, receiver) = watch::channel(Arc::new(config::load(&sources).unwrap().settings));
        let live = Arc::new(LiveChanges::default());
        let health = UpstreamHealth::new(clock.clone());
        let forwarding = tokio::spawn(live.clone().forward(queue.clone(), health, clock.clone(), receiver));
        Stage { live, clock, queue, settings, forwarding, _folder: folder }
    }

    impl Stage {
        /// Records an event and waits until it is told.
        async fn record(&self) {
            let mut events = self.queue.subscribe();
            self.queue.record(vec![Fact::new(
                self.clock.wall(),
                EventType::Information,
                "Test",
                "T",
                "t".to_owned(),
            )]);
            events.recv().await.unwrap();
        }
    }

    #[tokio::test]
    async fn many_events_are_one_change_and_none_is_lost() {
        let stage = stage();
        let mut page = stage.live.subscribe();
        // At once, and as soon as the task listens.
        page.changed().await;
        stage.live.count.subscribe().wait_for(|count| *count == 1).await.unwrap();
        page.0.mark_unchanged();
        for _ in 0..50 {
            stage.record().await;
        }
        assert!(!page.0.has_changed().unwrap(), "not before the time is over");
        stage.clock.advance(INTERVAL);
        page.changed().await;
        stage.settings.send_modify(|_| ());
        stage.clock.advance(INTERVAL);
        page.changed().await;
        // The task ends with the settings: what it has told until then is all.
        drop(stage.settings);
        stage.clock.advance(INTERVAL * 100);
        stage.forwarding.await.unwrap();
        assert_eq!(*page.0.borrow(), 3);
    }

    #[tokio::test]
    async fn nothing_is_told_while_no_page_is_open() {
        let stage = stage();
        stage.record().await;
        assert_eq!(*stage.live.count.borrow(), 0);
        let mut page = stage.live.subscribe();
        page.changed().await;
        stage.live.count.subscribe().wait_for(|count| *count == 1).await.unwrap();
        drop(page);
        for _ in 0..5 {
            stage.record().await;
            stage.clock.advance(INTERVAL);
        }
        let page = stage.live.subscribe();
        assert_eq!(*page.0.borrow(), 1);
        assert!(page.0.has_changed().unwrap(), "the next page is told at once all the same");
    }
}
