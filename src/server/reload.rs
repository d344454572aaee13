//! A reload (rule 10): the configuration is loaded again, checked whole and put in force at once.

use super::content_memory::ContentMemory;
use super::listeners::Listeners;
use super::open::open_log_emails;
use super::service_events::ServiceEvents;
use crate::clock::Clock;
use crate::config::{self, ConfigErrors, Settings, Sources};
use crate::deliver::health::UpstreamHealth;
use crate::deliver::peer_cache::PeerCache;
use crate::deliver::pool::Pool;
use crate::deliver::transactions_under_way::{TransactionUnderWay, TransactionsUnderWay};
use crate::event::code;
use crate::event::logemails::LogEmails;
use crate::log::Log;
use crate::policy::notices::{self, Switch};
use crate::queue::Queue;
use std::sync::Arc;
use tokio::sync::watch;

const LOG_EMAILS_FORM: &str = "make its folder one that this user may write, or name another path";

/// What a reload changes, but for the listeners.
pub(super) struct Reloader {
    /// Where the configuration comes from: the same as at the start.
    pub(super) sources: Sources,
    pub(super) settings: watch::Sender<Arc<Settings>>,
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

impl Reloader {
    /// Loads the configuration again. Answers what has changed, in words; a wrong configuration changes nothing. Log files
    /// are opened again even then, because logrotate may have moved them.
    pub(super) async fn reload(
        &self,
        listeners: &mut Listeners,
        events: &ServiceEvents,
        by: &str,
    ) -> Result<Vec<String>, ConfigErrors> {
        let before = self.settings.borrow().clone();
        let mut result = self.load_again(listeners).await;
        match &mut result {
            Ok(changes) => {
                changes.extend(self.switched(&before, events, by));
                let text = match changes.is_empty() {
                    true => "configuration loaded again; nothing has changed".to_owned(),
                    false => format!("configuration loaded again: {}", changes.join("; ")),
                };
                events.information(code::RELOADED, text);
                // An operator who reloads may have repaired an upstream, too.
                self.health.probe_now();
            }
            Err(errors) => {
                let text = format!("the new configuration is wrong; the old one stays in force: {errors}");
                events.error(code::RELOAD_FAILED, text.replace('\n', "; "));
            }
        }
        self.reopen_log_emails(events);
        result
    }

    async fn load_again(&self, listeners: &mut Listeners) -> Result<Vec<String>, ConfigErrors> {
        let old = self.settings.borrow().clone();
        let loaded = config::load(&self.sources)?;
        let new = Arc::new(loaded.settings);
        let mut refused = config::unreloadable(&old, &new);
        refused.extend(config::expired(&old, &new, self.clock.wall()));
        if !refused.is_empty() {
            return Err(ConfigErrors::new(refused, Some(old.data_dir.clone())));
        }
        let log_emails = match new.log_emails == old.log_emails {
            true => self.log_emails.borrow().clone(),
            false => open_log_emails(&new)
                .map_err(|what| ConfigErrors::one("log_emails.path", what, LOG_EMAILS_FORM))?,
        };
        // Everything that can fail is done before anything changes.
        listeners.change(&new.listeners).await.map_err(|what| {
            ConfigErrors::one("listener", what, "give it an address of this machine and a free port")
        })?;
        for warning in &loaded.warnings {
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
        self.pool.keep_only(&new.upstreams);
        self.health.forget(&gone);
        if new.queue.failed_days != old.queue.failed_days {
            self.remove_failed(new.queue.failed_days);
        }
        Ok(changes)
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
        let kept = jiff::SignedDuration::from_hours(24 * i64::from(days));
        let Ok(before) = self.clock.wall().checked_sub(kept) else { return };
        let queue = self.queue.clone();
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
