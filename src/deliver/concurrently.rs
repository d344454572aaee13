//! Work on many messages at once, so that what it writes shares commits.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs all to their ends, and returns what came of those that ended. Returns before that when `stop` is cancelled: the queue has been asked then, and while the disk is full
/// its answer may take long.
pub(super) async fn run_all<T: Send + 'static>(
    stop: &CancellationToken,
    all: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let mut under_way: JoinSet<T> = all.collect();
    let mut ended = Vec::new();
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { while let Some(one) = under_way.join_next().await { ended.extend(one.ok()); } } => {}
    }
    ended
}
