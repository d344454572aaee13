//! Test messages, through one upstream or through the queue: whether they may leave, and what they say (rule 6).

use super::added;
use crate::config::Settings;
use crate::config::handling::{Handling, Redirect, RewriteWhen};
use crate::config::settings::Upstream;
use crate::mail::Address;
use crate::mail::address::qualified;
use crate::mail::printable;
use email_encoding::headers::rfc2047;
use email_encoding::headers::writer::EmailWriter;
use jiff::Timestamp;
use mail_builder::MessageBuilder;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::MimePart;

/// A test message, ready to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestMail {
    /// Reverse-path and From.
    pub sender: Address,
    pub recipient: Address,
    /// Header and body.
    pub content: Vec<u8>,
}

/// Why no test message leaves. In words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct TestMailRefused(pub String);

/// The test message for `to` through `upstream`, under the modes of all mail, or of the sites that it is there for.
///
/// # Errors
/// A mode keeps it from leaving.
pub fn test_mail(
    settings: &Settings,
    upstream: &Upstream,
    to: &Address,
    from: Option<&Address>,
    now: Timestamp,
) -> Result<TestMail, TestMailRefused> {
    let handlings = handlings(settings, upstream);
    for (site, handling) in &handlings {
        let whose = if site.is_empty() { "all mail".to_owned() } else { format!("mail of site {site}") };
        if let Some(why) = kept_by(handling, to) {
            return Err(TestMailRefused(format!("not sent: {whose}: {why}")));
        }
    }
    let sender = sender(settings, upstream, handlings.first().map(|(_, handling)| *handling), from)?;
    let content = content(settings, upstream, &sender, to, now);
    Ok(TestMail { sender, recipient: to.clone(), content })
}

/// Whose mail goes through it.
fn handlings<'a>(settings: &'a Settings, upstream: &'a Upstream) -> Vec<(&'a str, &'a Handling)> {
    let sites = upstream.sites.iter().map(String::as_str);
    let all = [""].into_iter().filter(|_| upstream.sites.is_empty()).chain(sites);
    all.filter_map(|site| Some((site, settings.handling_of(site)?))).collect()
}

fn kept_by(handling: &Handling, to: &Address) -> Option<String> {
    let Handling { sending_off, simulate, debug, redirect, .. } = handling;
    if *sending_off {
        Some("sending is off, so that nothing leaves".to_owned())
    } else if *simulate {
        Some("simulate is on, so that nothing leaves".to_owned())
    } else if debug.enabled {
        Some("debug is on, so that nothing leaves".to_owned())
    } else {
        kept_by_redirect(redirect, to)
    }
}

/// Why no test message to that address may leave while redirect is as it is, if none may.
pub fn kept_by_redirect(redirect: &Redirect, to: &Address) -> Option<String> {
    let is_report = || redirect.enabled_addresses().any(|one| one.as_str().eq_ignore_ascii_case(to.as_str()));
    if !redirect.enabled || redirect.allows(to) || is_report() {
        return None;
    }
    let reports: Vec<&str> = redirect.enabled_addresses().map(Address::as_str).collect();
    let may = if reports.is_empty() { "nobody is enabled".to_owned() } else { reports.join(", ") };
    Some(format!(
        "redirect is on, and {to} is neither an enabled report address ({may}) nor in `allow`; test with one of them"
    ))
}

/// What real mail through it would have; else what was asked for; else whom the server knows.
fn sender(
    settings: &Settings,
    upstream: &Upstream,
    handling: Option<&Handling>,
    from: Option<&Address>,
) -> Result<Address, TestMailRefused> {
    let rewritten = handling.and_then(rewritten);
    if let Some(sender) = upstream.sender.as_ref().or(rewritten).or(from) {
        return Ok(sender.clone());
    }
    let account = upstream.auth.username().filter(|name| name.contains('@'));
    if let Some(account) = account.and_then(|name| name.parse().ok()) {
        return Ok(account);
    }
    postmaster(settings)
}

/// The sender of a test message of which nobody says who it is from. `handling` is that of its site.
///
/// # Errors
/// There is none.
pub fn default_sender(settings: &Settings, handling: &Handling) -> Result<Address, TestMailRefused> {
    rewritten(handling).map_or_else(|| postmaster(settings), |sender| Ok(sender.clone()))
}

/// The address of `[sender]`, where it replaces every other.
fn rewritten(handling: &Handling) -> Option<&Address> {
    let sender = Some(&handling.sender).filter(|sender| sender.when == RewriteWhen::Always)?;
    sender.address.as_ref().map(|mailbox| &mailbox.address)
}

fn postmaster(settings: &Settings) -> Result<Address, TestMailRefused> {
    let nobody =
        |error| TestMailRefused(format!("not sent: there is no sender for it ({error}); give one (`from`)"));
    qualified("postmaster", &settings.default_domain).map_err(nobody)
}

fn content(
    settings: &Settings,
    upstream: &Upstream,
    sender: &Address,
    to: &Address,
    now: Timestamp,
) -> Vec<u8> {
    let Settings { hostname, .. } = settings;
    let Upstream { name, host, port, .. } = upstream;
    let text = format!(
        "This is a test message from Postroom {} on {hostname}, sent through its upstream `{name}` ({host}, port {port}) at \
         {now}.\n\nThat it is here means that the upstream takes mail from there, and that it arrives.\n",
        env!("CARGO_PKG_VERSION")
    );
    let subject = format!("Test message through {name}");
    text_message(hostname, sender, std::slice::from_ref(to), &subject, &text, now)
}

/// A message of ours that is nothing but a text.
pub fn text_message(
    hostname: &str,
    sender: &Address,
    to: &[Address],
    subject: &str,
    text: &str,
    now: Timestamp,
) -> Vec<u8> {
    let to: Vec<String> = to.iter().map(|address| format!("<{address}>")).collect();
    let builder = MessageBuilder::new()
        .header("Date", Raw::new(added::date(now)))
        .header("From", Raw::new(format!("Postroom <{sender}>")))
        .header("To", Raw::new(to.join(", ")))
        .header("Message-ID", Raw::new(format!("<test-{:032x}@{hostname}>", fastrand::u128(..))))
        .header("Auto-Submitted", Raw::new("auto-generated"));
    // Not by the builder, which would fold it once more.
    let mut content = format!("Subject: {}\r\n", encoded(subject)).into_bytes();
    // Writing to a Vec does not fail.
    let body = MimePart::new(ContentType::new("text/plain").attribute("charset", "utf-8"), text);
    let _ = builder.body(body).write_to(&mut content);
    content
}

/// The value of a `Subject:`, as encoded words (RFC 2047) where it is not ASCII. Nothing in it ends the field.
fn encoded(subject: &str) -> String {
    let subject = printable(subject);
    if subject.is_ascii() {
        return subject;
    }
    let mut value = String::new();
    let mut writer = EmailWriter::new(&mut value, "Subject: ".len(), 0, false);
    // Writing to a String does not fail.
    let _ = rfc2047::encode(&subject, &mut writer);
    drop(writer);
    value
}
