//! One transaction's worth of work: each [`Op`] applied to the tables, what memory must follow noted for afterwards.
//!
//! An error of the database fails the whole batch; what one caller got wrong (no such message) fails only that
//! caller's operation, before it has written anything.

use super::super::{Claim, QueueError, Settlement};
use super::op::{Op, OpResult};
use super::record::{self, Ledger, Stored};
use super::shared::Shared;
use super::tables::{Place, Tables};
use super::{content, event_log};
use crate::clock::Moment;
use crate::event::{Event, EventType, Fact};
use crate::mail::{Message, Outcome, QueueId, RecipientState};
use bytes::Bytes;
use redb::ReadableTable;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Chunks are staged in order, and count only as long as the file has not been opened anew.
fn lost_chunks(id: QueueId) -> QueueError {
    QueueError::Storage(format!("chunks of message {id} that were staged before an error are gone"))
}

/// What memory has to follow once the commit is on disk, in this order.
pub(super) enum Effect {
    /// A message as put.
    Stored(Arc<Message>, Bytes),
    /// No longer as it was put.
    Changed(QueueId),
    /// A message waits, with this start of life.
    Waits(u64),
    /// The lease with this token ends.
    Settled(QueueId, u64),
    /// Deleted, content and all.
    Gone(QueueId),
    /// Deleted but for the content, which an attempt still reads.
    Doomed(QueueId),
}

/// What a transaction has come to.
pub(super) struct Done {
    pub(super) ledger: Ledger,
    pub(super) replies: Vec<OpResult>,
    pub(super) effects: Vec<Effect>,
    pub(super) events: Vec<Event>,
}

/// The work on one transaction.
pub(super) struct Batch<'t, 's> {
    pub(super) tables: Tables<'t>,
    pub(super) shared: &'s Shared,
    pub(super) ledger: Ledger,
    pub(super) effects: Vec<Effect>,
    events: Vec<Event>,
    /// Whether there is anything to commit.
    pub(super) changed: bool,
}

impl<'t, 's> Batch<'t, 's> {
    pub(super) fn new(tables: Tables<'t>, shared: &'s Shared, ledger: Ledger) -> Batch<'t, 's> {
        Batch { tables, shared, ledger, effects: Vec::new(), events: Vec::new(), changed: false }
    }

    /// Applies all, in order. None where nothing has changed, so that nothing need be committed.
    pub(super) fn run(mut self, ops: &[Op]) -> Result<(Done, bool), redb::Error> {
        let mut replies = Vec::with_capacity(ops.len());
        for op in ops {
            replies.push(self.apply(op)?);
        }
        if self.changed {
            let (added, keep) = (self.events.len() as u64, self.shared.keep_events.load(Ordering::Relaxed));
            event_log::trim(&mut self.tables, added, keep)?;
            self.ledger.serial = self.ledger.serial.wrapping_add(1);
            self.ledger.timeline = self.shared.timeline.kept();
            self.ledger.usage = Some(self.tables.usage);
            self.tables.meta.insert("ledger", record::write_ledger(&self.ledger).as_slice())?;
        }
        let Batch { ledger, effects, events, changed, .. } = self;
        Ok((Done { ledger, replies, effects, events }, changed))
    }

    fn apply(&mut self, op: &Op) -> Result<OpResult, redb::Error> {
        match op {
            Op::Stage { id, number, chunk, .. } => {
                if let Err(error) = self.stage(*id, *number, chunk)? {
                    return Ok(OpResult::Refused(error));
                }
            }
            Op::Discard { id } | Op::RemoveContent { id } => self.remove_orphan(*id)?,
            Op::Put { message, tail, facts, .. } => {
                if let Err(error) = self.put(message, tail, facts)? {
                    return Ok(OpResult::Refused(error));
                }
            }
            Op::Settle { claim, settlement, .. } => {
                if let Err(error) = self.settle(claim, settlement)? {
                    return Ok(OpResult::Refused(error));
                }
            }
            Op::Act { action, ids, .. } => {
                let results = ids.iter().map(|id| self.act_on(*action, *id)).collect::<Result<_, _>>()?;
                return Ok(OpResult::Acted(results));
            }
            Op::RemoveFailed { before_ms, limit, .. } => {
                return Ok(OpResult::Count(self.remove_failed(*before_ms, *limit)?));
            }
            Op::MakeRefusedDue { from, limit, .. } => {
                return Ok(OpResult::Next(self.make_refused_due(*from, *limit)?));
            }
            Op::Record { facts } => self.record(facts.iter().cloned())?,
            Op::SetAside { id, key, what } => self.set_aside(*id, *key, what)?,
            Op::Misplaced { key } => self.replace(*key)?,
            Op::UndoPuts { ids } => {
                for id in ids {
                    self.undo_put(*id)?;
                }
            }
            Op::WriteLedger => self.changed = true,
            Op::Close { .. } => {}
        }
        Ok(OpResult::Done)
    }

    /// The inner error is the caller's alone.
    fn stage(
        &mut self,
        id: QueueId,
        number: u32,
        chunk: &[u8],
    ) -> Result<Result<(), QueueError>, redb::Error> {
        if number > 0 && self.shared.state().staged.get(&id) != Some(&number) {
            return Ok(Err(lost_chunks(id)));
        }
        self.changed = true;
        self.shared.state().staged.insert(id, number + 1);
        if number == 0 {
            self.tables.orphans.insert(id.number(), ())?;
        }
        content::write(&mut self.tables, id.number(), number, chunk).map(Ok)
    }

    /// The inner error is the caller's alone.
    fn put(
        &mut self,
        message: &Message,
        tail: &Bytes,
        facts: &[Fact],
    ) -> Result<Result<(), QueueError>, redb::Error> {
        let id = message.id.number();
        if let Some(last) = message.chunks.checked_sub(1) {
            if last > 0 && self.shared.state().staged.remove(&message.id) != Some(last) {
                return Ok(Err(lost_chunks(message.id)));
            }
            content::write(&mut self.tables, id, last, tail)?;
            if last > 0 {
                self.tables.orphans.remove(id)?;
            }
        }
        self.changed = true;
        let stored = Stored { changed_ms: self.shared.wall_ms(), message: message.clone() };
        self.store(None, &stored)?;
        self.effects.push(Effect::Stored(Arc::new(stored.message), tail.clone()));
        self.record(facts.iter().cloned()).map(Ok)
    }

    /// The outcome of an attempt. The inner error is the caller's alone.
    fn settle(
        &mut self,
        claim: &Claim,
        settlement: &Settlement,
    ) -> Result<Result<(), QueueError>, redb::Error> {
        let id = claim.message.id;
        self.changed = true;
        self.forget_fresh(id);
        self.effects.push(Effect::Settled(id, claim.token));
        self.record(settlement.facts.iter().cloned())?;
        let stored = match self.tables.message(id)? {
            // Deleted while the attempt was under way.
            None => return self.remove_orphan(id).map(Ok),
            Some(Err(what)) => return Ok(Err(QueueError::Damaged { id, what })),
            Some(Ok(stored)) => stored,
        };
        let before = self.place(&stored)?;
        let mut after = stored;
        after.changed_ms = self.shared.wall_ms();
        decide(&mut after.message, &claim.message, settlement, self.shared.timeline.now());
        if self.shared.state().leases.get(&id).is_some_and(|lease| lease.made_due) {
            try_at_once(&mut after.message, self.shared.timeline.now());
        }
        if after.message.recipients.iter().all(|one| one.state == RecipientState::Delivered) {
            self.remove(id, before, Some(after.message.chunks))?;
            self.effects.push(Effect::Gone(id));
        } else {
            self.store(before, &after)?;
        }
        Ok(Ok(()))
    }

    /// Content that no record names.
    fn remove_orphan(&mut self, id: QueueId) -> Result<(), redb::Error> {
        self.shared.state().staged.remove(&id);
        if self.tables.orphans.remove(id.number())?.is_some() {
            self.changed = true;
            content::remove_all(&mut self.tables, id.number())?;
        }
        self.effects.push(Effect::Gone(id));
        Ok(())
    }

    fn undo_put(&mut self, id: QueueId) -> Result<(), redb::Error> {
        if let Some(Ok(stored)) = self.tables.message(id)? {
            self.changed = true;
            self.remove(id, Place::of(&stored), Some(stored.message.chunks))?;
        }
        self.effects.push(Effect::Gone(id));
        Ok(())
    }

    /// Writes the record and moves its index entries, unless it is set aside.
    pub(super) fn store(&mut self, before: Option<Place>, after: &Stored) -> Result<(), redb::Error> {
        self.changed = true;
        let id = after.message.id;
        self.tables.write_message(after)?;
        if self.is_set_aside(id)? {
            return Ok(());
        }
        self.tables.move_place(&mut self.ledger.counts, id, before, Place::of(after))?;
        if after.message.due.is_some() {
            self.effects.push(Effect::Waits(after.message.life_start.0));
        }
        Ok(())
    }

    /// Removes the record and its index entries, and `chunks` of content or all that is there.
    pub(super) fn remove(
        &mut self,
        id: QueueId,
        before: Option<Place>,
        chunks: Option<u32>,
    ) -> Result<(), redb::Error> {
        self.changed = true;
        self.tables.remove_message(id)?;
        if self.tables.damaged.remove(id.number())?.is_some() {
            self.ledger.counts.damaged = self.ledger.counts.damaged.saturating_sub(1);
        }
        self.tables.move_place(&mut self.ledger.counts, id, before, None)?;
        match chunks {
            Some(chunks) => content::remove(&mut self.tables, id.number(), chunks),
            None => content::remove_all(&mut self.tables, id.number()),
        }
    }

    /// The index entries that the stored record has now.
    pub(super) fn place(&self, stored: &Stored) -> Result<Option<Place>, redb::Error> {
        Ok(if self.is_set_aside(stored.message.id)? { None } else { Place::of(stored) })
    }

    pub(super) fn is_set_aside(&self, id: QueueId) -> Result<bool, redb::Error> {
        Ok(self.ledger.counts.damaged > 0 && self.tables.damaged.get(id.number())?.is_some())
    }

    pub(super) fn record(&mut self, facts: impl IntoIterator<Item = Fact>) -> Result<(), redb::Error> {
        for fact in facts {
            self.changed = true;
            self.events.push(event_log::append(&mut self.tables, &mut self.ledger, fact)?);
        }
        Ok(())
    }

    /// A fact of the queue's own about a message.
    pub(super) fn fact(&self, kind: EventType, code: &str, id: QueueId, message: String) -> Fact {
        let mut fact = Fact::new(self.shared.timeline.clock().wall(), kind, "Queue", code, message);
        fact.queue_id = Some(id);
        fact
    }

    /// Before the commit, not after it: a claim between the two would see the new index and the old message.
    pub(super) fn forget_fresh(&mut self, id: QueueId) {
        self.shared.state().fresh.remove(id);
        self.effects.push(Effect::Changed(id));
    }
}

/// What an operator or a reload has asked for while an attempt was under way.
fn try_at_once(message: &mut Message, now: Moment) {
    message.due = message.due.map(|due| due.min(now));
    for recipient in message.recipients.iter_mut().filter(|recipient| recipient.state.is_open()) {
        recipient.refused_by.clear();
    }
}

/// Writes the verdicts into the message as it is now, which an operator may have changed since it was claimed.
fn decide(message: &mut Message, claimed: &Message, settlement: &Settlement, now: Moment) {
    let held = message.held_since.is_some();
    for ((place, _), verdict) in claimed.open_recipients().zip(&settlement.verdicts) {
        let Some(recipient) = message.recipients.get_mut(place) else { continue };
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
    // Reopened by an operator after the claim: not tried yet, so not deferred.
    let reopened = message
        .open_recipients()
        .any(|(place, _)| claimed.recipients.get(place).is_none_or(|recipient| !recipient.state.is_open()));
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
