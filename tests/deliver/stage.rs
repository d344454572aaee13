//! An engine on a real queue file, with scripted upstreams and a clock that stands still until it is moved.

use crate::support::scripted::{Script, Scripted};
use bytes::Bytes;
use jiff::Timestamp;
use postroom::clock::{Clock, ManualClock};
use postroom::config::{self, Settings, Sources};
use postroom::deliver::context::Services;
use postroom::deliver::engine::{Engine, Stop};
use postroom::deliver::health::UpstreamHealth;
use postroom::deliver::pool::Pool;
use postroom::event::Event;
use postroom::mail::{
    Address, BodyType, HeaderFacts, Message, Notify, Origin, QueueId, Recipient, RecipientState, ReversePath,
};
use postroom::queue::redb::{Options, RedbQueue};
use postroom::queue::{Archive, CHUNK_SIZE, Queue, QueueError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

const CONTENT: &[u8] = b"Subject: t\r\n\r\nhello\r\n";
/// How long anything may take before a test fails. Long, because a busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long the clock moves faster: what is waited for may come by time alone, and the engine may have looked at a clock
/// that was moved a moment later, so that it sleeps for longer than the test thinks.
const CLOCK_RUNS_AFTER: Duration = Duration::from_secs(10);

pub struct Stage {
    pub clock: Arc<ManualClock>,
    pub queue: Arc<dyn Queue>,
    pub health: Arc<UpstreamHealth>,
    settings: watch::Sender<Arc<Settings>>,
    stop: Stop,
    engine: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

/// A server that is one of the upstreams.
pub fn upstream(name: &str, server: &Scripted, more: &str) -> String {
    at(name, server.port(), more)
}

pub fn at(name: &str, port: u16, more: &str) -> String {
    format!("[upstream.{name}]\nhost = \"127.0.0.1:{port}\"\ntls = \"none\"\n{more}\n")
}

pub fn server(script: impl FnOnce(Script) -> Script) -> Scripted {
    Scripted::start(|plain| script(plain.ehlo(&["PIPELINING", "8BITMIME", "SIZE"])))
}

impl Stage {
    pub async fn start(config: &str) -> Stage {
        Stage::start_by(config, |clock| clock).await
    }

    /// The same with another clock for the engine than for queue and health, made of theirs.
    pub async fn start_by<C: Clock>(
        config: &str,
        engine_clock: impl FnOnce(Arc<ManualClock>) -> Arc<C>,
    ) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap()));
        let queue = RedbQueue::open(&folder.path().join("queue.redb"), Options::new(clock.clone())).unwrap();
        let queue: Arc<dyn Queue> = Arc::new(queue);
        let (settings, receiver) = watch::channel(load(&folder, config));
        let health = UpstreamHealth::new(clock.clone());
        let services = Services {
            queue: queue.clone(),
            archive: Arc::new(Archive::new(folder.path().join("archive"), queue.clone(), clock.clone())),
            clock: engine_clock(clock.clone()),
            health: health.clone(),
            pool: Arc::new(Pool::default()),
            content_memory: Arc::new(Semaphore::new(1_000_000)),
            metrics: Default::default(),
            transactions: Default::default(),
            dice: Default::default(),
            settings: receiver,
            peer_cache: watch::channel(Arc::default()).1,
            log_emails: watch::channel(None).1,
        };
        let stop = Stop::default();
        let engine = Some(tokio::spawn(Engine::new(services, stop.clone()).run()));
        Stage { clock, queue, health, settings, stop, engine, folder }
    }

    pub fn configure(&self, config: &str) {
        self.settings.send_replace(load(&self.folder, config));
    }

    pub async fn put(&self, recipients: &[&str]) -> QueueId {
        self.put_changed(recipients, |_| {}).await
    }

    /// The same with something else about the message.
    pub async fn put_changed(&self, recipients: &[&str], change: impl FnOnce(&mut Message)) -> QueueId {
        self.put_content(recipients, CONTENT, change).await
    }

    /// The same with another content, of which the message knows only what `change` tells it.
    pub async fn put_content(
        &self,
        recipients: &[&str],
        content: &'static [u8],
        change: impl FnOnce(&mut Message),
    ) -> QueueId {
        let now = self.queue.now();
        // Nobody is told what becomes of it, unless a test says otherwise: then it is about that.
        let recipient = |text: &&str| Recipient {
            notify: Notify::Never,
            ..Recipient::pending(text.parse::<Address>().unwrap())
        };
        let recipients = recipients.iter().map(recipient).collect();
        let wall = self.clock.wall();
        let mut message = Message {
            id: QueueId::fresh(wall.as_millisecond().try_into().unwrap()),
            reverse_path: ReversePath::Address("a@x.test".parse().unwrap()),
            recipients,
            body: BodyType::SevenBit,
            smtp_utf8: false,
            size: content.len() as u64,
            chunks: content.len().div_ceil(CHUNK_SIZE).try_into().unwrap(),
            header: HeaderFacts { starts_well: true, ..HeaderFacts::default() },
            origin: Origin {
                listener: "l".into(),
                client: None,
                user: None,
                helo: "c.test".into(),
                protocol: "ESMTP".into(),
            },
            received_at: wall,
            reception_ms: 0,
            due: Some(now),
            life_start: now,
            ..Message::new(QueueId::from_number(0), ReversePath::Null)
        };
        change(&mut message);
        let id = message.id;
        let mut rest = Bytes::from_static(content);
        for number in 0..message.chunks - 1 {
            self.queue.stage(id, number, rest.split_to(CHUNK_SIZE)).await.unwrap();
        }
        self.queue.put(message, rest, vec![]).await.unwrap();
        id
    }

    /// The message as soon as that is true of it.
    pub async fn when(&self, id: QueueId, what: impl Fn(&Message) -> bool) -> Arc<Message> {
        self.until(&format!("message {id}"), async || {
            let message = self.queue.show(id).await.unwrap();
            what(&message).then_some(message)
        })
        .await
    }

    pub async fn when_attempted(&self, id: QueueId, attempts: u32) -> Arc<Message> {
        self.when(id, |message| message.attempts >= attempts).await
    }

    /// Waits until everything of it is delivered and it is gone.
    pub async fn delivered(&self, id: QueueId) {
        self.until(&format!("{id} to be delivered"), async || {
            matches!(self.queue.show(id).await, Err(QueueError::NotFound(_))).then_some(())
        })
        .await;
    }

    pub async fn until<T>(&self, what: &str, done: impl AsyncFn() -> Option<T>) -> T {
        let start = tokio::time::Instant::now();
        loop {
            if let Some(answer) = done().await {
                return answer;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "waited {PATIENCE:?} for {what}; events: {:#?}",
                self.events().await
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
            // A clock that was moved just before the engine went to sleep by it would not wake it any more.
            let step = if start.elapsed() < CLOCK_RUNS_AFTER { 1 } else { 1_000 };
            self.clock.advance(Duration::from_millis(step));
        }
    }

    pub async fn events(&self) -> Vec<Event> {
        self.queue.events(None, 10_000).await.unwrap()
    }

    pub async fn count(&self, code: &str) -> usize {
        self.events().await.iter().filter(|event| event.fact.code == code).count()
    }

    pub async fn wait_for_event(&self, code: &str, count: usize) {
        self.until(code, async || (self.count(code).await >= count).then_some(())).await;
    }

    /// Ends with mail that is not sent.
    pub async fn abandon(self) {
        self.stop.now.cancel();
        self.stop().await;
    }

    pub async fn stop(mut self) {
        self.stop.gently.cancel();
        self.engine.take().unwrap().await.unwrap();
    }
}

pub fn load(folder: &tempfile::TempDir, config: &str) -> Arc<Settings> {
    let file = folder.path().join("postroom.toml");
    std::fs::write(&file, format!("hostname = \"mail.test\"\n{config}")).unwrap();
    let sources = Sources { file: Some(file), working_dir: folder.path().to_owned(), ..Sources::default() };
    Arc::new(config::load(&sources).map_err(|errors| errors.to_string()).unwrap().settings)
}

/// Each recipient's state with its reply.
pub fn outcomes(message: &Message) -> Vec<(RecipientState, String)> {
    let of = |recipient: &Recipient| (recipient.state, recipient.reply.clone().unwrap_or_default());
    message.recipients.iter().map(of).collect()
}

/// The upstreams that refused the first recipient.
pub fn refused_by(message: &Message) -> Vec<&str> {
    message.recipients[0].refused_by.iter().map(|refusal| refusal.upstream.as_str()).collect()
}
