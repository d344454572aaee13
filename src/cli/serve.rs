//! `postroom serve`: the main job.

use super::{Failure, Global};
use crate::log::Log;
use crate::server::Server;
use crate::unix::Signals;

/// Files that are open beside those of sessions: queue, logs, control socket, upstreams.
const SPARE_FILES: u64 = 64;

/// Runs the proxy until a signal stops it.
pub fn run(global: &Global) -> Result<(), Failure> {
    let sources = global.sources()?;
    let loaded = crate::config::load(&sources).map_err(Failure::Config)?;
    let log = Log::start(&loaded.settings.log);
    let (sessions, files) = (loaded.settings.limits.connections as u64, crate::unix::raise_open_files());
    if let Some(files) = files.filter(|files| *files < sessions.saturating_add(SPARE_FILES)) {
        tracing::warn!(
            "limits.connections is {sessions}, but only {files} files may be open: some clients will wait in vain; \
             raise the limit (LimitNOFILE=, ulimit -n) or lower limits.connections"
        );
    }
    // Reception and delivery are two kinds of work, and the writer of the queue has a thread of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let signals = Signals::listen()?;
        let server = Server::start(loaded, sources, log).await?;
        for (name, address) in server.addresses() {
            tracing::info!("listener {name} on {address}");
        }
        server.run(signals).await;
        Ok(())
    })
}
