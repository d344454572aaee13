//! `[admin]`: the routes over TCP.

use super::host::Host;
use super::password::StoredPassword;
use super::secret::Secret;
use super::server_certificate::ServerCertificate;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Where the routes are served beside the control socket, and to whom.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AdminSettings {
    /// None: nowhere.
    pub listen: Option<SocketAddr>,
    /// Who logs in with it may do everything. Always there where `listen` is not on loopback.
    pub password: Option<StoredPassword>,
    /// Who sends it may do everything.
    pub token: Option<Secret>,
    /// Names it answers to, beside those of loopback and its own address: in lower case, addresses without brackets.
    pub hosts: Vec<String>,
    /// TLS from the first byte; none: clear text.
    pub certificate: Option<Arc<ServerCertificate>>,
}

impl AdminSettings {
    /// Whether a request that is for `authority` (host, or host and port) is meant for us. `local` is the address that the
    /// connection came in at.
    pub(crate) fn answers_to(&self, authority: &str, local: IpAddr) -> bool {
        let Ok(host) = Host::parse(authority) else { return false };
        let own = [Some(local), self.listen.map(|listen| listen.ip())];
        host.is_loopback()
            || own.into_iter().flatten().any(|own| host.address() == Some(own.to_canonical()))
            || self.hosts.contains(&host.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(listen: &str, hosts: &[&str], local: &str) -> impl Fn(&str) -> bool {
        let hosts = hosts.iter().map(|text| (*text).to_owned()).collect();
        let settings =
            AdminSettings { listen: Some(listen.parse().unwrap()), hosts, ..AdminSettings::default() };
        let local = local.parse().unwrap();
        move |authority| settings.answers_to(authority, local)
    }

    #[test]
    fn loopback_names_and_its_own_address_are_always_meant() {
        let is_meant = answers("192.0.2.7:8025", &[], "192.0.2.7");
        for own in [
            "localhost",
            "LOCALHOST:8025",
            "postroom.localhost",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8025",
            "192.0.2.7:80",
        ] {
            assert!(is_meant(own), "{own}");
        }
        for other in [
            "",
            "evil.test",
            "localhost.evil.test",
            "192.0.2.8",
            "evil.test:8025",
            "a@localhost",
            "localhost/x",
            "127.0.0.1.evil.test",
        ] {
            assert!(!is_meant(other), "{other}");
        }
        assert!(answers("0.0.0.0:8025", &[], "192.0.2.9")("192.0.2.9:8025"), "where the connection came in");
        assert!(answers("[::]:8025", &[], "::ffff:192.0.2.9")("192.0.2.9:8025"));
    }

    #[test]
    fn names_are_compared_as_dns_does() {
        let is_meant = answers("127.0.0.1:8025", &["postroom.example.com", "2001:db8::1"], "127.0.0.1");
        assert!(is_meant("postroom.example.COM") && is_meant("postroom.example.com.:443"));
        assert!(is_meant("[2001:DB8:0::1]:443") && is_meant("[2001:db8::1]"));
        assert!(!is_meant("x.postroom.example.com"));
    }
}
