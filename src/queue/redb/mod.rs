//! The queue in one file of the embedded database redb.
//!
//! Promises: those of [`super::Queue`]. Put and settle return when their commit is on disk (fsync); many callers share
//! one commit. A start after a kill does not scan the file. After an I/O error or a full disk work goes on by itself
//! as soon as it is possible.
//!
//! Limits: one process has the file at a time. Space that deleted mail leaves is used again, but not given back to the
//! file system while the proxy runs. A disk that reports a flush it has not done loses what it reported.
//!
//! # Reading order
//! - What is stored: `layout` (the tables), `stored` and `record` (records as types and as bytes), `content` (chunks),
//!   `event_log`; `due_key` and `index_entries` (the indexes), `tables` (all of them, open for writing).
//! - Opening: `database_opener`, which uses `creation`, `migration`, `orphans`, `metadata`, `copy_on_write_file`.
//! - Writing: `redb_queue` sends an `op` through `writer_handle` to `writer`, the one thread that commits. It calls
//!   `recovery` (what happens when a commit fails), that `committer` (one transaction), that `apply`, which hands each
//!   operation to `put`, `settle`, `actions`, `sent` or `damage`; these work on a `batch`.
//! - Reading beside the writer: `claim` and `claim_old` (a `search` of the due index by `lane_heads` and `lane_scheduler`,
//!   to `leased` messages), `queries`, `listing`, `sent_listing`; `read_only_queue` while no proxy runs.
//! - In memory: `shared_queue`, with `shared_database`, `memory_state` (leases, counters), `message_cache`; a commit changes it by
//!   `memory_update`. `timelines`, `timeline`; `usage` and `space` (how much space is left).

mod actions;
mod apply;
mod batch;
mod claim;
mod claim_late;
mod claim_old;
mod committer;
mod content;
mod copy_on_write_file;
mod creation;
mod damage;
mod database_opener;
mod due_key;
mod event_log;
mod figures;
mod flush;
mod index_entries;
mod lane_heads;
mod lane_scheduler;
mod layout;
mod leased;
mod listing;
mod memory_state;
mod memory_update;
mod message_cache;
mod metadata;
mod migration;
mod op;
mod open_error;
mod orphans;
mod put;
mod queries;
mod read_only_queue;
mod record;
mod recovery;
mod redb_error;
mod redb_queue;
mod search;
mod sent;
mod sent_listing;
mod settle;
mod shared_database;
mod shared_queue;
mod space;
mod stored;
mod tables;
mod taken_files;
#[cfg(test)]
mod test_message;
mod timeline;
mod timelines;
mod usage;
mod writer;
mod writer_handle;

pub use open_error::OpenError;
pub use read_only_queue::ReadOnlyQueue;
pub use redb_queue::{Options, RedbQueue};
