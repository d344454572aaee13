//! Writing the outcome of an attempt.

use super::super::{Claim, QueueError, Settlement};
use super::batch::Batch;
use super::memory_update::MemoryUpdate;
use crate::clock::Moment;
use crate::mail::{Message, Outcome, RecipientState};

/// Writes the outcome of an attempt. The inner error is the caller's alone.
pub(super) fn settle(
    batch: &mut Batch<'_, '_>,
    claim: &Claim,
    settlement: &Settlement,
) -> Result<Result<(), QueueError>, redb::Error> {
    let id = claim.message.id;
    batch.changed = true;
    batch.uncache(id);
    batch.memory_updates.push(MemoryUpdate::Settled(id, claim.token));
    batch.record(settlement.facts.iter().cloned())?;
    let stored = match batch.tables.message(id)? {
        // Deleted while the attempt was under way.
        None => return batch.remove_orphan(id).map(Ok),
        Some(Err(what)) => return Ok(Err(QueueError::Damaged { id, what })),
        Some(Ok(stored)) => stored,
    };
    let before = batch.entries(&stored)?;
    let mut after = stored;
    after.changed_ms = batch.shared.wall_ms();
    apply_verdicts(&mut after.message, &claim.message, settlement, batch.shared.timeline.now());
    if batch.shared.state().leases.get(&id).is_some_and(|lease| lease.made_due) {
        make_due(&mut after.message, batch.shared.timeline.now());
    }
    if after.message.recipients.iter().all(|one| one.state == RecipientState::Delivered) {
        batch.remove(id, before, Some(after.message.chunks))?;
        batch.memory_updates.push(MemoryUpdate::Removed(id));
    } else {
        batch.store(before, &after)?;
    }
    Ok(Ok(()))
}

/// Makes the message due and its upstreams usable again, as an operator or a reload asked while the attempt was under way.
fn make_due(message: &mut Message, now: Moment) {
    message.due = message.due.map(|due| due.min(now));
    for recipient in message.recipients.iter_mut().filter(|recipient| recipient.state.is_open()) {
        recipient.refused_by.clear();
    }
}

/// Writes the verdicts into the message as it is now, which an operator may have changed since it was claimed.
fn apply_verdicts(message: &mut Message, claimed: &Message, settlement: &Settlement, now: Moment) {
    let held = message.held_since.is_some();
    for ((index, _), verdict) in claimed.open_recipients().zip(&settlement.verdicts) {
        let Some(recipient) = message.recipients.get_mut(index) else { continue };
        recipient.state = match verdict.outcome {
            Outcome::Delivered => RecipientState::Delivered,
            Outcome::Failed => RecipientState::Failed,
            Outcome::Expired => RecipientState::Expired,
            Outcome::Deferred if held => RecipientState::Held,
            Outcome::Deferred => RecipientState::Deferred,
        };
        recipient.reply = Some(verdict.reply.clone());
        recipient.upstream.clone_from(&verdict.upstream);
        recipient.refused_by.clone_from(&verdict.refused_by);
    }
    message.attempts += u32::from(settlement.counted);
    let deferred = settlement.verdicts.iter().any(|verdict| verdict.outcome == Outcome::Deferred);
    message.deferrals = message.deferrals.saturating_add(u32::from(deferred && settlement.steps_on));
    if settlement.failed_upstream.is_some() {
        message.failed_upstream.clone_from(&settlement.failed_upstream);
    }
    // Recipients that an operator reopened after the claim were not tried yet, so they are due now.
    let reopened = message
        .open_recipients()
        .any(|(index, _)| claimed.recipients.get(index).is_none_or(|recipient| !recipient.state.is_open()));
    let open = message.open_recipients().next().is_some();
    message.due = match (open, held) {
        (true, false) if reopened => Some(now),
        (true, false) => Some(settlement.next_due),
        _ => None,
    };
    if !open {
        message.held_since = None;
        message.hold.clear();
    }
}
