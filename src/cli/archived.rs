//! Sent mail of a proxy that does not run: its record from the queue file, its content from the archive.

use super::{Failure, Global};
use crate::admin::json::{ArchivedJson, MessageJson};
use crate::admin::problem::nowhere;
use crate::mail::QueueId;
use crate::queue::archive::ArchivedContent;
use crate::queue::redb::ReadOnlyQueue;
use crate::queue::{QueueError, SentMessage};
use anyhow::anyhow;

/// The message, with what became of its file.
pub(super) fn show(global: &Global, queue: &ReadOnlyQueue, id: QueueId) -> Result<MessageJson, Failure> {
    let sent = find(queue, id)?;
    let wrong = content(global, &sent).err().map(|error| error.to_string());
    Ok(MessageJson { archived: Some(ArchivedJson::of(&sent, wrong)), ..MessageJson::of_sent(&sent) })
}

/// Its record.
pub(super) fn find(queue: &ReadOnlyQueue, id: QueueId) -> Result<SentMessage, Failure> {
    match queue.show_sent(id) {
        Err(QueueError::NotFound(_)) => Err(anyhow!("{}", nowhere(&id.to_string())).into()),
        found => Ok(found?),
    }
}

/// Its content.
pub(super) fn content(global: &Global, sent: &SentMessage) -> anyhow::Result<ArchivedContent> {
    let settings =
        global.load().map_err(|_| anyhow!("the configuration does not say where the archive is"))?;
    Ok(ArchivedContent::open(&settings.settings.archive(), sent)?)
}
