//! A reload (rule 10): the configuration is loaded again, checked whole and put in force at once.

use super::admin_listener::AdminListener;
use super::content_memory::ContentMemory;
use super::listeners::Listeners;
use super::open::open_log_emails;
use super::service_events::ServiceEvents;
use crate::admin::ChangeResult;
use crate::clock::Clock;
use crate::config::{
    self, AdminToml, Change, ChangeError, ConfigErrors, DroppedChange, InForce, Loaded, Settings, Sources,
};
use crate::deliver::health::UpstreamHealth;
use crate::deliver::peer_cache::PeerCache;
use crate::deliver::pool::Pool;
use crate::deliver::transactions_under_way::{TransactionUnderWay, TransactionsUnderWay};
use crate::event::code;
use crate::event::logemails::LogEmails;
use crate::log::Log;
use crate::policy::notices::{self, Switch};
use crate::queue::Queue;
use crate::unix::staged_file::StagedFile;
use secrecy::ExposeSecret;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const ADMIN_FORM: &str = "make data_dir a folder that this user may write";
const NOT_KEPT: &str = "what is dropped stays so while this proxy runs, and is written with the next reload";
const LOG_EMAILS_FORM: &str = "make its folder one that this user may write, or name another path";

/// What clients connect to.
pub(super) struct OpenSockets {
    pub(super) listeners: Listeners,
    pub(super) admin: AdminListener,
}

impl OpenSockets {
    /// Whether somebody listens on a socket of that address.
    pub(super) fn is_wanted(&self, address: SocketAddr) -> bool {
        self.listeners.is_wanted(address) || self.admin.wanted() == Some(address)
    }
}

/// What a reload changes, but for the listeners.
pub(super) struct Reloader {
    /// Where the configuration comes from: the same as at the start.
    pub(super) sources: Sources,
    pub(super) settings: watch::Sender<Arc<Settings>>,
    /// The same, as it is shown.
    pub(super) in_force: watch::Sender<Arc<InForce>>,
    pub(super) peer_cache: watch::Sender<Arc<PeerCache>>,
    pub(super) log_emails: watch::Sender<Option<Arc<LogEmails>>>,
    pub(super) content_memory: ContentMemory,
    pub(super) health: Arc<UpstreamHealth>,
    pub(super) pool: Arc<Pool>,
    pub(super) transactions: TransactionsUnderWay,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) log: Log,
}

/// What came of it.
struct InForceNow {
    /// In words.
    changes: Vec<String>,
    admin: AdminToml,
    dropped: Vec<DroppedChange>,
}

/// Writes `admin.toml` without the changes that do not hold any more, so that they never come back.
fn keep_dropped(admin: &AdminToml) -> std::io::Result<()> {
    match admin.text == admin.was {
        true => Ok(()),
        false => StagedFile::write(&admin.path, admin.text.expose_secret())?.commit(),
    }
}

/// Why nothing was changed.
pub(super) fn not_written(admin: &Path, error: &std::io::Error) -> ChangeError {
    ChangeError::NotStored(format!("{} cannot be written: {error}; {}", admin.display(), remedy(error)))
}

/// What helps where a file in `data_dir` cannot be written.
fn remedy(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "make room on the disk of data_dir, or raise the quota of this user"
        }
        ErrorKind::ReadOnlyFilesystem => "mount the file system of data_dir so that it can be written",
        ErrorKind::PermissionDenied => ADMIN_FORM,
        ErrorKind::IsADirectory => "remove the folder of that name",
        _ => "see what is wrong with data_dir and its disk, and try again",
    }
}

impl Reloader {
    /// Loads the configuration again. Answers what has changed, in words; a wrong configuration changes nothing. Log files
    /// are opened again even then, because logrotate may have moved them.
    pub(super) async fn reload(
        &mut self,
        sockets: &mut OpenSockets,
        events: &ServiceEvents,
        by: &str,
    ) -> Result<Vec<String>, ConfigErrors> {
        let before = self.settings.borrow().clone();
        let result = match config::load(&self.sources) {
            Ok(loaded) => self.put_in_force(loaded, sockets, None).await.map_err(|error| match error {
                ChangeError::Wrong(errors) => errors,
                // Nothing is stored here.
                error => ConfigErrors::one("admin.toml", error, ADMIN_FORM),
            }),
            Err(errors) => Err(errors),
        };
        let result = match result {
            Ok(InForceNow { mut changes, admin, dropped }) => {
                events.dropped(&dropped);
                changes.extend(dropped.into_iter().map(|one| one.text));
                changes.extend(self.keep(admin, events));
                changes.extend(self.switched(&before, events, by));
                self.reloaded(&changes, events);
                Ok(changes)
            }
            Err(errors) => {
                let text = format!("the new configuration is wrong; the old one stays in force: {errors}");
                events.error(code::RELOAD_FAILED, text.replace('\n', "; "));
                Err(errors)
            }
        };
        self.reopen_log_emails(events);
        result
    }

    /// Writes `admin.toml` without what is dropped, so that it never comes back. Answers why that cannot be, in words; then it is
    /// remembered here, and tried again with the next reload.
    pub(super) fn keep(&mut self, admin: AdminToml, events: &ServiceEvents) -> Option<String> {
        let result = keep_dropped(&admin);
        self.sources.unwritten = None;
        let error = result.err()?;
        let shown = admin.path.display();
        let text = format!("{shown} cannot be written: {error}; {}; {NOT_KEPT}", remedy(&error));
        events.error(code::STORAGE, text.clone());
        self.sources.unwritten = Some(admin);
        Some(text)
    }

    /// Changes the configuration as a verb or a page wants it: what is answered is in `admin.toml` and in force. `by`: who
    /// wants it.
    pub(super) async fn change(
        &mut self,
        sockets: &mut OpenSockets,
        events: &ServiceEvents,
        change: &Change,
        by: &str,
    ) -> Result<ChangeResult, ChangeError> {
        let before = self.settings.borrow().clone();
        let mut proposal = config::propose(&self.sources, change)?;
        proposal.compare_with(&self.in_force.borrow());
        // What is in force is known here, also where admin.toml does not tell any more.
        let ended = config::ended_modes(&before, &proposal.loaded.settings);
        if !change.may_end_modes() && !ended.is_empty() {
            return Err(ChangeError::Unconfirmed(ended.join(", ")));
        }
        let admin = &proposal.loaded.admin;
        if proposal.is_in_force() {
            return Ok(ChangeResult::default());
        }
        let staged = StagedFile::write(&admin.path, admin.text.expose_secret())
            .map_err(|error| not_written(&admin.path, &error))?;
        let in_force = self.put_in_force(proposal.loaded.clone(), sockets, Some(staged)).await?;
        self.sources.unwritten = None;
        events.changed(&proposal, by);
        let under_way = self.switched(&before, events, by);
        let changes = [in_force.changes, under_way.clone()].concat();
        self.reloaded(&changes, events);
        Ok(ChangeResult { changes: proposal.changed, under_way, warnings: proposal.warnings })
    }

    fn reloaded(&self, changes: &[String], events: &ServiceEvents) {
        let text = match changes.is_empty() {
            true => "configuration loaded again; nothing has changed".to_owned(),
            false => format!("configuration loaded again: {}", changes.join("; ")),
        };
        events.information(code::RELOADED, text);
        // An operator who reloads may have repaired an upstream, too.
        self.health.probe_now();
    }

    /// `staged`: the `admin.toml` that belongs to it takes its place when nothing else can fail.
    async fn put_in_force(
        &self,
        loaded: Loaded,
        sockets: &mut OpenSockets,
        staged: Option<StagedFile>,
    ) -> Result<InForceNow, ChangeError> {
        let old = self.settings.borrow().clone();
        let Loaded { settings, warnings, in_force, dropped, admin, .. } = loaded;
        let new = Arc::new(settings);
        let mut refused = config::unreloadable(&old, &new);
        refused.extend(config::expired(&old, &new, self.clock.wall()));
        if !refused.is_empty() {
            return Err(ConfigErrors::new(refused, Some(old.data_dir.clone())).into());
        }
        let log_emails = match new.log_emails == old.log_emails {
            true => self.log_emails.borrow().clone(),
            false => open_log_emails(&new)
                .map_err(|what| ConfigErrors::one("log_emails.path", what, LOG_EMAILS_FORM))?,
        };
        // Everything that can fail is done before anything changes.
        let next_admin = sockets.admin.prepare(new.admin.listen).map_err(|what| {
            ConfigErrors::one("admin.listen", what, "give it an address of this machine and a free port")
        })?;
        sockets.listeners.change(&new.listeners).await.map_err(|what| {
            ConfigErrors::one("listener", what, "give it an address of this machine and a free port")
        })?;
        if let Some(Err(error)) = staged.map(StagedFile::commit) {
            // Nobody listens to what is not in force.
            let _ = sockets.listeners.change(&old.listeners).await;
            return Err(not_written(&admin.path, &error));
        }
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let changes = config::changes(&old, &new);
        let gone = changed_upstreams(&old, &new);
        self.log.change(&new.log);
        self.content_memory.resize(new.limits.content_memory);
        self.queue.keep_events(new.events_keep);
        self.log_emails.send_replace(log_emails);
        self.peer_cache.send_modify(|known| *known = Arc::new(known.renewed()));
        self.settings.send_replace(new.clone());
        self.in_force.send_replace(Arc::new(in_force));
        // Clients there find the new settings, and may not find the old ones.
        sockets.admin.change(next_admin);
        self.pool.keep_only(&new.upstreams);
        self.health.forget(&gone);
        if new.queue.failed_days != old.queue.failed_days {
            self.remove_failed(new.queue.failed_days);
        }
        Ok(InForceNow { changes, admin, dropped })
    }

    /// Tells what happens to mail otherwise from now on. Answers which transactions go on as they were begun: they were
    /// past MAIL.
    fn switched(&self, before: &Settings, events: &ServiceEvents, by: &str) -> Vec<String> {
        let now = self.settings.borrow().clone();
        for Switch { site, what } in notices::switches(before, &now) {
            let whose = if site.is_empty() { "all mail".to_owned() } else { format!("mail of site {site}") };
            events.mode(&site, format!("{whose}: {what} (switched by {by})"));
        }
        let goes_on = |one: &TransactionUnderWay| {
            let TransactionUnderWay { queue_id, upstream, site, settings } = one;
            (settings.handling_of(site) != now.handling_of(site)).then(|| {
                format!("message {queue_id} had begun at {upstream} before the change and may be sent as was planned then")
            })
        };
        self.transactions.list().iter().filter_map(goes_on).collect()
    }

    /// Removes failed mail that is older than the new `failed_days` at once: the engine would do it within a minute.
    fn remove_failed(&self, days: u32) {
        let queue = self.queue.clone();
        let before = queue.common_now().before(Duration::from_secs(24 * 60 * 60) * days);
        tokio::spawn(async move {
            if let Err(error) = queue.remove_failed(before).await {
                tracing::error!("failed mail that is kept long enough cannot be removed: {error}");
            }
        });
    }

    /// Opens `logemails.log` again: logrotate may have moved it.
    fn reopen_log_emails(&self, events: &ServiceEvents) {
        if let Some(log) = &*self.log_emails.borrow()
            && let Err(error) = log.reopen()
        {
            events.error(code::STORAGE, format!("logemails.log cannot be opened again: {error}"));
        }
    }
}

/// The names of the upstreams that were removed or changed: what is known of them no longer holds.
fn changed_upstreams(old: &Settings, new: &Settings) -> Vec<String> {
    let same = |name: &str| {
        let find = |settings: &Settings| settings.upstreams.iter().find(|one| one.name == name).cloned();
        matches!((find(old), find(new)), (Some(old), Some(new)) if old == new)
    };
    old.upstreams.iter().map(|upstream| upstream.name.clone()).filter(|name| !same(name)).collect()
}
