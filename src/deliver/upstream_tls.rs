//! What TLS with upstreams was agreed on: for listings, and events about certificates of theirs that end soon.
//!
//! A certificate is told of when a connection has just shown it, so that no event speaks of one that was replaced meanwhile.

use super::health::UpstreamHealth;
use crate::clock::Clock;
use crate::config::server_certificate::certificate_end;
use crate::config::settings::{TlsMode, Upstream};
use crate::event::certificate_notices::{CertificateNotices, describe};
use crate::event::{EventType, Fact, code};
use crate::mail::attempt::TlsFacts;
use crate::queue::EventLog;
use jiff::Timestamp;
use rustls::ClientConnection;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared by all connections, and kept over reloads.
pub struct UpstreamTls {
    clock: Arc<dyn Clock>,
    health: Arc<UpstreamHealth>,
    events: Arc<dyn EventLog>,
    /// By upstream.
    notices: Mutex<CertificateNotices>,
}

impl UpstreamTls {
    /// Nothing was told yet.
    pub fn new(clock: Arc<dyn Clock>, health: Arc<UpstreamHealth>, events: Arc<dyn EventLog>) -> UpstreamTls {
        UpstreamTls { clock, health, events, notices: Mutex::default() }
    }

    /// A connection to it was opened; `tls`: of that, where there is TLS.
    pub(super) fn note(&self, upstream: &Upstream, tls: Option<&TlsFacts>) {
        self.health.note_tls(&upstream.name, tls.cloned());
        let Some(ends) = tls.and_then(|tls| tls.certificate_expires) else { return };
        let (now, monotonic) = (self.clock.wall(), self.clock.monotonic());
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if !notices.is_due(&upstream.name, ends, now, monotonic) {
            return;
        }
        drop(notices);
        let text = sentence(upstream, ends, now);
        tracing::warn!(upstream = upstream.name, "{text}");
        let fact = Fact::new(now, EventType::Warning, "Upstream", code::CERTIFICATE, text);
        self.events.record(vec![Fact { upstream: Some(upstream.name.clone()), ..fact }]);
    }
}

fn sentence(upstream: &Upstream, ends: Timestamp, now: Timestamp) -> String {
    let then = if upstream.danger_accept_invalid_certificate {
        "it is taken all the same (danger_accept_invalid_certificate)"
    } else if upstream.tls == TlsMode::Opportunistic {
        "it is taken all the same (tls = \"opportunistic\")"
    } else {
        "then no mail goes there until whoever runs it has replaced it"
    };
    format!("{}: the server's certificate ends {ends} ({}): {then}", upstream.name, describe(ends, now))
}

/// What is known of a session after its handshake.
pub(super) fn facts(session: &ClientConnection) -> TlsFacts {
    let version = session.protocol_version().and_then(|version| version.as_str());
    let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    TlsFacts {
        version: version.unwrap_or_default().replace('_', "."),
        // rustls marks those of TLS 1.3 in the name; IANA does not.
        cipher: cipher.unwrap_or_default().replacen("TLS13_", "TLS_", 1),
        key_exchange: session.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
        certificate_expires: certificate.and_then(|certificate| certificate_end(certificate).ok()),
    }
}
