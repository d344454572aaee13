//! Postroom: a local SMTP proxy (smarthost) that has mail on disk before it answers 250.
//!
//! An application hands its mail to Postroom on localhost; Postroom stores it, relays it through the best available of
//! several upstream servers, keeps trying while they are down, and says what became of every recipient.
//!
//! # Layout
//! Arrows point only down; `tests/floors.rs` fails on one that points up.
//!
//! - Roof: `main.rs`, [`server`] (assembly, reload, stop order).
//! - Doors: [`cli`] (one file a verb), [`admin`] (the routes on the control socket).
//! - Rooms: [`smtp`] (mail in), [`policy`] (what is changed on the way), [`deliver`] (mail out).
//! - Stores: [`queue`] (the contract, and redb behind it), [`event`] (facts and their records), [`config`], [`log`]
//!   (diagnosis).
//! - Ground: [`mail`] (values), [`clock`] (time as a parameter), [`unix`] (what only Unix has), [`caught`] (a
//!   panic as a value).
//!
//! # Life of a message
//! [`smtp::listener`] accepts a client, [`smtp::session`] reads its commands, [`smtp::transaction`] decides what they
//! mean, [`smtp::content`] reads what follows DATA and [`smtp::reception`] carries it into the queue:
//! [`queue::Queue::put`] commits it to disk, and only then the client hears `250 2.0.0 queued as <id>`.
//!
//! That commit wakes [`deliver::engine`], which claims the message and asks [`deliver::route`] for the best upstream that
//! [`deliver::health`] says is available. [`deliver::attempt`] goes from upstream to upstream, talking through a
//! [`deliver::connection`], until [`deliver::disposition`] has turned the answers into one verdict for each recipient or
//! nobody is left to ask. [`queue::Queue::settle`] writes the verdicts and their events in one commit; what is still open
//! is due again by [`deliver::retry`]'s schedule, and a message with nothing left open is removed.
//!
//! # Promises
//! Nothing that was answered 250 is lost; nothing is sent twice but where a crash or a silent upstream leaves no other
//! way to be sure; every recipient has exactly one outcome. `SECURITY.md` says how each is tested.

pub mod admin;
pub mod caught;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod event;
pub mod log;
pub mod mail;
pub mod policy;
pub mod queue;
pub mod server;
pub mod smtp;
pub mod unix;
