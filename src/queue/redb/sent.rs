//! Records of sent mail that is archived: kept when a message leaves the queue, forgotten day by day.
//!
//! A day is forgotten by the timeline of mail of no site, which is never stopped, and not by its date: a wall clock that jumps
//! forward makes no day old, and mail that was filed under a wrong date is kept as long as all other.

use super::super::Day;
use super::batch::Batch;
use super::op::ForgottenDay;
use super::record;
use super::stored::StoredMessage;
use crate::mail::QueueId;
use jiff::Timestamp;
use redb::ReadableTable;

/// The mark in the table of days on one that was forgotten.
pub(super) const FORGOTTEN: u64 = u64::MAX;

/// Keeps the record of a message that has left the queue, whose content was archived at that time.
pub(super) fn keep(
    batch: &mut Batch<'_, '_>,
    mut stored: StoredMessage,
    archived: Timestamp,
) -> Result<(), redb::Error> {
    let (id, day) = (stored.message.id.number(), Day::of(archived));
    stored.changed_at = u64::try_from(archived.as_millisecond()).unwrap_or(0);
    let record = record::write_message(&stored);
    let before = batch.tables.sent.insert(id, record.as_slice())?.map(|record| record.value().len());
    batch.tables.usage.change_record(before, Some(record.len()));
    batch.tables.sent_by_day.insert((day.number(), id), ())?;
    know_day(batch, day, true)
}

/// A day of the archive counts from now on, or nothing is known of it any more.
pub(super) fn know_day(batch: &mut Batch<'_, '_>, day: Day, known: bool) -> Result<(), redb::Error> {
    batch.changed = true;
    if known {
        let now = batch.shared.timelines.common_now();
        batch.tables.archive_days.insert(day.number(), now.0)?;
    } else {
        batch.tables.archive_days.remove(day.number())?;
    }
    Ok(())
}

/// Forgets sent messages of a day that nothing was added to since `before_ms`, at most `limit`.
pub(super) fn forget(
    batch: &mut Batch<'_, '_>,
    day: Day,
    before_ms: u64,
    limit: usize,
) -> Result<ForgottenDay, redb::Error> {
    let last = batch.tables.archive_days.get(day.number())?.map_or(0, |last| last.value());
    if last != FORGOTTEN && last > before_ms {
        return Ok(ForgottenDay::InUse);
    }
    let day = day.number();
    let of_day = batch.tables.sent_by_day.range((day, 0)..=(day, u128::MAX))?.take(limit);
    let ids = of_day.map(|entry| Ok(entry?.0.value().1));
    let ids = ids.collect::<Result<Vec<u128>, redb::StorageError>>()?;
    batch.changed = true;
    for id in &ids {
        batch.tables.sent_by_day.remove((day, *id))?;
        let bytes = batch.tables.sent.remove(id)?.map(|record| record.value().len());
        batch.tables.usage.change_record(bytes, None);
        batch.tables.remove_attempts(QueueId::from_number(*id))?;
    }
    if ids.len() == limit {
        return Ok(ForgottenDay::More);
    }
    batch.tables.archive_days.insert(day, FORGOTTEN)?;
    Ok(ForgottenDay::All)
}
