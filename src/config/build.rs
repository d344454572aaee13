//! From what is written to what is meant: each key is read once, in the order in which people read the file.

use super::checks;
use super::handling::Handling;
use super::hostname;
use super::in_force::{InForce, Shown};
use super::layers::{Layer, Merged};
use super::settings::{Aliases, BareNewline, Limits, Listener, LogSettings, QueueSettings, Settings};
use super::table::{Reader, Table};
use super::upstream;
use super::{ConfigErrors, value, walk};
use crate::mail::Class;
use crate::mail::printable::is_printable;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Settings with warnings and what is in force, or everything that is wrong.
pub(super) fn build(merged: &Merged) -> Result<(Settings, Vec<String>, InForce), ConfigErrors> {
    let reader = Reader::new(merged);
    reader.errors.borrow_mut().extend(merged.errors.iter().cloned());
    reader.errors.borrow_mut().extend(walk::strangers(merged));

    let root = reader.root();
    let hostname =
        root.read("hostname", hostname::FORM, String::new(), |text: String| hostname::given(&text));
    root.show("hostname", Shown::Text(hostname.clone()));
    if !hostname.contains('.') && !hostname.starts_with('[') {
        reader.warn(format!("hostname: {hostname} has no dot; many servers refuse an EHLO with such a name"));
    }
    let default_domain = root.read("default_domain", DOMAIN_FORM, String::new(), |text: String| {
        if text.is_empty() { Ok(hostname.clone()) } else { hostname::given(&text) }
    });
    root.show("default_domain", Shown::Text(default_domain.clone()));
    let data_dir = data_dir(&root);
    let listeners: Vec<Listener> =
        reader.tables("listener").iter().map(|table| listener(&reader, table)).collect();
    let limits = limits(&reader.table("limits"));
    let queue = queue(&reader.table("queue"), &data_dir);
    let handling = Handling { sending_off: !reader.table("sending").flag("enabled"), ..Handling::default() };
    let upstreams =
        reader.tables("upstream").iter().map(|table| Arc::new(upstream::read(&reader, table))).collect();
    let log_emails = reader.table("log_emails");
    let (log_enabled, log_path) = (log_emails.flag("enabled"), log_emails.path_under("path", &data_dir));
    let settings = Settings {
        hostname,
        default_domain,
        aliases: aliases(&reader.table("aliases")),
        data_dir,
        listeners,
        limits,
        queue,
        handling,
        sites: BTreeMap::new(),
        upstreams,
        log_emails: log_enabled.then_some(log_path),
        events_keep: reader.table("events").number("keep", 0, i64::MAX),
        log: log(&reader.table("log")),
    };
    checks::check(&reader, &settings);

    let Reader { errors, warnings, in_force, .. } = reader;
    match errors.into_inner() {
        none if none.is_empty() => Ok((settings, warnings.into_inner(), in_force.into_inner())),
        errors => {
            let sound = !errors.iter().any(|error| error.key == "data_dir");
            Err(ConfigErrors::new(errors, sound.then_some(settings.data_dir)))
        }
    }
}

const DOMAIN_FORM: &str =
    r#"give it a domain such as "example.com", a literal such as "[192.0.2.7]", or "" for hostname"#;

fn aliases(table: &Table<'_>) -> Aliases {
    let mut aliases = Aliases::default();
    for name in table.keys() {
        if name.is_empty() || name.contains('@') || !name.chars().all(is_printable) {
            let right = "name recipients without a domain, such as root: others go where they are addressed";
            table.wrong(name, "is no name without a domain", right);
            continue;
        }
        let form = r#"give it a whole address such as "ops@example.com""#;
        let address = table.read(name, form, None, |text: String| value::alias(&text).map(Some));
        if let Some(address) = address
            && !aliases.add(name, address)
        {
            table.wrong(name, "is there already, in other letters", "keep one of them: case does not matter");
        }
    }
    aliases
}

fn data_dir(root: &Table<'_>) -> PathBuf {
    let data_dir = root.path_beside("data_dir");
    if data_dir.is_none() && root.is_sound("data_dir") {
        root.wrong("data_dir", "is empty", "give it the path of a folder");
    }
    data_dir.unwrap_or_default()
}

/// The folder that somebody asked for, of a configuration that is good for nothing else.
pub(super) fn data_dir_alone(merged: &Merged) -> Option<PathBuf> {
    let reader = Reader::new(merged);
    let root = reader.root();
    if root.origin("data_dir").layer == Layer::Default { None } else { root.path_beside("data_dir") }
}

/// The empty word leaves it to the message's own header.
const CLASSES: &[(&str, Option<Class>)] = &[
    ("urgent", Some(Class::Urgent)),
    ("normal", Some(Class::Normal)),
    ("bulk", Some(Class::Bulk)),
    ("", None),
];

fn listener(reader: &Reader<'_>, table: &Table<'_>) -> Listener {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let form = r#"give it an IP address and a port such as "127.0.0.1:25" or "[::1]:25""#;
    let address = table.read("address", form, nowhere, |text: String| value::socket_address(&text));
    let form = r#"give it a list of networks such as ["127.0.0.0/8", "::1", "private"]"#;
    let allow: Vec<IpNet> =
        table.read("allow", form, Vec::new(), |texts: Vec<String>| value::networks(&texts));
    let open = table.flag("danger_open_relay");
    if open {
        let path = table.path_of("danger_open_relay");
        reader.warn(format!("{path} is on: this listener may be an open relay"));
    } else if value::cover_the_world(&allow)
        && !address.ip().to_canonical().is_loopback()
        && table.is_sound("address")
    {
        table.wrong(
            "allow",
            format!("lets the whole world relay through {address} without AUTH: an open relay"),
            "name your own networks, or set danger_open_relay = true if that is what you want",
        );
    }
    let class = table.choice("class", None, CLASSES, &[]);
    Listener { name: table.name().to_owned(), address, allow, site: None, class }
}

/// Far beyond what a machine can do, and far from what a counter can hold.
const MANY: i64 = 1_000_000;

fn limits(table: &Table<'_>) -> Limits {
    Limits {
        message_size: table.size("message_size", 1),
        // RFC 5321 section 4.5.3.1.8: at least 100.
        recipients: table.number("recipients", 100, MANY),
        connections: table.number("connections", 1, MANY),
        connections_per_client: table.number("connections_per_client", 1, MANY),
        command_timeout: table.duration("command_timeout"),
        data_timeout: table.duration("data_timeout"),
        received_hops: table.number("received_hops", 1, MANY),
        errors_per_session: table.number("errors_per_session", 1, MANY),
        content_memory: table.size("content_memory", 1 << 20),
        bare_newline: table.choice(
            "bare_newline",
            BareNewline::Normalize,
            &[("normalize", BareNewline::Normalize), ("reject", BareNewline::Reject)],
            &[],
        ),
    }
}

fn queue(table: &Table<'_>, data_dir: &Path) -> QueueSettings {
    table.choice("engine", (), &[("redb", ())], &["postgres"]);
    let form = r#"give it a list of times such as ["1m", "5m", "1h"]"#;
    QueueSettings {
        path: table.path_under("path", data_dir),
        batch_size: table.number("batch_size", 1, MANY),
        retry: table.read("retry", form, Vec::new(), |texts: Vec<String>| match texts.as_slice() {
            [] => Err("is empty".into()),
            texts => texts.iter().map(|text| value::duration(text)).collect(),
        }),
        expire_after: table.duration("expire_after"),
        max_messages: table.number("max_messages", 0, i64::MAX),
        failed_days: table.number("failed_days", 0, 36_600),
        min_free_space: table.size("min_free_space", 0),
    }
}

fn log(table: &Table<'_>) -> LogSettings {
    let form =
        "give it off, error, warn, info, debug or trace, or a filter such as info,postroom::smtp=debug";
    LogSettings {
        level: table.read("level", form, String::new(), |text: String| value::log_filter(&text)),
        json: table.choice("format", false, &[("text", false), ("json", true)], &[]),
    }
}
