//! All webhooks: who gets which events, changed by a reload, stopped at the end.

use super::backlog::Backlog;
use super::client::{TlsRoots, WebhookClient};
use super::figures::WebhookStatus;
use super::sender::{STOP_GRACE, Sender};
use super::trouble::{Teller, Trouble};
use crate::clock::Clock;
use crate::config::Topic;
use crate::config::settings::Webhook;
use crate::event::{Event, EventType};
use crate::https::HttpTarget;
use crate::queue::Queue;
use secrecy::ExposeSecret;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// See the module. While none is configured, nothing runs.
pub struct Webhooks {
    queue: Arc<dyn Queue>,
    clock: Arc<dyn Clock>,
    teller: Arc<Teller>,
    roots: Arc<TlsRoots>,
    status: Arc<WebhookStatus>,
    open: Vec<OpenWebhook>,
    routes: Arc<Routes>,
    dispatcher: Option<Dispatcher>,
}

struct OpenWebhook {
    webhook: Webhook,
    backlog: Arc<Backlog>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Dispatcher {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Who wants which events.
#[derive(Default)]
struct Routes(Mutex<Vec<(BTreeSet<Topic>, Arc<Backlog>)>>);

impl Webhooks {
    /// None yet.
    pub fn new(queue: Arc<dyn Queue>, clock: Arc<dyn Clock>, status: Arc<WebhookStatus>) -> Webhooks {
        let teller = Arc::new(Teller { events: queue.clone(), clock: clock.clone() });
        let (roots, open, routes) = (Arc::default(), Vec::new(), Arc::default());
        Webhooks { queue, clock, teller, roots, status, open, routes, dispatcher: None }
    }

    /// These are wanted. What waits for one that has changed goes to where it sends now; what waits for one that is gone is
    /// dropped.
    pub fn change(&mut self, wanted: &[Webhook]) {
        self.roots.forget();
        for gone in std::mem::take(&mut self.open) {
            match wanted.iter().find(|webhook| webhook.name == gone.webhook.name) {
                Some(same) if *same == gone.webhook && !gone.task.is_finished() => self.open.push(gone),
                Some(changed) => {
                    // A request that is under way is sent once more.
                    gone.task.abort();
                    self.open(changed, gone.backlog);
                }
                None => {
                    gone.task.abort();
                    self.drop_all(&gone, "it is not configured any more");
                    self.status.forget(&gone.webhook.name);
                }
            }
        }
        for webhook in wanted {
            if !self.open.iter().any(|open| open.webhook.name == webhook.name) {
                let backlog = Arc::new(Backlog::new(self.status.figures(&webhook.name)));
                self.open(webhook, backlog);
            }
        }
        let routes = self.open.iter().map(|open| (open.webhook.on.clone(), open.backlog.clone()));
        self.routes.set(routes.collect());
        match (self.open.is_empty(), &self.dispatcher) {
            (false, None) => {
                let stop = CancellationToken::new();
                let (events, routes, status) =
                    (self.queue.subscribe(), self.routes.clone(), self.status.clone());
                let task = tokio::spawn(dispatch(events, routes, status, stop.clone()));
                self.dispatcher = Some(Dispatcher { stop, task });
            }
            (true, Some(dispatcher)) => {
                dispatcher.task.abort();
                self.dispatcher = None;
            }
            _ => {}
        }
    }

    fn open(&mut self, webhook: &Webhook, backlog: Arc<Backlog>) {
        let client =
            WebhookClient::new(webhook, self.queue.instance(), self.clock.clone(), self.roots.clone());
        let receiver = HttpTarget::parse(webhook.url.expose_secret()).map(|target| target.origin());
        let (Ok(client), Ok(receiver)) = (client, receiver) else {
            // The configuration was checked.
            return tracing::error!("webhook {}: its URL cannot be used", webhook.name);
        };
        let figures = self.status.figures(&webhook.name);
        figures.set_trouble(None);
        let trouble = Trouble::new(&webhook.name, receiver, self.teller.clone(), figures.clone());
        let stop = CancellationToken::new();
        let sender = Sender::new(backlog.clone(), figures, client, trouble);
        let task = tokio::spawn(sender.run(stop.clone()));
        self.open.push(OpenWebhook { webhook: webhook.clone(), backlog, stop, task });
    }

    /// Sends what waits, as far as receivers take it within the grace; what is left is dropped, and told while the event log can
    /// still be written.
    pub async fn close(&mut self) {
        let end = Instant::now() + STOP_GRACE;
        if let Some(mut dispatcher) = self.dispatcher.take() {
            dispatcher.stop.cancel();
            let _ = timeout_at(end, &mut dispatcher.task).await;
        }
        let mut all = std::mem::take(&mut self.open);
        all.iter().for_each(|open| open.stop.cancel());
        for open in &mut all {
            if timeout_at(end, &mut open.task).await.is_err() {
                open.task.abort();
            }
        }
        all.iter().for_each(|open| self.drop_all(open, "the proxy stops"));
    }

    fn drop_all(&self, open: &OpenWebhook, why: &str) {
        let dropped = open.backlog.drop_all();
        if dropped > 0 {
            let name = &open.webhook.name;
            self.teller.tell(
                EventType::Warning,
                format!("webhook {name}: {dropped} events that waited for it are dropped: {why}"),
            );
        }
    }
}

impl Routes {
    fn set(&self, routes: Vec<(BTreeSet<Topic>, Arc<Backlog>)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = routes;
    }

    fn put(&self, event: &Arc<Event>) {
        let Some(topic) = event.fact.topic else { return };
        for (topics, backlog) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            if topics.contains(&topic) {
                backlog.put(event.clone());
            }
        }
    }
}

/// Gives each event to those who want it; after `stop`, those that were committed before it.
async fn dispatch(
    mut events: Receiver<Arc<Event>>,
    routes: Arc<Routes>,
    status: Arc<WebhookStatus>,
    stop: CancellationToken,
) {
    let missed = |number| {
        tracing::warn!("{number} events came too fast for webhooks: none was told of them");
        status.note_missed(number);
    };
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            () = stop.cancelled() => match events.try_recv() {
                Ok(event) => Ok(event),
                Err(TryRecvError::Lagged(number)) => Err(RecvError::Lagged(number)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            },
        };
        match event {
            Ok(event) => routes.put(&event),
            Err(RecvError::Lagged(number)) => missed(number),
            Err(RecvError::Closed) => return,
        }
    }
}
