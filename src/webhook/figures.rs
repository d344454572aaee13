//! What became of the events that webhooks wanted to be told of, as counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counters of one webhook since the start of the process. A reload that changes it resets nothing.
#[derive(Debug, Default)]
pub(super) struct WebhookFigures {
    pub(super) taken: AtomicU64,
    pub(super) given_up: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) waiting: AtomicU64,
    trouble: Mutex<Option<String>>,
}

/// The same at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookCounts {
    /// Events that it has taken.
    pub taken: u64,
    /// Events that it refused for good, or that were tried in vain as often as may be.
    pub given_up: u64,
    /// Events that never got their turn: too many waited, or the proxy stopped.
    pub dropped: u64,
    /// Requests that failed, repeated ones too.
    pub failures: u64,
    /// Events that wait now.
    pub waiting: u64,
    /// What is wrong with it now.
    pub trouble: Option<String>,
}

impl WebhookFigures {
    pub(super) fn counts(&self) -> WebhookCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WebhookCounts {
            taken: count(&self.taken),
            given_up: count(&self.given_up),
            dropped: count(&self.dropped),
            failures: count(&self.failures),
            waiting: count(&self.waiting),
            trouble: self.trouble().clone(),
        }
    }

    pub(super) fn set_trouble(&self, trouble: Option<&str>) {
        *self.trouble() = trouble.map(str::to_owned);
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds one.
pub(super) fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

/// The counters of all webhooks that are configured, for those who ask.
#[derive(Debug, Default)]
pub struct WebhookStatus {
    all: Mutex<BTreeMap<String, Arc<WebhookFigures>>>,
    missed: AtomicU64,
}

impl WebhookStatus {
    /// By name.
    pub fn counts(&self) -> BTreeMap<String, WebhookCounts> {
        self.lock().iter().map(|(name, figures)| (name.clone(), figures.counts())).collect()
    }

    /// By name, what is wrong with those that fail now.
    pub fn troubles(&self) -> BTreeMap<String, String> {
        let trouble = |(name, counts): (String, WebhookCounts)| Some((name, counts.trouble?));
        self.counts().into_iter().filter_map(trouble).collect()
    }

    /// Events that came faster than anybody could look whether a webhook wants them.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    pub(super) fn note_missed(&self, number: u64) {
        add(&self.missed, number);
    }

    /// Those of that name, new ones where there are none.
    pub(super) fn figures(&self, name: &str) -> Arc<WebhookFigures> {
        self.lock().entry(name.to_owned()).or_default().clone()
    }

    pub(super) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<WebhookFigures>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
