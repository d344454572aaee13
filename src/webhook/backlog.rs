//! The events that wait for one webhook, in their order.

use super::figures::{WebhookFigures, add};
use crate::event::Event;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Events that wait at most. Later ones are dropped, so that what began a trouble is told.
const MOST_WAITING: usize = 1_000;

/// See the module. The first one stays in it while it is sent.
pub(super) struct Backlog {
    waiting: Mutex<VecDeque<Arc<Event>>>,
    came: Notify,
    figures: Arc<WebhookFigures>,
}

impl Backlog {
    pub(super) fn new(figures: Arc<WebhookFigures>) -> Backlog {
        Backlog { waiting: Mutex::default(), came: Notify::new(), figures }
    }

    pub(super) fn put(&self, event: Arc<Event>) {
        let mut waiting = self.lock();
        if waiting.len() >= MOST_WAITING {
            return add(&self.figures.dropped, 1);
        }
        waiting.push_back(event);
        self.note(&waiting);
        drop(waiting);
        self.came.notify_one();
    }

    /// The one whose turn it is, as soon as there is one.
    pub(super) async fn first(&self) -> Arc<Event> {
        loop {
            if let Some(event) = self.try_first() {
                return event;
            }
            self.came.notified().await;
        }
    }

    pub(super) fn try_first(&self) -> Option<Arc<Event>> {
        self.lock().front().cloned()
    }

    /// Its turn is over. Nothing happens where that is so already: a webhook that was changed may have been told twice.
    pub(super) fn remove(&self, event: &Event) {
        let mut waiting = self.lock();
        waiting.pop_front_if(|first| first.id == event.id);
        self.note(&waiting);
    }

    /// Drops all that waits, and says how many that were.
    pub(super) fn drop_all(&self) -> usize {
        let mut waiting = self.lock();
        let dropped = waiting.len();
        waiting.clear();
        self.note(&waiting);
        add(&self.figures.dropped, dropped as u64);
        dropped
    }

    fn note(&self, waiting: &VecDeque<Arc<Event>>) {
        self.figures.waiting.store(waiting.len() as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventType, Fact};
    use jiff::Timestamp;

    fn event(id: u64) -> Arc<Event> {
        Arc::new(Event { id, fact: Fact::new(Timestamp::UNIX_EPOCH, EventType::Error, "Test", "TEST", "") })
    }

    #[test]
    fn the_first_thousand_stay_and_the_others_are_counted() {
        let figures = Arc::new(WebhookFigures::default());
        let backlog = Backlog::new(figures.clone());
        (0..1_200).for_each(|id| backlog.put(event(id)));
        let counts = figures.counts();
        assert_eq!((counts.waiting, counts.dropped), (1_000, 200));
        backlog.remove(&event(1));
        assert_eq!(backlog.try_first().unwrap().id, 0, "it is not the first one's turn");
        backlog.remove(&event(0));
        backlog.put(event(1_200));
        backlog.put(event(1_201));
        assert_eq!((figures.counts().waiting, figures.counts().dropped), (1_000, 201));
        assert_eq!(backlog.drop_all(), 1_000);
        assert_eq!((figures.counts().waiting, figures.counts().dropped), (0, 1_201));
        assert!(backlog.try_first().is_none());
    }
}
