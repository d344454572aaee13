//! A session with an upstream, from the name to a server that is ready for MAIL; the transactions on it are in
//! [`super::transact`].
//!
//! Promises: no step waits longer than its deadline; where TLS is required nothing but EHLO and STARTTLS leaves in clear
//! text; a password never leaves in clear text unless that was allowed by name or the host is loopback. Whatever goes wrong
//! here is the upstream's fault, never the message's (rule 3).

use super::capabilities::{Capabilities, ehlo};
use super::certificate_names;
use super::happy_eyeballs::connect;
use super::login::log_in;
use super::peer_cache::PeerCache;
use super::session_error::{SessionError, SessionErrorKind};
use super::session_steps::{SessionStep, SessionSteps, StepOutcome, StepWatcher};
use super::tls::Tls;
use super::upstream_tls;
use super::wire::{Wire, WireError};
use crate::config::settings::{TlsMode, Upstream};
use crate::mail::ReplyCode;
use crate::mail::attempt::TlsFacts;
use lettre::transport::smtp::commands::{Quit, Starttls};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Submission over TLS (RFC 8314 section 3.3).
const IMPLICIT_TLS_PORT: u16 = 465;

/// How long a server may take to answer QUIT and close.
const QUIT_TIME: Duration = Duration::from_secs(2);

/// A session that is ready for MAIL. Belongs to one attempt at a time.
pub struct Connection {
    pub(super) wire: Wire,
    pub(super) upstream: Arc<Upstream>,
    peer_cache: Arc<PeerCache>,
    pub(super) capabilities: Capabilities,
    tls: Option<TlsFacts>,
    /// Commands and content on their way out; kept for its capacity.
    pub(super) buffer: Vec<u8>,
    /// Transactions begun on it.
    pub(super) transactions: u32,
    pub(super) state: ConnectionState,
}

/// What may be sent on a connection next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConnectionState {
    Ready,
    /// RSET, because the last transaction was not brought to its end; then MAIL.
    NeedsReset,
    /// Nothing new: a transaction is under way, or was broken off and commands and replies may no longer match.
    InTransaction,
}

impl Connection {
    /// Connects to the first address that answers, greets, encrypts and authenticates as the upstream's settings say.
    /// `hostname` is what we call ourselves.
    pub async fn open(
        upstream: &Arc<Upstream>,
        hostname: &str,
        peer_cache: &Arc<PeerCache>,
    ) -> Result<Connection, SessionError> {
        Connection::open_in_steps(upstream, hostname, peer_cache, SessionSteps::unwatched()).await
    }

    /// As [`Connection::open`]; `watcher` is told of each step when it has ended, the one that failed included.
    pub async fn open_watched(
        upstream: &Arc<Upstream>,
        hostname: &str,
        peer_cache: &Arc<PeerCache>,
        watcher: StepWatcher<'_>,
    ) -> Result<Connection, SessionError> {
        Connection::open_in_steps(upstream, hostname, peer_cache, SessionSteps::watched_by(watcher)).await
    }

    async fn open_in_steps(
        upstream: &Arc<Upstream>,
        hostname: &str,
        peer_cache: &Arc<PeerCache>,
        mut steps: SessionSteps<'_>,
    ) -> Result<Connection, SessionError> {
        let mut failed = FailedOpening::default();
        let opened = open(upstream, hostname, peer_cache, upstream.tls, &mut steps, &mut failed).await;
        match opened {
            // Opportunistic: encrypted where that works, in clear text where it does not.
            Err((SessionErrorKind::Tls, why)) if upstream.tls == TlsMode::Opportunistic => {
                tracing::debug!(upstream = upstream.name, why, "no TLS, connecting again in clear text");
                steps.end(StepOutcome::Warning, || format!("{why}; connecting again in clear text"));
                failed.said += "-- connecting again in clear text\n";
                open(upstream, hostname, peer_cache, TlsMode::None, &mut steps, &mut failed).await
            }
            opened => opened,
        }
        .map_err(|(kind, why)| {
            peer_cache.addresses.forget(&upstream.name);
            steps.end(StepOutcome::Failed, || why.clone());
            let FailedOpening { said: dialogue, code } = failed;
            SessionError { dialogue, code, ..SessionError::new(kind, describe(upstream, &why)) }
        })
    }

    /// The upstream that it leads to, as it was configured when it was opened.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// What the server offered last: behind TLS where there is TLS.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Whether it is protected by TLS.
    pub fn is_encrypted(&self) -> bool {
        self.wire.is_encrypted()
    }

    /// What is known of its TLS.
    pub(super) fn tls_facts(&self) -> Option<TlsFacts> {
        self.tls.clone()
    }

    /// What was said on it since this was asked last.
    pub(super) fn take_dialogue(&mut self) -> String {
        self.wire.transcript.take()
    }

    /// Transactions begun on it.
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Whether another transaction may be tried on it, as far as our own side knows.
    pub fn is_reusable(&self) -> bool {
        self.state != ConnectionState::InTransaction
    }

    /// Whether an idle connection is still there: a server that has closed it, or said 421, has said something.
    /// Does not wait.
    pub fn is_alive(&mut self) -> bool {
        self.is_reusable() && !self.wire.has_unexpected_input()
    }

    /// Sends QUIT (RFC 5321 section 4.1.1.10) and waits until the server has closed, for two seconds at most. Servers
    /// that limit connections, such as Postfix, still count this one after their 221, until they close.
    pub async fn quit(mut self) {
        let quitting = async {
            if self.is_reusable() && self.wire.command(&Quit.to_string(), QUIT_TIME).await.is_ok() {
                while self.wire.reply(QUIT_TIME).await.is_ok() {}
            }
        };
        let _ = timeout(QUIT_TIME, quitting).await;
        self.wire.close(QUIT_TIME).await;
    }

    /// Another transaction begins. Returns what could be sent before; until its end is reached the connection must not be used
    /// again, should it be dropped half-way.
    pub(super) fn begin_transaction(&mut self) -> ConnectionState {
        if self.transactions > 0 {
            self.wire.transcript.note("on a connection that was open already");
        }
        self.transactions += 1;
        std::mem::replace(&mut self.state, ConnectionState::InTransaction)
    }

    /// Whether several commands may leave in one write.
    pub(super) fn pipelines(&self) -> bool {
        self.capabilities.pipelining && !self.peer_cache.pipelining_broken(&self.upstream.name)
    }

    /// The server sent replies that match no command: later connections send it one command at a time.
    pub(super) fn stop_pipelining(&self) {
        if self.capabilities.pipelining {
            self.peer_cache.note_pipelining_broken(&self.upstream.name);
        }
    }

    pub(super) fn session_error(&self, kind: SessionErrorKind, why: &dyn std::fmt::Display) -> SessionError {
        let refused = !matches!(
            kind,
            SessionErrorKind::Stale | SessionErrorKind::Content | SessionErrorKind::OutOfTime
        );
        let code = self.wire.refusal().filter(|_| refused);
        SessionError { code, ..SessionError::new(kind, describe(&self.upstream, why)) }
    }
}

/// What went wrong, with the server's name in front.
fn describe(upstream: &Upstream, why: &dyn std::fmt::Display) -> String {
    let Upstream { host, port, .. } = upstream;
    match host.contains(':') {
        true => format!("[{host}]:{port}: {why}"),
        false => format!("{host}:{port}: {why}"),
    }
}

type OpenResult<T> = Result<T, (SessionErrorKind, String)>;

/// Adds to a fault the step at which it happened.
fn at(kind: SessionErrorKind, step: &'static str) -> impl Fn(WireError) -> (SessionErrorKind, String) {
    move |fault| (kind, format!("{step}: {fault}"))
}

/// What is known of a session that did not come to be.
#[derive(Default)]
struct FailedOpening {
    /// What was said.
    said: String,
    /// Of the reply that it failed by, if it did.
    code: Option<ReplyCode>,
}

/// Where it fails, `failed` is told more.
async fn open(
    upstream: &Arc<Upstream>,
    hostname: &str,
    peer_cache: &Arc<PeerCache>,
    mode: TlsMode,
    steps: &mut SessionSteps<'_>,
    failed: &mut FailedOpening,
) -> OpenResult<Connection> {
    failed.code = None;
    let connecting = connect(upstream, &peer_cache.addresses, steps).await;
    let stream = connecting.map_err(|why| (SessionErrorKind::Connect, why))?;
    let mut wire = Wire::plain(stream);
    match negotiate(&mut wire, upstream, hostname, peer_cache, mode, steps).await {
        Ok((capabilities, tls)) => Ok(Connection {
            wire,
            upstream: Arc::clone(upstream),
            peer_cache: Arc::clone(peer_cache),
            capabilities,
            tls,
            buffer: Vec::new(),
            transactions: 0,
            state: ConnectionState::Ready,
        }),
        Err(error) => {
            failed.said.push_str(&wire.transcript.take());
            failed.code = wire.refusal();
            Err(error)
        }
    }
}

/// From the greeting to a session that is ready for MAIL.
async fn negotiate(
    wire: &mut Wire,
    upstream: &Arc<Upstream>,
    hostname: &str,
    peer_cache: &PeerCache,
    mode: TlsMode,
    steps: &mut SessionSteps<'_>,
) -> OpenResult<(Capabilities, Option<TlsFacts>)> {
    let within = upstream.connect_timeout;
    if mode == TlsMode::Implicit {
        steps.begin(SessionStep::Tls);
        encrypt(wire, upstream, &peer_cache.tls, steps).await?;
    }
    steps.begin(SessionStep::Greeting);
    let greeting = wire.reply(within).await.map_err(|fault| no_greeting(&fault, mode, upstream.port))?;
    if !greeting.is_positive() {
        return Err((SessionErrorKind::Greeting, format!("the server greets with {greeting}")));
    }
    steps.done(|| greeting.to_string());
    let mut capabilities = ready(wire, upstream, hostname, steps).await?;
    if mode == TlsMode::StartTls || (mode == TlsMode::Opportunistic && capabilities.starttls) {
        steps.begin(SessionStep::Tls);
        start_tls(wire, &capabilities, upstream, &peer_cache.tls, steps).await?;
        // An attacker may have inserted what was offered in clear text (RFC 3207 section 4.2).
        capabilities = ready(wire, upstream, hostname, steps).await?;
    }
    let tls = wire.tls_session().map(upstream_tls::facts);
    if let Some(upstream_tls) = &peer_cache.upstream_tls {
        upstream_tls.note(upstream, tls.as_ref());
    }
    log_in(wire, &capabilities, upstream, peer_cache, steps)
        .await
        .map_err(|failure| (failure.kind, failure.text))?;
    wire.expect_no_reply().map_err(at(SessionErrorKind::Hello, "EHLO"))?;
    Ok((capabilities, tls))
}

/// The error for a missing greeting. A server that expects TLS at once sends none, so the setting for that is named.
fn no_greeting(fault: &WireError, mode: TlsMode, port: u16) -> (SessionErrorKind, String) {
    let waits = matches!(fault, WireError::TimedOut(_)) || port == IMPLICIT_TLS_PORT;
    let hint = match mode != TlsMode::Implicit && waits {
        true => "; if the server waits for TLS, as is usual on port 465, set tls = \"implicit\"",
        false => "",
    };
    (SessionErrorKind::Greeting, format!("greeting: {fault}{hint}"))
}

async fn ready(
    wire: &mut Wire,
    upstream: &Upstream,
    hostname: &str,
    steps: &mut SessionSteps<'_>,
) -> OpenResult<Capabilities> {
    steps.begin(SessionStep::Ehlo);
    match ehlo(wire, hostname, upstream.connect_timeout).await.map_err(at(SessionErrorKind::Hello, "EHLO"))? {
        Ok(capabilities) => {
            steps.done(|| capabilities.to_string());
            Ok(capabilities)
        }
        Err(reply) => Err((SessionErrorKind::Hello, format!("EHLO refused: {reply}"))),
    }
}

async fn start_tls(
    wire: &mut Wire,
    offered: &Capabilities,
    upstream: &Upstream,
    tls: &Tls,
    steps: &mut SessionSteps<'_>,
) -> OpenResult<()> {
    if !offered.starttls {
        return Err((
            SessionErrorKind::Tls,
            "the server does not offer STARTTLS, which tls = \"starttls\" requires".to_owned(),
        ));
    }
    let reply = wire.command(&Starttls.to_string(), upstream.connect_timeout).await;
    let reply = reply.map_err(at(SessionErrorKind::Tls, "STARTTLS"))?;
    if !reply.is_positive() {
        return Err((SessionErrorKind::Tls, format!("STARTTLS refused: {reply}")));
    }
    encrypt(wire, upstream, tls, steps).await
}

/// The handshake. Whatever came in clear text and was not read is forgotten.
async fn encrypt(
    wire: &mut Wire,
    upstream: &Upstream,
    tls: &Tls,
    steps: &mut SessionSteps<'_>,
) -> OpenResult<()> {
    let Some(stream) = wire.take_tcp() else {
        return Err((SessionErrorKind::Tls, "the connection is encrypted already".to_owned()));
    };
    let within = upstream.connect_timeout;
    match timeout(within, tls.connect(upstream, stream)).await {
        Ok(Ok(stream)) => {
            wire.set_tls(stream);
            let describe =
                |session| format!("{}; {}", upstream_tls::facts(session), certificate_names::shown(session));
            steps.done(|| wire.tls_session().map(describe).unwrap_or_default());
            Ok(())
        }
        Ok(Err(why)) => Err((SessionErrorKind::Tls, format!("TLS: {why}"))),
        Err(_) => Err((
            SessionErrorKind::Tls,
            format!("TLS: no handshake within {}", humantime::format_duration(within)),
        )),
    }
}
