//! Postroom: a local SMTP proxy (smarthost) that has mail on disk before it answers 250.
//!
//! An application hands its mail to Postroom on localhost; Postroom stores it, relays it through the best available of
//! several upstream servers, keeps trying while they are down, and says what became of every recipient.
//!
//! # Layers
//! A module uses only what stands behind it in this list; `tests/layers.rs` fails otherwise.
//!
//! - [`cli`] is the command line, one file a verb.
//! - `server` starts the parts, reloads the configuration, stops the parts in order.
//! - `admin` has the HTTP routes on the control socket.
//! - [`smtp`] takes mail in, [`deliver`] sends it out, [`webhook`] tells others of events. None knows the other.
//! - [`reception`] is what all ways in share: a content on its way into the queue.
//! - [`pass_through`] is the contract between these two where there is no queue between them (rule 15).
//! - [`policy`] decides what happens to a message, and what is changed of it on its way out.
//! - [`queue`] is the contract of the message store, and redb behind it.
//! - [`event`] says what happened, as users see it.
//! - [`log`] is the log on standard error, for diagnosis.
//! - [`config`] reads, checks and explains settings.
//! - [`mail`] has values without I/O.
//! - [`metrics`] is what is counted, [`clock`] time as a parameter, `unix` what only Unix has, `https` a small client.
//!
//! # Life of a message
//! [`smtp::listen`] accepts a client, [`smtp::session`] reads its commands, [`smtp::dialogue`] decides what they mean,
//! [`reception::content`] reads what follows DATA and `reception/staged_content.rs` carries it into the queue:
//! [`queue::MailStore::put`] commits it to disk, and only then the client gets `250 2.0.0 queued as <id>`.
//!
//! That commit wakes [`deliver::engine`], which claims the message and asks `deliver::route` for the best upstream that
//! [`deliver::health`] says is available. `deliver::attempt` goes from upstream to upstream, talking through a
//! [`deliver::connection`], until `deliver::disposition` has turned the answers into one verdict for each recipient or
//! nobody is left to ask. [`queue::DeliveryQueue::settle`] writes the verdicts and their events in one commit; what is still open
//! is due again by `deliver::retry`'s schedule, and a message with nothing left open is removed.
//!
//! # Promises
//! Nothing that was answered 250 is lost; nothing is sent twice but where a crash or a silent upstream leaves no other
//! way to be sure; every recipient has exactly one outcome. `SECURITY.md` says how each is tested.

mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod event;
mod https;
pub mod log;
pub mod mail;
pub mod metrics;
pub mod pass_through;
pub mod pickup;
pub mod policy;
pub mod queue;
pub mod reception;
mod server;
pub mod smtp;
mod unix;
pub mod webhook;
