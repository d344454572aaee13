//! What all ways in share: a content on its way into the queue, whether there is space for it, and what an address without a
//! domain means. Who sent it and what they are told is the way in's own affair.
//!
//! [`content`] reads content as it comes, `staged_content` carries it into the queue in chunks, [`disk_space`] says whether there
//! is space, `not_accepted` why something cannot be taken, `completion` gives a domain to addresses that have none,
//! `accepted` says which site a message belongs to, and the event that it is queued.

pub(crate) mod accepted;
pub(crate) mod completion;
pub mod content;
pub mod disk_space;
pub(crate) mod not_accepted;
pub(crate) mod staged_content;
