//! What a text means: durations, sizes, networks, rates, hosts, log filters. Pure functions that say what is wrong.

use super::error::{ValueError, quoted};
use super::settings::RateLimit;
use crate::mail::Address;
use bytesize::ByteSize;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

pub(super) const DURATION_FORM: &str = r#"give it a time in quotes such as "90s", "5m" or "2d""#;
pub(super) const SIZE_FORM: &str = r#"give it a size in quotes such as "64KiB" or "25MiB""#;

/// So that no sum of a time and a moment overflows.
const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 86_400);

/// RFC 1918, RFC 4193 and loopback: what `"private"` stands for.
const PRIVATE: [IpNet; 6] = [
    v4(10, 0, 8),
    v4(172, 16, 12),
    v4(192, 168, 16),
    v4(127, 0, 8),
    IpNet::V6(ipnet::Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)),
    IpNet::V6(ipnet::Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

const fn v4(first: u8, second: u8, length: u8) -> IpNet {
    IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(first, second, 0, 0), length))
}

/// Longer than nothing.
pub(super) fn duration(text: &str) -> Result<Duration, ValueError> {
    let time = humantime::parse_duration(text.trim()).map_err(|_| format!("{} is no time", quoted(text)))?;
    match time {
        Duration::ZERO => Err(format!("{} is no time at all", quoted(text)).into()),
        time if time > MAX_DURATION => {
            Err(ValueError::with_hint(format!("{} is too long", quoted(text)), "at most 10 years"))
        }
        time => Ok(time),
    }
}

/// Bytes. Without a unit only 0 is clear.
pub(super) fn size(text: &str, least: u64) -> Result<u64, ValueError> {
    let trimmed = text.trim();
    let unit = trimmed.ends_with(|last: char| last.is_ascii_alphabetic());
    let size = match trimmed.parse::<ByteSize>() {
        Ok(size) if unit || size == ByteSize::b(0) => size.as_u64(),
        Ok(_) => return Err(format!("{} has no unit", quoted(text)).into()),
        Err(_) => return Err(format!("{} is no size", quoted(text)).into()),
    };
    match size {
        size if size < least => {
            let least = ByteSize::b(least).display().iec().to_string();
            Err(ValueError::with_hint(
                format!("{} is too little", quoted(text)),
                format!("give it at least {least}"),
            ))
        }
        // Sums of sizes must not overflow.
        size if size > 1 << 60 => {
            Err(ValueError::with_hint(format!("{} is too much", quoted(text)), "at most 1EiB"))
        }
        size => Ok(size),
    }
}

/// Networks in CIDR form, single addresses, `private`.
pub(super) fn networks(texts: &[String]) -> Result<Vec<IpNet>, ValueError> {
    let mut networks = Vec::new();
    for text in texts {
        if text == "private" {
            networks.extend(PRIVATE);
        } else if let Ok(network) = text.parse::<IpNet>() {
            networks.push(network.trunc());
        } else if let Ok(address) = text.parse::<IpAddr>() {
            networks.push(address.into());
        } else {
            return Err(format!("{} is no network", quoted(text)).into());
        }
    }
    Ok(networks)
}

/// Whether all of IPv4 or all of IPv6 is in these networks, in one piece or in several.
pub(super) fn cover_all_addresses(networks: &[IpNet]) -> bool {
    let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
    IpNet::aggregate(&networks.to_vec()).iter().any(|network| match network {
        IpNet::V4(network) => network.prefix_len() == 0,
        // IPv4 clients of an IPv6 socket come from ::ffff:0:0/96.
        IpNet::V6(network) => {
            network.prefix_len() == 0 || network.prefix_len() <= 96 && network.contains(&mapped)
        }
    })
}

/// Where mail for an alias goes. Who leaves the domain out says no SMTPUTF8 either, so the address must do without.
pub(super) fn alias(text: &str) -> Result<Address, ValueError> {
    match text.parse::<Address>() {
        Ok(address) if address.is_ascii() => Ok(address),
        Ok(_) => Err(format!("{} holds letters beyond ASCII, which take SMTPUTF8", quoted(text)).into()),
        Err(error) => Err(format!("{}: {error}", quoted(text)).into()),
    }
}

/// Where to listen.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, ValueError> {
    text.parse().map_err(|_| format!("{} is no address with a port", quoted(text)).into())
}

/// A local address; empty = none.
pub(super) fn source_address(text: &str) -> Result<Option<IpAddr>, ValueError> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("{} is no IP address", quoted(text)).into()),
    }
}

/// `messages/time`; empty = none.
pub(super) fn rate_limit(text: &str) -> Result<Option<RateLimit>, ValueError> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || ValueError::from(format!("{} is no rate", quoted(text)));
    let (messages, time) = text.split_once('/').ok_or_else(wrong)?;
    let messages: u32 = messages.trim().parse().map_err(|_| wrong())?;
    let time = duration(time).map_err(|_| wrong())?;
    if messages == 0 {
        return Err(ValueError::with_hint(
            "would never let a message through",
            "give at least 1 message, or enabled = false to send nothing this way",
        ));
    }
    Ok(Some(RateLimit { messages, time }))
}

/// A path, not empty.
pub(super) fn path(text: &str) -> Result<PathBuf, ValueError> {
    match text {
        "" => Err("is empty".into()),
        text if text.contains('\0') => Err("contains a NUL character".into()),
        text => Ok(PathBuf::from(text)),
    }
}

/// A list in the environment: as TOML has it, or separated by commas.
pub(super) fn list(text: &str) -> Result<Vec<String>, ValueError> {
    let text = text.trim();
    if !text.starts_with('[') {
        return Ok(text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect());
    }
    let wrong = || ValueError::with_hint("is no list", r#"write it as a,b,c or as ["a", "b", "c"]"#);
    let value: toml_edit::Value = text.parse().map_err(|_| wrong())?;
    let values = value.as_array().ok_or_else(wrong)?;
    values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

/// A level, or a filter as `RUST_LOG` has it.
pub(super) fn log_filter(text: &str) -> Result<String, ValueError> {
    for part in text.split(',').map(str::trim) {
        // A misspelt level would be taken for the name of a module, and nothing would ever be logged.
        if !part.contains('=') && !is_level(part) {
            return Err(format!("{} is no level", quoted(part)).into());
        }
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{} is no filter: {error}", quoted(text)).into()),
    }
}

/// What `RUST_LOG`, which other programs read too, says in fewer words than [`log_filter`] wants: a word that is no level is
/// a module with all that it logs.
pub(super) fn with_levels(filter: &str) -> String {
    let parts = filter.split(',').map(str::trim).filter(|part| !part.is_empty());
    let with_levels = |part: &str| match part.contains('=') || is_level(part) {
        true => part.to_owned(),
        false => format!("{part}=trace"),
    };
    let parts: Vec<String> = parts.map(with_levels).collect();
    if parts.is_empty() { "off".to_owned() } else { parts.join(",") }
}

fn is_level(part: &str) -> bool {
    !part.is_empty() && part.parse::<LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("2d", 172_800), ("1h 30m", 5400), (" 1s ", 1)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "5x", "-5m", "0s", "99999y", "five minutes", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("25MiB", 26_214_400), ("25 MiB", 26_214_400), ("1MB", 1_000_000), ("0", 0), ("7B", 7)]
        {
            assert_eq!(size(text, 0), Ok(bytes), "{text}");
        }
        for text in ["", "25", "-1MiB", "MiB", "25 miles", "99999999EiB", "1.2.3MiB"] {
            assert!(size(text, 0).is_err(), "{text}");
        }
        assert_eq!(size("1KiB", 1 << 20).unwrap_err().right.unwrap(), "give it at least 1.0 MiB");
    }

    #[test]
    fn networks_and_what_private_means() {
        let of = |texts: &[&str]| networks(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let private = of(&["private"]).unwrap();
        let inside = |address: &str| {
            private.iter().any(|network| network.contains(&address.parse::<IpAddr>().unwrap()))
        };
        for address in
            ["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.7.7", "127.0.0.1", "::1", "fd00::1"]
        {
            assert!(inside(address), "{address}");
        }
        for address in [
            "11.0.0.1",
            "172.32.0.1",
            "192.169.0.1",
            "8.8.8.8",
            "169.254.0.1",
            "fe80::1",
            "2001:db8::1",
            "::2",
        ] {
            assert!(!inside(address), "{address}");
        }
        assert_eq!(of(&["10.1.2.3/8", "::1"]).unwrap()[0], "10.0.0.0/8".parse().unwrap());
        for text in ["10.0.0.0/33", "10.0.0", "localhost", "", "Private", "*"] {
            assert!(of(&[text]).is_err(), "{text}");
        }
    }

    #[test]
    fn the_world_may_come_in_pieces() {
        let covers = |texts: &[&str]| {
            cover_all_addresses(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
        };
        assert!(covers(&["10.0.0.0/8", "0.0.0.0/0"]));
        assert!(covers(&["::/0"]));
        assert!(covers(&["0.0.0.0/1", "128.0.0.0/1"]));
        assert!(covers(&["::/1", "8000::/1"]));
        assert!(covers(&["::ffff:0:0/96"]));
        assert!(!covers(&["0.0.0.0/1", "10.0.0.0/8", "::1/128", "fc00::/7", "::/128"]));
        assert!(!covers(&[]));
    }

    #[test]
    fn rates() {
        let rate = |messages, seconds| Ok(Some(RateLimit { messages, time: Duration::from_secs(seconds) }));
        assert_eq!(rate_limit("30/1m"), rate(30, 60));
        assert_eq!(rate_limit("1 / 2h"), rate(1, 7200));
        assert_eq!(rate_limit(""), Ok(None));
        for text in ["30", "30/", "/1m", "0/1m", "30/0s", "-1/1m", "30/1m/1m", "30/m"] {
            assert!(rate_limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_from_the_environment() {
        for text in ["a,b", " a , b ,", r#"["a", "b"]"#] {
            assert_eq!(list(text), Ok(vec!["a".to_owned(), "b".to_owned()]), "{text}");
        }
        assert_eq!(list(""), Ok(Vec::new()));
        assert_eq!(list("[]"), Ok(Vec::new()));
        for text in ["[a", "[1]", "[\"a\"] x"] {
            assert!(list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn log_filters() {
        for text in ["info", "WARN", "off", "info,postroom::smtp=debug", "postroom=trace"] {
            assert_eq!(log_filter(text).as_deref(), Ok(text));
        }
        for text in ["", "inof", "verbose", "postroom=loud", "info,"] {
            assert!(log_filter(text).is_err(), "{text}");
        }
        for (short, long) in
            [("hyper", "hyper=trace"), ("debug", "debug"), (" a ,,b=info", "a=trace,b=info"), (",", "off")]
        {
            assert_eq!(with_levels(short), long);
            assert_eq!(log_filter(long).as_deref(), Ok(long));
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC*|[0-9./:kMGiBsmhd, \\[\\]\"=-]*") {
            let _ = duration(&text);
            let _ = size(&text, 1);
            let _ = networks(std::slice::from_ref(&text));
            let _ = socket_address(&text);
            let _ = source_address(&text);
            let _ = rate_limit(&text);
            let _ = path(&text);
            let _ = list(&text);
            let _ = log_filter(&text);
        }
    }
}
