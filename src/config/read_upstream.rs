//! One `[upstream.*]` table is read. What a new key needs stands in [`super::schema`].

use super::error::quoted;
use super::host::{self, Host};
use super::in_force::Shown;
use super::origin::Layer;
use super::parse;
use super::read_auth::{self, Credentials};
use super::section::{ConfigReader, Section};
use super::settings::{Auth, Priority, TlsMode, Upstream};
use crate::mail::Address;
use crate::mail::address::AddressError;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::{Path, PathBuf};

const PRIORITIES: &[(&str, Priority)] = &[
    ("default", Priority::Default),
    ("high", Priority::High),
    ("normal", Priority::Normal),
    ("low", Priority::Low),
];

/// How mail leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Network,
    Local,
    Pickup,
    PickupIis,
}

const DELIVERIES: &[(&str, Delivery)] = &[
    ("network", Delivery::Network),
    ("local", Delivery::Local),
    ("pickup", Delivery::Pickup),
    ("pickup-iis", Delivery::PickupIis),
];

/// What only a connection has.
const OF_CONNECTIONS: &[&str] = &[
    "host",
    "tls",
    "tls_ca",
    "danger_accept_invalid_certificate",
    "auth",
    "username",
    "password",
    "domain",
    "oauth2",
    "danger_allow_plaintext_auth",
    "command_timeout",
    "max_idle_time",
    "messages_per_connection",
    "source_address",
];

/// The empty word leaves the choice to [`default_tls`].
const TLS: &[(&str, Option<TlsMode>)] = &[
    ("none", Some(TlsMode::None)),
    ("opportunistic", Some(TlsMode::Opportunistic)),
    ("starttls", Some(TlsMode::StartTls)),
    ("implicit", Some(TlsMode::Implicit)),
    ("", None),
];

/// Submission over TLS (RFC 8314 section 3.3).
const IMPLICIT_TLS_PORT: u16 = 465;

/// Any certificate is taken there, and where TLS fails the session goes on in clear text.
const OPPORTUNISTIC_AUTH: &str =
    "opportunistic checks no certificate, so the password would go to whoever answers in the server's place";

/// `shared`: `[credentials.default]`.
pub(super) fn read(reader: &ConfigReader<'_>, section: &Section<'_>, shared: &Credentials) -> Upstream {
    let delivery = section.choice("delivery", Delivery::Network, DELIVERIES, &[]);
    let host = host(section, delivery);
    let pickup_directory = read_pickup_directory(section, delivery);
    let priority = section.choice("priority", Priority::Normal, PRIORITIES, &[]);
    let enabled = section.flag("enabled");
    let tls = section.choice("tls", None, TLS, &[]);
    let tls_ca = section.path_beside("tls_ca");
    if let Some(Err(wrong)) = tls_ca.as_deref().map(certificates) {
        section.wrong("tls_ca", wrong, "give the path of a PEM file with certificates");
    }
    let danger_accept_invalid_certificate = danger(reader, section, "danger_accept_invalid_certificate");
    let auth = read_auth::read(reader, section, shared);
    let has_auth = auth != Auth::Anonymous;
    let tls = tls.unwrap_or_else(|| default_tls(&host, has_auth));
    let word = TLS.iter().find(|(_, mode)| *mode == Some(tls)).map_or("", |(word, _)| word);
    if section.is_sound("tls") {
        section.show("tls", Shown::Text(word.to_owned()));
    }
    let allowed = danger(reader, section, "danger_allow_plaintext_auth");
    if tls == TlsMode::None && has_auth && !allowed && !host.is_loopback() && section.is_sound("host") {
        section.wrong(
            "tls",
            "none would send the password in clear text over the network",
            "give starttls or implicit, or set danger_allow_plaintext_auth = true if that is what you want",
        );
    }
    if tls == TlsMode::Opportunistic && has_auth && section.is_sound("tls") {
        section.wrong("tls", OPPORTUNISTIC_AUTH, protection(&host));
    }
    let sender = sender(section, auth.username());
    let upstream = Upstream {
        name: section.name().to_owned(),
        pickup_directory,
        priority,
        enabled,
        tls,
        tls_ca,
        danger_accept_invalid_certificate,
        auth,
        // What never leaves the machine is in no danger.
        danger_allow_plaintext_auth: allowed || host.is_loopback(),
        connection_limit: section.number("connection_limit", 1, 100_000),
        connect_timeout: section.duration("connect_timeout"),
        command_timeout: section.duration("command_timeout"),
        data_timeout: section.duration("data_timeout"),
        final_timeout: section.duration("final_timeout"),
        max_idle_time: section.duration("max_idle_time"),
        messages_per_connection: section.number("messages_per_connection", 1, 1_000_000),
        rate_limit: section.read(
            "rate_limit",
            r#"give it messages and time such as "30/1m""#,
            None,
            |text: String| parse::rate_limit(&text),
        ),
        source_address: section.read(
            "source_address",
            "give it an address of this machine",
            None,
            |text: String| parse::source_address(&text),
        ),
        sites: section.read("sites", SITES_FORM, Vec::new(), |names: Vec<String>| Ok(names)),
        sender,
        host: host.name,
        port: host.port,
    };
    if upstream.pickup_directory.is_some() {
        OF_CONNECTIONS.iter().for_each(|key| section.hide(key));
    }
    upstream
}

/// The folder that takes the place of a server, where one does. That there is such a folder is not asked: it may be mounted
/// later, and mail waits for it.
fn read_pickup_directory(section: &Section<'_>, delivery: Delivery) -> Option<PathBuf> {
    let directory = section.path_beside("pickup_directory");
    if matches!(delivery, Delivery::Network | Delivery::Local) {
        if directory.is_some() && section.is_sound("delivery") {
            let right = "give delivery = \"pickup\", or remove it";
            section.wrong("pickup_directory", "means nothing here: mail goes to a server", right);
        }
        return None;
    }
    let is_given = |key: &&str| section.origin(key).layer != Layer::Default;
    let is_of_connections = |key: &&str| OF_CONNECTIONS.contains(&key.strip_suffix("_file").unwrap_or(key));
    for key in section.keys().filter(is_given).filter(is_of_connections) {
        section.wrong(
            key,
            "means nothing here: mail goes to a folder",
            "remove it, or give delivery = \"network\"",
        );
    }
    let known = if delivery == Delivery::PickupIis { iis_pickup_directory() } else { None };
    let directory = directory.or(known);
    match &directory {
        Some(directory) => section.show("pickup_directory", Shown::Text(directory.display().to_string())),
        None if delivery == Delivery::PickupIis => {
            let wrong = "is missing: where IIS has its folder is known on Windows alone";
            section.wrong("pickup_directory", wrong, "give the path under which that folder is mounted here");
        }
        None if section.is_sound("pickup_directory") => {
            let right = "give the path of the folder that mail is to be picked up from";
            section.wrong("pickup_directory", "is missing", right);
        }
        None => {}
    }
    directory
}

/// Where IIS has its folder on the machine that it runs on, unless it was moved.
fn iis_pickup_directory() -> Option<PathBuf> {
    cfg!(windows).then(|| PathBuf::from(r"C:\inetpub\mailroot\Pickup"))
}

const SITES_FORM: &str = r#"give it a list of names of sites such as ["intranet"]"#;

/// `username` where a login is configured: the address that the account itself has.
fn sender(section: &Section<'_>, username: Option<&str>) -> Option<Address> {
    let form = "give it an address such as \"shop@example.com\", or \"username\" where that is one";
    section.read("sender", form, None, |text: String| {
        let address = match (text.as_str(), username) {
            ("", _) => return Ok(None),
            ("username", None) => return Err("there is no username".into()),
            ("username", Some(username)) => username,
            (text, _) => text,
        };
        let wrong = |error| format!("{}: {error}", quoted(address)).into();
        address.parse().map(Some).map_err(|error: AddressError| wrong(error))
    })
}

/// The default is an example, so the key must be given, unless the server is that of this machine, or there is none.
fn host(section: &Section<'_>, delivery: Delivery) -> Host {
    if matches!(delivery, Delivery::Pickup | Delivery::PickupIis) {
        return Host::default();
    }
    if section.origin("host").layer == Layer::Default {
        if delivery == Delivery::Local {
            let host = Host { name: "127.0.0.1".to_owned(), port: 25 };
            section.show("host", Shown::Text(format!("{}:{}", host.name, host.port)));
            return host;
        }
        section.wrong("host", "is missing", host::FORM);
        return Host::default();
    }
    section.read("host", host::FORM, Host::default(), |text: String| Host::parse(&text))
}

/// What protects a connection where nobody says: as much as can be had without breaking what works.
fn default_tls(host: &Host, auth: bool) -> TlsMode {
    match (host.port, auth) {
        (IMPLICIT_TLS_PORT, _) => TlsMode::Implicit,
        (_, true) => TlsMode::StartTls,
        (_, false) => TlsMode::Opportunistic,
    }
}

/// What is right where there is a password to protect.
fn protection(host: &Host) -> &'static str {
    match host.is_loopback() {
        true => {
            "give none, which is safe to this machine itself, or starttls with the server's certificate in tls_ca"
        }
        false => {
            "give starttls or implicit, with the server's certificate in tls_ca where no public authority signed it"
        }
    }
}

/// A flag that draws a warning when it is on.
fn danger(reader: &ConfigReader<'_>, section: &Section<'_>, key: &str) -> bool {
    let on = section.flag(key);
    if on {
        reader.warn(format!(
            "{} is on: mail or passwords may be read by others on their way",
            section.path_of(key)
        ));
    }
    on
}

/// Whether the file holds certificates.
fn certificates(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate.map_err(|error| format!("{shown} is no sound PEM file: {error}"))?;
        count += 1;
    }
    if count == 0 { Err(format!("{shown} holds no certificate")) } else { Ok(()) }
}
