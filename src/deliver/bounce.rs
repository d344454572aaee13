//! Makes a notice ready to be queued in the commit of the outcome that it tells of (rule 9): reads what is returned of the
//! message, and stages what does not fit into one chunk.
//!
//! Memory: 4 KiB for each recipient that it tells of, three times over, and 50 kB for what is returned.

use super::context::AttemptContext;
use crate::config::Topic;
use crate::event::{EventType, Fact, code, named_site};
use crate::mail::header::{FieldFilter, HeaderScan, fields};
use crate::mail::{
    Address, BodyType, Class, Message, Notify, Origin, Outcome, QueueId, Recipient, ReversePath, Role,
};
use crate::policy::bounce::report::{self, NoticeContext, Returned};
use crate::policy::bounce::told::{DsnAction, DueNotice, refuses_content};
use crate::queue::{CHUNK_SIZE, FollowUp, QueueError, RecipientVerdict};
use bytes::Bytes;
use memchr::memmem;

/// Larger messages are not returned as a whole: Postfix's bounce_size_limit. What is sent back must not be refused for what it
/// returns.
const MAX_RETURNED: u64 = 50_000;
/// Most of a header that is returned, in whole fields.
const MAX_HEADER: usize = 32 * 1024;
/// Recipients that the least notice names: it fits into one chunk.
const LEAST_NAMED: usize = 20;
/// The third part of a notice begins before that, unless it is none of ours.
const MAX_REPORT: usize = 64 * 1024 * 1024;

/// How much a notice holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoticeExtent {
    /// All that it should.
    Full,
    /// What needs nothing to be read or staged: nothing is returned, and of many recipients only some are named.
    Least,
}

/// The notice that is due about `message`.
pub(super) async fn follow_up(
    context: &AttemptContext,
    message: &Message,
    due: &DueNotice<'_>,
    extent: NoticeExtent,
) -> Result<Box<FollowUp>, QueueError> {
    let (settings, queue) = (&context.settings, &context.services.queue);
    // What cannot be read cannot be returned; its sender is told all the same.
    let first = match (extent, message.chunks) {
        (NoticeExtent::Least, _) => None,
        (NoticeExtent::Full, 0) => Some(Bytes::new()),
        (NoticeExtent::Full, _) => queue.chunk(message.id, 0).await.ok(),
    };
    let header = first.as_deref().map(returned_header).unwrap_or_default();
    let message_id = first.as_deref().and_then(message_id);
    let why_less = match &first {
        _ if !due.wants_all => None,
        None => Some("it could not be read or stored"),
        Some(_) if due.is_content_refused() => Some("it was refused for what it is, and would be again"),
        Some(_) if message.size > MAX_RETURNED => Some("it is too large"),
        Some(_) => None,
    };
    let whole = first.as_deref().filter(|_| due.wants_all && why_less.is_none());
    let whole = whole.map(|content| returned_whole(content, message.header.starts_well));
    let now = context.services.clock.wall();
    let notice_context = NoticeContext {
        settings,
        hostname: &settings.hostname,
        now,
        tried_until: queue.wall_of(&message.site, message.life_start.after(settings.queue.expire_after)),
    };
    let id = QueueId::fresh_at(now);
    let returned =
        Returned { header: &header, whole: whole.as_deref(), message_id: message_id.as_deref(), why_less };
    let named = if extent == NoticeExtent::Least { LEAST_NAMED } else { usize::MAX };
    let rendered = report::notice(&notice_context, id, message, due, returned, named);
    let mut notice = StagedNotice::new(context, id);
    notice.push(&rendered.bytes).await?;
    let only_late = due.count(DsnAction::Delayed) == due.told.len();
    let queued = Message {
        smtp_utf8: rendered.is_utf8,
        says_late: only_late.then_some(message.id),
        ..notice.message(message, due.to.iter())
    };
    let failures_told = due.told.iter().filter(|one| one.action == DsnAction::Failed);
    Ok(Box::new(FollowUp {
        failures_told: failures_told.map(|one| one.recipient.address.clone()).collect(),
        delay_told: due.count(DsnAction::Delayed) > 0,
        facts: facts(message, due, &queued),
        message: queued,
        tail: notice.into_tail(),
    }))
}

/// The notice `refused` once more without what it returns, where servers have refused that; none where they have refused
/// something else, or where it returns nothing.
pub(super) async fn without_returned(
    context: &AttemptContext,
    refused: &Message,
    verdicts: &[RecipientVerdict],
) -> Result<Option<Box<FollowUp>>, QueueError> {
    if !refused.is_notice {
        return Ok(None);
    }
    let is_refused = |one: &&RecipientVerdict| {
        one.role == Role::Original && one.verdict.outcome == Outcome::Failed && refuses_content(&one.verdict)
    };
    let to: Vec<&Address> = verdicts.iter().filter(is_refused).map(|one| &one.address).collect();
    if to.is_empty() {
        return Ok(None);
    }
    let Some(content) = report_alone(context, refused).await? else { return Ok(None) };
    let now = context.services.clock.wall();
    let mut notice = StagedNotice::new(context, QueueId::fresh_at(now));
    notice.push(&content).await?;
    let message = Message {
        smtp_utf8: refused.smtp_utf8,
        says_late: refused.says_late,
        ..notice.message(refused, to.into_iter())
    };
    let text = format!(
        "from <> for {}, {} bytes, in place of message {}, which was refused for what it returns",
        recipients(message.recipients.len()),
        message.size,
        refused.id
    );
    let facts = vec![about(refused, &message, message.id, code::QUEUED, text)];
    let tail = notice.into_tail();
    Ok(Some(Box::new(FollowUp { message, tail, failures_told: Vec::new(), delay_told: false, facts })))
}

/// A stored notice without its third part; none where it has none.
async fn report_alone(context: &AttemptContext, notice: &Message) -> Result<Option<Vec<u8>>, QueueError> {
    let (mut content, mut delimiter) = (Vec::new(), None);
    for number in 0..notice.chunks {
        content.extend_from_slice(&context.services.queue.chunk(notice.id, number).await?);
        if delimiter.is_none() {
            delimiter = boundary(&content).map(|boundary| format!("\r\n--{boundary}"));
        }
        let Some(delimiter) = &delimiter else { return Ok(None) };
        let third = memmem::find_iter(&content, &format!("{delimiter}\r\n")).nth(2);
        if let Some(third) = third {
            content.truncate(third);
            content.extend_from_slice(format!("{delimiter}--\r\n").as_bytes());
            return Ok(Some(content));
        }
        if content.len() > MAX_REPORT {
            break;
        }
    }
    Ok(None)
}

/// Of the multipart/report that begins like this.
fn boundary(content: &[u8]) -> Option<&str> {
    let (_, value) = fields(content).find(|(name, _)| name.eq_ignore_ascii_case(b"Content-Type"))?;
    let (_, behind) = str::from_utf8(value).ok()?.split_once("boundary=\"")?;
    Some(behind.split_once('"')?.0)
}

/// The header without `Bcc:`, whose recipients are nobody else's business, and without fields that are too long.
fn returned_header(first: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    for (name, value) in fields(first) {
        let length = name.len() + 1 + value.len();
        let is_bcc = name.eq_ignore_ascii_case(b"Bcc") || name.eq_ignore_ascii_case(b"Resent-Bcc");
        if !is_bcc && header.len() + length <= MAX_HEADER {
            header.extend_from_slice(name);
            header.push(b':');
            header.extend_from_slice(value);
        }
    }
    header
}

/// All of it but `Bcc:`, as a message: one without a header begins with an empty line.
fn returned_whole(content: &[u8], starts_well: bool) -> Vec<u8> {
    let mut whole = if starts_well { Vec::new() } else { b"\r\n".to_vec() };
    let mut filter = FieldFilter::default();
    filter.push(content, |bytes| whole.extend_from_slice(bytes));
    filter.finish(|bytes| whole.extend_from_slice(bytes));
    whole
}

/// The value of the first Message-ID, where another message can refer to it.
fn message_id(first: &[u8]) -> Option<String> {
    let (_, value) = fields(first).find(|(name, _)| name.eq_ignore_ascii_case(b"Message-ID"))?;
    let value = str::from_utf8(value).ok()?.trim();
    let inside = value.strip_prefix('<')?.strip_suffix('>')?;
    let sound = !inside.is_empty()
        && inside.len() < 900
        && inside.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>'));
    sound.then(|| value.to_owned())
}

/// The content of a notice on its way into the queue. Dropped before its end it leaves nothing there.
struct StagedNotice<'a> {
    context: &'a AttemptContext,
    id: QueueId,
    scan: HeaderScan,
    filling: Vec<u8>,
    staged: u32,
    size: u64,
}

impl<'a> StagedNotice<'a> {
    fn new(context: &'a AttemptContext, id: QueueId) -> StagedNotice<'a> {
        let scan = HeaderScan::new(context.services.queue.instance());
        StagedNotice { context, id, scan, filling: Vec::new(), staged: 0, size: 0 }
    }

    async fn push(&mut self, mut bytes: &[u8]) -> Result<(), QueueError> {
        self.scan.push(bytes);
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.filling.len() == CHUNK_SIZE {
                let (number, chunk) = (self.staged, std::mem::take(&mut self.filling));
                self.staged += 1;
                self.context.services.queue.stage(self.id, number, chunk.into()).await?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_SIZE - self.filling.len()));
            self.filling.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// It, for these addresses, of the site and class of the message that it is about.
    fn message<'b>(&self, about: &Message, to: impl Iterator<Item = &'b Address>) -> Message {
        let services = &self.context.services;
        let header = self.scan.facts();
        let now = services.queue.now_of(&about.site);
        let recipient =
            |address: &Address| Recipient { notify: Notify::Never, ..Recipient::pending(address.clone()) };
        // Of this moment: the attempt may have begun before a mode was switched on, which its notice must not escape.
        let in_force = services.settings.borrow().clone();
        let mode = in_force.handling_of(&about.site).and_then(|handling| handling.mode());
        Message {
            recipients: to.map(recipient).collect(),
            body: if header.has_eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit },
            size: self.size,
            chunks: self.staged + 1,
            header,
            origin: Origin::default(),
            site: about.site.clone(),
            class: Class::clone(&about.class),
            received_at: services.clock.wall(),
            due: Some(now),
            life_start: now,
            under_mode: mode.is_some(),
            is_notice: true,
            ..Message::new(self.id, ReversePath::Null)
        }
    }

    /// Its last chunk. From here on the others are whoever's has it.
    fn into_tail(mut self) -> Bytes {
        self.staged = 0;
        std::mem::take(&mut self.filling).into()
    }
}

impl Drop for StagedNotice<'_> {
    fn drop(&mut self) {
        if self.staged > 0 {
            self.context.services.queue.discard(self.id);
        }
    }
}

/// That it was queued, said of both messages.
fn facts(message: &Message, due: &DueNotice<'_>, notice: &Message) -> Vec<Fact> {
    let to: Vec<String> = due.to.iter().map(|address| format!("<{address}>")).collect();
    let (to, are) = (to.join(", "), if due.to.len() == 1 { "is" } else { "are" });
    let words =
        [(DsnAction::Failed, "failed"), (DsnAction::Delayed, "delayed"), (DsnAction::Relayed, "relayed")];
    let counted = words.into_iter().map(|(action, word)| (due.count(action), word));
    let counted = counted.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    let counted = counted.collect::<Vec<_>>().join(", ");
    let told =
        format!("{to} {are} told of {} ({counted}) by message {}", recipients(due.told.len()), notice.id);
    let queued = format!(
        "from <> for {}, {} bytes, about message {}",
        recipients(due.to.len()),
        notice.size,
        message.id
    );
    vec![
        about(message, notice, message.id, code::BOUNCED, told).on(Topic::Bounced),
        about(message, notice, notice.id, code::QUEUED, queued),
    ]
}

fn about(message: &Message, notice: &Message, id: QueueId, code: &str, text: String) -> Fact {
    Fact {
        queue_id: Some(id),
        site: named_site(&message.site),
        ..Fact::new(notice.received_at, EventType::Information, "Mail", code, text)
    }
}

fn recipients(count: usize) -> String {
    format!("{count} recipient{}", if count == 1 { "" } else { "s" })
}
