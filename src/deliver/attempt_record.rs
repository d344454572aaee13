//! The record of an attempt in `logemails.log`, written at its start. A write error is an event, once, never a lost mail.

use super::context::AttemptContext;
use crate::event::logemails;
use crate::event::{Fact, code};
use crate::mail::{Address, Message};
use jiff::tz::TimeZone;

/// Writes it, where `logemails.log` is switched on.
pub(super) async fn write(context: &AttemptContext, message: &Message) {
    if context.log_emails.is_none() {
        return;
    }
    let header = match message.chunks {
        0 => bytes::Bytes::new(),
        _ => context.services.queue.chunk(message.id, 0).await.unwrap_or_default(),
    };
    write_with(context, message.originals().map(|one| &one.address), &header).await;
}

/// The same of a message that is not stored; `header`: its beginning, at least the header.
pub(super) async fn write_with(
    context: &AttemptContext,
    recipients: impl Iterator<Item = &Address>,
    header: &[u8],
) {
    let Some(log) = &context.log_emails else { return };
    let now = context.services.clock.wall();
    let recipients: Vec<&str> = recipients.map(Address::as_str).collect();
    let record = logemails::render(&now.to_zoned(TimeZone::system()), &recipients, header);
    // A slow disk must not block the other tasks of this thread.
    let to = log.clone();
    let written = tokio::task::spawn_blocking(move || to.append(&record)).await;
    let written = written.unwrap_or_else(|panicked| Err(panicked.into()));
    if let Some((kind, text)) = log.news(&written) {
        context.services.queue.record(vec![Fact::new(now, kind, "Mail", code::STORAGE, text)]);
    }
}
