//! The front door: takes mail from applications and has it in the queue before it says 250 (RFC 5321).
//!
//! Down the house: [`listener`] accepts and hands out permits; [`session`] does all inbound I/O, through [`channel`];
//! [`transaction`] decides what each command means, with [`command`] reading the line and [`completion`] giving a domain to
//! addresses that have none; [`content`] reads what follows DATA and BDAT; [`reception`] carries it into the queue;
//! [`room`] says whether there is space for it; [`refused`] makes events of who was turned away.
//!
//! # Promises
//! - 250 to the end of data is said only when the queue has the message durably.
//! - Whatever bytes a client sends, one DATA is one message and no content becomes a command.
//! - A client uses up no more than `[limits]` allows: memory, time, sessions.
//!
//! # Limits
//! No TLS and no AUTH yet: who may relay is decided by the client's address alone.

pub mod channel;
pub mod command;
pub mod completion;
pub mod content;
pub mod listener;
mod permit;
pub mod reception;
pub mod refused;
pub mod reply;
pub mod room;
pub mod session;
pub mod transaction;

use crate::clock::Clock;
use crate::config::Settings;
use crate::queue::MailStore;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use listener::{listen, welcome_waiting};

/// What all listeners and sessions share.
pub struct FrontDoor {
    /// What is in force: a session keeps what it found at its start.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Where accepted mail goes.
    pub queue: Arc<dyn MailStore>,
    /// For the time of reception.
    pub clock: Arc<dyn Clock>,
    /// `content_memory` in permits of one KiB, shared with delivery.
    pub content_memory: Arc<Semaphore>,
    permits: Arc<permit::Permits>,
    room: room::Room,
    refusals: refused::Refusals,
}

impl FrontDoor {
    /// A front door with nobody in it.
    pub fn new(
        settings: watch::Receiver<Arc<Settings>>,
        queue: Arc<dyn MailStore>,
        clock: Arc<dyn Clock>,
        content_memory: Arc<Semaphore>,
    ) -> FrontDoor {
        FrontDoor {
            settings,
            queue,
            clock,
            content_memory,
            permits: Arc::default(),
            room: room::Room::default(),
            refusals: refused::Refusals::default(),
        }
    }
}

/// How the front door is closed: in two steps, so that transactions may finish.
#[derive(Clone, Debug, Default)]
pub struct Stopping {
    /// No new sessions and transactions from now on; idle sessions end with 421.
    pub closing: CancellationToken,
    /// Transactions that have not finished end with 421, and nothing of theirs is queued.
    pub grace_over: CancellationToken,
    /// Every session is one of its tasks: close it and wait for it.
    pub sessions: TaskTracker,
}
