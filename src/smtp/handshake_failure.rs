//! Why the TLS handshake of a client came to nothing, in words that say what to change: nobody but the operator hears them.

use rustls::{AlertDescription, Error, PeerIncompatible};
use std::io;

/// Describes what went wrong.
pub(super) fn describe(error: &io::Error) -> String {
    use AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA};
    use PeerIncompatible::{SignatureAlgorithmsExtensionRequired, Tls12NotOffered, Tls12NotOfferedOrEnabled};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        // A client of TLS 1.1 has none of the extensions of 1.2, which rustls misses first.
        Some(Error::PeerIncompatible(
            SignatureAlgorithmsExtensionRequired | Tls12NotOffered | Tls12NotOfferedOrEnabled,
        )) => "the client offers TLS 1.1 or older, and TLS 1.2 is needed: it needs another setting or version (for .NET \
               Framework: 4.7 or later, or SchUseStrongCrypto in the registry)"
            .to_owned(),
        Some(Error::AlertReceived(alert @ (UnknownCA | BadCertificate | CertificateUnknown | CertificateExpired))) => {
            format!("the client does not trust the certificate (alert {alert:?}): have it trust that or its authority")
        }
        Some(Error::InvalidMessage(_)) => {
            "what the client sent is no TLS: it may be set to none, or to STARTTLS where TLS comes first".to_owned()
        }
        _ if error.kind() == io::ErrorKind::UnexpectedEof => "the client closed the connection in it".to_owned(),
        _ => error.to_string(),
    }
}
