//! What is to happen to mail, as it is meant: sites, sending, redirect, debug, simulate, sender (docs/rules.md, rule 6).

use crate::mail::{Address, Mode};
use std::fmt;
use std::str::FromStr;

/// One of several applications that share the proxy: `[site.NAME]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Site {
    /// Made like a listener's.
    pub name: String,
    /// Mail whose reverse-path (for `<>`: the From) is one of these belongs to the site, where its listener does not
    /// say so.
    pub senders: Vec<AddressPattern>,
    /// False: only upstreams that name the site take its mail.
    pub global_upstreams: bool,
    /// The global settings with what the site says laid over them, key by key.
    pub handling: Handling,
}

/// What happens to the mail of a site, or to mail of no site.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Handling {
    /// True: accept and keep, send nothing, and let no time pass for it. Written `[sending] enabled = false`.
    pub sending_off: bool,
    /// Every send fails, nothing leaves.
    pub simulate: bool,
    /// Log only; nothing leaves.
    pub debug: DebugMode,
    /// Report addresses get the mail instead of its recipients.
    pub redirect: Redirect,
    /// Whose mail it says it is.
    pub sender: SenderRewrite,
}

impl Handling {
    /// The mode that applies. In this order: simulate, debug, redirect; sending off comes before all and is no mode.
    pub fn mode(&self) -> Option<Mode> {
        if self.simulate {
            Some(Mode::Simulate)
        } else if self.debug.enabled {
            Some(Mode::Debug)
        } else if self.redirect.enabled {
            Some(Mode::Redirect)
        } else {
            None
        }
    }
}

/// `[debug]`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DebugMode {
    pub enabled: bool,
    /// Share of recipients whose sending is said to have failed, 0 to 1.
    pub failure_rate: f64,
    /// Makes the choice of those the same each time; 0 = random.
    pub seed: u64,
}

/// `[redirect]`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Redirect {
    pub enabled: bool,
    /// Who gets the mail, in this order.
    pub report_emails: Vec<ReportAddress>,
    /// Recipients that get their own mail all the same.
    pub allow: Vec<AddressPattern>,
}

impl Redirect {
    /// The report addresses that get a copy.
    pub fn enabled_addresses(&self) -> impl Iterator<Item = &Address> {
        self.report_emails.iter().filter(|one| one.enabled).map(|one| &one.email)
    }

    /// Whether a recipient still gets its own mail. A server of an allowed domain may send `ann%example.org@`, `example.org!ann@`
    /// and `"ann@example.org"@` on to example.org (RFC 5321 appendix C): these are allowed by nothing but their whole address.
    pub fn allows(&self, recipient: &Address) -> bool {
        let may_be_routed = recipient.local_part().contains(['%', '!', '@', ':']);
        let allows = |pattern: &&AddressPattern| {
            pattern.matches(recipient) && (matches!(pattern, AddressPattern::Address(_)) || !may_be_routed)
        };
        self.allow.iter().any(|pattern| allows(&pattern))
    }
}

/// One of `report_emails`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportAddress {
    pub email: Address,
    /// Disabled ones get nothing.
    pub enabled: bool,
}

/// `[sender]`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SenderRewrite {
    /// When the application's own sender is replaced.
    pub when: RewriteWhen,
    /// What it is replaced by; there wherever `when` is not [`RewriteWhen::Never`].
    pub address: Option<Mailbox>,
}

/// `rewrite`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RewriteWhen {
    /// The application's own sender stays.
    #[default]
    Never,
    Always,
    /// Where there is no usable From.
    Missing,
}

/// An address, with or without a display name: `"John Smith" <john@example.com>` (RFC 5322 section 3.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mailbox {
    /// The display name as it is to be read, without quotes; empty = none.
    pub name: String,
    pub address: Address,
}

/// One address, or all of a domain: `ann@example.com`, `@example.com`. ASCII case is ignored; a domain is meant exactly,
/// without those below it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AddressPattern {
    /// One address, in lower case.
    Address(String),
    /// What stands behind the last `@`, in lower case.
    Domain(String),
}

impl AddressPattern {
    /// Whether it means this address.
    pub fn matches(&self, address: &Address) -> bool {
        match self {
            AddressPattern::Address(own) => address.as_str().eq_ignore_ascii_case(own),
            AddressPattern::Domain(own) => address.domain().eq_ignore_ascii_case(own),
        }
    }
}

impl FromStr for AddressPattern {
    type Err = String;

    /// In words that fit behind a key.
    fn from_str(text: &str) -> Result<AddressPattern, String> {
        let expected =
            "an address, for example ann@example.com, or \"@\" and a domain, for example @example.com";
        let wrong = |why: &str| format!("{why}; expected {expected}");
        match text.strip_prefix('@') {
            // Read as the domain of an address, so that nothing stands there that no address can have.
            Some(domain) => match format!("x@{domain}").parse::<Address>() {
                Ok(address) if address.domain() == domain => {
                    Ok(AddressPattern::Domain(domain.to_ascii_lowercase()))
                }
                _ => Err(wrong("there is no domain behind the \"@\"")),
            },
            None if text.starts_with("*@") => Err(wrong("\"*\" stands for nothing here")),
            None => text
                .parse::<Address>()
                .map(|address| AddressPattern::Address(address.as_str().to_ascii_lowercase()))
                .map_err(|error| wrong(&error.to_string())),
        }
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressPattern::Address(address) => f.write_str(address),
            AddressPattern::Domain(domain) => write!(f, "@{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_may_be_sent_on_elsewhere_is_allowed_by_its_whole_self_alone() {
        let redirect = |allow: &str| Redirect { allow: vec![allow.parse().unwrap()], ..Redirect::default() };
        for address in [
            "ann%real.example@dev.test",
            "real.example!ann@dev.test",
            "\"ann@real.example\"@dev.test",
            "\"@relay.test:ann\"@dev.test",
        ] {
            let parsed: Address = address.parse().unwrap();
            assert!(!redirect("@dev.test").allows(&parsed), "{address}");
            assert!(redirect(address).allows(&parsed), "{address}");
        }
        assert!(redirect("@dev.test").allows(&"ann+tag@dev.test".parse().unwrap()));
    }

    fn matches(pattern: &str, address: &str) -> bool {
        pattern.parse::<AddressPattern>().unwrap().matches(&address.parse().unwrap())
    }

    #[test]
    fn a_pattern_is_a_whole_address_or_exactly_a_domain() {
        for (pattern, address) in [
            ("ann@example.com", "Ann@EXAMPLE.com"),
            ("@example.com", "bob@Example.Com"),
            ("@Example.com", "\"a@b\"@example.com"),
            ("@[192.0.2.1]", "ann@[192.0.2.1]"),
        ] {
            assert!(matches(pattern, address), "{pattern} means {address}");
        }
        for (pattern, address) in [
            ("ann@example.com", "joann@example.com"),
            ("ann@example.com", "ann@example.com.evil.test"),
            ("@example.com", "ann@sub.example.com"),
            ("@example.com", "ann@notexample.com"),
            ("@example.com", "\"x@example.com\"@evil.test"),
            // Only ASCII has a case that everybody agrees about.
            ("ä@example.com", "Ä@example.com"),
        ] {
            assert!(!matches(pattern, address), "{pattern} does not mean {address}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_said_to_be_none() {
        for text in [
            "",
            "@",
            "ann",
            "@@",
            "@a b",
            "ann@",
            "@x@y",
            "@example.com ",
            "*@example.com, b@c",
            "*@example.com",
        ] {
            let error = text.parse::<AddressPattern>().unwrap_err();
            assert!(error.contains("expected"), "{text:?}: {error}");
        }
    }

    #[test]
    fn simulate_outranks_debug_and_that_redirect() {
        let mut handling = Handling::default();
        assert_eq!(handling.mode(), None);
        handling.redirect.enabled = true;
        assert_eq!(handling.mode(), Some(Mode::Redirect));
        handling.debug.enabled = true;
        assert_eq!(handling.mode(), Some(Mode::Debug));
        handling.simulate = true;
        assert_eq!(handling.mode(), Some(Mode::Simulate));
    }
}
