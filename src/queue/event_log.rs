//! The event log: facts, numbered in the order of their commits.

use super::error::Pending;
use crate::event::{Event, EventFilter, Fact};
use std::sync::Arc;
use tokio::sync::broadcast;

/// Records events and shows them. A fact about a message is not recorded here but in the commit that changes the message:
/// see [`super::MailStore::put`] and [`super::DeliveryQueue::settle`].
pub trait EventLog: Send + Sync + 'static {
    /// Records facts that belong to no other commit. Never fails for the caller: what cannot be written goes to the log on
    /// standard error.
    fn record(&self, facts: Vec<Fact>);

    /// At most `limit` events with an id of at least `from`, oldest first; without `from` the newest ones.
    fn events(&self, from: Option<u64>, limit: usize) -> Pending<'_, Vec<Event>> {
        self.events_where(EventFilter::default(), from, limit)
    }

    /// As [`EventLog::events`], of those that the filter means.
    fn events_where(&self, filter: EventFilter, from: Option<u64>, limit: usize) -> Pending<'_, Vec<Event>>;

    /// At most `limit` of the newest events that the filter means with a smaller id than `before`, oldest first; without `before` the
    /// newest of all.
    fn events_before(
        &self,
        filter: EventFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Pending<'_, Vec<Event>>;

    /// Receives every event that is committed from now on.
    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>>;

    /// Sets how many events of each type are kept. The oldest ones beyond that are removed.
    fn keep_events(&self, keep: u64);
}
