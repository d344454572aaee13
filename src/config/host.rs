//! A server's name: `host`, `host:port`, `[v6]`, `[v6]:port`; `[host]:port` too, which Postfix's users write.
//! Nothing is looked up.

use super::error::{ValueError, quoted};
use std::net::{IpAddr, Ipv6Addr};

/// SMTP (RFC 5321 section 4.5.4.2).
const DEFAULT_PORT: u16 = 25;

pub(super) const FORM: &str = "give it as host, host:port, [v6] or [v6]:port";

/// A server, as somebody wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Host {
    /// Name in lower case, or address without brackets.
    pub(crate) name: String,
    pub(crate) port: u16,
}

impl Host {
    pub(crate) fn parse(text: &str) -> Result<Host, ValueError> {
        let text = text.trim();
        // A URL with a user may hold a password: it is not shown.
        if text.contains('@') {
            return Err(ValueError::with_hint(
                "holds an @",
                "give the host alone; username and password are keys of their own",
            ));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(ValueError::with_hint(
                format!("begins with {}", quoted(&format!("{scheme}://"))),
                format!("give {} and, where it must be so, the key tls", quoted(rest.trim_end_matches('/'))),
            ));
        }
        let (name, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((name, ""))) => (name, None),
            Some(Some((name, rest))) => (
                name,
                Some(
                    rest.strip_prefix(':')
                        .ok_or_else(|| ValueError::from(format!("{} is no host", quoted(text))))?,
                ),
            ),
            Some(None) => return Err(format!("{} lacks a closing bracket", quoted(text)).into()),
            None if text.parse::<Ipv6Addr>().is_ok() => {
                return Err(ValueError::with_hint(
                    format!("{} may be an address or an address and a port", quoted(text)),
                    format!("write [{text}]"),
                ));
            }
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        let port = match port.map(str::parse::<u16>) {
            None => DEFAULT_PORT,
            Some(Ok(port)) if port > 0 => port,
            Some(_) => {
                return Err(ValueError::with_hint(
                    format!("{} has no sound port", quoted(text)),
                    "a port is 1 to 65535",
                ));
            }
        };
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(Host { name: address.to_string(), port });
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        if !is_name(name) {
            return Err(format!("{} is no host", quoted(text)).into());
        }
        Ok(Host { name: name.to_ascii_lowercase(), port })
    }

    /// The address, where it is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.name.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    }

    /// It never leaves this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.is_localhost() || self.address().is_some_and(|address| address.is_loopback())
    }

    /// RFC 6761 section 6.3: such names are loopback addresses, whatever the DNS says.
    pub(super) fn is_localhost(&self) -> bool {
        self.name == "localhost" || self.name.ends_with(".localhost")
    }
}

/// Labels of letters, digits and hyphens, and underscores, which exist in practice.
pub(super) fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits makes it a misspelt address.
    let misspelt = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(is_label) && !misspelt
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_with_and_without_port() {
        for (text, name, port) in [
            ("smtp.example.com", "smtp.example.com", 25),
            ("SMTP.Example.com.:587", "smtp.example.com", 587),
            ("localhost:2526", "localhost", 2526),
            ("192.0.2.1", "192.0.2.1", 25),
            ("192.0.2.1:465", "192.0.2.1", 465),
            ("[2001:DB8::1]", "2001:db8::1", 25),
            ("[2001:db8::1]:587", "2001:db8::1", 587),
            ("[smtp.example.com]:587", "smtp.example.com", 587),
            ("[192.0.2.1]", "192.0.2.1", 25),
            ("mail_relay", "mail_relay", 25),
        ] {
            assert_eq!(Host::parse(text), Ok(Host { name: name.to_owned(), port }), "{text}");
        }
    }

    #[test]
    fn what_is_no_host() {
        for text in [
            "",
            " ",
            ":25",
            "host:",
            "host:0",
            "host:65536",
            "host:smtp",
            "::1",
            "2001:db8::1",
            "[::1",
            "[::1]25",
            "[]:25",
            "a b",
            "a..b",
            "-a",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "smtp://host:25",
            "host/path",
            "ü.example",
        ] {
            assert!(Host::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Host::parse("2001:db8::1").unwrap_err().right.unwrap(), "write [2001:db8::1]");
    }

    #[test]
    fn the_password_of_a_url_is_not_shown() {
        let fault = Host::parse("smtp://user:hunter2@smtp.example.com").unwrap_err();
        assert!(!format!("{fault:?}").contains("hunter2"));
    }

    #[test]
    fn loopback_by_name_and_by_address() {
        for text in
            ["localhost", "LOCALHOST:25", "a.localhost", "127.9.9.9:25", "[::1]:25", "[::ffff:127.0.0.1]"]
        {
            assert!(Host::parse(text).unwrap().is_loopback(), "{text}");
        }
        for text in ["localhost.example.com", "192.0.2.1", "[2001:db8::1]"] {
            assert!(!Host::parse(text).unwrap().is_loopback(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC*|[a-z0-9.:\\[\\]@/-]*") {
            if let Ok(host) = Host::parse(&text) {
                prop_assert!(host.port > 0 && !host.name.is_empty());
            }
        }
    }
}
