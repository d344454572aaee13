//! What this machine calls itself: the name that was given, else the machine's full name, else an address literal
//! (RFC 5321 section 4.1.3), for real servers refuse `EHLO localhost`.
//!
//! Limit: the full name is asked for once in the life of the process, so that a reload neither waits nor changes its mind.

use super::error::{ValueError, quoted};
use super::host::is_name;
use dns_lookup::AddrInfoHints;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

/// The same number on Linux, the BSDs, macOS and Windows.
const AI_CANONNAME: i32 = 2;

/// A machine whose resolver answers no sooner has no full name to speak of.
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) const FORM: &str =
    r#"give it a full name such as "mail.example.com", a literal such as "[192.0.2.7]", or """#;

/// Checks a name that was given. Empty means [`of_this_machine`].
pub(super) fn parse(text: &str) -> Result<String, ValueError> {
    match text {
        "" => Ok(of_this_machine()),
        text if is_literal(text) || is_name(text) => Ok(text.to_owned()),
        text => Err(format!("{} is neither a host name nor an address literal", quoted(text)).into()),
    }
}

/// This machine's own name.
pub(super) fn of_this_machine() -> String {
    static OWN: OnceLock<String> = OnceLock::new();
    OWN.get_or_init(|| full_name().unwrap_or_else(|| literal(own_address()))).clone()
}

/// No name that only this machine knows: it has a dot, and is not one of the many ways to say localhost.
fn is_full(name: &str) -> bool {
    name.contains('.') && !name.starts_with("localhost") && !name.ends_with(".localdomain") && is_name(name)
}

fn full_name() -> Option<String> {
    let name = gethostname::gethostname().into_string().ok()?;
    if is_full(&name) {
        return Some(name);
    }
    // As `hostname -f` does it. The resolver has no deadline of its own, so it gets a thread and one is set here.
    let (sender, receiver) = mpsc::channel();
    let ask = move || {
        let hints = AddrInfoHints { flags: AI_CANONNAME, ..AddrInfoHints::default() };
        let answer = dns_lookup::getaddrinfo(Some(&name), None, Some(hints)).ok();
        let canonical = answer.and_then(|mut all| all.find_map(|one| one.ok()?.canonname));
        // Nobody waits any more: then nobody needs it.
        let _ = sender.send(canonical);
    };
    std::thread::Builder::new().name("hostname".to_owned()).spawn(ask).ok()?;
    let canonical = receiver.recv_timeout(RESOLVER_TIMEOUT).ok()??;
    let canonical = canonical.trim_end_matches('.').to_owned();
    is_full(&canonical).then_some(canonical)
}

/// The address that packets to the world would leave from. Connecting a datagram socket chooses it and sends nothing.
fn own_address() -> IpAddr {
    let from = |local: IpAddr, far: IpAddr| {
        let socket = UdpSocket::bind(SocketAddr::new(local, 0)).ok()?;
        socket.connect(SocketAddr::new(far, 9)).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_loopback() && !address.is_unspecified()).then_some(address)
    };
    // TEST-NET-1 and the documentation prefix: nobody is there.
    from(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into())
        .or_else(|| from(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()))
        .unwrap_or(Ipv4Addr::LOCALHOST.into())
}

fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

fn is_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else { return false };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse::<Ipv6Addr>().is_ok(),
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_name_has_a_dot_or_is_a_literal() {
        let name = of_this_machine();
        assert!(is_full(&name) || is_literal(&name), "{name}");
        assert_eq!(name, of_this_machine());
    }

    #[test]
    fn names_that_say_nothing_are_no_full_names() {
        for name in ["localhost", "localhost.localdomain", "box", "box.localdomain", "", "a b.c"] {
            assert!(!is_full(name), "{name}");
        }
        assert!(is_full("box.example.com"));
    }

    #[test]
    fn names_and_literals_may_be_given() {
        for name in ["mail.example.com", "box", "[192.0.2.7]", "[IPv6:2001:db8::1]"] {
            assert_eq!(parse(name), Ok(name.to_owned()));
        }
        for name in
            ["mail example", "192.0.2.7", "[mail]", "[2001:db8::1]", "a\r\nb", "é.example", "[192.0.2.7"]
        {
            assert!(parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn literals_are_as_the_rfc_has_them() {
        assert_eq!(literal("192.0.2.7".parse().unwrap()), "[192.0.2.7]");
        assert_eq!(literal("2001:db8::1".parse().unwrap()), "[IPv6:2001:db8::1]");
    }
}
