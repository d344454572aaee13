//! The whole proxy in one process: opens the queue, binds the listeners, starts delivery and the control socket; loads the
//! configuration again while it runs; at its end stops all of it.
//!
//! # Promises
//! - A start that fails leaves nothing behind and says what to change ([`StartError`]).
//! - A reload takes effect whole or not at all (rule 10).
//! - A change by a verb or a page is on disk in `admin.toml` and in force when it is answered, or neither.
//! - A stop goes from the outside inwards (rule 11): listeners first, so that no mail comes in that cannot be finished; then
//!   attempts; the queue last, so that every outcome is stored.

mod admin_listener;
mod certificate_watch;
mod content_memory;
mod lifecycle;
mod listeners;
mod open;
mod pickups;
mod reload;
mod service_events;
mod service_manager;
mod sockets;
mod statistics;
mod without_proxy;

pub(crate) use lifecycle::Server;
pub(crate) use open::StartError;
pub(crate) use without_proxy::change_without_proxy;
