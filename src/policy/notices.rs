//! What is said where mail does not go where it is addressed (rule 6), so that a mode is never a surprise.

use crate::config::Settings;
use crate::config::handling::{Handling, RewriteWhen};

/// Where there is no queue between clients and upstreams (rule 15).
const PASS_THROUGH: &str = "pass-through is on ([queue] enabled = false): new mail is not queued, 250 means that an upstream took it";

/// One line for each mode that is in force, sending off among them, with whose mail it is about.
pub fn notices(settings: &Settings) -> Vec<String> {
    by_site(settings).into_iter().map(|(_, line)| line).collect()
}

/// The same, each with the site whose mail it is about; empty for all mail. Sites that are handled like all mail are not named.
pub fn by_site(settings: &Settings) -> Vec<(&str, String)> {
    let all = in_force(&settings.handling);
    let mut lines = Vec::new();
    if !settings.queue.enabled {
        lines.push(("", PASS_THROUGH.to_owned()));
    }
    lines.extend(all.iter().map(|words| ("", format!("all mail: {words}"))));
    for site in settings.sites.values().filter(|site| site.handling != settings.handling) {
        let own = in_force(&site.handling);
        if own == all {
            continue;
        }
        let name = site.name.as_str();
        match own.is_empty() {
            true => lines.push((name, format!("but mail of site {name}: goes where it is addressed"))),
            false => lines.extend(own.iter().map(|words| (name, format!("mail of site {name}: {words}")))),
        }
    }
    lines
}

/// What is in force, the one that decides first.
fn in_force(handling: &Handling) -> Vec<String> {
    let mut words = Vec::new();
    if handling.sending_off {
        words.push("sending is off, it waits".to_owned());
    }
    if handling.simulate {
        words.push("simulate is on, every send fails and nothing leaves".to_owned());
    } else if handling.debug.enabled {
        words.push("debug is on, it is logged only and nothing leaves".to_owned());
    } else if handling.redirect.enabled {
        words.push(redirect(handling));
    }
    words
}

fn redirect(handling: &Handling) -> String {
    let to: Vec<&str> = handling.redirect.enabled_addresses().map(|address| address.as_str()).collect();
    let but = match handling.redirect.allow.as_slice() {
        [] => String::new(),
        allow => {
            let allow: Vec<String> = allow.iter().map(ToString::to_string).collect();
            format!("; {} still get their own", allow.join(", "))
        }
    };
    match to.is_empty() {
        true => format!("redirect is on and no report address is enabled, it is held{but}"),
        false => format!("redirect is on, it goes to {} and not to its recipients{but}", to.join(", ")),
    }
}

/// A change of what happens to mail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Switch {
    /// Empty: all mail that no site says otherwise of.
    pub site: String,
    /// For example `redirect is on, it goes to qa@example.com and not to its recipients`.
    pub what: String,
}

/// What has been switched from one configuration to the next. A site that only follows what holds for all is not named.
pub fn switches(old: &Settings, new: &Settings) -> Vec<Switch> {
    let of_all = changed(&old.handling, &new.handling);
    let switch = |site: &str, what: String| Switch { site: site.to_owned(), what };
    let mut switches: Vec<Switch> = of_all.iter().map(|what| switch("", what.clone())).collect();
    for (name, site) in &new.sites {
        let before = old.sites.get(name).map_or(&old.handling, |site| &site.handling);
        let own = changed(before, &site.handling);
        if own != of_all {
            switches.extend(own.into_iter().map(|what| switch(name, what)));
        }
    }
    // Its senders' mail is mail of no site from now on.
    for (name, site) in old.sites.iter().filter(|(name, _)| !new.sites.contains_key(*name)) {
        let own = changed(&site.handling, &new.handling);
        switches.extend(own.into_iter().map(|what| switch(name, format!("the site is gone, so {what}"))));
    }
    switches
}

fn changed(old: &Handling, new: &Handling) -> Vec<String> {
    let on = |on: bool| if on { "on" } else { "off" };
    let mut what = Vec::new();
    if old.sending_off != new.sending_off {
        what.push(format!("sending is {}", on(!new.sending_off)));
    }
    if old.simulate != new.simulate {
        what.push(format!("simulate is {}", on(new.simulate)));
    }
    if old.debug != new.debug && (old.debug.enabled || new.debug.enabled) {
        what.push(format!("debug is {}", on(new.debug.enabled)));
    }
    if old.redirect != new.redirect && (old.redirect.enabled || new.redirect.enabled) {
        what.push(if new.redirect.enabled { redirect(new) } else { "redirect is off".to_owned() });
    }
    if old.sender != new.sender {
        let address = new.sender.address.as_ref().map(|mailbox| mailbox.address.as_str()).unwrap_or_default();
        what.push(match new.sender.when {
            RewriteWhen::Never => "the sender is not rewritten".to_owned(),
            RewriteWhen::Always => format!("the sender is always {address}"),
            RewriteWhen::Missing => format!("the sender is {address} where there is none"),
        });
    }
    what
}
