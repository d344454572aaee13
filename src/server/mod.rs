//! The whole proxy in one process: opens the queue, binds the listeners, starts delivery and the control socket; loads the
//! configuration again while it runs; at its end stops all of it.
//!
//! # Promises
//! - A start that fails leaves nothing behind and says what to change ([`StartError`]).
//! - A reload takes effect whole or not at all (rule 10).
//! - A stop goes from the outside inwards (rule 11): listeners first, so that no mail comes in that cannot be finished; then
//!   attempts; the queue last, so that every outcome is stored.

mod certificate_watch;
mod content_memory;
mod lifecycle;
mod listeners;
mod open;
mod reload;
mod service_events;
mod service_manager;

pub(crate) use lifecycle::Server;
