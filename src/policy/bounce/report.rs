//! A notice as a message: multipart/report (RFC 6522) of a text for people, the status for programs, and what is returned
//! of the message that it is about.
//!
//! Promises: what it holds for each recipient is at most 4 KiB, whatever servers and clients wrote (`status`,
//! `text`); but for what is returned as a whole, no line is longer than 998 bytes. Without a letter beyond ASCII in what it
//! is about it has the plain form of RFC 3464, and then all of it but a returned message is 7-bit.

use super::status::delivery_status;
use super::told::{DsnAction, DueNotice};
use super::{super::added, text};
use crate::config::Settings;
use crate::config::settings::Upstream;
use crate::mail::{Message, QueueId};
use jiff::Timestamp;
use mail_builder::MessageBuilder;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::MimePart;

/// RFC 5322 section 2.1.1.
const LONGEST_LINE: usize = 998;

/// What a notice says besides what became of recipients.
pub struct NoticeContext<'a> {
    /// In force.
    pub settings: &'a Settings,
    /// What we call ourselves.
    pub hostname: &'a str,
    /// Wall clock.
    pub now: Timestamp,
    /// How long what is late will be tried.
    pub tried_until: Timestamp,
}

impl NoticeContext<'_> {
    pub(super) fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.settings.upstreams.iter().map(AsRef::as_ref).find(|one: &&Upstream| one.name == name)
    }
}

/// What is returned of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Returned<'a> {
    /// Its header, in whole fields; with nothing in it, and nothing in `whole`, nothing is returned.
    pub header: &'a [u8],
    /// All of it, in place of the header.
    pub whole: Option<&'a [u8]>,
    /// Its own Message-ID, with its angle brackets, where it has a sound one.
    pub message_id: Option<&'a str>,
    /// Why that is less than its sender asked for.
    pub why_less: Option<&'static str>,
}

/// A notice.
pub struct RenderedNotice {
    /// Header and body.
    pub bytes: Vec<u8>,
    /// Some of it needs a reader of UTF-8: it has the form of RFC 6533.
    pub is_utf8: bool,
}

/// The notice `id` about `message`. `named`: of the first so many recipients it tells each for itself, of the others how many
/// there are.
pub fn notice(
    context: &NoticeContext<'_>,
    id: QueueId,
    message: &Message,
    due: &DueNotice<'_>,
    returned: Returned<'_>,
    named: usize,
) -> RenderedNotice {
    let hostname = context.hostname;
    let worst = due.told.iter().map(|one| one.action).min().unwrap_or(DsnAction::Failed);
    let named = &due.told[..named.min(due.told.len())];
    let report = delivery_status(context, message, named, due.utf8);
    // Who cannot stand in a plain header gets it all the same.
    let to = due.to.iter().filter(|address| due.utf8 || address.is_ascii());
    let to = to.map(|address| format!("<{address}>")).collect::<Vec<_>>().join(", ");
    let header_is_utf8 = !returned.header.is_ascii() && str::from_utf8(returned.header).is_ok();
    let is_utf8 = due.utf8 && (!report.is_ascii() || !to.is_ascii() || header_is_utf8);
    let status = if is_utf8 { "message/global-delivery-status" } else { "message/delivery-status" };
    let status_bits = bits(report.as_bytes());
    let text = text::text(context, message, due, named.len(), &returned);
    let mut parts = vec![
        MimePart::new(ContentType::new("text/plain").attribute("charset", "utf-8"), text),
        MimePart::new(ContentType::new(status), report.into_bytes()).transfer_encoding(status_bits),
    ];
    parts.extend(returned_part(&returned, is_utf8 && header_is_utf8));
    // Random, so that no content can have it.
    let boundary = format!("=_{:032x}", fastrand::u128(..));
    let report = ContentType::new("multipart/report")
        .attribute("report-type", status.trim_start_matches("message/"))
        .attribute("boundary", boundary);
    let mut builder = MessageBuilder::new()
        .header("Date", Raw::new(added::date(context.now)))
        .header("From", Raw::new(format!("Mail Delivery System <MAILER-DAEMON@{hostname}>")))
        .header("To", Raw::new(to))
        .header("Subject", Raw::new(text::subject(worst)))
        .header("Message-ID", Raw::new(format!("<{id}@{hostname}>")))
        .header("Auto-Submitted", Raw::new("auto-replied"));
    let own = format!("<{}@{hostname}>", message.id);
    if let Some(original) = returned.message_id.or((!message.header.has_message_id).then_some(own.as_str())) {
        builder = builder.header("References", Raw::new(original.to_owned()));
    }
    let mut bytes = Vec::new();
    // Writing to a Vec does not fail.
    let _ = builder.body(MimePart::new(report, parts)).write_to(&mut bytes);
    RenderedNotice { bytes, is_utf8 }
}

fn returned_part<'a>(returned: &Returned<'a>, header_is_utf8: bool) -> Option<MimePart<'a>> {
    match returned.whole {
        // A message may not be encoded (RFC 2046 section 5.2.1): it goes as it is.
        Some(whole) => {
            let kind = if header_is_utf8 { "message/global" } else { "message/rfc822" };
            Some(MimePart::new(ContentType::new(kind), whole).transfer_encoding(bits(whole)))
        }
        None if returned.header.is_empty() => None,
        None if header_is_utf8 => {
            let part = MimePart::new(ContentType::new("message/global-headers"), returned.header);
            Some(part.transfer_encoding("8bit"))
        }
        None => {
            let part = MimePart::new(ContentType::new("text/rfc822-headers"), returned.header);
            let is_plain = returned.header.is_ascii()
                && returned.header.split(|byte| *byte == b'\n').all(|line| line.len() <= LONGEST_LINE);
            // Else the builder chooses an encoding.
            Some(if is_plain { part.transfer_encoding("7bit") } else { part })
        }
    }
}

fn bits(content: &[u8]) -> &'static str {
    if content.is_ascii() { "7bit" } else { "8bit" }
}
