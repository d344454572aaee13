//! Webhooks: servers that are told of events by HTTP (`[webhook.*]`, docs/webhooks.md).
//!
//! Promises: nobody waits for a webhook, neither reception nor delivery nor another webhook, and a stop only for
//! `STOP_GRACE` of `sender.rs`; what waits for one is bounded, and what is lost is counted and told; it gets its events in their order;
//! what it is told of a webhook's own troubles is an event of no topic, which is sent to none.
//!
//! Limits: what waits is in memory, so a crash loses it; the event log has it all the same.

mod answer;
mod backlog;
mod client;
mod figures;
mod sender;
mod tries;
mod trouble;
mod webhooks;

pub use figures::{WebhookCounts, WebhookStatus};
pub use webhooks::Webhooks;
