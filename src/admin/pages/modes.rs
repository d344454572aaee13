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
    let has_queue = settings.queue.enabled;
    let all = describe(&settings.handling, has_queue);
    let mut lines = vec![line("", &all)];
    for site in settings.sites.values() {
        let own = describe(&site.handling, has_queue);
        if own != all {
            lines.push(line(&site.name, &own));
        }
    }
    if !has_queue {
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

/// Its style, its label, and a sentence. Without a queue, mail that would wait is refused for now (rule 15).
pub(super) fn describe(handling: &Handling, has_queue: bool) -> (&'static str, &'static str, String) {
    let waits = if has_queue { "Mail is accepted and waits." } else { "Mail is refused for now (451)." };
    let (kind, label, text) = if handling.simulate {
        ("simulate", "SIMULATE", "Every send fails; nothing leaves.".to_owned())
    } else if handling.debug.enabled {
        ("log-only", "LOG ONLY", "Debug is on: mail is logged and counts as sent; nothing leaves.".to_owned())
    } else if handling.redirect.enabled {
        redirect(handling, has_queue)
    } else {
        ("live", "LIVE", "Mail goes to its recipients.".to_owned())
    };
    match (handling.sending_off, kind) {
        (true, "live") => ("off", "SENDING OFF", waits.to_owned()),
        (true, _) => ("off", "SENDING OFF", format!("{waits} When sending is on again: {text}")),
        _ => (kind, label, text),
    }
}

fn redirect(handling: &Handling, has_queue: bool) -> (&'static str, &'static str, String) {
    let to: Vec<&str> = handling.redirect.enabled_addresses().map(|address| address.as_str()).collect();
    let allow: Vec<String> = handling.redirect.allow.iter().map(ToString::to_string).collect();
    let but = match allow.is_empty() {
        true => String::new(),
        false => format!(" {} still get their own.", allow.join(", ")),
    };
    match to.is_empty() {
        true => {
            let becomes = if has_queue { "held" } else { "refused for now (451)" };
            ("warning", "REDIRECT", format!("No report address is enabled: mail is {becomes}.{but}"))
        }
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
        assert_eq!(describe(&handling, true).1, "SENDING OFF");
        assert!(describe(&handling, true).2.contains("Debug is on"));
        assert!(describe(&handling, false).2.starts_with("Mail is refused for now (451)."));
        assert_eq!(describe(&Handling { debug, ..Handling::default() }, true).1, "LOG ONLY");
        assert_eq!(describe(&Handling::default(), true).1, "LIVE");
    }
}
