//! Delivery: from the queue to the upstreams.

pub mod transaction;
