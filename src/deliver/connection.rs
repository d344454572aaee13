//! A session with an upstream, from the name to a server that is ready for MAIL; the transactions on it are in
//! [`super::transact`].
//!
//! Promises: no step waits longer than its deadline; where TLS is required nothing but EHLO and STARTTLS leaves in clear
//! text; a password never leaves in clear text unless that was allowed by name or the host is loopback. Whatever goes wrong
//! here is the upstream's fault, never the message's (rule 3).

use super::capabilities::{Capabilities, ehlo};
use super::happy_eyeballs::connect;
use super::login::log_in;
use super::peer_cache::PeerCache;
use super::session_error::{SessionError, SessionErrorKind};
use super::tls::Tls;
use super::upstream_tls;
use super::wire::{Wire, WireError};
use crate::config::settings::{TlsMode, Upstream};
use crate::mail::attempt::TlsFacts;
use lettre::transport::smtp::commands::{Quit, Starttls};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
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
        let opened = open(upstream, hostname, peer_cache, upstream.tls).await;
        match opened {
            // Opportunistic: encrypted where that works, in clear text where it does not.
            Err((SessionErrorKind::Tls, why)) if upstream.tls == TlsMode::Opportunistic => {
                tracing::debug!(upstream = upstream.name, why, "no TLS, connecting again in clear text");
                open(upstream, hostname, peer_cache, TlsMode::None).await
            }
            opened => opened,
        }
        .map_err(|(kind, why)| {
            peer_cache.addresses.forget(&upstream.name);
            SessionError { kind, text: describe(upstream, &why) }
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
        SessionError { kind, text: describe(&self.upstream, why) }
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

async fn open(
    upstream: &Arc<Upstream>,
    hostname: &str,
    peer_cache: &Arc<PeerCache>,
    mode: TlsMode,
) -> OpenResult<Connection> {
    let within = upstream.connect_timeout;
    let stream =
        connect(upstream, &peer_cache.addresses).await.map_err(|why| (SessionErrorKind::Connect, why))?;
    let mut wire = match mode {
        TlsMode::Implicit => Wire::tls(handshake(upstream, &peer_cache.tls, stream).await?),
        _ => Wire::plain(stream),
    };
    let greeting = wire.reply(within).await.map_err(|fault| no_greeting(&fault, mode, upstream.port))?;
    if !greeting.is_positive() {
        return Err((SessionErrorKind::Greeting, format!("the server greets with {greeting}")));
    }
    let mut capabilities = ready(&mut wire, upstream, hostname).await?;
    if mode == TlsMode::StartTls || (mode == TlsMode::Opportunistic && capabilities.starttls) {
        wire = start_tls(wire, &capabilities, upstream, &peer_cache.tls).await?;
        // An attacker may have inserted what was offered in clear text (RFC 3207 section 4.2).
        capabilities = ready(&mut wire, upstream, hostname).await?;
    }
    let tls = wire.tls_session().map(upstream_tls::facts);
    if let Some(upstream_tls) = &peer_cache.upstream_tls {
        upstream_tls.note(upstream, tls.as_ref());
    }
    log_in(&mut wire, &capabilities, upstream, peer_cache)
        .await
        .map_err(|failure| (failure.kind, failure.text))?;
    wire.expect_no_reply().map_err(at(SessionErrorKind::Hello, "EHLO"))?;
    Ok(Connection {
        wire,
        upstream: Arc::clone(upstream),
        peer_cache: Arc::clone(peer_cache),
        capabilities,
        tls,
        buffer: Vec::new(),
        transactions: 0,
        state: ConnectionState::Ready,
    })
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

async fn ready(wire: &mut Wire, upstream: &Upstream, hostname: &str) -> OpenResult<Capabilities> {
    match ehlo(wire, hostname, upstream.connect_timeout).await.map_err(at(SessionErrorKind::Hello, "EHLO"))? {
        Ok(capabilities) => Ok(capabilities),
        Err(reply) => Err((SessionErrorKind::Hello, format!("EHLO refused: {reply}"))),
    }
}

async fn start_tls(
    mut wire: Wire,
    offered: &Capabilities,
    upstream: &Upstream,
    tls: &Tls,
) -> OpenResult<Wire> {
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
    let Some(stream) = wire.into_tcp() else {
        return Err((SessionErrorKind::Tls, "the connection is encrypted already".to_owned()));
    };
    Ok(Wire::tls(handshake(upstream, tls, stream).await?))
}

async fn handshake(
    upstream: &Upstream,
    tls: &Tls,
    stream: TcpStream,
) -> OpenResult<tokio_rustls::client::TlsStream<TcpStream>> {
    let within = upstream.connect_timeout;
    match timeout(within, tls.connect(upstream, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(why)) => Err((SessionErrorKind::Tls, format!("TLS: {why}"))),
        Err(_) => Err((
            SessionErrorKind::Tls,
            format!("TLS: no handshake within {}", humantime::format_duration(within)),
        )),
    }
}
