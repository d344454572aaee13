//! Whom the certificate that a server has shown is for, in words.

use crate::mail::printable;
use rustls::ClientConnection;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Names that are told.
const NAMES_TOLD: usize = 5;

/// `it is for mx.example.com, *.example.com`.
pub(super) fn shown(session: &ClientConnection) -> String {
    let chain = session.peer_certificates().unwrap_or_default();
    let Some(certificate) = chain.first().and_then(|first| Certificate::from_der(first).ok()) else {
        return "no certificate that can be read".to_owned();
    };
    let names = match names(&certificate).as_slice() {
        [] => "nobody".to_owned(),
        names if names.len() > NAMES_TOLD => {
            format!("{} and {} more", names[..NAMES_TOLD].join(", "), names.len() - NAMES_TOLD)
        }
        names => names.join(", "),
    };
    printable(&format!("it is for {names}"))
}

/// The alternative names; without any, the subject.
fn names(certificate: &Certificate) -> Vec<String> {
    let tbs = certificate.tbs_certificate();
    let names = tbs.get_extension::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0);
    let name = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
        _ => None,
    };
    match names {
        Some(names) => names.iter().filter_map(name).collect(),
        None => vec![tbs.subject().to_string()],
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    let v6 = || <[u8; 16]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    v4.or_else(|_| v6()).ok()
}
