//! One `[listener.*]` table is read. What a new key needs stands in [`super::schema`].

use super::parse;
use super::read_certificate;
use super::section::{ConfigReader, Section};
use super::settings::{InboundAuth, Listener, TlsMode};
use crate::mail::Class;
use ipnet::IpNet;
use std::net::{Ipv4Addr, SocketAddr};

const TLS: &[(&str, TlsMode)] = &[
    ("none", TlsMode::None),
    ("opportunistic", TlsMode::Opportunistic),
    ("starttls", TlsMode::StartTls),
    ("implicit", TlsMode::Implicit),
];

const AUTH: &[(&str, InboundAuth)] = &[
    ("none", InboundAuth::None),
    ("optional", InboundAuth::Optional),
    ("required", InboundAuth::Required),
    ("any", InboundAuth::Any),
];

/// The empty word leaves it to what is asked next, at last to the message's own header.
pub(super) const CLASSES: &[(&str, Option<Class>)] = &[
    ("urgent", Some(Class::Urgent)),
    ("normal", Some(Class::Normal)),
    ("bulk", Some(Class::Bulk)),
    ("", None),
];

/// Whether there is such a site is looked at when all are read.
const SITE_FORM: &str = "give it the name of a site, or \"\"";

pub(super) fn read(reader: &ConfigReader<'_>, section: &Section<'_>) -> Listener {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let form = r#"give it an IP address and a port such as "127.0.0.1:25" or "[::1]:25""#;
    let address = section.read("address", form, nowhere, |text: String| parse::socket_address(&text));
    let is_local = address.ip().to_canonical().is_loopback() || !section.is_sound("address");
    let tls = section.choice("tls", TlsMode::None, TLS, &[]);
    let is_needed = tls != TlsMode::None && section.is_sound("tls");
    let certificate = read_certificate::read(reader, section, is_needed);
    let auth = section.choice("auth", InboundAuth::None, AUTH, &[]);
    let form = r#"give it a list of networks such as ["127.0.0.0/8", "::1", "private"]"#;
    let allow: Vec<IpNet> =
        section.read("allow", form, Vec::new(), |texts: Vec<String>| parse::networks(&texts));
    let danger_allow_plaintext_auth = section.flag("danger_allow_plaintext_auth");
    if danger_allow_plaintext_auth {
        let path = section.path_of("danger_allow_plaintext_auth");
        reader.warn(format!("{path} is on: passwords may be read by others on their way"));
    } else if auth != InboundAuth::None && tls == TlsMode::None && !is_local {
        let path = section.path_of("auth");
        reader.warn(format!(
            "{path}: without TLS no other machine can authenticate; give tls = \"starttls\" and a certificate"
        ));
    }
    open_relay(reader, section, auth, &allow, is_local, address);
    Listener {
        name: section.name().to_owned(),
        address,
        tls,
        certificate,
        auth,
        danger_allow_plaintext_auth,
        allow,
        site: site(section),
        class: section.choice("class", None, CLASSES, &[]),
    }
}

pub(super) fn site(section: &Section<'_>) -> Option<String> {
    section.read("site", SITE_FORM, None, |text: String| Ok((!text.is_empty()).then_some(text)))
}

/// Whoever may relay without showing who they are: the whole world only where that is asked for. With `auth = "required"`
/// nobody may; with `any` no password keeps anybody out.
fn open_relay(
    reader: &ConfigReader<'_>,
    section: &Section<'_>,
    auth: InboundAuth,
    allow: &[IpNet],
    is_local: bool,
    address: SocketAddr,
) {
    if section.flag("danger_open_relay") {
        let path = section.path_of("danger_open_relay");
        reader.warn(format!("{path} is on: this listener may be an open relay"));
    } else if parse::cover_all_addresses(allow)
        && auth != InboundAuth::Required
        && section.is_sound("auth")
        && !is_local
    {
        section.wrong(
            "allow",
            format!("lets the whole world relay through {address} without AUTH: an open relay"),
            "name your own networks, or set danger_open_relay = true if that is what you want",
        );
    }
}
