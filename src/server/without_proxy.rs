//! A change while no proxy runs: written here, with its events, and read by the next start.

use super::open::open_queue;
use super::reload::not_written;
use super::service_events::ServiceEvents;
use crate::admin::ChangeResult;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Change, ChangeError, Sources};
use crate::unix;
use crate::unix::staged_file::StagedFile;
use secrecy::ExposeSecret;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Whoever has the folder needs it for as long as a start, or a change, takes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// Locks `data_dir`: so that a change without a proxy and a start do not miss each other. None: somebody else has it for long.
pub(super) async fn lock_data_dir(path: &Path) -> io::Result<Option<File>> {
    let end = Instant::now() + LOCK_TIMEOUT;
    loop {
        match unix::lock_folder(path)? {
            None if Instant::now() < end => tokio::time::sleep(LOCK_INTERVAL).await,
            lock => return Ok(lock),
        }
    }
}

/// Writes a change. None: a proxy runs now, and has to be asked.
///
/// # Errors
/// Then nothing has changed.
pub(crate) async fn change_without_proxy(
    sources: &Sources,
    change: &Change,
    by: &str,
) -> Result<Option<ChangeResult>, ChangeError> {
    // The folder is known only then; what the change comes to is decided again under the lock.
    let folder = config::propose(sources, change)?.loaded.settings.data_dir;
    let stored =
        |what: &str, error: &dyn std::fmt::Display| ChangeError::NotStored(format!("{what}: {error}"));
    let shown = folder.display();
    unix::make_private_folder(&folder).map_err(|error| stored(&format!("{shown} cannot be made"), &error))?;
    let lock =
        lock_data_dir(&folder).await.map_err(|error| stored(&format!("{shown} cannot be locked"), &error))?;
    let Some(_lock) = lock else {
        let why = format!("{shown} is in use by a postroom that is starting; try again when it runs");
        return Err(ChangeError::NotStored(why));
    };
    let proposal = config::propose(sources, change)?;
    let (settings, admin) = (&proposal.loaded.settings, &proposal.loaded.admin);
    if unix::process_behind(&settings.control_socket()).await.is_some() {
        return Ok(None);
    }
    if proposal.is_in_force() {
        return Ok(Some(ChangeResult::default()));
    }
    if !change.may_end_modes() && !proposal.ended_modes.is_empty() {
        return Err(ChangeError::Unconfirmed(proposal.ended_modes.join(", ")));
    }
    let staged = StagedFile::write(&admin.path, admin.text.expose_secret())
        .map_err(|error| not_written(&admin.path, &error))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let queue = open_queue(settings, clock.clone(), Arc::default()).await.map_err(|error| {
        ChangeError::NotStored(format!("the change cannot be recorded as an event: {error}"))
    })?;
    if let Ok(file) = File::open(&settings.queue.path) {
        unix::give_to_owner_of(&folder, &file).map_err(|error| stored("the queue file", &error))?;
    }
    let committed = staged.commit().map_err(|error| not_written(&admin.path, &error));
    if committed.is_ok() {
        ServiceEvents::new(queue.clone(), clock).changed(&proposal, by);
    }
    queue.close().await.map_err(|error| stored("the queue", &error))?;
    let (changes, warnings) = (proposal.changed, proposal.warnings);
    committed.map(|()| Some(ChangeResult { changes, warnings, ..ChangeResult::default() }))
}
