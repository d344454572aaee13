//! Applies the operations of one transaction to the tables.
//!
//! An error of the database fails all of them; what one caller got wrong (no such message) fails only that caller's
//! operation, before it has written anything.

use super::super::QueueError;
use super::batch::{Batch, BatchChanges};
use super::op::{Op, OpResult};
use super::shared_queue::SharedQueue;
use super::stored::Metadata;
use super::tables::Tables;
use super::{actions, damage, put, sent, settle, taken_files};

/// A transaction that is ready to be committed.
pub(super) struct AppliedBatch {
    /// In the order of the operations.
    pub(super) results: Vec<OpResult>,
    pub(super) changes: BatchChanges,
}

/// Applies all operations, in order.
pub(super) fn apply_all(
    tables: Tables<'_>,
    shared: &SharedQueue,
    metadata: Metadata,
    ops: &[Op],
) -> Result<AppliedBatch, redb::Error> {
    let mut batch = Batch::new(tables, shared, metadata);
    let mut results = Vec::with_capacity(ops.len());
    for op in ops {
        results.push(apply(&mut batch, op)?);
    }
    Ok(AppliedBatch { results, changes: batch.finish()? })
}

fn apply(batch: &mut Batch<'_, '_>, op: &Op) -> Result<OpResult, redb::Error> {
    let result = match op {
        Op::Stage { id, number, chunk, .. } => put::stage(batch, *id, *number, chunk)?,
        Op::Put { message, tail, facts, file, .. } => {
            // Whoever put it may have been ended before the answer, so that another one comes with it.
            if let Some(file) = file
                && taken_files::is_taken(batch, *file)?
            {
                return Ok(OpResult::Refused(QueueError::AlreadyTaken));
            }
            let result = put::put(batch, message, tail, facts)?;
            if let (Ok(()), Some(file)) = (&result, file) {
                taken_files::remember(batch, *file, message.id)?;
            }
            result
        }
        Op::ChangeTakenFiles { told, forgotten, .. } => {
            taken_files::change(batch, told, forgotten)?;
            Ok(())
        }
        Op::NoteMode { id, .. } => {
            settle::note_mode(batch, *id)?;
            Ok(())
        }
        Op::Settle { claim, settlement, .. } => {
            let settled = settle::settle(batch, claim, settlement)?;
            return Ok(settled.map_or_else(OpResult::Refused, OpResult::Settled));
        }
        Op::Act { action, ids, filter, .. } => {
            let results = ids.iter().map(|id| actions::act_where(batch, *action, *id, filter));
            return Ok(OpResult::Acted(results.collect::<Result<_, _>>()?));
        }
        Op::RemoveFailed { before, limit, .. } => {
            return Ok(OpResult::Count(actions::remove_failed(batch, *before, *limit)?));
        }
        Op::MakeRefusedDue { from, limit, .. } => {
            return Ok(OpResult::Next(actions::make_refused_due(batch, *from, *limit)?));
        }
        Op::ForgetSent { day, before_ms, limit, .. } => {
            return Ok(OpResult::Forgotten(sent::forget(batch, *day, *before_ms, *limit)?));
        }
        Op::KnowDay { day, known, .. } => {
            sent::know_day(batch, *day, *known)?;
            Ok(())
        }
        Op::ChangeHolds { changes, .. } => {
            changes.iter().try_for_each(|change| actions::change_hold(batch, change))?;
            Ok(())
        }
        other => {
            apply_unanswered(batch, other)?;
            Ok(())
        }
    };
    Ok(result.map_or_else(OpResult::Refused, |()| OpResult::Done))
}

/// Operations whose callers get no result, and closing, which is nothing for the tables.
fn apply_unanswered(batch: &mut Batch<'_, '_>, op: &Op) -> Result<(), redb::Error> {
    match op {
        Op::Discard { id } | Op::RemoveContent { id } => batch.remove_orphan(*id),
        Op::Record { facts } => batch.record(facts.iter().cloned()),
        Op::AddAttempts { id, attempts } => settle::add_attempts(batch, *id, attempts),
        Op::SetAside { id, key, what } => damage::set_aside(batch, *id, *key, what),
        Op::Misplaced { key } => damage::replace_misplaced(batch, *key),
        Op::UndoPuts { ids } => ids.iter().try_for_each(|id| put::undo_put(batch, *id)),
        Op::WriteMetadata => {
            batch.changed = true;
            Ok(())
        }
        _ => Ok(()),
    }
}
