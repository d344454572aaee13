//! The queue in one file of the embedded database redb.
//!
//! Promises: those of [`super::Queue`]. Put and settle return when their commit is on disk (fsync); many callers share
//! one commit. A start after a kill takes no scan of the file. After an I/O error or a full disk work goes on by itself
//! as soon as it is possible.
//!
//! Limits: one process has the file at a time. Space that deleted mail leaves is used again, but not given back to the
//! file system while the proxy runs. A disk that reports a flush it has not done loses what it reported.
//!
//! Reading order: `tables` (what is stored), `record` and `content` (as which bytes), `file` (opening),
//! `writer` (the one thread that commits), `batch` and `actions` (what it does to the tables), `recovery` (when
//! that fails), `claim` and `reader` (who reads beside it), `shared` (what is known in memory), `usage` and `space`
//! (how much space there is), `timeline`, `event_log`.

mod actions;
mod batch;
mod claim;
mod content;
mod damage;
mod event_log;
mod file;
mod lane;
mod migration;
mod op;
mod open_error;
mod overlay;
mod reader;
mod record;
mod recovery;
mod redb_queue;
mod shared;
mod space;
mod store;
mod tables;
mod timeline;
mod usage;
mod writer;
mod writer_handle;

pub use open_error::OpenError;
pub use reader::Reader;
pub use redb_queue::{Options, RedbQueue};
