//! URLs that something secret is sent to: only https, or http within this machine.

use super::error::ValueError;
use super::host::Host;
use hyper::Uri;

/// `instead`: what to give in place of a user and a password in the URL. The URL is not shown, as it may hold a secret.
pub(super) fn parse(text: &str, instead: &str) -> Result<Uri, ValueError> {
    let url: Uri = text.parse().map_err(|_| ValueError::from("is no URL"))?;
    let Some(authority) = url.authority() else { return Err("names no host".into()) };
    if authority.as_str().contains('@') {
        return Err(ValueError::with_hint("holds an @", instead));
    }
    let host = Host::parse(authority.as_str()).map_err(|_| ValueError::from("names a host that is none"))?;
    match url.scheme_str() {
        Some("https") => Ok(url),
        Some("http") if host.is_loopback() => Ok(url),
        _ => Err("is not https, so that secrets would be read on their way".into()),
    }
}
