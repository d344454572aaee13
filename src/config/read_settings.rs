//! The settings are made of what is written: each key is read once, in the order in which people read the file. What a new
//! key needs stands in [`super::schema`].

use super::error::ConfigErrors;
use super::in_force::{InForce, Shown};
use super::merged::Merged;
use super::origin::Layer;
use super::section::{ConfigReader, Section};
use super::settings::{
    Aliases, BareNewline, BounceTo, Limits, Listener, LogSettings, Pickup, QueueSettings, Settings,
};
use super::{
    cross_checks, hostname, parse, read_admin, read_auth, read_handling, read_listener, read_upstream,
    read_user, read_webhook, unknown_keys,
};
use crate::mail::printable::is_printable;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Settings with warnings and what is in force, or everything that is wrong.
pub(super) fn read(merged: &Merged) -> Result<(Settings, Vec<String>, InForce), ConfigErrors> {
    let reader = ConfigReader::new(merged);
    reader.errors.borrow_mut().extend(merged.errors.iter().cloned());
    reader.errors.borrow_mut().extend(unknown_keys::unknown_keys(merged));

    let root = reader.root();
    let hostname =
        root.read("hostname", hostname::FORM, String::new(), |text: String| hostname::parse(&text));
    root.show("hostname", Shown::Text(hostname.clone()));
    if !hostname.contains('.') && !hostname.starts_with('[') {
        reader.warn(format!("hostname: {hostname} has no dot; many servers refuse an EHLO with such a name"));
    }
    let default_domain = root.read("default_domain", DOMAIN_FORM, String::new(), |text: String| {
        if text.is_empty() { Ok(hostname.clone()) } else { hostname::parse(&text) }
    });
    root.show("default_domain", Shown::Text(default_domain.clone()));
    let data_dir = data_dir(&root);
    let listeners: Vec<Listener> =
        root.named("listener").iter().map(|section| read_listener::read(&reader, section)).collect();
    let user = |section: &Section<'_>| (section.name().to_owned(), read_user::read(&reader, section));
    let users = root.named("user").iter().map(user).collect();
    let pickups: Vec<Pickup> = root.named("pickup").iter().map(pickup).collect();
    let limits = limits(&root.section("limits"));
    let queue = queue(&root.section("queue"), &data_dir);
    let handling = read_handling::handling(&reader, &root);
    let sites = read_handling::sites(&reader);
    let shared_credentials = read_auth::shared(&reader);
    let upstreams = root
        .named("upstream")
        .iter()
        .map(|section| read_upstream::read(&reader, section, &shared_credentials))
        .map(Arc::new)
        .collect();
    let log_emails = root.section("log_emails");
    let (log_enabled, log_path) = (log_emails.flag("enabled"), log_emails.path_under("path", &data_dir));
    let settings = Settings {
        hostname,
        default_domain,
        aliases: aliases(&root.section("aliases")),
        data_dir,
        listeners,
        pickups,
        users,
        limits,
        queue,
        handling,
        sites,
        upstreams,
        log_emails: log_enabled.then_some(log_path),
        admin: read_admin::read(&reader, &root.section("admin")),
        events_keep: root.section("events").number("keep", 0, i64::MAX),
        webhooks: root.named("webhook").iter().map(|section| read_webhook::read(&reader, section)).collect(),
        log: log(&root.section("log")),
    };
    cross_checks::check(&reader, &settings);

    let ConfigReader { errors, warnings, in_force, .. } = reader;
    match errors.into_inner() {
        none if none.is_empty() => Ok((settings, warnings.into_inner(), in_force.into_inner())),
        errors => {
            let sound = !errors.iter().any(|error| error.key == "data_dir");
            Err(ConfigErrors::new(errors, sound.then_some(settings.data_dir)))
        }
    }
}

/// The default is an example, so the folder must be given.
fn pickup(section: &Section<'_>) -> Pickup {
    let is_given = section.origin("directory").layer != Layer::Default;
    let directory = section.path_beside("directory").filter(|_| is_given);
    if directory.is_none() && section.is_sound("directory") {
        section.wrong("directory", "is missing", "give the path of the folder that mail is to be taken from");
    }
    Pickup {
        name: section.name().to_owned(),
        directory: directory.unwrap_or_default(),
        site: read_listener::site(section),
        class: section.choice("class", None, read_listener::CLASSES, &[]),
    }
}

const DOMAIN_FORM: &str =
    r#"give it a domain such as "example.com", a literal such as "[192.0.2.7]", or "" for hostname"#;

fn aliases(section: &Section<'_>) -> Aliases {
    let mut aliases = Aliases::default();
    for name in section.keys() {
        if name.is_empty() || name.contains('@') || !name.chars().all(is_printable) {
            let right = "name recipients without a domain, such as root: others go where they are addressed";
            section.wrong(name, "is no name without a domain", right);
            continue;
        }
        let form = r#"give it a whole address such as "ops@example.com""#;
        let address = section.read(name, form, None, |text: String| parse::alias(&text).map(Some));
        if let Some(address) = address
            && !aliases.add(name, address)
        {
            section.wrong(
                name,
                "is there already, in other letters",
                "keep one of them: case does not matter",
            );
        }
    }
    aliases
}

fn data_dir(root: &Section<'_>) -> PathBuf {
    let data_dir = root.path_beside("data_dir");
    if data_dir.is_none() && root.is_sound("data_dir") {
        root.wrong("data_dir", "is empty", "give it the path of a folder");
    }
    data_dir.unwrap_or_default()
}

/// The folder, where it can be told.
pub(super) fn data_dir_of(merged: &Merged) -> Option<PathBuf> {
    ConfigReader::new(merged).root().path_beside("data_dir")
}

/// The folder that somebody asked for, of a configuration that is good for nothing else.
pub(super) fn data_dir_alone(merged: &Merged) -> Option<PathBuf> {
    let reader = ConfigReader::new(merged);
    let root = reader.root();
    if root.origin("data_dir").layer == Layer::Default { None } else { root.path_beside("data_dir") }
}

/// Far beyond what a machine can do, and far from what a counter can hold.
const MAX_COUNT: i64 = 1_000_000;

fn limits(section: &Section<'_>) -> Limits {
    Limits {
        message_size: section.size("message_size", 1),
        // RFC 5321 section 4.5.3.1.8: at least 100.
        recipients: section.number("recipients", 100, MAX_COUNT),
        connections: section.number("connections", 1, MAX_COUNT),
        connections_per_client: section.number("connections_per_client", 1, MAX_COUNT),
        command_timeout: section.duration("command_timeout"),
        data_timeout: section.duration("data_timeout"),
        received_hops: section.number("received_hops", 1, MAX_COUNT),
        errors_per_session: section.number("errors_per_session", 1, MAX_COUNT),
        content_memory: section.size("content_memory", 1 << 20),
        bare_newline: section.choice(
            "bare_newline",
            BareNewline::Normalize,
            &[("normalize", BareNewline::Normalize), ("reject", BareNewline::Reject)],
            &[],
        ),
    }
}

fn queue(section: &Section<'_>, data_dir: &Path) -> QueueSettings {
    section.choice("engine", (), &[("redb", ())], &["postgres"]);
    let form = r#"give it a list of times such as ["1m", "5m", "1h"]"#;
    QueueSettings {
        enabled: section.flag("enabled"),
        path: section.path_under("path", data_dir),
        batch_size: section.number("batch_size", 1, MAX_COUNT),
        retry: section.read("retry", form, Vec::new(), |texts: Vec<String>| match texts.as_slice() {
            [] => Err("is empty".into()),
            texts => texts.iter().map(|text| parse::duration(text)).collect(),
        }),
        expire_after: section.duration("expire_after"),
        bounce: section.choice(
            "bounce",
            BounceTo::Sender,
            &[("sender", BounceTo::Sender), ("report", BounceTo::Report), ("none", BounceTo::Nobody)],
            &[],
        ),
        max_messages: section.number("max_messages", 0, i64::MAX),
        archive_days: section.number("archive_days", 0, 36_600),
        failed_days: section.number("failed_days", 0, 36_600),
        min_free_space: section.size("min_free_space", 0),
    }
}

fn log(section: &Section<'_>) -> LogSettings {
    let form =
        "give it off, error, warn, info, debug or trace, or a filter such as info,postroom::smtp=debug";
    LogSettings {
        level: section.read("level", form, String::new(), |text: String| parse::log_filter(&text)),
        json: section.choice("format", false, &[("text", false), ("json", true)], &[]),
    }
}
