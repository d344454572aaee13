//! What operators do with messages: retry, hold, release, delete; and the removal of what failed long ago.

use super::super::{Action, ActionResult};
use super::batch::{Batch, Effect};
use super::record::Stored;
use super::tables::Place;
use crate::event::{EventType, code};
use crate::mail::{HoldReason, Message, QueueId, RecipientState};
use redb::ReadableTable;

impl Batch<'_, '_> {
    /// Does it and records a fact, if it changes the message.
    pub(super) fn act_on(&mut self, action: Action, id: QueueId) -> Result<ActionResult, redb::Error> {
        let stored = match self.tables.message(id)? {
            None => return Ok(ActionResult::NotFound),
            Some(_) if self.shared.store.is_hidden(id) && action != Action::Delete => {
                return Ok(ActionResult::NotFound);
            }
            Some(Err(what)) if action == Action::Delete => {
                // Nothing but its id is known, so its entry among those that are due has to be looked for; setting it
                // aside finds the other entries that name it.
                self.tables.waiting.retain(|(_, _, _, number), _| number != id.number())?;
                self.set_aside(id, None, &what)?;
                self.delete(id, None, None)?;
                return Ok(ActionResult::Done);
            }
            Some(Err(_)) => return Ok(ActionResult::Unchanged),
            Some(Ok(stored)) => stored,
        };
        let before = self.place(&stored)?;
        match action {
            Action::Delete => {
                self.delete(id, before, Some(stored.message.chunks))?;
                Ok(ActionResult::Done)
            }
            Action::Retry => self.retry(stored, before),
            Action::Hold => self.hold(stored, before),
            Action::Release => self.release(stored, before),
        }
    }

    fn retry(&mut self, mut stored: Stored, before: Option<Place>) -> Result<ActionResult, redb::Error> {
        let now = self.shared.timeline.now();
        let message = &mut stored.message;
        if message.held_since.is_some() {
            return Ok(ActionResult::Unchanged);
        }
        let mut reopened = false;
        for recipient in &mut message.recipients {
            if matches!(recipient.state, RecipientState::Failed | RecipientState::Expired) {
                recipient.state = RecipientState::Pending;
                reopened = true;
            }
            // Whoever asks for a retry may have repaired the upstream that refused.
            recipient.refused_by.clear();
        }
        if message.open_recipients().next().is_none() {
            return Ok(ActionResult::Unchanged);
        }
        if reopened {
            message.attempts = 0;
            message.deferrals = 0;
            message.failed_upstream = None;
            message.life_start = now;
        }
        message.due = Some(message.due.map_or(now, |due| due.min(now)));
        let id = message.id;
        self.shared.state().make_due(id);
        self.readmit(id)?;
        // Taken out of the indexes and put in again, so that an entry that a damaged disk has eaten comes back.
        self.tables.move_place(&mut self.ledger.counts, id, before, None)?;
        self.change(None, stored, code::QUEUED, "was made due by an operator")
    }

    fn hold(&mut self, mut stored: Stored, before: Option<Place>) -> Result<ActionResult, redb::Error> {
        let message = &mut stored.message;
        if message.held_since.is_some() || before.is_none() || message.open_recipients().next().is_none() {
            return Ok(ActionResult::Unchanged);
        }
        message.held_since = Some(self.shared.timeline.now());
        message.hold.insert(HoldReason::Operator);
        message.due = None;
        mark_open(message, RecipientState::Held);
        self.change(before, stored, code::HELD, "was held by an operator")
    }

    fn release(&mut self, mut stored: Stored, before: Option<Place>) -> Result<ActionResult, redb::Error> {
        let now = self.shared.timeline.now();
        let message = &mut stored.message;
        let Some(held_since) = message.held_since.take().filter(|_| before.is_some()) else {
            return Ok(ActionResult::Unchanged);
        };
        message.hold.clear();
        // The time held does not count for expiry.
        message.life_start = message.life_start.after(now.since(held_since));
        message.due = Some(now);
        let attempted = message.attempts > 0;
        mark_open(message, if attempted { RecipientState::Deferred } else { RecipientState::Pending });
        self.change(before, stored, code::RELEASED, "was released by an operator")
    }

    /// Makes those due now that some upstream has refused and that wait for their time: at most `limit`, from an id on.
    /// Returns where to go on.
    pub(super) fn make_refused_due(&mut self, from: u128, limit: usize) -> Result<Option<u128>, redb::Error> {
        let found = self.tables.refused.range(from..)?.take(limit).map(|entry| Ok(entry?.0.value()));
        let found = found.collect::<Result<Vec<u128>, redb::StorageError>>()?;
        let now = self.shared.timeline.now();
        for number in &found {
            let id = QueueId::from_number(*number);
            let Some(Ok(mut stored)) = self.tables.message(id)? else { continue };
            let before = self.place(&stored)?;
            self.shared.state().make_due(id);
            if stored.message.due.is_some_and(|due| due > now) && before.is_some() {
                stored.message.due = Some(now);
                self.forget_fresh(id);
                self.store(before, &stored)?;
            }
        }
        let more = found.len() == limit;
        Ok(found.last().filter(|_| more).and_then(|last| last.checked_add(1)))
    }

    /// Stores the message as an action has changed it.
    fn change(
        &mut self,
        before: Option<Place>,
        mut stored: Stored,
        code: &str,
        what: &str,
    ) -> Result<ActionResult, redb::Error> {
        let id = stored.message.id;
        stored.changed_ms = self.shared.wall_ms();
        self.forget_fresh(id);
        self.store(before, &stored)?;
        self.record([self.fact(EventType::Information, code, id, format!("message {id} {what}"))])?;
        Ok(ActionResult::Done)
    }

    /// Takes back that a message was set aside: its record can be read, so an operator may have it tried again.
    fn readmit(&mut self, id: QueueId) -> Result<(), redb::Error> {
        if self.is_set_aside(id)? {
            self.tables.damaged.remove(id.number())?;
            self.ledger.counts.damaged = self.ledger.counts.damaged.saturating_sub(1);
        }
        Ok(())
    }

    /// Removes the message; its content only when no attempt is reading it.
    fn delete(&mut self, id: QueueId, before: Option<Place>, chunks: Option<u32>) -> Result<(), redb::Error> {
        self.forget_fresh(id);
        let leased = {
            let state = self.shared.state();
            // Under the lock that claims take: from here on nobody can lease it.
            self.shared.store.hide([id]);
            state.is_leased(id, self.shared.monotonic())
        };
        if leased {
            // Nothing is left that a restart could revive, and the restart removes the content.
            self.tables.orphans.insert(id.number(), ())?;
            self.remove(id, before, Some(0))?;
            self.effects.push(Effect::Doomed(id));
        } else {
            self.remove(id, before, chunks)?;
            self.effects.push(Effect::Gone(id));
        }
        self.record([self.fact(
            EventType::Information,
            code::DELETED,
            id,
            format!("message {id} was deleted"),
        )])
    }

    /// Deletes messages that failed before `before_ms`, at most `limit`.
    pub(super) fn remove_failed(&mut self, before_ms: u64, limit: usize) -> Result<u64, redb::Error> {
        let old = self.tables.failed.range(..(before_ms, 0))?.take(limit);
        let ids = old.map(|entry| Ok(QueueId::from_number(entry?.0.value().1)));
        let ids = ids.collect::<Result<Vec<QueueId>, redb::StorageError>>()?;
        for id in &ids {
            if self.act_on(Action::Delete, *id)? == ActionResult::NotFound {
                // An entry without a record would be found again and again.
                self.tables.failed.retain(|(_, number), ()| number != id.number())?;
            }
        }
        Ok(ids.len() as u64)
    }
}

fn mark_open(message: &mut Message, state: RecipientState) {
    for recipient in message.recipients.iter_mut().filter(|recipient| recipient.state.is_open()) {
        recipient.state = state;
    }
}
