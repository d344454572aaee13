//! Makes a notice ready to be queued in the commit of the outcome that it tells of (rule 9): reads what is returned of the
//! message, and stages what does not fit into one chunk. Memory does not follow the size of the message.

use super::context::AttemptContext;
use crate::event::{EventType, Fact, code, named_site};
use crate::mail::header::{FieldFilter, HeaderScan, fields};
use crate::mail::{BodyType, Class, Message, Notify, Origin, QueueId, Recipient, ReversePath};
use crate::policy::bounce::report::{self, NoticeContext, Returned};
use crate::policy::bounce::told::{DsnAction, DueNotice};
use crate::queue::{CHUNK_SIZE, FollowUp, QueueError};
use bytes::Bytes;

/// Most of a header that is returned, in whole fields: with it a notice fits into one chunk, unless it tells of very many.
const MAX_HEADER: usize = 32 * 1024;

/// The notice that is due about `message`. `whole`: as much as its sender asked for is returned; else the header at most, so
/// that little is to be staged.
pub(super) async fn follow_up(
    context: &AttemptContext,
    message: &Message,
    due: &DueNotice<'_>,
    whole: bool,
) -> Result<Box<FollowUp>, QueueError> {
    let (settings, queue) = (&context.settings, &context.services.queue);
    let first = match message.chunks {
        0 => Bytes::new(),
        _ => match queue.chunk(message.id, 0).await {
            // What cannot be read cannot be returned; its sender is told all the same.
            Err(_) if !whole => Bytes::new(),
            first => first?,
        },
    };
    let header = returned_header(&first);
    let message_id = message_id(&first);
    let room = queue.free_space().is_none_or(|free| free >= settings.queue.min_free_space + 2 * message.size);
    let fits = message.size + CHUNK_SIZE as u64 <= settings.limits.message_size;
    let whole = whole && due.returns_all && room && fits;
    let eight_bit = if whole { message.header.has_eight_bit } else { !header.is_ascii() };
    let now = context.services.clock.wall();
    let notice_context = NoticeContext {
        settings,
        hostname: &settings.hostname,
        now,
        tried_until: Some(
            queue.wall_of(&message.site, message.life_start.after(settings.queue.expire_after)),
        ),
        utf8: due.utf8,
    };
    let id = QueueId::fresh(u64::try_from(now.as_millisecond()).unwrap_or_default());
    let returned = Returned { whole, eight_bit, message_id: message_id.as_deref() };
    let frame = report::frame(&notice_context, id, message, due, returned);
    let mut content = NoticeContent::new(context, id);
    content.push(&frame.head).await?;
    if whole {
        let mut filter = FieldFilter::default();
        for number in 0..message.chunks {
            let chunk = if number == 0 { first.clone() } else { queue.chunk(message.id, number).await? };
            let mut passed = Vec::with_capacity(chunk.len());
            filter.push(&chunk, |bytes| passed.extend_from_slice(bytes));
            content.push(&passed).await?;
        }
        let mut last = Vec::new();
        filter.finish(|bytes| last.extend_from_slice(bytes));
        content.push(&last).await?;
    } else {
        content.push(&header).await?;
    }
    content.push(&frame.tail).await?;
    Ok(content.into_follow_up(message, due))
}

/// The header without `Bcc:`, whose recipients are nobody else's business.
fn returned_header(first: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    for (name, value) in fields(first) {
        let length = name.len() + 1 + value.len();
        if header.len() + length > MAX_HEADER {
            break;
        }
        if !name.eq_ignore_ascii_case(b"Bcc") && !name.eq_ignore_ascii_case(b"Resent-Bcc") {
            header.extend_from_slice(name);
            header.push(b':');
            header.extend_from_slice(value);
        }
    }
    header
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
struct NoticeContent<'a> {
    context: &'a AttemptContext,
    id: QueueId,
    scan: HeaderScan,
    filling: Vec<u8>,
    staged: u32,
    size: u64,
}

impl<'a> NoticeContent<'a> {
    fn new(context: &'a AttemptContext, id: QueueId) -> NoticeContent<'a> {
        let scan = HeaderScan::new(context.services.queue.instance());
        NoticeContent { context, id, scan, filling: Vec::new(), staged: 0, size: 0 }
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

    fn into_follow_up(mut self, about: &Message, due: &DueNotice<'_>) -> Box<FollowUp> {
        let chunks = std::mem::take(&mut self.staged) + 1;
        let message = self.message(about, due, chunks);
        let facts = facts(about, due, &message);
        let failures_told = due.told.iter().filter(|one| one.action == DsnAction::Failed);
        Box::new(FollowUp {
            failures_told: failures_told.map(|one| one.recipient.address.clone()).collect(),
            delay_told: due.told.iter().any(|one| one.action == DsnAction::Delayed),
            message,
            tail: std::mem::take(&mut self.filling).into(),
            facts,
        })
    }

    fn message(&self, about: &Message, due: &DueNotice<'_>, chunks: u32) -> Message {
        let AttemptContext { services, settings, .. } = self.context;
        let header = self.scan.facts();
        let now = services.queue.now_of(&about.site);
        let recipient = |address: &crate::mail::Address| Recipient {
            notify: Notify::Never,
            ..Recipient::pending(address.clone())
        };
        let mode = settings.handling_of(&about.site).and_then(|handling| handling.mode());
        Message {
            recipients: due.to.iter().map(recipient).collect(),
            body: if header.has_eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit },
            smtp_utf8: due.utf8,
            size: self.size,
            chunks,
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
}

impl Drop for NoticeContent<'_> {
    fn drop(&mut self) {
        if self.staged > 0 {
            self.context.services.queue.discard(self.id);
        }
    }
}

/// That it was queued, said of both messages.
fn facts(about: &Message, due: &DueNotice<'_>, notice: &Message) -> Vec<Fact> {
    let to: Vec<String> = due.to.iter().map(|address| format!("<{address}>")).collect();
    let to = to.join(", ");
    let words =
        [(DsnAction::Failed, "failed"), (DsnAction::Delayed, "delayed"), (DsnAction::Relayed, "relayed")];
    let counted = words.into_iter().filter_map(|(action, word)| {
        let count = due.told.iter().filter(|one| one.action == action).count();
        (count > 0).then(|| format!("{count} {word}"))
    });
    let counted = counted.collect::<Vec<_>>().join(", ");
    let fact = |id, code, text| Fact {
        queue_id: Some(id),
        site: named_site(&about.site),
        ..Fact::new(notice.received_at, EventType::Information, "Mail", code, text)
    };
    let told = format!("{to} is told of {} ({counted}) by message {}", recipients(due.told.len()), notice.id);
    let queued = format!(
        "from <> for {}, {} bytes, about message {}",
        recipients(due.to.len()),
        notice.size,
        about.id
    );
    vec![fact(about.id, code::BOUNCED, told), fact(notice.id, code::QUEUED, queued)]
}

fn recipients(count: usize) -> String {
    format!("{count} recipient{}", if count == 1 { "" } else { "s" })
}
