//! Mail in by folders: files that applications drop (`[pickup.NAME]`) are stored in the queue and removed.
//!
//! `folder_task` works on one folder: `file_list` says which files are complete and in which order they are taken, `settling` which of those that were just closed, `taking` reads
//! one and makes a message of it, with what `file_envelope` finds at its head; `removal` removes what is stored, `badmail` moves
//! what cannot be taken aside, and `telling` says what is wrong, once. [`status`] is what is known of all folders.
//!
//! # Promises
//! - A file is removed only when its message is durably in the queue, by the same put as that of SMTP.
//! - A crash at any moment makes no second message of a file: that it was taken is remembered in the commit of its message, until it
//!   is gone. So is one that cannot be removed, however often it is looked at.
//! - Nothing but regular files with one name is read: no link leads out of the folder, no pipe makes anybody wait.
//! - What is temporary (a full disk, a full queue) leaves the file where it is.
//!
//! # Limits
//! A file counts as complete when it was renamed to there, or closed after writing and not changed for a second, while we watched;
//! else when it has not changed for ten seconds: a writer that rests for longer than that is taken for done. A file that is written
//! anew under its old name at the moment of its removal may be removed unread: each message needs a name of its own. A file that
//! is stored and cannot be removed is remembered as long as it lies there: where a share is not mounted at a start, its empty
//! mount point is taken for the folder, and what lies on a read-only share is sent again once it is mounted.

mod badmail;
mod file_envelope;
mod file_list;
mod folder_task;
mod removal;
mod services;
mod settling;
pub mod status;
mod taking;
mod telling;
mod watching;

pub(crate) use folder_task::run;
pub(crate) use services::PickupServices;
