//! What lies between two configurations: what a reload must not change, and what it did change.

use super::error::ConfigError;
use super::handling::Handling;
use super::server_certificate::ServerCertificate;
use super::settings::{Listener, Settings};
use jiff::Timestamp;
use std::sync::Arc;

/// What a reload must not change: it takes a restart. Empty where nothing of it has changed.
pub fn unreloadable(old: &Settings, new: &Settings) -> Vec<ConfigError> {
    let keys = [("data_dir", &old.data_dir, &new.data_dir), ("queue.path", &old.queue.path, &new.queue.path)];
    let changed = keys.into_iter().filter(|(_, old, new)| old != new);
    changed
        .map(|(key, old, new)| ConfigError {
            file: None,
            line: None,
            key: key.to_owned(),
            wrong: format!("cannot change from {} to {} while Postroom runs", old.display(), new.display()),
            right: "restart Postroom, or change it back".to_owned(),
        })
        .collect()
}

/// Certificates that have ended, where the ones in force have not: a reload keeps those.
pub fn expired(old: &Settings, new: &Settings, now: Timestamp) -> Vec<ConfigError> {
    let ended = |(key, certificate): (String, &Option<Arc<ServerCertificate>>)| {
        let certificate = certificate.as_ref().filter(|certificate| certificate.is_expired(now))?;
        let (_, before) = certificates(old).find(|(before, _)| *before == key)?;
        before.as_ref().filter(|before| !before.is_expired(now))?;
        Some(ConfigError {
            file: None,
            line: None,
            key,
            wrong: certificate.describe_end(),
            right: "give one that has not ended: the certificate that was read before is still good"
                .to_owned(),
        })
    };
    certificates(new).filter_map(ended).collect()
}

/// What is shown to clients, with its key.
fn certificates(settings: &Settings) -> impl Iterator<Item = (String, &Option<Arc<ServerCertificate>>)> {
    let of_listener = |one: &'_ Listener| format!("listener.{}.certificate", one.name);
    let of_listeners = settings.listeners.iter().map(move |one| (of_listener(one), &one.certificate));
    of_listeners.chain([("admin.certificate".to_owned(), &settings.admin.certificate)])
}

/// What has changed, in words, for people. Values are not told, they may be secrets.
pub fn changes(old: &Settings, new: &Settings) -> Vec<String> {
    // Named one by one, so that the compiler asks about a field that is added.
    let Settings {
        hostname,
        default_domain,
        aliases,
        data_dir,
        listeners,
        pickups,
        users,
        limits,
        queue,
        handling,
        sites,
        upstreams,
        log_emails,
        admin,
        events_keep,
        webhooks,
        log,
    } = old;
    let Handling { sending_off, simulate, debug, redirect, sender } = handling;
    let mut changes = Vec::new();
    let mut note = |what: &str, changed: bool| changes.extend(changed.then(|| format!("{what} changed")));
    note("hostname", *hostname != new.hostname);
    note("default_domain", *default_domain != new.default_domain);
    note("aliases", *aliases != new.aliases);
    note("data_dir", *data_dir != new.data_dir);
    note("limits", *limits != new.limits);
    note("queue", *queue != new.queue);
    note("sending", *sending_off != new.handling.sending_off);
    note("redirect", *redirect != new.handling.redirect);
    note("debug", *debug != new.handling.debug);
    note("simulate", *simulate != new.handling.simulate);
    note("sender", *sender != new.handling.sender);
    note("log_emails", *log_emails != new.log_emails);
    note("admin", *admin != new.admin);
    note("events", *events_keep != new.events_keep);
    note("log", *log != new.log);
    changes.extend(changed_tables("listener", listeners, &new.listeners, |listener| &listener.name));
    changes.extend(changed_tables("pickup", pickups, &new.pickups, |pickup| &pickup.name));
    changes.extend(changed_tables("webhook", webhooks, &new.webhooks, |webhook| &webhook.name));
    let (users, new_users): (Vec<_>, Vec<_>) = (users.values().collect(), new.users.values().collect());
    changes.extend(changed_tables("user", &users, &new_users, |user| &user.name));
    let (sites, new_sites): (Vec<_>, Vec<_>) = (sites.values().collect(), new.sites.values().collect());
    changes.extend(changed_tables("site", &sites, &new_sites, |site| &site.name));
    changes.extend(changed_tables("upstream", upstreams, &new.upstreams, |upstream| &upstream.name));
    changes
}

/// Both lists are sorted by name.
fn changed_tables<T: PartialEq>(kind: &str, old: &[T], new: &[T], name: impl Fn(&T) -> &str) -> Vec<String> {
    let find = |all: &[T], wanted: &T| all.binary_search_by(|one| name(one).cmp(name(wanted))).ok();
    let told = |one: &T, what: &str| format!("{kind} {} {what}", name(one));
    let gone = old.iter().filter(|one| find(new, one).is_none()).map(|one| told(one, "removed"));
    let other = new.iter().filter_map(|one| match find(old, one) {
        None => Some(told(one, "added")),
        Some(place) => (old[place] != *one).then(|| told(one, "changed")),
    });
    gone.chain(other).collect()
}
