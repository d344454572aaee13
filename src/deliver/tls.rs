//! TLS towards upstreams: which certificates are trusted, and the handshake.
//!
//! Trusted are the system's roots, those of webpki-roots and, for one upstream, those of its `tls_ca`, in which the
//! server's own certificate may stand too (`super::own_certificate`). Opportunistic
//! TLS takes any certificate: it protects against listeners, not against impostors, and the alternative is clear text.

use super::own_certificate::OwnCertificates;
use super::tls_error::describe;
use crate::config::settings::{TlsMode, Upstream};
use crate::https;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Shared by all connections, so that roots are read once and TLS sessions are resumed.
#[derive(Debug, Default)]
pub(super) struct Tls {
    clients: Mutex<HashMap<Trust, Arc<ClientConfig>>>,
}

/// Whom to trust.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Trust {
    Anybody,
    Roots { extra: Option<PathBuf> },
}

impl Tls {
    /// The handshake. Errors come as text for an operator; the caller sets the deadline.
    pub(super) async fn connect(
        &self,
        upstream: &Upstream,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let anybody = upstream.danger_accept_invalid_certificate || upstream.tls == TlsMode::Opportunistic;
        let trust = if anybody { Trust::Anybody } else { Trust::Roots { extra: upstream.tls_ca.clone() } };
        let client = self.client(trust).await?;
        let name = ServerName::try_from(upstream.host.clone())
            .map_err(|_| format!("`{}` is no name that a certificate can have", upstream.host))?;
        TlsConnector::from(client).connect(name, stream).await.map_err(|error| describe(&error, upstream))
    }

    /// The handshake with a server of HTTP. `roots`: as `tls_ca`.
    pub(super) async fn connect_https(
        &self,
        roots: Option<&Path>,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let client = self.client(Trust::Roots { extra: roots.map(Path::to_owned) }).await?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is no host"))?;
        TlsConnector::from(client).connect(name, stream).await.map_err(|error| format!("TLS: {error}"))
    }

    async fn client(&self, trust: Trust) -> Result<Arc<ClientConfig>, String> {
        let known = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&trust).cloned();
        if let Some(client) = known {
            return Ok(client);
        }
        // Reading some hundred certificates takes a while.
        let wanted = trust.clone();
        let made = tokio::task::spawn_blocking(move || make(&wanted)).await;
        let client = Arc::new(made.map_err(|error| error.to_string())??);
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).insert(trust, Arc::clone(&client));
        Ok(client)
    }
}

fn make(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(match trust {
        Trust::Anybody => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        }
        Trust::Roots { extra } => {
            let mut roots = https::roots();
            let own = extra.as_deref().map_or(Ok(Vec::new()), |file| add(file, &mut roots))?;
            let verifier = Arc::new(OwnCertificates::new(roots, own, provider)?);
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    }
    .with_no_client_auth())
}

/// Adds the certificates of a PEM file, and returns them.
fn add(file: &Path, roots: &mut RootCertStore) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("tls_ca {}: {error}", file.display());
    let mut all = Vec::new();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate.clone()).map_err(|error| unreadable(&error))?;
        all.push(certificate);
    }
    Ok(all)
}

/// Takes any certificate; whoever shows it must still own its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
