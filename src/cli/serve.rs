//! `postroom serve`: the main job.

use super::{Failure, Global};
use crate::config::Settings;
use crate::log::Log;
use crate::server::{Server, StartError};
use crate::unix::Signals;
use anyhow::Context;
use std::time::Duration;

/// Files that are open beside those of sessions: queue, logs, control socket, upstreams.
const SPARE_FILES: u64 = 64;

/// How long the end of the process waits for work on other threads that is under way after the stop, such as a read of a disk
/// that does not answer. Nothing that has to be kept is among it: the queue is closed by then.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Runs the proxy until a signal stops it.
pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let sources = global.sources()?;
    let loaded = crate::config::load(&sources).map_err(Failure::Config)?;
    // `_end` writes out what is left of the log, so it is dropped last.
    let (log, _end) = Log::start(&loaded.settings.log).context("the log cannot be started")?;
    if loaded.file.is_none() {
        tracing::info!("{}", no_file(&loaded.settings));
    }
    let (sessions, files) = (loaded.settings.limits.connections as u64, crate::unix::raise_open_files());
    if let Some(files) = files.filter(|files| *files < sessions.saturating_add(SPARE_FILES)) {
        tracing::warn!(
            "limits.connections is {sessions}, but only {files} files may be open: some clients will wait in vain; \
             raise the limit (LimitNOFILE=, ulimit -n) or lower limits.connections"
        );
    }
    // Reception and delivery are two kinds of work, and the writer of the queue has a thread of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let signals = Signals::listen()?;
        let server = match Server::start(loaded, sources, log).await {
            // A verb changed it meanwhile.
            Err(StartError::Config(errors)) => return Err(Failure::Config(errors)),
            started => started?,
        };
        for (name, address) in server.addresses() {
            tracing::info!("listener {name} on {address}");
        }
        if let Some(url) = server.admin_url() {
            tracing::info!("admin listener on {url}");
        }
        Ok(server.run(signals).await?)
    });
    runtime.shutdown_timeout(LAST_WORK);
    result
}

/// Logged at start, because `data_dir` is then a new folder in the working directory, and the operator should know of it.
fn no_file(settings: &Settings) -> String {
    format!(
        "no configuration file was found (--config, $POSTROOM_CONFIG, ./postroom.toml, /etc/postroom/postroom.toml): the \
         built-in defaults are in force, with what the environment says; data_dir is {}",
        settings.data_dir.display()
    )
}
