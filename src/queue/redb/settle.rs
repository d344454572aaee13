//! Writing the outcome of an attempt.

use super::super::{Claim, FollowUp, QueueError, RecipientVerdict, Settled, Settlement};
use super::batch::Batch;
use super::memory_update::MemoryUpdate;
use super::put;
use super::sent;
use crate::clock::Moment;
use crate::mail::attempt;
use crate::mail::{
    Address, AttemptRecord, Message, MessageState, Mode, Outcome, QueueId, Recipient, RecipientState, Role,
};
use std::collections::HashSet;

/// Writes the outcome of an attempt. The inner error is the caller's alone.
pub(super) fn settle(
    batch: &mut Batch<'_, '_>,
    claim: &Claim,
    settlement: &Settlement,
) -> Result<Result<Settled, QueueError>, redb::Error> {
    let id = claim.message.id;
    let follow_up = settlement.follow_up.as_deref();
    if let Some(FollowUp { message, .. }) = follow_up.filter(|one| !put::is_staged(batch, &one.message)) {
        batch.shared.state().stop_settling(id, claim.token);
        return Ok(Err(QueueError::StagedLost(message.id)));
    }
    batch.changed = true;
    batch.uncache(id);
    batch.memory_updates.push(MemoryUpdate::Settled(id, claim.token));
    batch.record(settlement.facts.iter().cloned())?;
    let stored = match batch.tables.message(id)? {
        // Deleted while the attempt was under way.
        None => {
            discard(batch, follow_up)?;
            batch.remove_orphan(id)?;
            return Ok(Ok(Settled::MessageGone));
        }
        Some(Err(what)) => {
            discard(batch, follow_up)?;
            return Ok(Err(QueueError::Damaged { id, what }));
        }
        Some(Ok(stored)) => stored,
    };
    let before = batch.entries(&stored)?;
    let mut after = stored;
    after.changed_at = batch.shared.timelines.common_now().0;
    let now = batch.shared.timelines.now_of(&after.message.site);
    apply(&mut after.message, &claim.message, settlement, now);
    if batch.shared.state().leases.get(&id).is_some_and(|lease| lease.made_due) {
        make_due(&mut after.message, now);
    }
    let (is_over, is_sent) = (is_over(&after.message), after.message.state() == MessageState::Sent);
    let archived = settlement.archived.filter(|_| is_sent);
    let mut attempts = Vec::new();
    if !is_over || archived.is_some() {
        attempts = batch.tables.attempts(id)?;
        attempt::add_records(&mut attempts, &settlement.attempts);
    }
    if is_over {
        batch.remove(id, before, Some(after.message.chunks))?;
        if let Some(archived) = archived {
            sent::keep(batch, after, archived)?;
        }
        batch.memory_updates.push(MemoryUpdate::Removed(id));
    } else {
        batch.store(before, &after)?;
    }
    if !attempts.is_empty() && (archived.is_some() || !settlement.attempts.is_empty()) {
        batch.tables.write_attempts(id, &attempts)?;
    }
    match follow_up {
        Some(FollowUp { message, tail, facts, .. }) => {
            Ok(put::put(batch, message, tail, facts)?.map(|()| Settled::Stored))
        }
        None => Ok(Ok(Settled::Stored)),
    }
}

/// What was staged of it is of no use.
fn discard(batch: &mut Batch<'_, '_>, follow_up: Option<&FollowUp>) -> Result<(), redb::Error> {
    follow_up.map_or(Ok(()), |one| batch.remove_orphan(one.message.id))
}

/// Nobody can do anything about a notice of ours that nobody takes.
fn is_over(message: &Message) -> bool {
    let state = message.state();
    state == MessageState::Sent || (message.is_notice && state == MessageState::Failed)
}

/// Notes in the message that a mode has applied to it. One that was deleted meanwhile is left alone.
pub(super) fn note_mode(batch: &mut Batch<'_, '_>, id: QueueId) -> Result<(), redb::Error> {
    let Some(Ok(mut stored)) = batch.tables.message(id)? else { return Ok(()) };
    let before = batch.entries(&stored)?;
    stored.message.under_mode = true;
    batch.uncache(id);
    batch.store(before, &stored)
}

/// Keeps what upstreams were asked and said with the message. One that was deleted meanwhile is left alone.
pub(super) fn add_attempts(
    batch: &mut Batch<'_, '_>,
    id: QueueId,
    new: &[AttemptRecord],
) -> Result<(), redb::Error> {
    if !matches!(batch.tables.message(id)?, Some(Ok(_))) {
        return Ok(());
    }
    let mut attempts = batch.tables.attempts(id)?;
    attempt::add_records(&mut attempts, new);
    batch.changed = true;
    batch.tables.write_attempts(id, &attempts)
}

/// Makes the message due and its upstreams usable again, as an operator or a reload asked while the attempt was under way.
fn make_due(message: &mut Message, now: Moment) {
    message.due = message.due.map(|due| due.min(now));
    for recipient in message.recipients.iter_mut().filter(|recipient| recipient.state.is_open()) {
        recipient.refused_by.clear();
    }
}

/// Writes the outcome into the message as it is now, which an operator may have changed since it was claimed.
fn apply(message: &mut Message, claimed: &Message, settlement: &Settlement, now: Moment) {
    let held = message.held_since.is_some();
    let dropped = |one: &Recipient| {
        one.role == Role::ReportCopy
            && one.state.is_open()
            && settlement.dropped_copies.contains(&one.address)
    };
    message.recipients.retain(|one| !dropped(one));
    apply_verdicts(message, settlement, held);
    message.attempts += u32::from(settlement.counted);
    let deferred = settlement.verdicts.iter().any(|one| one.verdict.outcome == Outcome::Deferred);
    message.deferrals = message.deferrals.saturating_add(u32::from(deferred && settlement.steps_on));
    if settlement.failed_upstream.is_some() {
        message.failed_upstream.clone_from(&settlement.failed_upstream);
    }
    message.under_mode |= settlement.mode.is_some();
    if let Some(FollowUp { failures_told, delay_told, .. }) = settlement.follow_up.as_deref() {
        message.delay_told |= delay_told;
        let failures_told: HashSet<&Address> = failures_told.iter().collect();
        let told = |one: &&mut Recipient| one.role == Role::Original && failures_told.contains(&one.address);
        message.recipients.iter_mut().filter(told).for_each(|one| one.failure_told = true);
    }
    count_life(message, settlement.mode, now);
    // Recipients that an operator reopened after the claim were not tried yet, so they are due now.
    let closed: HashSet<(Role, &Address)> = claimed
        .recipients
        .iter()
        .filter(|one| !one.state.is_open())
        .map(|one| (one.role, &one.address))
        .collect();
    let was_closed = |one: &Recipient| closed.contains(&(one.role, &one.address));
    let reopened = message.open_recipients().any(|(_, recipient)| was_closed(recipient));
    let open = message.open_recipients().next().is_some();
    message.due = match (open, held) {
        (true, false) if reopened => Some(now),
        (true, false) => Some(settlement.next_due),
        _ => None,
    };
    match settlement.hold {
        _ if !open => {
            message.held_since = None;
            message.hold.clear();
        }
        Some(reason) => drop(message.hold_for(reason, now)),
        None => {}
    }
}

fn apply_verdicts(message: &mut Message, settlement: &Settlement, held: bool) {
    let mut from = 0;
    for RecipientVerdict { role, address, verdict, mode } in &settlement.verdicts {
        // Verdicts come in the order of the recipients, so the next one is near.
        let is_it = |index: &usize| {
            let recipient = &message.recipients[*index];
            recipient.role == *role && recipient.address == *address
        };
        let count = message.recipients.len();
        let index = match (from..count).chain(0..from.min(count)).find(is_it) {
            Some(index) => index,
            // A report copy that this attempt has begun.
            None if *role == Role::ReportCopy => {
                message.recipients.push(Recipient { role: *role, ..Recipient::pending(address.clone()) });
                message.recipients.len() - 1
            }
            None => continue,
        };
        from = index + 1;
        let recipient = &mut message.recipients[index];
        recipient.state = match verdict.outcome {
            Outcome::Deferred if held => RecipientState::Held,
            outcome => outcome.into(),
        };
        recipient.reply = Some(verdict.reply.clone());
        recipient.upstream.clone_from(&verdict.upstream);
        recipient.refused_by.clone_from(&verdict.refused_by);
        recipient.mode = *mode;
    }
}

/// While debug or simulate applies no life is used up.
fn count_life(message: &mut Message, mode: Option<Mode>, now: Moment) {
    if matches!(mode, Some(Mode::Debug | Mode::Simulate)) {
        message.life_stopped.get_or_insert(now);
    } else if let Some(since) = message.life_stopped.take() {
        message.life_start = message.life_start.after(now.since(since));
    }
}
