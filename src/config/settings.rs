//! The configuration as it is meant: checked whole, read once, shared unchanged. What a new key needs stands at the head of
//! `schema.rs`. Whoever holds one needs no other check.

use super::admin_settings::AdminSettings;
use super::handling::{AddressPattern, Handling, Site};
use super::password::StoredPassword;
use super::secret::Secret;
use super::server_certificate::ServerCertificate;
use super::topic::Topic;
use crate::mail::{Address, Class};
use ipnet::IpNet;
use secrecy::ExposeSecret;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Everything that is in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What this machine calls itself in greeting, EHLO, Received and Message-ID. Never empty.
    pub hostname: String,
    /// Completes addresses without a domain. Never empty.
    pub default_domain: String,
    /// For recipients without a domain, before `default_domain`.
    pub aliases: Aliases,
    /// Folder of queue file, archive, log and control socket. Absolute.
    pub data_dir: PathBuf,
    /// Sorted by name. Never empty.
    pub listeners: Vec<Listener>,
    /// Folders that mail is taken from, sorted by name.
    pub pickups: Vec<Pickup>,
    /// Who may authenticate at listeners, by name.
    pub users: BTreeMap<String, User>,
    /// Of sessions with clients.
    pub limits: Limits,
    pub queue: QueueSettings,
    /// What happens to mail of no site, and to that of each site as far as it does not say otherwise.
    pub handling: Handling,
    /// Applications that share the proxy, by name.
    pub sites: BTreeMap<String, Site>,
    /// Sorted by name; disabled ones too.
    pub upstreams: Vec<Arc<Upstream>>,
    /// `logemails.log`; none = not written. Absolute.
    pub log_emails: Option<PathBuf>,
    /// The routes over TCP.
    pub admin: AdminSettings,
    /// How many events are kept.
    pub events_keep: u64,
    /// Who is told of events, sorted by name.
    pub webhooks: Vec<Webhook>,
    /// The log on standard error.
    pub log: LogSettings,
}

/// Where mail for recipients without a domain goes, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Aliases(BTreeMap<String, Address>);

impl Aliases {
    /// By names as the configuration has them: in any case, without quotes. False where the name was there already.
    pub(super) fn add(&mut self, name: &str, address: Address) -> bool {
        self.0.insert(name.to_ascii_lowercase(), address).is_none()
    }

    /// The address for a local part as a client wrote it. Case does not matter, as it does not in aliases(5), nor do quotes
    /// that need not stand there (RFC 5321 section 4.1.2).
    pub fn find(&self, local: &str) -> Option<&Address> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&unquoted(local).to_ascii_lowercase())
    }
}

/// What a local part means that may stand in quotes.
fn unquoted(local: &str) -> String {
    let Some(inside) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return local.to_owned();
    };
    let mut letters = inside.chars();
    std::iter::from_fn(|| {
        letters.next().and_then(|letter| if letter == '\\' { letters.next() } else { Some(letter) })
    })
    .collect()
}

/// Name of the control socket under `data_dir`.
pub(crate) const CONTROL_SOCKET: &str = "control.sock";

impl Settings {
    /// What happens to the mail of a site; empty: of none. None where the site is not configured (any more).
    pub fn handling_of(&self, site: &str) -> Option<&Handling> {
        match site {
            "" => Some(&self.handling),
            name => self.sites.get(name).map(|site| &site.handling),
        }
    }

    /// The same; of a site that is gone, what happens to mail of no site.
    pub fn handling_or_global(&self, site: &str) -> &Handling {
        self.handling_of(site).unwrap_or(&self.handling)
    }

    /// What happens to mail of no site (`""`) and of each site.
    pub fn handlings(&self) -> impl Iterator<Item = (&str, &Handling)> {
        let sites = self.sites.values().map(|site| (site.name.as_str(), &site.handling));
        [("", &self.handling)].into_iter().chain(sites)
    }

    /// The site that mail from this address belongs to: one that names the address, else one that names its domain.
    pub fn site_of_sender(&self, sender: &Address) -> Option<&Site> {
        let named = |is_address: bool| {
            let means = move |pattern: &AddressPattern| {
                matches!(pattern, AddressPattern::Address(_)) == is_address && pattern.matches(sender)
            };
            self.sites.values().find(|site| site.senders.iter().any(means))
        };
        named(true).or_else(|| named(false))
    }

    /// The folder that sent mail is archived in.
    pub fn archive(&self) -> PathBuf {
        self.data_dir.join("archive")
    }

    /// Where the running proxy is asked and told things.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.data_dir.join(CONTROL_SOCKET)
    }
}

/// Where clients connect: `[listener.*]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Listener {
    /// `[a-z0-9_-]+`, without `__`, a letter or digit at both ends; unique, `-` and `_` taken for the same.
    pub name: String,
    pub address: SocketAddr,
    /// How sessions are protected. Any but `None` has a certificate.
    pub tls: TlsMode,
    /// What clients see in the handshake.
    pub certificate: Option<Arc<ServerCertificate>>,
    /// Who has to authenticate.
    pub auth: InboundAuth,
    /// AUTH without TLS is offered to other machines.
    pub danger_allow_plaintext_auth: bool,
    /// Networks that may relay without AUTH.
    pub allow: Vec<IpNet>,
    /// Site of all mail that comes in here; none: what its reverse-path says.
    pub site: Option<String>,
    /// Class of all mail that comes in here; none: what its header says.
    pub class: Option<Class>,
}

impl Listener {
    /// Whether the address is within `allow`.
    pub fn allows(&self, client: IpAddr) -> bool {
        self.allow.iter().any(|network| network.contains(&client))
    }
}

/// Who has to authenticate at a listener before mail is relayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InboundAuth {
    /// Nobody can.
    None,
    /// Clients outside `allow`.
    Optional,
    /// Everybody.
    Required,
    /// Nobody; within `allow` every name and password is taken.
    Any,
}

/// A folder that mail is taken from: `[pickup.*]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pickup {
    /// Made like a listener's.
    pub name: String,
    /// Absolute. There may be no such folder yet.
    pub directory: PathBuf,
    /// Site of all mail that comes in here; none: what its reverse-path says.
    pub site: Option<String>,
    /// Class of all mail that comes in here; none: what its header says.
    pub class: Option<Class>,
}

/// Who may authenticate: `[user.*]`.
#[derive(Clone, PartialEq, Debug)]
pub struct User {
    /// Made like a listener's.
    pub name: String,
    /// What the password is held against.
    pub password: StoredPassword,
    /// Site of all their mail; none: what the listener says.
    pub site: Option<String>,
    /// Class of all their mail; none: what the listener says.
    pub class: Option<Class>,
    /// The reverse-paths that they may use; empty: any.
    pub senders: Vec<AddressPattern>,
}

/// What a client may use up. A change holds for new sessions.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// Bytes of content.
    pub message_size: u64,
    /// Recipients of one message.
    pub recipients: usize,
    pub connections: usize,
    /// Sessions of one client address; loopback exempt.
    pub connections_per_client: usize,
    /// For one command line, from the moment the session waits for it.
    pub command_timeout: Duration,
    /// For the whole of one DATA, or of one BDAT chunk.
    pub data_timeout: Duration,
    /// `Received:` fields.
    pub received_hops: u32,
    /// Refused commands before 421.
    pub errors_per_session: u32,
    /// Bytes of content under reception and delivery, all together.
    pub content_memory: u64,
    /// What becomes of a bare CR or LF.
    pub bare_newline: BareNewline,
}

/// What becomes of a bare CR or LF in content (docs/cases.md, at its head).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BareNewline {
    /// A bare LF is stored as CRLF, a bare CR as a space.
    Normalize,
    /// `550 5.5.2` at the end of the message.
    Reject,
}

/// How mail is kept and tried again.
#[derive(Clone, PartialEq, Debug)]
pub struct QueueSettings {
    /// Mail is queued. Else it is passed through while its client waits (rule 15).
    pub enabled: bool,
    /// The queue file. Absolute.
    pub path: PathBuf,
    /// Messages claimed at a time.
    pub batch_size: usize,
    /// Waiting times between attempts; the last repeats. Never empty.
    pub retry: Vec<Duration>,
    /// Life time of a message.
    pub expire_after: Duration,
    /// Who is told of mail that failed.
    pub bounce: BounceTo,
    /// 0 = no cap.
    pub max_messages: u64,
    /// Days that sent mail is kept in the archive.
    pub archive_days: u32,
    /// Days that failed mail is kept.
    pub failed_days: u32,
    /// Bytes that must stay free on the queue's file system.
    pub min_free_space: u64,
}

/// Who gets notices about mail (rule 9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BounceTo {
    /// Its reverse-path.
    Sender,
    /// The enabled report addresses of its site.
    Report,
    /// There are none. Written `none`.
    Nobody,
}

/// A server that mail is relayed to, or a pickup folder: `[upstream.*]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Upstream {
    /// Made like a listener's.
    pub name: String,
    /// The folder that mail is written to in place of a server, absolute; none where there is a server. What is said of
    /// connections below means nothing to it, but for their number and the times for opening, writing and ending.
    pub pickup_directory: Option<PathBuf>,
    /// Host name or address literal without brackets; empty where there is a folder.
    pub host: String,
    pub port: u16,
    /// In which order upstreams are asked.
    pub priority: Priority,
    /// Disabled ones get nothing.
    pub enabled: bool,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// A PEM file with further roots. Absolute.
    pub tls_ca: Option<PathBuf>,
    /// Any certificate will do.
    pub danger_accept_invalid_certificate: bool,
    /// What we prove who we are with.
    pub auth: Auth,
    /// AUTH without TLS is allowed: because it was asked for, or because the host is this machine.
    pub danger_allow_plaintext_auth: bool,
    /// Connections at a time.
    pub connection_limit: usize,
    /// For each step up to a usable session.
    pub connect_timeout: Duration,
    /// For the reply to a command.
    pub command_timeout: Duration,
    /// For each write of content.
    pub data_timeout: Duration,
    /// For the reply to the final dot.
    pub final_timeout: Duration,
    /// How long an unused connection is kept.
    pub max_idle_time: Duration,
    /// Messages before a connection is replaced.
    pub messages_per_connection: u32,
    /// At most that many messages in that time.
    pub rate_limit: Option<RateLimit>,
    /// Local address to connect from.
    pub source_address: Option<IpAddr>,
    /// Sites whose mail it takes; empty: everybody's, as far as they use global upstreams.
    pub sites: Vec<String>,
    /// Reverse-path and From of what goes through it.
    pub sender: Option<Address>,
}

impl Upstream {
    /// Tells these settings from others under the same name, for as long as the process runs: equal settings have equal
    /// revisions. It is keyed with what this process alone knows, so that it may be stored and tells nothing of a password.
    pub(crate) fn revision(&self) -> u64 {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        KEY.get_or_init(RandomState::new).hash_one(self)
    }
}

/// Rank of an upstream, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Priority {
    /// Asked first. At most one enabled.
    Default,
    High,
    /// As written when nothing is written.
    Normal,
    Low,
}

/// Protection of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TlsMode {
    None,
    /// STARTTLS where offered, whatever the certificate; clear text else.
    Opportunistic,
    /// STARTTLS or nothing.
    StartTls,
    /// TLS from the first byte.
    Implicit,
}

/// Authentication at an upstream. Equal when name and secrets are. What `auth = "default"` means is looked up already.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Auth {
    /// None.
    Anonymous,
    /// User name and password: SCRAM-SHA-256, else PLAIN, else LOGIN.
    Basic {
        /// As the upstream knows it.
        username: String,
        /// Never shown.
        password: Secret,
    },
    /// NTLM, version 2.
    Ntlm {
        /// As the domain knows it.
        username: String,
        /// Never shown.
        password: Secret,
        /// Windows domain; empty where the name says it (`user@example.com`) or the server needs none.
        domain: String,
    },
    /// An access token: XOAUTH2, else OAUTHBEARER.
    OAuth2(OAuth2),
}

/// Where tokens come from: the authorization server, and who we are there.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct OAuth2 {
    /// Whose mail is sent.
    pub username: String,
    /// https, or http on loopback.
    pub token_url: String,
    pub client_id: String,
    /// Never shown. Empty for public clients.
    pub client_secret: Secret,
    /// Never shown. Empty: the client asks in its own name (client credentials).
    pub refresh_token: Secret,
    /// Empty: the server's default.
    pub scope: String,
}

impl OAuth2 {
    /// Whether tokens are for somebody who has allowed that, and not for the client itself.
    pub fn has_refresh_token(&self) -> bool {
        !self.refresh_token.expose_secret().is_empty()
    }
}

impl Auth {
    /// Whom the upstream knows us as.
    pub fn username(&self) -> Option<&str> {
        match self {
            Auth::Anonymous => None,
            Auth::Basic { username, .. } | Auth::Ntlm { username, .. } => Some(username),
            Auth::OAuth2(OAuth2 { username, .. }) => Some(username),
        }
    }
}

/// `messages` in `time`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RateLimit {
    pub messages: u32,
    pub time: Duration,
}

/// A server that is told of events: `[webhook.*]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Webhook {
    /// Made like a listener's.
    pub name: String,
    /// https, or http on loopback. Not shown behind its host, where many services have a secret.
    pub url: Secret,
    /// Never empty.
    pub on: BTreeSet<Topic>,
    /// What signs; never shown. Empty: nothing is signed.
    pub secret: Secret,
}

/// The log on standard error: `[log]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// A level or filter, as RUST_LOG has it.
    pub level: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_found_in_any_case_and_in_quotes() {
        let mut aliases = Aliases::default();
        assert_eq!(aliases.find("root"), None);
        let ops: Address = "ops@example.com".parse().unwrap();
        assert!(aliases.add("Root", ops.clone()) && aliases.add("john \"x\" doe", ops.clone()));
        for local in ["root", "ROOT", "\"root\"", "\"r\\oot\"", "\"John \\\"x\\\" Doe\""] {
            assert_eq!(aliases.find(local), Some(&ops), "{local}");
        }
        for local in ["roo", "root.", "\"root", "", "\"\""] {
            assert_eq!(aliases.find(local), None, "{local}");
        }
        assert!(!aliases.add("ROOT", ops));
    }
}
