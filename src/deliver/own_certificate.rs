//! A server's own certificate that stands in `tls_ca` itself, as `openssl req -x509` makes it (CASES H7).
//!
//! Trusted is what webpki trusts. Beyond that, a certificate that is byte for byte one of `tls_ca` needs nobody's signature:
//! its owner has put it there. It may call itself a CA, be of version 1, or name its host in the subject only, which webpki
//! all refuses. Name and dates must fit, and whoever shows it must own its key, like with any other.

use crate::mail::printable_bytes;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use std::net::IpAddr;
use std::sync::Arc;
use webpki::RawPublicKeyEntity;
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};

/// RFC 5280 section 4.2.1.6.
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// RFC 5280 appendix A.1.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Takes what the roots vouch for, and the certificates of one `tls_ca` themselves.
#[derive(Debug)]
pub(super) struct OwnCertificates {
    chain: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl OwnCertificates {
    /// `own` are those of `tls_ca`, which are among the roots too.
    pub(super) fn new(
        roots: RootCertStore,
        own: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<OwnCertificates, String> {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let chain = builder.build().map_err(|error| error.to_string())?;
        Ok(OwnCertificates { chain, own, provider })
    }

    /// The certificate, read, if it is one of `tls_ca`.
    fn own(&self, certificate: &CertificateDer<'_>) -> Option<Certificate> {
        let known = self.own.iter().any(|own| own.as_ref() == certificate.as_ref());
        known.then(|| Certificate::from_der(certificate).ok()).flatten()
    }
}

impl ServerCertVerifier for OwnCertificates {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chain.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match (verified, self.own(certificate)) {
            (Err(_), Some(own)) => {
                check_dates(&own, now)?;
                check_name(&own, certificate, name)?;
                Ok(ServerCertVerified::assertion())
            }
            (verified, _) => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(own) = self.own(certificate) else {
            return self.chain.verify_tls12_signature(message, certificate, signed);
        };
        let key = key(&own)?;
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
        let schemes = self.provider.signature_verification_algorithms.mapping.iter();
        // One scheme stands for several curves there: whose key it is not says so.
        let mut fitting =
            schemes.filter(|(scheme, _)| *scheme == signed.scheme).flat_map(|(_, all)| all.iter());
        match fitting.any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(own) = self.own(certificate) else {
            return self.chain.verify_tls13_signature(message, certificate, signed);
        };
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key(&own)?, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

fn key(certificate: &Certificate) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let key = certificate.tbs_certificate().subject_public_key_info().to_der();
    Ok(key.map_err(|_| CertificateError::BadEncoding)?.into())
}

fn check_dates(certificate: &Certificate, now: UnixTime) -> Result<(), Error> {
    let validity = certificate.tbs_certificate().validity();
    let not_before = UnixTime::since_unix_epoch(validity.not_before.to_unix_duration());
    let not_after = UnixTime::since_unix_epoch(validity.not_after.to_unix_duration());
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    Ok(())
}

/// By its alternative names; where it has none, by its subject, as OpenSSL does.
fn check_name(
    certificate: &Certificate,
    encoded: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Result<(), Error> {
    let extensions = certificate.tbs_certificate().extensions().into_iter().flatten();
    if extensions.into_iter().any(|extension| extension.extn_id == SUBJECT_ALT_NAME) {
        return verify_server_name(&ParsedCertificate::try_from(encoded)?, name);
    }
    let presented = common_names(certificate);
    match presented.iter().any(|common| fits(common, name)) {
        true => Ok(()),
        false => {
            Err(CertificateError::NotValidForNameContext { expected: name.to_owned(), presented }.into())
        }
    }
}

fn common_names(certificate: &Certificate) -> Vec<String> {
    let subject = certificate.tbs_certificate().subject();
    let names = subject.iter().filter(|attribute| attribute.oid == COMMON_NAME);
    names.map(|attribute| printable_bytes(attribute.value.value())).collect()
}

/// Whether a common name is that host: the address, the name, or the name with `*` for its first label.
fn fits(common: &str, name: &ServerName<'_>) -> bool {
    match name {
        ServerName::IpAddress(address) => common.parse() == Ok(IpAddr::from(*address)),
        name => {
            let name = name.to_str();
            let wild = || Some(common.strip_prefix("*.")?.eq_ignore_ascii_case(name.split_once('.')?.1));
            common.eq_ignore_ascii_case(&name) || wild().unwrap_or(false)
        }
    }
}
