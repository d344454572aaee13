//! Sent mail of a proxy that does not run: its record from the queue file, its content from the archive.

use super::{Failure, Global};
use crate::admin::json::{ArchivedJson, MessageJson};
use crate::mail::QueueId;
use crate::queue::SentMessage;
use crate::queue::archive::ArchivedContent;
use crate::queue::redb::ReadOnlyQueue;
use anyhow::anyhow;

/// The message, with what became of its file.
pub(super) fn show(global: &Global, queue: &ReadOnlyQueue, id: QueueId) -> Result<MessageJson, Failure> {
    let sent = queue.show_sent(id)?;
    let wrong = content(global, &sent).err().map(|error| error.to_string());
    Ok(MessageJson { archived: Some(ArchivedJson::of(&sent, wrong)), ..MessageJson::of_sent(&sent) })
}

/// Its content.
pub(super) fn content(global: &Global, sent: &SentMessage) -> anyhow::Result<ArchivedContent> {
    let settings =
        global.load().map_err(|_| anyhow!("the configuration does not say where the archive is"))?;
    Ok(ArchivedContent::open(&settings.settings.archive(), sent)?)
}
