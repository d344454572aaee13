//! Delivery: from the queue to the upstreams.

pub mod connection;
mod data;
pub mod hello;
pub mod known;
pub mod outgoing;
pub mod pool;
mod sasl;
mod stream;
mod tls;
pub mod transaction;
