//! What is to happen to mail: read once for all mail, and once for each site, whose keys override those.

use super::error::{ValueError, quoted};
use super::handling::{
    AddressPattern, DebugMode, Handling, Mailbox, Redirect, ReportAddress, RewriteWhen, SenderRewrite, Site,
};
use super::section::{ConfigReader, ListItem, Section};
use crate::mail::Address;
use crate::mail::address::AddressError;
use std::collections::{BTreeMap, BTreeSet};

const EMAIL_FORM: &str = r#"give it a whole address such as "qa@example.com""#;
const REPORT_FORM: &str =
    r#"give it a list such as ["qa@example.com", { email = "ops@example.com", enabled = false }]"#;
const PATTERNS_FORM: &str =
    r#"give it a list of addresses and "@domain"s such as ["dev@example.com", "@example.com"]"#;
const MAILBOX_FORM: &str =
    r#"give it an address such as "john@example.com", or '"John Smith" <john@example.com>'"#;

const REWRITES: &[(&str, RewriteWhen)] =
    &[("never", RewriteWhen::Never), ("always", RewriteWhen::Always), ("missing", RewriteWhen::Missing)];

/// `parent` is the root or a site.
pub(super) fn handling(reader: &ConfigReader<'_>, parent: &Section<'_>) -> Handling {
    Handling {
        sending_off: !parent.section("sending").flag("enabled"),
        simulate: parent.section("simulate").flag("enabled"),
        debug: debug(&parent.section("debug")),
        redirect: redirect(reader, &parent.section("redirect")),
        sender: sender(&parent.section("sender")),
    }
}

fn debug(section: &Section<'_>) -> DebugMode {
    let form = "give it a share from 0 to 1, for example 0.01";
    DebugMode {
        enabled: section.flag("enabled"),
        failure_rate: section.read("failure_rate", form, 0.0, |rate: f64| match rate {
            0.0..=1.0 => Ok(rate),
            _ => Err(format!("{rate} is no share").into()),
        }),
        seed: section.number("seed", 0, i64::MAX),
    }
}

fn redirect(reader: &ConfigReader<'_>, section: &Section<'_>) -> Redirect {
    let item = |item: ListItem<'_>| match item {
        ListItem::Text(text) => match text.parse::<Address>() {
            Ok(email) => Some(ReportAddress { email, enabled: true }),
            Err(error) => {
                section.wrong("report_emails", format!("{}: {error}", quoted(&text)), REPORT_FORM);
                None
            }
        },
        ListItem::Table(item) => {
            let enabled = item.flag("enabled");
            let email = item.read("email", EMAIL_FORM, None, |text: String| {
                text.parse().map(Some).map_err(|error: AddressError| error.to_string().into())
            })?;
            Some(ReportAddress { email, enabled })
        }
    };
    let redirect = Redirect {
        enabled: section.flag("enabled"),
        report_emails: section.items("report_emails", REPORT_FORM).into_iter().filter_map(item).collect(),
        allow: patterns(section, "allow"),
    };
    if redirect.enabled && redirect.enabled_addresses().next().is_none() && section.is_sound("report_emails")
    {
        let path = section.path_of("report_emails");
        reader.warn(format!("{path}: nobody is enabled, so redirected mail is held until somebody is"));
    }
    redirect
}

fn sender(section: &Section<'_>) -> SenderRewrite {
    let when = section.choice("rewrite", RewriteWhen::Never, REWRITES, &[]);
    let address = section.read("address", MAILBOX_FORM, None, |text: String| match text.as_str() {
        "" => Ok(None),
        text => mailbox(text).map(Some),
    });
    if when != RewriteWhen::Never && address.is_none() && section.is_sound("address") {
        let rewrite = section.path_of("rewrite");
        section.wrong("address", format!("is missing: {rewrite} needs it"), MAILBOX_FORM);
    }
    SenderRewrite { when, address }
}

/// `john@example.com`, `<john@example.com>`, `John Smith <john@example.com>` or `"John Smith" <john@example.com>`.
fn mailbox(text: &str) -> Result<Mailbox, ValueError> {
    let text = text.trim();
    let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => (name.trim(), address),
        None => ("", text),
    };
    let address: Address =
        address.parse().map_err(|error: AddressError| ValueError::from(error.to_string()))?;
    let name = match name.strip_prefix('"').map(|name| name.strip_suffix('"')) {
        Some(Some(name)) => name.replace("\\\"", "\"").replace("\\\\", "\\"),
        Some(None) => return Err("a quote in the display name is not closed".into()),
        None => name.to_owned(),
    };
    if name.chars().any(char::is_control) {
        return Err("the display name holds a control character".into());
    }
    Ok(Mailbox { name, address })
}

pub(super) fn patterns(section: &Section<'_>, key: &str) -> Vec<AddressPattern> {
    section.read(key, PATTERNS_FORM, Vec::new(), |texts: Vec<String>| {
        let pattern = |text: &String| {
            text.parse().map_err(|error: String| ValueError::from(format!("{}: {error}", quoted(text))))
        };
        texts.iter().map(pattern).collect()
    })
}

/// Sites by name.
pub(super) fn sites(reader: &ConfigReader<'_>) -> BTreeMap<String, Site> {
    let site = |section: &Section<'_>| Site {
        name: section.name().to_owned(),
        senders: patterns(section, "senders"),
        global_upstreams: section.flag("global_upstreams"),
        handling: handling(reader, section),
    };
    let sections = reader.root().named("site");
    let sites: Vec<Site> = sections.iter().map(site).collect();
    let mut seen: BTreeMap<&AddressPattern, &str> = BTreeMap::new();
    for (site, section) in sites.iter().zip(&sections) {
        for pattern in site.senders.iter().collect::<BTreeSet<_>>() {
            if let Some(other) = seen.insert(pattern, &site.name) {
                let wrong = format!("{pattern} belongs to site {other} already");
                section.wrong("senders", wrong, "let each sender belong to one site");
            }
        }
    }
    sites.into_iter().map(|site| (site.name.clone(), site)).collect()
}
