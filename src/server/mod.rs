//! Assembly: opens the queue, binds the listeners, starts delivery; later stops it all in the right order: listeners first, then
//! attempts, then the queue.

mod content_memory;
mod listeners;

use crate::admin::{self, Admin, ReloadRequest};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, ConfigErrors, Loaded, Settings, Sources};
use crate::deliver::context::Services;
use crate::deliver::engine::{Engine, Stop};
use crate::deliver::health::UpstreamHealth;
use crate::deliver::peer_cache::PeerCache;
use crate::deliver::pool::Pool;
use crate::event::logemails::LogEmails;
use crate::event::{EventType, Fact, code};
use crate::log::Log;
use crate::queue::Queue;
use crate::queue::redb::{OpenError, Options, RedbQueue};
use crate::smtp::SmtpServer;
use crate::unix::{self, Asked, Signals};
use content_memory::ContentMemory;
use listeners::Listeners;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How long transactions and attempts under way may take to end after a stop was asked for.
const GRACE: Duration = Duration::from_secs(25);
/// How often the room for mail is looked at.
const SPACE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long what was cut short then may take.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be made or written.
    #[error("data_dir {} cannot be used: {error}; make it a folder that this user may write, or name another one", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another process has it.
    #[error("data_dir {} is in use by another postroom (process {pid}); stop that one, or name another data_dir", path.display())]
    Held {
        /// Which.
        path: PathBuf,
        /// Who.
        pid: i32,
    },
    /// See [`OpenError`].
    #[error(transparent)]
    Queue(#[from] OpenError),
    /// A listener cannot be bound.
    #[error("{0}")]
    Bind(String),
    /// The control socket cannot be bound.
    #[error("the control socket {} cannot be made: {error}", path.display())]
    Control {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// `logemails.log` cannot be opened.
    #[error("{0}")]
    LogEmails(String),
    /// Signals cannot be listened to.
    #[error("signals cannot be listened to: {0}")]
    Signals(std::io::Error),
}

/// A running proxy.
pub struct Server {
    queue: Arc<dyn Queue>,
    clock: Arc<dyn Clock>,
    sources: Sources,
    settings: watch::Sender<Arc<Settings>>,
    peer_cache: watch::Sender<Arc<PeerCache>>,
    log_emails: watch::Sender<Option<Arc<LogEmails>>>,
    health: Arc<UpstreamHealth>,
    pool: Arc<Pool>,
    content_memory: ContentMemory,
    listeners: Listeners,
    listening: Arc<AtomicBool>,
    stop: Stop,
    engine: JoinHandle<()>,
    control: JoinHandle<()>,
    watch: JoinHandle<()>,
    reload_requests: mpsc::Receiver<ReloadRequest>,
    log: Log,
}

impl Server {
    /// Opens, binds and starts everything; with an error nothing is left behind. `log` is the running one, which a reload
    /// changes.
    pub async fn start(loaded: Loaded, sources: Sources, log: Log) -> Result<Server, StartError> {
        let settings = Arc::new(loaded.settings);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let queue = open_queue(&settings, clock.clone()).await?;
        let log_emails = open_log_emails(&settings).map_err(StartError::LogEmails)?;
        let control_path = settings.control_socket();
        let control = unix::bind_control(&control_path)
            .await
            .map_err(|error| StartError::Control { path: control_path, error })?;

        let (settings_sender, settings_receiver) = watch::channel(settings.clone());
        let (log_sender, log_receiver) = watch::channel(log_emails);
        let (peer_cache_sender, peer_cache) = watch::channel(Arc::<PeerCache>::default());
        let content_memory = ContentMemory::new(settings.limits.content_memory);
        let health = UpstreamHealth::new(clock.clone());
        let pool = Arc::new(Pool::default());
        let smtp = SmtpServer::new(
            settings_receiver.clone(),
            queue.clone(),
            clock.clone(),
            content_memory.permits(),
        );
        // Before anybody is let in: a start with too little room says so at once.
        smtp.disk_space.record_changes(&settings);
        let mut listeners = Listeners::new(smtp, unix::inherited_listeners());
        listeners.change(&settings.listeners).await.map_err(StartError::Bind)?;
        for address in listeners.unused() {
            tracing::warn!(
                "systemd hands over a socket on {address}, which is no listener's address: clients wait there in vain"
            );
        }
        let listening = Arc::new(AtomicBool::new(true));
        let (reload, reload_requests) = mpsc::channel(1);
        let admin = Admin {
            queue: queue.clone(),
            health: health.clone(),
            settings: settings_receiver.clone(),
            listening: listening.clone(),
            reload,
        };
        let services = Services {
            queue: queue.clone(),
            clock: clock.clone(),
            health: health.clone(),
            pool: pool.clone(),
            content_memory: content_memory.permits(),
            settings: settings_receiver,
            peer_cache,
            log_emails: log_receiver,
        };
        let stop = Stop::default();
        let server = Server {
            engine: tokio::spawn(Engine::new(services, stop.clone()).run()),
            control: tokio::spawn(serve_control(control, admin)),
            watch: tokio::spawn(watch_room(listeners.smtp_server(), settings_sender.subscribe())),
            queue,
            clock,
            sources,
            settings: settings_sender,
            peer_cache: peer_cache_sender,
            log_emails: log_sender,
            health,
            pool,
            content_memory,
            listeners,
            listening,
            stop,
            reload_requests,
            log,
        };
        let text = format!("postroom {} started, as {}", env!("CARGO_PKG_VERSION"), settings.hostname);
        server.record(EventType::Information, code::STARTED, text);
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(server)
    }

    /// Where it listens, by listener name.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.listeners.addresses()
    }

    /// Its queue, to look into.
    pub fn queue(&self) -> Arc<dyn Queue> {
        self.queue.clone()
    }

    /// Works until a signal asks for a stop, then stops.
    pub async fn run(mut self, mut signals: Signals) {
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => break,
                    // What is wrong has been logged and recorded.
                    Asked::Reload => drop(self.reload().await),
                },
                Some(request) = self.reload_requests.recv() => {
                    // Whoever asked may have gone.
                    let _ = request.send(self.reload().await);
                }
            }
        }
        // A second signal ends the process at once: what 250 was said for is on disk.
        tokio::select! {
            () = self.shut_down() => {}
            () = async { while signals.next().await != Asked::Stop {} } => tracing::warn!("stopped at once"),
        }
    }

    /// Listeners first, then attempts, then the queue.
    pub async fn shut_down(mut self) {
        tracing::info!("stopping: transactions and attempts under way may end within {} s", GRACE.as_secs());
        self.listening.store(false, Ordering::Relaxed);
        let end = tokio::time::Instant::now() + GRACE;
        self.stop.gently.cancel();
        self.listeners.close(end).await;
        let mut engine = self.engine;
        if tokio::time::timeout_at(end, &mut engine).await.is_err() {
            self.stop.now.cancel();
            let _ = tokio::time::timeout(ABORT_GRACE, &mut engine).await;
        }
        let fact = Fact::new(
            self.clock.wall(),
            EventType::Information,
            "Service",
            code::STOPPED,
            "postroom stopped",
        );
        self.queue.record(vec![fact]);
        self.control.abort();
        self.watch.abort();
        let _ = std::fs::remove_file(self.settings.borrow().control_socket());
        if let Err(error) = self.queue.close().await {
            tracing::error!("the queue did not close well: {error}");
        }
        tracing::info!("stopped");
    }

    /// Loads the configuration again: checked whole, swapped at once; a wrong one changes nothing. Log files are opened
    /// again in any case: whoever has rotated them is not to wait until somebody repairs the configuration.
    async fn reload(&mut self) -> Result<Vec<String>, ConfigErrors> {
        let old = self.settings.borrow().clone();
        let result = self.load_again(&old).await;
        match &result {
            Ok(changes) => {
                let text = match changes.is_empty() {
                    true => "configuration loaded again; nothing has changed".to_owned(),
                    false => format!("configuration loaded again: {}", changes.join("; ")),
                };
                self.record(EventType::Information, code::RELOADED, text);
                // Whoever asks for a reload may have repaired something elsewhere.
                self.health.probe_now();
            }
            Err(errors) => {
                let text = format!("the new configuration is wrong; the old one stays in force: {errors}");
                self.record(EventType::Error, code::RELOAD_FAILED, text.replace('\n', "; "));
            }
        }
        self.reopen_logs();
        result
    }

    async fn load_again(&mut self, old: &Settings) -> Result<Vec<String>, ConfigErrors> {
        let loaded = config::load(&self.sources)?;
        let new = Arc::new(loaded.settings);
        let refused = config::unreloadable(old, &new);
        if !refused.is_empty() {
            return Err(ConfigErrors::new(refused, Some(old.data_dir.clone())));
        }
        let log_emails = match new.log_emails == old.log_emails {
            true => self.log_emails.borrow().clone(),
            false => open_log_emails(&new).map_err(|what| ConfigErrors::one("log_emails.path", what))?,
        };
        // Everything that can fail is done before anything changes.
        self.listeners.change(&new.listeners).await.map_err(|what| ConfigErrors::one("listener", what))?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let changes = config::changes(old, &new);
        let gone = changed_upstreams(old, &new);
        self.log.change(&new.log);
        self.content_memory.resize(new.limits.content_memory);
        self.queue.keep_events(new.events_keep);
        self.log_emails.send_replace(log_emails);
        self.peer_cache.send_replace(Arc::default());
        self.settings.send_replace(new.clone());
        self.pool.keep_only(&new.upstreams);
        self.health.forget(&gone);
        if new.queue.failed_days != old.queue.failed_days {
            self.remove_failed(new.queue.failed_days);
        }
        Ok(changes)
    }

    /// The engine does so once a minute; who has changed how long is not to wait for that.
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

    /// After logrotate has moved the file away.
    fn reopen_logs(&self) {
        if let Some(log) = &*self.log_emails.borrow()
            && let Err(error) = log.reopen()
        {
            self.record(
                EventType::Error,
                code::STORAGE,
                format!("logemails.log cannot be opened again: {error}"),
            );
        }
    }

    fn record(&self, kind: EventType, code: &str, text: String) {
        match kind {
            EventType::Error => tracing::error!("{text}"),
            _ => tracing::info!("{text}"),
        }
        self.queue.record(vec![Fact::new(self.clock.wall(), kind, "Service", code, text)]);
    }
}

async fn open_queue(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Arc<dyn Queue>, StartError> {
    let path = &settings.data_dir;
    unix::make_private_folder(path).map_err(|error| StartError::DataDir { path: path.clone(), error })?;
    if let Some(pid) = unix::holder(&settings.control_socket()).await {
        return Err(StartError::Held { path: path.clone(), pid });
    }
    let options = Options { keep_events: settings.events_keep, ..Options::new(clock) };
    let file = settings.queue.path.clone();
    // Opening may repair, which may take a while.
    let opened = tokio::task::spawn_blocking(move || RedbQueue::open(&file, options)).await;
    match opened {
        Ok(queue) => Ok(Arc::new(queue?)),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn open_log_emails(settings: &Settings) -> Result<Option<Arc<LogEmails>>, String> {
    let open = |path: &PathBuf| {
        let said =
            |error| format!("log_emails.path {} cannot be opened for writing: {error}", path.display());
        LogEmails::open(path).map(Arc::new).map_err(said)
    };
    settings.log_emails.as_ref().map(open).transpose()
}

/// Looks once a second whether there is room, so that the end of an episode is noticed though nobody sends mail; tells
/// of refused clients whose minute is over.
async fn watch_room(front: Arc<SmtpServer>, settings: watch::Receiver<Arc<Settings>>) {
    let mut ticks = tokio::time::interval(SPACE_CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let settings = settings.borrow().clone();
        front.disk_space.record_changes(&settings);
        front.refusals.record_due();
    }
}

async fn serve_control(listener: UnixListener, admin: Admin) {
    if let Err(error) = axum::serve(listener, admin::router(admin)).await {
        tracing::error!("the control socket has ended: {error}");
    }
}

/// Names of the upstreams that are gone or no longer what they were: what is known of them no longer holds.
fn changed_upstreams(old: &Settings, new: &Settings) -> Vec<String> {
    let same = |name: &str| {
        let find = |settings: &Settings| settings.upstreams.iter().find(|one| one.name == name).cloned();
        matches!((find(old), find(new)), (Some(old), Some(new)) if old == new)
    };
    old.upstreams.iter().map(|upstream| upstream.name.clone()).filter(|name| !same(name)).collect()
}
