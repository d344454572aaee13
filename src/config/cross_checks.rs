//! Checks that need several tables at once: two listeners at one address, two default upstreams, an upstream that is our own
//! listener.

use super::below::without_dots;
use super::error::quoted;
use super::folders;
use super::handling::Handling;
use super::host::Host;
use super::section::{ConfigReader, Section};
use super::settings::{BounceTo, InboundAuth, Listener, Priority, Settings, Upstream};
use crate::mail::Mode;
use std::net::SocketAddr;
use std::path::Path;

/// Adds to the reader's errors and warnings.
pub(super) fn check(reader: &ConfigReader<'_>, settings: &Settings) {
    let sections = reader.root().named("listener");
    for (number, listener) in settings.listeners.iter().enumerate() {
        let other = settings.listeners[..number]
            .iter()
            .find(|other| sockets_conflict(other.address, listener.address));
        if let (Some(other), Some(section)) = (other, sections.get(number)) {
            let wrong = format!(
                "{} is taken by listener {}, which has {}",
                listener.address, other.name, other.address
            );
            section.wrong("address", wrong, "give each listener an address or a port of its own");
        }
    }
    let admin = reader.root().section("admin");
    let taken = |own: SocketAddr| settings.listeners.iter().find(|one| sockets_conflict(one.address, own));
    if let Some(own) = settings.admin.listen
        && let Some(other) = taken(own)
    {
        let wrong = format!("{own} is taken by listener {}, which has {}", other.name, other.address);
        admin.wrong("listen", wrong, "give it an address or a port of its own");
    }
    let sections = reader.root().named("upstream");
    only_one_default(settings, &sections);
    for (upstream, section) in settings.upstreams.iter().zip(&sections) {
        let own = settings
            .listeners
            .iter()
            .find(|listener| upstream.enabled && is_own_listener(upstream, listener));
        if let (Some(own), true) = (own, section.is_sound("host")) {
            let wrong = format!(
                "is this proxy's own listener {} ({}): mail would go in circles",
                own.name, own.address
            );
            section.wrong("host", wrong, "give it the server that mail is to be relayed to");
        }
    }
    folders::check(reader, settings, &sections);
    folders_are_apart(settings, &sections);
    if settings.queue.bounce == BounceTo::Report {
        somebody_is_reported_to(reader, settings);
    }
    sites_exist(settings, &reader.root(), &sections);
    for listener in &settings.listeners {
        let asks = matches!(listener.auth, InboundAuth::Optional | InboundAuth::Required);
        if asks && settings.users.is_empty() {
            let name = &listener.name;
            reader
                .warn(format!("listener.{name}.auth: nobody can authenticate, because there is no [user.*]"));
        }
    }
    let leaves = |handling: &Handling| !matches!(handling.mode(), Some(Mode::Debug | Mode::Simulate));
    for site in settings.sites.values().filter(|site| !site.global_upstreams && leaves(&site.handling)) {
        if !settings.upstreams.iter().any(|upstream| upstream.enabled && upstream.sites.contains(&site.name))
        {
            let name = &site.name;
            reader.warn(format!(
                "site.{name}: no enabled upstream names it, and it uses no global ones: its mail waits"
            ));
        }
    }
    let some_leaves = settings.handlings().any(|(_, handling)| leaves(handling));
    if some_leaves && !settings.upstreams.iter().any(|upstream| upstream.enabled) {
        let what = if settings.queue.enabled { "accepted and waits" } else { "refused for now" };
        reader.warn(format!("no upstream is enabled: mail is {what}"));
    }
    if !settings.queue.enabled {
        for folder in settings.upstreams.iter().filter(|one| one.enabled && one.pickup_directory.is_some()) {
            let name = &folder.name;
            reader.warn(format!(
                "upstream.{name}: mail is not passed through to a folder, only what is queued goes there"
            ));
        }
    }
}

/// What picks mail up takes whatever lies in its folder, and so must not find the queue there.
fn folders_are_apart(settings: &Settings, sections: &[Section<'_>]) {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| without_dots(path));
    for (upstream, section) in settings.upstreams.iter().zip(sections) {
        let Some(folder) = &upstream.pickup_directory else { continue };
        if real(&settings.data_dir).starts_with(real(folder)) {
            let wrong = "is data_dir or a folder above it: whoever picks mail up there would find the queue";
            section.wrong("pickup_directory", wrong, "give a folder of its own");
        }
    }
}

/// Notices about any mail have somebody to go to.
fn somebody_is_reported_to(reader: &ConfigReader<'_>, settings: &Settings) {
    let nobody = |handling: &Handling| handling.redirect.enabled_addresses().next().is_none();
    if let Some((site, _)) = settings.handlings().find(|(_, handling)| nobody(handling)) {
        let whose = if site.is_empty() { String::new() } else { format!(" for mail of site {site}") };
        reader.root().section("queue").wrong(
            "bounce",
            format!("is \"report\", and no report address is enabled{whose}"),
            "add one to report_emails in [redirect], or give sender or none",
        );
    }
}

/// At most one enabled upstream of the highest rank for all sites, and one for each.
fn only_one_default(settings: &Settings, sections: &[Section<'_>]) {
    let all = settings.upstreams.iter().zip(sections);
    let defaults: Vec<_> =
        all.filter(|(upstream, _)| upstream.enabled && upstream.priority == Priority::Default).collect();
    let both_for = |a: &Upstream, b: &Upstream| match (a.sites.is_empty(), b.sites.is_empty()) {
        (true, true) => Some(String::new()),
        _ => a.sites.iter().find(|site| b.sites.contains(site)).map(|site| format!(" for site {site}")),
    };
    for (number, (second, section)) in defaults.iter().enumerate() {
        let first = defaults[..number]
            .iter()
            .find_map(|(first, place)| Some((first, place, both_for(first, second)?)));
        let Some((first, first_section, whose)) = first else { continue };
        let place = first_section.origin("priority");
        let line = place.line.map(|line| format!(":{line}")).unwrap_or_default();
        let (first, second) = (&first.name, &second.name);
        section.wrong(
            "priority",
            format!(
                "upstreams {first} ({}{line}) and {second} are both enabled and default{whose}",
                place.place
            ),
            "give all but one of them high, normal or low, or enabled = false",
        );
    }
}

/// Every site that is named somewhere is configured.
fn sites_exist(settings: &Settings, root: &Section<'_>, upstreams: &[Section<'_>]) {
    let check = |section: &Section<'_>, key: &str, site: &str| {
        if settings.sites.contains_key(site) {
            return;
        }
        let known: Vec<&str> = settings.sites.keys().map(String::as_str).collect();
        let right = match known.is_empty() {
            true => format!("add a table [site.{site}]"),
            false => format!("add a table [site.{site}], or give one of {}", known.join(", ")),
        };
        section.wrong(key, format!("there is no site {}", quoted(site)), right);
    };
    let of_listeners = settings.listeners.iter().map(|listener| &listener.site);
    let of_users = settings.users.values().map(|user| &user.site);
    let of_pickups = settings.pickups.iter().map(|pickup| &pickup.site);
    let sections = root.named("listener").into_iter().chain(root.named("user")).chain(root.named("pickup"));
    for (site, section) in of_listeners.chain(of_users).chain(of_pickups).zip(sections) {
        if let Some(site) = site {
            check(&section, "site", site);
        }
    }
    for (upstream, section) in settings.upstreams.iter().zip(upstreams) {
        upstream.sites.iter().for_each(|site| check(section, "sites", site));
    }
}

/// Whether one socket keeps the other from being bound.
fn sockets_conflict(a: SocketAddr, b: SocketAddr) -> bool {
    let same_family = a.is_ipv4() == b.is_ipv4();
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    // Port 0 is a new one each time.
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || same_family && any)
}

/// Whether what goes to the upstream comes in by the listener. Names other than localhost are not looked up: the loop
/// that they may make is stopped when the first message comes back.
fn is_own_listener(upstream: &Upstream, listener: &Listener) -> bool {
    let host = Host { name: upstream.host.clone(), port: upstream.port };
    let listens = listener.address.ip().to_canonical();
    if upstream.pickup_directory.is_some() || host.port != listener.address.port() {
        return false;
    }
    match host.address() {
        Some(address) if address.is_unspecified() => listens.is_loopback() || listens.is_unspecified(),
        Some(address) if address.is_loopback() => listens == address || listens.is_unspecified(),
        Some(address) => listens == address,
        None => host.is_localhost() && (listens.is_loopback() || listens.is_unspecified()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_in_each_others_way() {
        let way = |a: &str, b: &str| sockets_conflict(a.parse().unwrap(), b.parse().unwrap());
        assert!(way("127.0.0.1:25", "127.0.0.1:25"));
        assert!(way("0.0.0.0:25", "127.0.0.1:25"));
        assert!(way("[::1]:25", "[::]:25"));
        assert!(!way("127.0.0.1:25", "127.0.0.1:26"));
        assert!(!way("127.0.0.1:25", "127.0.0.2:25"));
        assert!(!way("127.0.0.1:25", "[::1]:25"));
        assert!(!way("127.0.0.1:0", "127.0.0.1:0"));
    }
}
