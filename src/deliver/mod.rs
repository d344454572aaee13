//! Delivery: from the queue to the upstreams.
//!
//! [`engine`] claims due mail and starts an [`attempt`] for each as soon as [`route`] finds an upstream that [`health`]
//! says is available; the attempt talks through a connection and [`ruling`] turns each answer into one
//! verdict per recipient, which the queue settles in one commit. [`retry`] says when the rest is tried again.

pub mod health;
pub mod retry;
pub mod route;
pub mod ruling;
pub mod transaction;
