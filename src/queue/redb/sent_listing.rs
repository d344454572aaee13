//! Reads records of sent mail: one, a page of them, and the days that they are filed under.

use super::super::{ArchivedDay, Day, Filter, QueueError, SentMessage, SentPage};
use super::layout::{ARCHIVE_DAYS, SENT, open_if_made};
use super::record;
use super::redb_error::queue_error;
use super::sent::FORGOTTEN;
use super::shared_database::SharedDatabase;
use super::stored::StoredMessage;
use crate::clock::Moment;
use crate::mail::QueueId;
use jiff::Timestamp;
use redb::{ReadTransaction, ReadableTable};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// How many records one snapshot of a listing looks at.
const SLICE: usize = 500;
/// How many of them a page looks at.
const SLICES_OF_A_PAGE: usize = 20;

/// See [`super::super::SentMail::list_sent`]. A record that cannot be read is left out: nothing depends on it.
pub(super) fn list(
    database: &SharedDatabase,
    filter: &Filter,
    cursor: Option<QueueId>,
    limit: usize,
) -> Result<SentPage, QueueError> {
    let mut page = SentPage::default();
    let ids = filter.ids();
    let mut from = Some(cursor.map_or(u128::MAX, QueueId::number).min(*ids.end()));
    for _ in 0..SLICES_OF_A_PAGE {
        let Some(start) = from.filter(|start| start >= ids.start()) else { return Ok(page) };
        let range = *ids.start()..=start;
        from = slice(&database.begin_read()?, range, filter, limit, &mut page).map_err(queue_error)?;
    }
    page.next = page.next.or(from.map(QueueId::from_number));
    Ok(page)
}

/// Looks at some records from the end of the range on down, in one snapshot. Returns where the next slice starts, if the page is not full and
/// there are more.
fn slice(
    snapshot: &ReadTransaction,
    range: RangeInclusive<u128>,
    filter: &Filter,
    limit: usize,
    page: &mut SentPage,
) -> Result<Option<u128>, redb::Error> {
    let Some(sent) = open_if_made(snapshot, SENT)? else { return Ok(None) };
    for (looked_at, entry) in sent.range(range)?.rev().enumerate() {
        let (id, bytes) = entry?;
        if looked_at == SLICE {
            return Ok(Some(id.value()));
        }
        if page.messages.len() >= limit {
            page.next = Some(QueueId::from_number(id.value()));
            return Ok(None);
        }
        match record::read_message(id.value(), bytes.value()) {
            Ok(stored) if filter.matches(&stored.message) => page.messages.push(sent_message(stored)),
            Ok(_) => {}
            Err(what) => tracing::warn!("the record of a sent message cannot be read: {what}"),
        }
    }
    Ok(None)
}

/// See [`super::super::SentMail::show_sent`].
pub(super) fn show(database: &SharedDatabase, id: QueueId) -> Result<SentMessage, QueueError> {
    let snapshot = database.begin_read()?;
    let read = || -> Result<_, redb::Error> {
        let Some(sent) = open_if_made(&snapshot, SENT)? else { return Ok(None) };
        Ok(sent.get(id.number())?.map(|bytes| record::read_message(id.number(), bytes.value())))
    };
    match read().map_err(queue_error)? {
        None => Err(QueueError::NotFound(id)),
        Some(Err(what)) => Err(QueueError::Damaged { id, what }),
        Some(Ok(stored)) => Ok(sent_message(stored)),
    }
}

/// See [`super::super::SentMail::archive_days`].
pub(super) fn days(database: &SharedDatabase) -> Result<Vec<(Day, ArchivedDay)>, QueueError> {
    let snapshot = database.begin_read()?;
    let read = || -> Result<_, redb::Error> {
        let mut all = Vec::new();
        let Some(days) = open_if_made(&snapshot, ARCHIVE_DAYS)? else { return Ok(all) };
        for entry in days.iter()? {
            let (number, last) = entry?;
            let known = match last.value() {
                FORGOTTEN => ArchivedDay::Forgotten,
                last => ArchivedDay::Kept { last: Moment(last) },
            };
            all.extend(Day::from_number(number.value()).map(|day| (day, known)));
        }
        Ok(all)
    };
    read().map_err(queue_error)
}

fn sent_message(stored: StoredMessage) -> SentMessage {
    let sent_at = i64::try_from(stored.changed_at).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    SentMessage { message: Arc::new(stored.message), sent_at: sent_at.unwrap_or_default() }
}
