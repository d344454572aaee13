//! The certificate that a listener shows, with its private key, as sessions use it.
//!
//! Both files are read when the configuration is loaded: what is wrong with them refuses it, and sessions read no files.

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// A certificate chain and its private key, fit for handshakes.
#[derive(Clone)]
pub struct ServerCertificate {
    /// The PEM file of the chain. Absolute.
    path: PathBuf,
    private_key: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    /// When the first certificate of the chain ends.
    pub ends: Timestamp,
    /// For handshakes: TLS 1.2 and 1.3.
    pub tls: Arc<ServerConfig>,
}

/// Which of the two files is wrong, and why.
#[derive(Debug)]
pub(super) enum WrongFile {
    Chain(String),
    Key(String),
}

impl ServerCertificate {
    /// Reads both files and checks that they belong together.
    pub(super) fn read(path: &Path, private_key: &Path) -> Result<ServerCertificate, WrongFile> {
        let chain = read_chain(path).map_err(WrongFile::Chain)?;
        let ends = chain.first().ok_or_else(|| "holds no certificate".to_owned()).and_then(certificate_end);
        let ends = ends.map_err(|wrong| WrongFile::Chain(format!("{} {wrong}", path.display())))?;
        let key = read_key(private_key).map_err(WrongFile::Key)?;
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let made = builder
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain.clone(), key));
        let tls = made.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => WrongFile::Key(format!(
                "{} is the key of another certificate than {}",
                private_key.display(),
                path.display()
            )),
            rustls::Error::InvalidCertificate(error) => {
                WrongFile::Chain(format!("{} holds no usable certificate: {error}", path.display()))
            }
            error => WrongFile::Key(format!("{} is no usable key: {error}", private_key.display())),
        })?;
        let tls = Arc::new(tls);
        let (path, private_key) = (path.to_owned(), private_key.to_owned());
        Ok(ServerCertificate { path, private_key, chain, ends, tls })
    }

    /// Whether it has ended.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.ends <= now
    }

    /// In words, when it ends.
    pub fn describe_end(&self) -> String {
        format!("the certificate in {} ends {}", self.path.display(), self.ends)
    }
}

/// The key belongs to the chain, so that equal chains have equal keys.
impl PartialEq for ServerCertificate {
    fn eq(&self, other: &ServerCertificate) -> bool {
        (&self.path, &self.private_key, &self.chain) == (&other.path, &other.private_key, &other.chain)
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServerCertificate").field("path", &self.path).field("ends", &self.ends).finish()
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    chain.map_err(|error| format!("{shown} is no sound PEM file: {error}"))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => {
            format!("{shown} holds no private key without a passphrase")
        }
        error => format!("{shown} is no sound PEM file: {error}"),
    })
}

/// When the certificate ends.
///
/// # Errors
/// In words: it is no certificate.
pub fn certificate_end(certificate: &CertificateDer<'_>) -> Result<Timestamp, String> {
    let certificate = Certificate::from_der(certificate)
        .map_err(|error| format!("holds no usable certificate: {error}"))?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    let seconds = i64::try_from(end.as_secs()).unwrap_or(i64::MAX);
    // Year 9999 and later: it never ends.
    Ok(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}
