//! What a start opens: the data folder, the queue file, `logemails.log`, the control socket. And why it may fail.

use crate::clock::Clock;
use crate::config::{ConfigErrors, Settings};
use crate::event::logemails::LogEmails;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::queue::redb::{OpenError, Options, RedbQueue};
use crate::unix;
use crate::unix::folder::Folder;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixListener;

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The data folder cannot be made or written.
    #[error("data_dir {} cannot be used: {error}; make it a folder that user {user} may write, on a file system that can be \
             written, or name another one", path.display())]
    DataDir {
        path: PathBuf,
        /// Number of the user who cannot: in a container it has no name.
        user: u32,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another process uses the data folder.
    #[error("data_dir {} is in use by another postroom ({}); stop that one, or name another data_dir", path.display(), holder(*pid))]
    Held { path: PathBuf, pid: i32 },
    /// See [`OpenError`].
    #[error(transparent)]
    Queue(#[from] OpenError),
    /// What was changed while it started is wrong.
    #[error(transparent)]
    Config(ConfigErrors),
    /// A listener cannot be bound.
    #[error("{0}")]
    Bind(String),
    /// The control socket cannot be bound.
    #[error("the control socket {} cannot be made: {error}; name a data_dir that this user may write, with a path under 100 bytes", path.display())]
    Control {
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// `logemails.log` cannot be opened.
    #[error("log_emails.path {0}; make its folder one that this user may write, or name another path")]
    LogEmails(String),
}

/// Where the other process is. One of another container has no number here.
fn holder(pid: i32) -> String {
    match pid {
        0 => "in another container on the same volume".to_owned(),
        pid => format!("process {pid}"),
    }
}

/// Makes the data folder where it is missing, and sees whether it can be written.
pub(super) fn make_data_dir(settings: &Settings) -> Result<PathBuf, StartError> {
    let path = settings.data_dir.clone();
    let usable = unix::make_private_folder(&path).and_then(|()| Folder::open(&path)?.may_write());
    match usable {
        Ok(()) => Ok(path),
        Err(error) => Err(StartError::DataDir { path, user: unix::own_user(), error }),
    }
}

/// Opens the queue file in the data folder, which is made where it is missing and must not be in use by another process.
pub(super) async fn open_queue(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<Arc<dyn Queue>, StartError> {
    let path = &make_data_dir(settings)?;
    if let Some(pid) = unix::process_behind(&settings.control_socket()).await {
        return Err(StartError::Held { path: path.clone(), pid });
    }
    let options = Options { keep_events: settings.events_keep, metrics, ..Options::new(clock) };
    let file = settings.queue.path.clone();
    // Opening may repair, which may take a while.
    let opened = tokio::task::spawn_blocking(move || RedbQueue::open(&file, options)).await;
    match opened {
        Ok(queue) => Ok(Arc::new(queue?)),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Opens `logemails.log` where it is enabled. The error says what cannot be opened.
pub(super) fn open_log_emails(settings: &Settings) -> Result<Option<Arc<LogEmails>>, String> {
    let open = |path: &PathBuf| {
        let said = |error| format!("{} cannot be opened for writing: {error}", path.display());
        LogEmails::open(path).map(Arc::new).map_err(said)
    };
    settings.log_emails.as_ref().map(open).transpose()
}

/// Binds the control socket.
pub(super) async fn bind_control(settings: &Settings) -> Result<UnixListener, StartError> {
    let path = settings.control_socket();
    unix::bind_control(&path).await.map_err(|error| StartError::Control { path, error })
}
