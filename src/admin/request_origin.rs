//! Whether a request comes from where it says, as far as a browser tells: by which name we were asked for (Host, against DNS rebinding),
//! and from a page of whom (`Origin`, `Referer`, `Sec-Fetch-Site`, against forged requests).

use super::problem::Problem;
use super::rights::is_safe;
use crate::config::Settings;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use std::net::IpAddr;

/// By which name we were asked for.
///
/// # Errors
/// By none, by several, or by one that is not ours.
pub(super) fn host_asked_for(
    uri: &Uri,
    headers: &HeaderMap,
    settings: &Settings,
    local: IpAddr,
) -> Result<String, Problem> {
    let bad = |what| Err(Problem::new(StatusCode::BAD_REQUEST, what));
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        (None, _) => return bad("the request has no Host"),
        (_, Some(_)) => return bad("the request has several Host fields"),
    };
    // A request line with a whole URL says it again (RFC 9112 section 3.2.2).
    for authority in uri.authority().map(Authority::as_str).into_iter().chain([host]) {
        if !settings.admin.answers_to(authority, local) {
            let detail = format!(
                "this is not {}: add that name to hosts in [admin] if it is meant to be (what is refused here is DNS \
                 rebinding)",
                crate::mail::printable::printable(authority)
            );
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
    }
    Ok(uri.authority().map_or(host, Authority::as_str).to_owned())
}

/// Refuses requests that a page of somebody else made a browser send. Programs say nothing of where they come from. `is_tls`: the
/// request came to us by TLS.
///
/// # Errors
/// In words.
pub(super) fn no_other_page(
    method: &Method,
    headers: &HeaderMap,
    host: &str,
    is_tls: bool,
) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let refused = |what: &str| {
        let detail = format!("a page of another origin may not ask for this ({what})");
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    };
    // Following a link is asking from elsewhere, and changes nothing.
    let is_link = is_safe(method) && text("sec-fetch-mode") == Some("navigate");
    match text("sec-fetch-site") {
        None | Some("same-origin" | "none") => {}
        Some(_) if is_link => {}
        Some(_) => return refused("Sec-Fetch-Site"),
    }
    if is_safe(method) {
        return Ok(());
    }
    match (text("origin"), text("referer")) {
        (Some(origin), _) if !is_same(origin, host, is_tls) => refused("Origin"),
        (None, Some(page)) if !is_same(page, host, is_tls) => refused("Referer"),
        _ => Ok(()),
    }
}

/// Whether a URL has this host and port. What came by TLS is of no page in clear text, which anybody on the way may have changed;
/// without TLS the scheme is not ours to know: a proxy in front may do TLS.
fn is_same(url: &str, host: &str, is_tls: bool) -> bool {
    let (Ok(url), Ok(host)) = (url.parse::<Uri>(), host.parse::<Authority>()) else { return false };
    let usual = match url.scheme_str() {
        Some("https") => 443,
        Some("http") if !is_tls => 80,
        _ => return false,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(usual);
    url.authority()
        .is_some_and(|page| page.host().eq_ignore_ascii_case(host.host()) && port(page) == port(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_ours_are_known_by_host_and_port() {
        for (url, host) in [
            ("http://localhost:8025", "localhost:8025"),
            ("http://LOCALHOST:8025/page?x=1", "localhost:8025"),
            ("https://postroom.test", "postroom.test"),
            ("https://postroom.test", "postroom.test:443"),
            ("http://[::1]:8025", "[::1]:8025"),
        ] {
            assert!(is_same(url, host, false), "{url} {host}");
            assert_eq!(is_same(url, host, true), url.starts_with("https:"), "{url} {host}");
        }
        for (url, host) in [
            ("null", "localhost:8025"),
            ("", "localhost:8025"),
            ("http://localhost:8026", "localhost:8025"),
            ("http://localhost:8025.evil.test", "localhost:8025"),
            ("http://localhost:8025@evil.test", "localhost:8025"),
            ("http://evil.test/localhost:8025", "localhost:8025"),
            ("https://localhost", "localhost:8025"),
            ("file://localhost:8025", "localhost:8025"),
        ] {
            assert!(!is_same(url, host, false) && !is_same(url, host, true), "{url} {host}");
        }
    }
}
