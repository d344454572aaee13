//! Work on many messages at once, so that what it writes shares commits.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs all to their ends. Returns before that when `stop` is cancelled: the queue has been asked then, and while the disk is full
/// its answer may take long.
pub(super) async fn run_all(
    stop: &CancellationToken,
    all: impl Iterator<Item = impl Future<Output = ()> + Send + 'static>,
) {
    let mut under_way: JoinSet<()> = all.collect();
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { while under_way.join_next().await.is_some() {} } => {}
    }
}
