//! An SMTP server that does what a script says: refuses, hangs, closes, talks nonsense, encrypts; and keeps every byte
//! that it was sent.
//!
//! ```ignore
//! let server = Scripted::start(|script| script.ehlo(&["PIPELINING"]).on("RCPT TO:<b", "451 4.2.0 later"));
//! // … send mail to server.port() …
//! assert_eq!(server.wait_for(1)[0].content, b"Subject: t\r\n\r\n");
//! ```
//!
//! Without a script it is a plain server that takes everything. It runs on a thread of its own, so a test needs no
//! runtime for it, and stops when it is dropped. Waiting for it blocks the thread: a test whose own runtime has work to
//! do meanwhile says `#[tokio::test(flavor = "multi_thread")]`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use rcgen::{CertificateParams, KeyPair};
use rustls::NamedGroup;
use rustls::crypto::CryptoProvider;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the server does at some point.
#[derive(Clone, Debug)]
pub enum Act {
    /// Writes these bytes as they are.
    Say(Vec<u8>),
    /// Writes them and closes.
    SayAndClose(Vec<u8>),
    /// Closes.
    Close,
    /// Neither reads nor writes any more, but stays.
    Hang,
    /// Does it later.
    Later(Duration, Box<Act>),
    /// Does it when the gate lets one pass.
    Gated(Arc<Semaphore>, Box<Act>),
    /// Writes these bytes, then begins TLS.
    StartTls(Vec<u8>),
}

impl Act {
    /// Says that line, then closes.
    pub fn last(line: &str) -> Act {
        Act::SayAndClose(with_end(line))
    }

    /// What it says, at last, if the session goes on.
    fn says(&self, start: &[u8]) -> bool {
        match self {
            Act::Say(bytes) => bytes.starts_with(start),
            Act::Later(_, act) | Act::Gated(_, act) => act.says(start),
            _ => false,
        }
    }

    /// Does it when the gate lets one pass.
    pub fn gated(gate: &Arc<Semaphore>, act: impl Into<Act>) -> Act {
        Act::Gated(gate.clone(), Box::new(act.into()))
    }

    /// Does it after that time.
    pub fn later(time: Duration, act: impl Into<Act>) -> Act {
        Act::Later(time, Box::new(act.into()))
    }
}

/// A reply; the last line end may be left out.
impl From<&str> for Act {
    fn from(line: &str) -> Act {
        Act::Say(with_end(line))
    }
}

fn with_end(line: &str) -> Vec<u8> {
    let end = if line.ends_with('\n') { "" } else { "\r\n" };
    format!("{line}{end}").into_bytes()
}

#[derive(Clone)]
struct Rule {
    prefix: String,
    act: Act,
    once: bool,
}

/// What the server will do; see [`Scripted::start`].
#[derive(Clone, Default)]
pub struct Script {
    rules: Vec<Rule>,
    extensions: Vec<String>,
    in_content: Option<(usize, Act)>,
    most_sessions: Option<(usize, Act)>,
    identity: Option<Identity>,
    implicit_tls: bool,
}

impl Script {
    /// At the start of a session, instead of `220`.
    pub fn greeting(self, act: impl Into<Act>) -> Script {
        self.on("<greeting>", act)
    }

    /// What EHLO offers.
    pub fn ehlo(mut self, extensions: &[&str]) -> Script {
        self.extensions = extensions.iter().map(|line| (*line).to_owned()).collect();
        self
    }

    /// At every command that starts with `prefix` (case ignored), instead of the usual. The first rule that fits
    /// counts. An empty one fits an empty line alone.
    pub fn on(mut self, prefix: &str, act: impl Into<Act>) -> Script {
        self.rules.push(Rule { prefix: prefix.to_owned(), act: act.into(), once: false });
        self
    }

    /// The same, but only the first time (of all sessions); afterwards the next rule that fits counts.
    pub fn once(mut self, prefix: &str, act: impl Into<Act>) -> Script {
        self.rules.push(Rule { prefix: prefix.to_owned(), act: act.into(), once: true });
        self
    }

    /// At the final dot, instead of `250`.
    pub fn at_dot(self, act: impl Into<Act>) -> Script {
        self.on("<dot>", act)
    }

    /// When that many bytes of content have come. Afterwards nothing more is read.
    pub fn in_content(mut self, bytes: usize, act: impl Into<Act>) -> Script {
        self.in_content = Some((bytes, act.into()));
        self
    }

    /// Takes so many sessions at a time. Further ones get `refusal` instead of the greeting.
    pub fn sessions(mut self, most: usize, refusal: impl Into<Act>) -> Script {
        self.most_sessions = Some((most, refusal.into()));
        self
    }

    /// Offers STARTTLS.
    pub fn starttls(mut self, identity: &Identity) -> Script {
        self.identity = Some(identity.clone());
        self
    }

    /// Speaks TLS from the first byte.
    pub fn implicit_tls(mut self, identity: &Identity) -> Script {
        self.implicit_tls = true;
        self.starttls(identity)
    }
}

/// A certificate and its key, made for a test.
#[derive(Clone)]
pub struct Identity {
    pem: String,
    ends: jiff::Timestamp,
    server: Arc<rustls::ServerConfig>,
}

impl Identity {
    /// For these names or addresses, signed by itself and valid today.
    pub fn of(names: &[&str]) -> Identity {
        Identity::made(names, |_| {})
    }

    /// The same, but out of date since the year 2000.
    pub fn expired(names: &[&str]) -> Identity {
        Identity::made(names, |params| {
            params.not_before = rcgen::date_time_ymd(1999, 1, 1);
            params.not_after = rcgen::date_time_ymd(2000, 1, 1);
        })
    }

    /// The same, but it ends in so many days.
    pub fn that_ends_in(names: &[&str], days: i64) -> Identity {
        #[expect(clippy::disallowed_methods, reason = "the certificate has to be good today")]
        let end = jiff::Zoned::now().saturating_add(jiff::Span::new().days(days));
        let (month, day) = (end.month() as u8, end.day() as u8);
        Identity::made(names, |params| {
            params.not_after = rcgen::date_time_ymd(end.year().into(), month, day);
        })
    }

    /// When it ends.
    pub fn ends(&self) -> jiff::Timestamp {
        self.ends
    }

    /// The same, knowing no other key exchanges than those of these names.
    pub fn with_key_exchanges(mut self, names: &[NamedGroup]) -> Identity {
        let mut provider = CryptoProvider::clone(self.server.crypto_provider());
        provider.kx_groups.retain(|group| names.contains(&group.name()));
        let key = Arc::clone(&self.server.cert_resolver);
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        self.server = Arc::new(builder.with_no_client_auth().with_cert_resolver(key));
        self
    }

    /// For `tls_ca`.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn made(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let ends = jiff::Timestamp::from_second(params.not_after.unix_timestamp()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        Identity { pem: certificate.pem(), ends, server: Arc::new(server) }
    }
}

/// A message that the server said 250 to.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which session it came in, from 0 on.
    pub session: usize,
    /// What stood behind `MAIL FROM:`.
    pub mail: String,
    /// What stood behind each `RCPT TO:` that was answered 2xx.
    pub recipients: Vec<String>,
    /// The content, dots undone, up to the final dot.
    pub content: Vec<u8>,
    /// The same as it came, the final dot included.
    pub raw: Vec<u8>,
    /// It came encrypted.
    pub tls: bool,
}

/// What came in one session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The command lines, without their ends.
    pub commands: Vec<String>,
    /// Every byte in clear text or decrypted.
    pub raw: Vec<u8>,
    /// The key exchange of its TLS, as `X25519`.
    pub key_exchange: Option<String>,
    /// The client has closed, or the server has.
    pub over: bool,
}

#[derive(Default)]
struct Seen {
    received: Vec<Received>,
    sessions: Vec<Session>,
    script: Script,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn note<T>(&self, what: impl FnOnce(&mut Seen) -> T) -> T {
        let noted = what(&mut self.lock());
        self.changed.notify_all();
        noted
    }

    /// The act of the first rule that fits; a rule for once is used up.
    fn act(&self, command: &str) -> Option<Act> {
        let rules = &mut self.lock().script.rules;
        let fits = |rule: &Rule| {
            let start = command.get(..rule.prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(&rule.prefix))
                && (!rule.prefix.is_empty() || command.is_empty())
        };
        let at = rules.iter().position(fits)?;
        if rules[at].once { Some(rules.remove(at).act) } else { Some(rules[at].act.clone()) }
    }
}

/// The running server.
pub struct Scripted {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Arc<Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Scripted {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(script: impl FnOnce(Script) -> Script) -> Scripted {
        let script = script(Script::default());
        let shared = Arc::new(Shared::default());
        shared.lock().script = script;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(Notify::new());
        let (for_thread, stopped) = (Arc::clone(&shared), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    tokio::select! {
                        () = stopped.notified() => break,
                        accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                            let number = for_thread.note(|seen| {
                                seen.sessions.push(Session::default());
                                seen.sessions.len() - 1
                            });
                            tokio::spawn(serve(stream, number, Arc::clone(&for_thread)));
                        },
                    }
                }
            });
        });
        Scripted { address, shared, stop, thread: Some(thread) }
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Does something else from now on. Sessions that are open follow, but for TLS.
    pub fn change(&self, script: impl FnOnce(Script) -> Script) {
        self.shared.note(|seen| seen.script = script(std::mem::take(&mut seen.script)));
    }

    /// The messages so far, in the order of their final dots.
    pub fn transactions(&self) -> Vec<Received> {
        self.shared.lock().received.clone()
    }

    /// The sessions so far, in the order of their connections.
    pub fn sessions(&self) -> Vec<Session> {
        self.shared.lock().sessions.clone()
    }

    /// Waits for that many messages at least, and returns all.
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        self.wait_until(|seen| seen.received.len() >= count, "messages");
        self.transactions()
    }

    /// Waits until that many sessions at least have ended, and returns all.
    pub fn wait_for_ends(&self, count: usize) -> Vec<Session> {
        let ended = |seen: &Seen| seen.sessions.iter().filter(|session| session.over).count();
        self.wait_until(|seen| ended(seen) >= count, "ended sessions");
        self.sessions()
    }

    fn wait_until(&self, done: impl Fn(&Seen) -> bool, what: &str) {
        let start = Instant::now();
        let mut seen = self.shared.lock();
        while !done(&seen) {
            let left = PATIENCE.checked_sub(start.elapsed());
            let left = left.unwrap_or_else(|| panic!("the upstream waited in vain for {what}"));
            seen = self.shared.changed.wait_timeout(seen, left).unwrap().0;
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// What ends a session.
struct Over;

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Over {
        Over
    }
}

async fn serve(stream: TcpStream, number: usize, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Script { identity, implicit_tls, .. } = shared.lock().script.clone();
    // Its sessions go over to the encrypted ones; a boxed stream would have to be unboxed for the handshake.
    let plain = match (implicit_tls, &identity) {
        (true, _) => Some(stream),
        (false, _) => {
            let mut talk = Talk::new(stream, number, &shared, false);
            let go_on = talk.greet().await.is_ok() && matches!(talk.run().await, Ok(true));
            if !go_on {
                // Like Postfix it counts a session until just before it closes.
                shared.note(|seen| seen.sessions[number].over = true);
            }
            go_on.then_some(talk.stream)
        }
    };
    if let (Some(stream), Some(identity)) = (plain, identity)
        && let Ok(stream) = TlsAcceptor::from(identity.server).accept(stream).await
    {
        let group = stream.get_ref().1.negotiated_key_exchange_group();
        shared.note(|seen| {
            seen.sessions[number].key_exchange = group.map(|group| format!("{:?}", group.name()));
        });
        let mut talk = Talk::new(stream, number, &shared, true);
        let greeted = !implicit_tls || talk.greet().await.is_ok();
        let _ = greeted && talk.run().await.is_ok();
        let _ = talk.stream.shutdown().await;
    }
    shared.note(|seen| seen.sessions[number].over = true);
}

struct Talk<'a, S> {
    stream: S,
    number: usize,
    shared: &'a Shared,
    tls: bool,
    unread: Vec<u8>,
    mail: Option<String>,
    recipients: Vec<String>,
}

impl<'a, S: Bytes> Talk<'a, S> {
    fn new(stream: S, number: usize, shared: &'a Shared, tls: bool) -> Talk<'a, S> {
        Talk { stream, number, shared, tls, unread: Vec::new(), mail: None, recipients: Vec::new() }
    }

    async fn greet(&mut self) -> Result<(), Over> {
        // Whoever is refused does not count any more: two at once would else keep each other out.
        let refusal = self.shared.note(|seen| {
            let open = seen.sessions.iter().filter(|session| !session.over).count();
            let refusal = seen.script.most_sessions.clone().filter(|(most, _)| open > *most);
            seen.sessions[self.number].over |= refusal.is_some();
            refusal
        });
        let scripted = || self.shared.act("<greeting>").unwrap_or_else(|| "220 scripted.test ESMTP".into());
        let act = refusal.map_or_else(scripted, |(_, act)| act);
        self.perform(act).await.map(|_| ())
    }

    /// Until the session is over, or TLS begins: true.
    async fn run(&mut self) -> Result<bool, Over> {
        loop {
            let line = self.line().await?;
            self.shared.note(|seen| seen.sessions[self.number].commands.push(line.clone()));
            let scripted = self.shared.act(&line);
            let act = scripted.unwrap_or_else(|| self.usual(&line));
            let positive = act.says(b"2");
            let upper = line.to_ascii_uppercase();
            if let (Some(path), true) = (upper.strip_prefix("MAIL FROM:"), positive) {
                self.mail = Some(line[line.len() - path.len()..].to_owned());
                self.recipients.clear();
            } else if let (Some(path), true) = (upper.strip_prefix("RCPT TO:"), positive) {
                self.recipients.push(line[line.len() - path.len()..].to_owned());
            } else if upper == "RSET" {
                self.mail = None;
                self.recipients.clear();
            }
            let go_ahead = upper == "DATA" && act.says(b"354");
            if self.perform(act).await? {
                return Ok(true);
            }
            if go_ahead {
                self.content().await?;
            }
        }
    }

    /// What a server says that has no script.
    fn usual(&self, line: &str) -> Act {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                let Script { mut extensions, identity, .. } = self.shared.lock().script.clone();
                if identity.is_some() && !self.tls {
                    extensions.push("STARTTLS".to_owned());
                }
                let mut lines = vec!["scripted.test".to_owned()];
                lines.extend(extensions);
                let last = lines.pop().unwrap_or_default();
                let mut reply: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
                reply.push_str(&format!("250 {last}\r\n"));
                Act::Say(reply.into_bytes())
            }
            "STARTTLS" => Act::StartTls(b"220 2.0.0 go ahead\r\n".to_vec()),
            "AUTH" => "235 2.7.0 welcome".into(),
            "RCPT" if self.mail.is_none() => "503 5.5.1 MAIL first".into(),
            "DATA" if self.recipients.is_empty() => "554 5.5.1 no valid recipients".into(),
            "DATA" => "354 go ahead".into(),
            "QUIT" => Act::last("221 2.0.0 bye"),
            "HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 2.0.0 ok".into(),
            _ => "500 5.5.2 what?".into(),
        }
    }

    async fn content(&mut self) -> Result<(), Over> {
        let limit = self.shared.lock().script.in_content.clone();
        let (end, raw) = loop {
            // The dot of an empty content comes first; every other one behind a line end.
            let end = if self.unread.starts_with(b".\r\n") {
                Some(3)
            } else {
                memchr::memmem::find(&self.unread, b"\r\n.\r\n").map(|at| at + 5)
            };
            if let Some((_, act)) =
                limit.clone().filter(|(bytes, _)| self.unread.len() >= *bytes && end.is_none())
            {
                self.perform(act).await?;
                std::future::pending::<()>().await;
            }
            match end {
                Some(end) => break (end, self.unread[..end].to_vec()),
                None => self.read().await?,
            }
        };
        self.unread.drain(..end);
        let act = self.shared.act("<dot>").unwrap_or_else(|| "250 2.0.0 taken".into());
        if act.says(b"2") {
            let received = Received {
                session: self.number,
                mail: self.mail.take().unwrap_or_default(),
                recipients: std::mem::take(&mut self.recipients),
                content: undotted(&raw),
                raw,
                tls: self.tls,
            };
            self.shared.note(|seen| seen.received.push(received));
        }
        self.mail = None;
        self.recipients.clear();
        self.perform(act).await.map(|_| ())
    }

    /// Says whether TLS begins now.
    async fn perform(&mut self, act: Act) -> Result<bool, Over> {
        let mut act = act;
        loop {
            act = match act {
                Act::Later(time, then) => {
                    tokio::time::sleep(time).await;
                    *then
                }
                Act::Gated(gate, then) => {
                    gate.acquire().await.map_err(|_| Over)?.forget();
                    *then
                }
                _ => break,
            };
        }
        match act {
            Act::Say(bytes) => self.say(&bytes).await.map(|()| false),
            Act::StartTls(bytes) => self.say(&bytes).await.map(|()| true),
            Act::SayAndClose(bytes) => {
                self.say(&bytes).await?;
                Err(Over)
            }
            Act::Hang => std::future::pending().await,
            Act::Close | Act::Later(..) | Act::Gated(..) => Err(Over),
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    async fn line(&mut self) -> Result<String, Over> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), Over> {
        let mut bytes = [0; 32 * 1024];
        let count = self.stream.read(&mut bytes).await?;
        if count == 0 {
            return Err(Over);
        }
        self.unread.extend_from_slice(&bytes[..count]);
        self.shared.note(|seen| seen.sessions[self.number].raw.extend_from_slice(&bytes[..count]));
        Ok(())
    }
}

/// The content as it was before its dots were doubled, without the final one.
fn undotted(raw: &[u8]) -> Vec<u8> {
    let lines = raw[..raw.len() - 3].split_inclusive(|byte| *byte == b'\n');
    lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect()
}
