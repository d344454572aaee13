//! The queue: a message that was answered 250 is in here, durably, until every recipient has its outcome.
//!
//! This module is the contract, one trait for each concern; [`redb`] implements it in one file of the embedded redb
//! database. Callers take the trait that they use:
//!
//! | trait | what it does | used by |
//! |---|---|---|
//! | [`Timeline`] | the time that retries and expiry are planned on | all |
//! | [`EventLog`] | records events and shows them | all |
//! | [`MailStore`] | makes messages exist, reads them, says how much space is left | `reception` |
//! | [`TakenFiles`] | the same for messages that are files, which it remembers until they are gone | `pickup` |
//! | [`DeliveryQueue`] | claims due messages, settles their outcome | `deliver` |
//! | [`SentMail`] | lists sent mail that is archived, forgets it | `admin`, the [`Archive`] |
//! | [`Operations`] | lists messages, holds, releases, retries, deletes | `admin` |
//! | [`Queue`] | all of them, and closing | `server` |
//!
//! # Promises
//! - What [`MailStore::put`] has confirmed survives a crash of the process and of the machine.
//! - What [`DeliveryQueue::settle`] has confirmed is never claimed again.
//! - A message is claimed by one attempt at a time.
//! - A damaged record is set aside and shown; it is never dropped and never stops the others.
//! - Memory does not follow the number or the size of the messages.
//!
//! Every method may be called from any task at any time; none blocks the caller's thread for long.
//!
//! # Limits
//! A crash between an upstream's 250 and the commit of its verdict repeats that one transaction: a duplicate is
//! possible, a loss is not.

pub mod archive;
mod archive_folders;
mod delivery_queue;
mod error;
mod event_log;
mod filter;
mod filter_parser;
mod mail_store;
mod operations;
pub mod redb;
mod sent_mail;
mod taken_files;
mod timeline;

pub use archive::Archive;
pub use delivery_queue::{
    Claim, ClaimGroup, ClaimRequest, DeliveryQueue, FollowUp, HoldChange, RecipientVerdict, Settled,
    Settlement,
};
pub use error::{Pending, QueueError};
pub use event_log::EventLog;
pub use filter::{Filter, Needle};
pub use filter_parser::{FilterError, parse_time};
pub use mail_store::{CHUNK_SIZE, MailStore, QueueStatus};
pub use operations::{ActionResult, Operations, OperatorAction, Page, QueueFigures};
pub use sent_mail::{ArchivedDay, Day, SentMail, SentMessage, SentPage};
pub use taken_files::{FileIdentity, TakenFile, TakenFiles};
pub use timeline::Timeline;

/// Where messages live between 250 and their outcome: all of the contract.
pub trait Queue: DeliveryQueue + Operations + SentMail + TakenFiles {
    /// Finishes what was asked and closes the file. Later calls answer [`QueueError::Closed`].
    fn close(&self) -> Pending<'_, ()>;
}
