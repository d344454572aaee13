//! What happens to mail, for the top of every page: a line for all mail, and one for each site where it differs.

use crate::config::Settings;
use crate::config::handling::Handling;

/// What happens to the mail of a site, or to all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ModeLine {
    /// For the style sheet.
    pub(super) kind: &'static str,
    /// `LIVE`, `REDIRECT`, `LOG ONLY`, `SIMULATE` or `SENDING OFF`; before it the site.
    pub(super) label: String,
    pub(super) text: String,
}

/// The lines, that for all mail first.
pub(super) fn lines(settings: &Settings) -> Vec<ModeLine> {
    let all = describe(&settings.handling);
    let mut lines = vec![line("", &all)];
    for site in settings.sites.values() {
        let own = describe(&site.handling);
        if own != all {
            lines.push(line(&site.name, &own));
        }
    }
    if !settings.queue.enabled {
        lines.push(ModeLine {
            kind: "warning",
            label: "NO QUEUE".to_owned(),
            text: "New mail is not queued: 250 means that an upstream took it.".to_owned(),
        });
    }
    lines
}

fn line(site: &str, (kind, label, text): &(&'static str, &str, String)) -> ModeLine {
    let label = match site {
        "" => (*label).to_owned(),
        site => format!("{site}: {label}"),
    };
    ModeLine { kind, label, text: text.clone() }
}

fn describe(handling: &Handling) -> (&'static str, &'static str, String) {
    let off = if handling.sending_off { "off" } else { "" };
    let (kind, label, text) = if handling.simulate {
        ("simulate", "SIMULATE", "Every send fails; nothing leaves.".to_owned())
    } else if handling.debug.enabled {
        ("log-only", "LOG ONLY", "Debug is on: mail is logged and counts as sent; nothing leaves.".to_owned())
    } else if handling.redirect.enabled {
        redirect(handling)
    } else {
        ("live", "LIVE", "Mail goes to its recipients.".to_owned())
    };
    match (off, kind) {
        ("off", "live") => ("off", "SENDING OFF", "Mail is accepted and waits.".to_owned()),
        ("off", _) => {
            ("off", "SENDING OFF", format!("Mail is accepted and waits. When sending is on again: {text}"))
        }
        _ => (kind, label, text),
    }
}

fn redirect(handling: &Handling) -> (&'static str, &'static str, String) {
    let to: Vec<&str> = handling.redirect.enabled_addresses().map(|address| address.as_str()).collect();
    let allow: Vec<String> = handling.redirect.allow.iter().map(ToString::to_string).collect();
    let but = match allow.is_empty() {
        true => String::new(),
        false => format!(" {} still get their own.", allow.join(", ")),
    };
    match to.is_empty() {
        true => ("warning", "REDIRECT", format!("No report address is enabled: mail is held.{but}")),
        false => (
            "redirect",
            "REDIRECT",
            format!("Mail goes to {} and not to its recipients.{but}", to.join(", ")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::handling::DebugMode;

    #[test]
    fn sending_off_comes_before_every_mode() {
        let debug = DebugMode { enabled: true, ..DebugMode::default() };
        let handling = Handling { sending_off: true, debug: debug.clone(), ..Handling::default() };
        assert_eq!(describe(&handling).1, "SENDING OFF");
        assert!(describe(&handling).2.contains("Debug is on"));
        assert_eq!(describe(&Handling { debug, ..Handling::default() }).1, "LOG ONLY");
        assert_eq!(describe(&Handling::default()).1, "LIVE");
    }
}
