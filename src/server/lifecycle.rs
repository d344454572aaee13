//! Start, work, stop.

use super::admin_listener::AdminListener;
use super::certificate_watch::CertificateWatch;
use super::content_memory::ContentMemory;
use super::listeners::Listeners;
use super::open::{StartError, bind_control, make_data_dir, open_log_emails, open_queue};
use super::pickups::Pickups;
use super::reload::{OpenSockets, Reloader};
use super::service_events::ServiceEvents;
use super::service_manager::ServiceManager;
use super::sockets::Sockets;
use super::statistics::Statistics;
use super::without_proxy::lock_data_dir;
use crate::admin::{self, AdminServer, AdminState, ConfigRequest, LiveChanges, Logins, Peer};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, ConfigErrors, Loaded, Settings, Sources};
use crate::deliver::context::Services;
use crate::deliver::dice::Dice;
use crate::deliver::engine::{Engine, Stop};
use crate::deliver::health::UpstreamHealth;
use crate::deliver::oauth2::Tokens;
use crate::deliver::pass_through::Relay;
use crate::deliver::peer_cache::PeerCache;
use crate::deliver::pool::Pool;
use crate::deliver::transactions_under_way::TransactionsUnderWay;
use crate::deliver::upstream_tls::UpstreamTls;
use crate::event::code;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::pickup::PickupServices;
use crate::pickup::status::PickupStatus;
use crate::policy::notices;
use crate::queue::{Archive, Queue};
use crate::smtp::SmtpServer;
use crate::unix::{self, Asked, Signals};
use crate::webhook::{WebhookStatus, Webhooks};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long transactions and attempts under way may take to end after a stop was asked for.
const GRACE: Duration = Duration::from_secs(25);
/// How long sessions and attempts that were cut short then may take to end.
const ABORT_GRACE: Duration = Duration::from_secs(2);
/// How often free space and counted refusals are looked at.
const SMTP_EVENTS_INTERVAL: Duration = Duration::from_secs(1);
/// How often certificates are looked at, beside each reload.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(3600);

/// The task that delivers has ended by itself.
#[derive(Debug, thiserror::Error)]
#[error(
    "delivery has ended by itself, which is a bug in Postroom; what was answered 250 is on disk: start the proxy again"
)]
pub(crate) struct DeliveryEnded;

/// A running proxy.
pub(crate) struct Server {
    queue: Arc<dyn Queue>,
    events: ServiceEvents,
    service_manager: ServiceManager,
    certificates: CertificateWatch,
    reloader: Reloader,
    sockets: OpenSockets,
    pickups: Pickups,
    webhooks: Webhooks,
    /// The listeners are up and nobody has asked for a stop.
    listening: Arc<AtomicBool>,
    stop: Stop,
    engine: JoinHandle<()>,
    control: JoinHandle<()>,
    smtp_events: JoinHandle<()>,
    live_changes: JoinHandle<()>,
    statistics: JoinHandle<()>,
    stop_statistics: CancellationToken,
    requests: mpsc::Receiver<ConfigRequest>,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Opens, binds and starts everything; after an error nothing is left behind. `sources` is where `loaded` came from, for
    /// reloads; `log` the log that is running.
    pub(crate) async fn start(loaded: Loaded, sources: Sources, log: Log) -> Result<Server, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let data_dir = make_data_dir(&loaded.settings)?;
        // Whoever changes the configuration without a proxy has done so, or waits until it can ask this one. Who has the lock
        // for long is another proxy that starts, which is told below.
        let lock = lock_data_dir(&data_dir).await.unwrap_or_default();
        let loaded = match loaded.admin.is_as_it_was() {
            true => loaded,
            false => config::load(&sources).map_err(StartError::Config)?,
        };
        let Loaded { settings, warnings, in_force, dropped, admin: admin_toml, .. } = loaded;
        let settings = Arc::new(settings);
        let metrics = Arc::new(Metrics::default());
        let queue = open_queue(&settings, clock.clone(), metrics.clone()).await?;
        let log_emails = open_log_emails(&settings).map_err(StartError::LogEmails)?;
        let control = bind_control(&settings).await?;
        drop(lock);

        let (settings_sender, settings_receiver) = watch::channel(settings.clone());
        let (in_force_sender, in_force) = watch::channel(Arc::new(in_force));
        let (log_sender, log_receiver) = watch::channel(log_emails);
        let content_memory = ContentMemory::new(settings.limits.content_memory);
        let health = UpstreamHealth::new(clock.clone());
        let tokens = Arc::new(Tokens::new(clock.clone(), &settings.data_dir, health.clone(), queue.clone()));
        let upstream_tls = Some(Arc::new(UpstreamTls::new(clock.clone(), health.clone(), queue.clone())));
        let peer_cache = Arc::new(PeerCache::new(clock.clone(), tokens, upstream_tls));
        let (peer_cache_sender, peer_cache) = watch::channel(peer_cache);
        let pool = Arc::new(Pool::default());
        let archive = Arc::new(Archive::new(settings.archive(), queue.clone(), clock.clone()));
        let transactions = TransactionsUnderWay::default();
        let services = Arc::new(Services {
            queue: queue.clone(),
            archive: archive.clone(),
            clock: clock.clone(),
            health: health.clone(),
            pool: pool.clone(),
            content_memory: content_memory.permits(),
            metrics: metrics.clone(),
            transactions: transactions.clone(),
            dice: Dice::default(),
            settings: settings_receiver.clone(),
            peer_cache: peer_cache.clone(),
            log_emails: log_receiver,
        });
        let smtp = SmtpServer::new(
            settings_receiver.clone(),
            queue.clone(),
            clock.clone(),
            content_memory.permits(),
        )
        .passing_through(Arc::new(Relay::new(services.clone())))
        .counted_by(metrics.clone());
        let webhook_status = Arc::new(WebhookStatus::default());
        let disk_space = smtp.disk_space.clone();
        let pickup_status = Arc::new(PickupStatus::default());
        let mut pickups = Pickups::new(PickupServices {
            settings: settings_receiver.clone(),
            files: queue.clone(),
            clock: clock.clone(),
            content_memory: content_memory.permits(),
            disk_space: disk_space.clone(),
            status: pickup_status.clone(),
            metrics: metrics.clone(),
        });
        // Before the first client: a start with too little space on the disk says so at once.
        smtp.disk_space.record_changes(&settings);
        let sockets = Arc::new(Sockets::new(unix::inherited_listeners()));
        let mut listeners = Listeners::new(smtp, sockets.clone());
        listeners.change(&settings.listeners).await.map_err(StartError::Bind)?;
        let listening = Arc::new(AtomicBool::new(true));
        let (ask, requests) = mpsc::channel(1);
        let statistics = Statistics::open(&settings.data_dir, metrics.clone(), clock.clone());
        let live = Arc::new(LiveChanges::default());
        let admin = AdminState {
            queue: queue.clone(),
            archive: archive.clone(),
            clock: clock.clone(),
            health: health.clone(),
            transactions: transactions.clone(),
            settings: settings_receiver.clone(),
            peer_cache: peer_cache.clone(),
            listening: listening.clone(),
            in_force,
            pickups: pickup_status,
            metrics: metrics.clone(),
            history: statistics.history(),
            webhooks: webhook_status.clone(),
            live: live.clone(),
            rendered_events: Arc::default(),
            requests: ask,
            logins: Arc::new(Logins::new(clock.clone())),
            content_memory: content_memory.permits(),
            disk_space,
        };
        let admin_server = AdminServer::new(admin.clone(), admin::tcp_router(admin.clone()));
        let mut admin_listener = AdminListener::new(admin_server, sockets.clone());
        let next_admin = admin_listener.prepare(settings.admin.listen).map_err(StartError::Bind)?;
        admin_listener.change(next_admin);
        let open = OpenSockets { listeners, admin: admin_listener };
        for address in sockets.inherited().filter(|address| !open.is_wanted(*address)) {
            tracing::warn!(
                "systemd hands over a socket on {address}, which is no listener's address: clients wait there in vain"
            );
        }
        pickups.change(&settings.pickups).await;
        let mut webhooks = Webhooks::new(queue.clone(), clock.clone(), webhook_status);
        webhooks.change(&settings.webhooks);
        let stop = Stop::default();
        let stop_statistics = CancellationToken::new();
        let mut server = Server {
            engine: tokio::spawn(Engine::new(services, stop.clone()).run()),
            control: tokio::spawn(serve_control(control, admin)),
            smtp_events: tokio::spawn(record_smtp_events(
                open.listeners.smtp_server(),
                settings_sender.subscribe(),
            )),
            live_changes: tokio::spawn(live.forward(
                queue.clone(),
                health.clone(),
                clock.clone(),
                settings_sender.subscribe(),
            )),
            statistics: tokio::spawn(statistics.run(stop_statistics.clone())),
            stop_statistics,
            events: ServiceEvents::new(queue.clone(), clock.clone()),
            service_manager: ServiceManager::new(queue.clone()),
            certificates: CertificateWatch::new(clock.clone()),
            queue: queue.clone(),
            sockets: open,
            pickups,
            webhooks,
            listening,
            stop,
            requests,
            metrics,
            reloader: Reloader {
                sources,
                settings: settings_sender,
                in_force: in_force_sender,
                peer_cache: peer_cache_sender,
                log_emails: log_sender,
                content_memory,
                health,
                pool,
                transactions,
                queue,
                clock,
                log,
            },
        };
        let text = format!("postroom {} started, as {}", env!("CARGO_PKG_VERSION"), settings.hostname);
        server.events.information(code::STARTED, text);
        server.events.dropped(&dropped);
        // Recorded where it cannot be written.
        let _ = server.reloader.keep(admin_toml, &server.events);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        for (site, notice) in notices::by_site(&settings) {
            server.events.mode(site, format!("{notice} (so at the start)"));
        }
        Ok(server)
    }

    /// The name of each listener and where it listens.
    pub(crate) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.sockets.listeners.addresses()
    }

    /// Where the admin listener is, where it is on: `http://127.0.0.1:8025`.
    pub(crate) fn admin_url(&self) -> Option<String> {
        let is_tls = self.reloader.settings.borrow().admin.certificate.is_some();
        let scheme = if is_tls { "https" } else { "http" };
        self.sockets.admin.address().map(|address| format!("{scheme}://{address}"))
    }

    /// What logs in at the admin listener, once: for a link.
    pub(crate) fn login_token(&self) -> Option<String> {
        self.sockets.admin.server().login_token()
    }

    /// Its queue, to look into.
    pub(crate) fn queue(&self) -> Arc<dyn Queue> {
        self.queue.clone()
    }

    /// Works until a signal asks for a stop, then stops.
    ///
    /// # Errors
    /// Delivery ended without being asked to. Accepting mail that never leaves would help nobody, so the proxy stops.
    pub(crate) async fn run(mut self, mut signals: Signals) -> Result<(), DeliveryEnded> {
        self.service_manager.ready();
        let mut certificates_due = tokio::time::interval(CERTIFICATES_INTERVAL);
        let result = loop {
            tokio::select! {
                _ = &mut self.engine => {
                    tracing::error!("{DeliveryEnded}");
                    break Err(DeliveryEnded);
                }
                asked = signals.next() => match asked {
                    Asked::Stop => break Ok(()),
                    // Errors have been logged and recorded.
                    Asked::Reload => drop(self.reload("SIGHUP").await),
                },
                Some(request) = self.requests.recv() => self.carry_out(request).await,
                _ = certificates_due.tick() => self.look_at_certificates(),
                () = self.service_manager.due() => self.service_manager.alive(),
            }
        };
        // A second signal ends the process at once: all mail that 250 was replied to is on disk.
        tokio::select! {
            () = self.shut_down() => {}
            () = async { while signals.next().await != Asked::Stop {} } => tracing::warn!("stopped at once"),
        }
        result
    }

    async fn carry_out(&mut self, request: ConfigRequest) {
        // The client that asked may be gone.
        match request {
            ConfigRequest::Reload { by, answer } => drop(answer.send(self.reload(&by).await)),
            ConfigRequest::Change { change, by, answer } => {
                self.service_manager.reloading();
                let changing = self.reloader.change(&mut self.sockets, &self.events, &change, &by);
                let result = changing.await;
                self.metrics.reload(if result.is_ok() { "done" } else { "refused" });
                self.follow_settings().await;
                self.service_manager.ready();
                drop(answer.send(result));
            }
        }
    }

    /// `by`: who asked for it.
    async fn reload(&mut self, by: &str) -> Result<Vec<String>, ConfigErrors> {
        self.service_manager.reloading();
        let result = self.reloader.reload(&mut self.sockets, &self.events, by).await;
        self.metrics.reload(if result.is_ok() { "done" } else { "refused" });
        self.follow_settings().await;
        self.service_manager.ready();
        result
    }

    /// They may be others now.
    async fn follow_settings(&mut self) {
        let settings = self.reloader.settings.borrow().clone();
        self.pickups.change(&settings.pickups).await;
        self.webhooks.change(&settings.webhooks);
        self.look_at_certificates();
    }

    fn look_at_certificates(&mut self) {
        let settings = self.reloader.settings.borrow().clone();
        for text in self.certificates.due(&settings) {
            self.events.warning(code::CERTIFICATE, text);
        }
    }

    /// Listeners and folders first, then attempts, then webhooks, which hear of these, then the queue.
    async fn shut_down(mut self) {
        tracing::info!("stopping: transactions and attempts under way may end within {} s", GRACE.as_secs());
        self.service_manager.stopping();
        self.listening.store(false, Ordering::Relaxed);
        let end = Instant::now() + GRACE;
        self.stop.gently.cancel();
        tokio::join!(self.sockets.listeners.close(end, ABORT_GRACE), self.pickups.close(end, ABORT_GRACE));
        // Polled after its end, a task's handle panics.
        if !self.engine.is_finished() && timeout_at(end, &mut self.engine).await.is_err() {
            self.stop.now.cancel();
            let _ = timeout(ABORT_GRACE, &mut self.engine).await;
        }
        self.events.stopped();
        self.sockets.admin.close(ABORT_GRACE).await;
        self.webhooks.close().await;
        self.control.abort();
        self.smtp_events.abort();
        self.live_changes.abort();
        self.stop_statistics.cancel();
        let _ = timeout(ABORT_GRACE, self.statistics).await;
        let _ = std::fs::remove_file(self.reloader.settings.borrow().control_socket());
        if let Err(error) = self.queue.close().await {
            tracing::error!("the queue did not close well: {error}");
        }
        tracing::info!("stopped");
    }
}

/// Once a second: records that space on the disk is low or no longer low, which must be noticed even while nobody sends mail;
/// and the refusals of clients whose minute is over.
async fn record_smtp_events(smtp: Arc<SmtpServer>, settings: watch::Receiver<Arc<Settings>>) {
    let mut ticks = tokio::time::interval(SMTP_EVENTS_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let settings = settings.borrow().clone();
        smtp.disk_space.record_changes(&settings);
        smtp.refusals.record_due();
    }
}

async fn serve_control(listener: UnixListener, admin: AdminState) {
    let service = admin::router(admin).into_make_service_with_connect_info::<Peer>();
    if let Err(error) = axum::serve(listener, service).await {
        tracing::error!("the control socket has ended: {error}");
    }
}
