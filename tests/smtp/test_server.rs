//! A server on a free port of 127.0.0.1, with a queue in memory behind it.

use super::memory::MemoryQueue;
use postroom::clock::{Clock, SystemClock};
use postroom::config::Settings;
use postroom::config::settings::{
    BareNewline, BounceTo, InboundAuth, Limits, Listener, LogSettings, QueueSettings, TlsMode,
};
use postroom::smtp::{Shutdown, SmtpServer, listen};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// What `conf/postroom.toml` says by default, but for a cap on waiting.
pub fn settings() -> Settings {
    Settings {
        hostname: "mx.test".into(),
        default_domain: "mx.test".into(),
        aliases: Default::default(),
        data_dir: std::env::temp_dir(),
        listeners: vec![Listener {
            name: "local".into(),
            address: "127.0.0.1:0".parse().unwrap(),
            tls: TlsMode::None,
            certificate: None,
            auth: InboundAuth::None,
            danger_allow_plaintext_auth: false,
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            site: None,
            class: None,
        }],
        pickups: Vec::new(),
        webhooks: Vec::new(),
        users: Default::default(),
        limits: Limits {
            message_size: 25 * 1024 * 1024,
            recipients: 1000,
            connections: 1000,
            connections_per_client: 100,
            command_timeout: Duration::from_secs(60),
            data_timeout: Duration::from_secs(60),
            received_hops: 50,
            errors_per_session: 20,
            content_memory: 256 * 1024 * 1024,
            bare_newline: BareNewline::Normalize,
        },
        queue: QueueSettings {
            enabled: true,
            path: "/nowhere/queue.redb".into(),
            batch_size: 50,
            retry: vec![Duration::from_secs(60)],
            expire_after: Duration::from_secs(60),
            bounce: BounceTo::Sender,
            max_messages: 0,
            archive_days: 0,
            failed_days: 30,
            min_free_space: 0,
        },
        handling: Default::default(),
        sites: Default::default(),
        upstreams: Vec::new(),
        log_emails: None,
        admin: Default::default(),
        events_keep: 1,
        log: LogSettings { level: "info".into(), json: false },
    }
}

pub struct TestServer {
    pub address: SocketAddr,
    pub queue: Arc<MemoryQueue>,
    pub shutdown: Shutdown,
    pub memory: Arc<Semaphore>,
    pub settings: watch::Sender<Arc<Settings>>,
    pub smtp: Arc<SmtpServer>,
}

impl TestServer {
    pub async fn open(settings: Settings) -> TestServer {
        TestServer::open_at(settings, Arc::new(SystemClock::default())).await
    }

    /// As [`TestServer::open`], with a clock of the test's.
    pub async fn open_at(settings: Settings, clock: Arc<dyn Clock>) -> TestServer {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let memory = Arc::new(Semaphore::new((settings.limits.content_memory / 1024) as usize));
        let listener = settings.listeners[0].clone();
        let (settings, receiver) = watch::channel(Arc::new(settings));
        let queue = Arc::new(MemoryQueue::default());
        let smtp = Arc::new(SmtpServer::new(receiver, queue.clone(), clock, memory.clone()));
        let shutdown = Shutdown::default();
        tokio::spawn(listen(smtp.clone(), listener, socket, shutdown.clone()));
        TestServer { address, queue, shutdown, memory, settings, smtp }
    }

    pub async fn connect(&self) -> Client {
        Client(BufReader::new(TcpStream::connect(self.address).await.unwrap()))
    }

    /// A client that has been greeted and has said EHLO.
    pub async fn greeted(&self) -> Client {
        let mut client = self.connect().await;
        client.expect("220").await;
        client.say("EHLO c.test\r\n").await;
        client.expect("250").await;
        client
    }

    /// Waits until so many sessions are left.
    pub async fn empty_but(&self, sessions: usize) {
        within(async {
            while self.shutdown.sessions.len() > sessions {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until every session is over.
    pub async fn empty(&self) {
        self.shutdown.sessions.close();
        within(self.shutdown.sessions.wait()).await;
    }
}

pub struct Client(pub BufReader<TcpStream>);

impl Client {
    pub async fn say(&mut self, text: impl AsRef<[u8]>) {
        within(self.0.write_all(text.as_ref())).await.unwrap();
    }

    /// One whole reply, its lines joined by line feeds; empty when the server has closed.
    pub async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            match within(self.0.read_line(&mut line)).await {
                Ok(0) | Err(_) => return reply,
                Ok(_) => {}
            }
            let line = line.strip_suffix("\r\n").expect("a reply line ends with CRLF");
            reply.push_str(line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }

    pub async fn expect(&mut self, start: &str) -> String {
        let reply = self.reply().await;
        assert!(reply.starts_with(start), "expected {start}, got {reply:?}");
        reply
    }

    pub async fn expect_closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let _ = within(self.0.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "expected the server to close, got {:?}", String::from_utf8_lossy(&rest));
    }

    /// MAIL, RCPT and DATA up to 354.
    pub async fn begin_data(&mut self) {
        self.say("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n").await;
        self.expect("250").await;
        self.expect("250").await;
        self.expect("354").await;
    }
}

/// Long enough for any machine; what hangs is a failure and not a hang.
pub async fn within<F: std::future::Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("nothing came within 30 seconds")
}
