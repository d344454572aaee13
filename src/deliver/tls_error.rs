//! Text for a failed TLS handshake: what it means and what to change.

use crate::config::settings::{TlsMode, Upstream};
use jiff::Timestamp;
use rustls::{CertificateError, Error};
use rustls_pki_types::UnixTime;
use std::io;

/// Names of a certificate that an error shows.
const NAMES_TOLD: usize = 5;

/// Describes what went wrong in a handshake with that upstream.
pub(super) fn describe(error: &io::Error, upstream: &Upstream) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(why)) => certificate(why, upstream),
        Some(Error::InvalidMessage(_)) if upstream.tls == TlsMode::Implicit => {
            "the server does not begin with TLS; is this a STARTTLS port? Then set tls = \"starttls\""
                .to_owned()
        }
        Some(Error::InvalidMessage(_)) => "what the server sent is no TLS".to_owned(),
        _ if upstream.tls == TlsMode::Implicit => {
            format!("{error}; if this is a STARTTLS port, set tls = \"starttls\"")
        }
        _ => error.to_string(),
    }
}

fn certificate(why: &CertificateError, upstream: &Upstream) -> String {
    match why {
        CertificateError::UnknownIssuer => format!(
            "the server's certificate is signed by an authority that {}; if it is the right server, give the authority's \
             certificate as `tls_ca`",
            not_known(upstream)
        ),
        CertificateError::BadSignature => format!(
            "a signature does not fit: the server's certificate is signed by an authority that {} under that name, or the \
             server does not have the key of the certificate that it shows; if it is the right server, give the authority's \
             certificate as `tls_ca`",
            not_known(upstream)
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            match names(presented) {
                None => format!("the server's certificate is for no host, and not for {expected}"),
                Some(names) => format!(
                    "the server's certificate is for {names} and not for {expected}; is one of them the right `host`?"
                ),
            }
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the server's certificate has expired on {}; the server needs a new one, or the clock here is wrong ({})",
            shown(*not_after),
            shown(*time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the server's certificate is not valid before {}; or the clock here is wrong ({})",
            shown(*not_before),
            shown(*time)
        ),
        // A certificate that its own owner has signed, as `openssl req -x509` makes it.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "the server's certificate is signed by itself; if it is the right server, give that certificate as `tls_ca`"
                .to_owned()
        }
        other => format!("the server's certificate is refused: {other}"),
    }
}

fn not_known(upstream: &Upstream) -> String {
    match &upstream.tls_ca {
        Some(file) => format!("neither this machine nor tls_ca {} knows", file.display()),
        None => "this machine does not know".to_owned(),
    }
}

/// `DnsName("a.test")` and `IpAddress(127.0.0.1)` become what they hold. Whoever made the certificate wrote them.
fn names(presented: &[String]) -> Option<String> {
    let bare = |name: &String| {
        let name = name.split_once('(').map_or(name.as_str(), |(_, name)| name.trim_end_matches(')'));
        let clean = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        name.trim_matches('"').chars().take(100).map(clean).collect::<String>()
    };
    let mut names: Vec<String> = presented.iter().take(NAMES_TOLD).map(bare).collect();
    if presented.len() > NAMES_TOLD {
        names.push(format!("{} more", presented.len() - NAMES_TOLD));
    }
    (!names.is_empty()).then(|| names.join(", "))
}

fn shown(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a time that cannot be shown".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_without_their_kinds_and_not_by_the_hundred() {
        let many: Vec<String> = (0..7).map(|n| format!("DnsName(\"{n}\u{202e}.test\")")).collect();
        assert_eq!(names(&many).unwrap(), "0?.test, 1?.test, 2?.test, 3?.test, 4?.test, 2 more");
        assert_eq!(names(&["IpAddress(127.0.0.1)".to_owned()]).unwrap(), "127.0.0.1");
        assert_eq!(names(&[]), None);
    }
}
