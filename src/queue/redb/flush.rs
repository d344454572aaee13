//! How transactions are committed.

use redb::{Database, Durability, WriteTransaction};

/// How much a commit does so that it is there after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flush {
    /// Nothing: what it has written is flushed with the next commit that flushes, or lost.
    Later,
    /// On disk on return, together with the map of the pages in use (redb's quick repair): after a kill the next start
    /// need not read the whole file, and does not take a damaged page for a commit that was not finished.
    Now,
}

/// Begins a transaction that is committed in this way.
pub(super) fn begin_write(database: &Database, flush: Flush) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    let durability = if flush == Flush::Later { Durability::None } else { Durability::Immediate };
    transaction.set_durability(durability).map_err(|error| {
        redb::Error::Corrupted(format!("a transaction that was just begun refuses its durability: {error}"))
    })?;
    transaction.set_quick_repair(flush == Flush::Now);
    Ok(transaction)
}
