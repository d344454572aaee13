//! Errors and panics of redb, as errors of the queue.

use super::super::QueueError;
use std::io::ErrorKind;

/// The error that a caller of the queue gets.
pub(super) fn queue_error(error: impl Into<redb::Error>) -> QueueError {
    let error = error.into();
    match &error {
        redb::Error::Io(io) if matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            QueueError::Full(error.to_string())
        }
        _ => QueueError::Storage(error.to_string()),
    }
}

/// Makes a panic of redb an error. redb trusts the structure of its pages, and a flipped byte can make it panic: that is a
/// fault of the file and must not end the task that happened to read it.
pub(super) fn catch_redb_panic<T>(work: impl FnOnce() -> T) -> Result<T, redb::Error> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .map_err(|_| redb::Error::Corrupted("the database panicked: is the file damaged?".to_owned()))
}
