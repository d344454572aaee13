//! Delivery: from the queue to the upstreams.
//!
//! [`engine`] claims due mail and starts an [`attempt`] for each as soon as [`route`] finds an upstream that [`health`]
//! says is available; the attempt talks through a [`connection`], fresh or from the [`pool`], sends what [`outgoing`]
//! makes of the stored content, and [`disposition`] turns each answer into one verdict per recipient, which the queue
//! settles in one commit. [`retry`] says when the rest is tried again.

pub mod attempt;
mod attempt_guard;
pub mod capabilities;
mod circuit;
pub mod connection;
pub mod context;
pub mod disposition;
mod effective_limit;
pub mod engine;
pub mod envelope;
mod happy_eyeballs;
pub mod health;
#[cfg(test)]
mod health_tests;
pub mod outgoing;
mod own_certificate;
pub mod peer_cache;
pub mod pool;
mod rate_limit;
pub mod retry;
pub mod route;
mod sasl;
pub mod session_error;
mod settlement;
pub mod slot;
mod tls;
mod tls_error;
mod too_many_connections;
pub mod transact;
mod transaction;
pub mod transaction_result;
mod wire;
