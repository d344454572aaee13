//! A notice as a message: multipart/report (RFC 6522) of a text for people, the status for programs, and what is returned
//! of the message that it is about.
//!
//! What is returned may be large, so it is not in here: it goes between [`NoticeFrame::head`] and [`NoticeFrame::tail`].

use super::status::delivery_status;
use super::told::{DsnAction, DueNotice};
use super::{super::added, text};
use crate::config::Settings;
use crate::mail::{Message, QueueId};
use jiff::Timestamp;
use mail_builder::MessageBuilder;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::MimePart;
use memchr::memmem;

/// What a notice says besides what became of recipients.
pub struct NoticeContext<'a> {
    /// In force.
    pub settings: &'a Settings,
    /// What we call ourselves.
    pub hostname: &'a str,
    /// Wall clock.
    pub now: Timestamp,
    /// How long what is late will be tried; none where that is not known.
    pub tried_until: Option<Timestamp>,
    /// See [`DueNotice::utf8`].
    pub utf8: bool,
}

impl NoticeContext<'_> {
    /// The server behind an upstream.
    pub(super) fn host_of(&self, upstream: &str) -> Option<&str> {
        let found = self.settings.upstreams.iter().find(|one| one.name == upstream)?;
        Some(&found.host)
    }
}

/// What is returned of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Returned<'a> {
    /// All of it; else its header.
    pub whole: bool,
    /// Some byte of it is above 127.
    pub eight_bit: bool,
    /// Its own Message-ID, with its angle brackets, where it has a sound one.
    pub message_id: Option<&'a str>,
}

/// A notice, but for what is returned.
pub struct NoticeFrame {
    /// In front of it.
    pub head: Vec<u8>,
    /// Behind it.
    pub tail: Vec<u8>,
}

/// The notice `id` about `message`.
pub fn frame(
    context: &NoticeContext<'_>,
    id: QueueId,
    message: &Message,
    due: &DueNotice<'_>,
    returned: Returned<'_>,
) -> NoticeFrame {
    let hostname = context.hostname;
    // Random, so that no content can have it.
    let random = || format!("{:032x}", fastrand::u128(..));
    let (boundary, place) = (format!("=_{}", random()), random());
    let worst = due.told.iter().map(|one| one.action).min().unwrap_or(DsnAction::Failed);
    let (status, headers, whole) = match context.utf8 {
        true => ("message/global-delivery-status", "message/global-headers", "message/global"),
        false => ("message/delivery-status", "text/rfc822-headers", "message/rfc822"),
    };
    let bits = |eight_bit: bool| if eight_bit { "8bit" } else { "7bit" };
    let report = delivery_status(context, message, &due.told);
    let status_bits = bits(!report.is_ascii());
    let parts = vec![
        MimePart::new(
            ContentType::new("text/plain").attribute("charset", "utf-8"),
            text::text(context, message, &due.told),
        ),
        MimePart::new(ContentType::new(status), report.into_bytes()).transfer_encoding(status_bits),
        MimePart::new(
            ContentType::new(if returned.whole { whole } else { headers }),
            place.clone().into_bytes(),
        )
        .transfer_encoding(bits(returned.eight_bit)),
    ];
    let report = ContentType::new("multipart/report")
        .attribute("report-type", status.trim_start_matches("message/"))
        .attribute("boundary", boundary);
    let to: Vec<String> = due.to.iter().map(|address| format!("<{address}>")).collect();
    let mut builder = MessageBuilder::new()
        .header("Date", Raw::new(added::date(context.now)))
        .header("From", Raw::new(format!("Mail Delivery System <MAILER-DAEMON@{hostname}>")))
        .header("To", Raw::new(to.join(", ")))
        .header("Subject", Raw::new(text::subject(worst)))
        .header("Message-ID", Raw::new(format!("<{id}@{hostname}>")))
        .header("Auto-Submitted", Raw::new("auto-replied"));
    let own = format!("<{}@{hostname}>", message.id);
    if let Some(original) = returned.message_id.or((!message.header.has_message_id).then_some(own.as_str())) {
        builder = builder.header("References", Raw::new(original.to_owned()));
    }
    let mut head = Vec::new();
    // Writing to a Vec does not fail.
    let _ = builder.body(MimePart::new(report, parts)).write_to(&mut head);
    let at = memmem::find(&head, place.as_bytes()).unwrap_or(head.len());
    let tail = head.get(at + place.len()..).unwrap_or_default().to_vec();
    head.truncate(at);
    NoticeFrame { head, tail }
}
