//! Delivery: from the queue to the upstreams.

pub mod outgoing;
pub mod transaction;
