//! The tables of the queue file, and where a message stands in them.
//!
//! `messages` holds the records. Everything that is asked often has an index of its own, so that neither claiming nor
//! listing ever walks over messages that are not wanted: `waiting` (each lane longest due first), `refused`, `states` (each
//! state newest first) and `failed` (longest failed first). [`Place`] says which entries a record has; [`Tables::move_place`] is
//! the only code that writes them.

use super::lane::Lane;
use super::record::{self, Stored};
use super::usage::Usage;
use crate::clock::Moment;
use crate::event::EventType;
use crate::mail::{MessageState, QueueId, Recipient};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

/// Id to record (see [`record`]).
pub(super) const MESSAGES: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("messages");
/// (Site, rank, due moment, id) to start of life, of every message that waits for an attempt: see [`DueKey`].
pub(super) const WAITING: TableDefinition<'static, (u64, u8, u64, u128), u64> =
    TableDefinition::new("waiting");
/// Ids of those of them that some upstream has refused, so that a reload finds them.
pub(super) const REFUSED: TableDefinition<'static, u128, ()> = TableDefinition::new("refused");
/// (State, id) of every message that is not set aside.
pub(super) const STATES: TableDefinition<'static, (u8, u128), ()> = TableDefinition::new("states");
/// (Wall clock milliseconds of the last change, id) of failed messages.
pub(super) const FAILED: TableDefinition<'static, (u64, u128), ()> = TableDefinition::new("failed");
/// Parts of content chunks that fill their pages (see [`super::content`]).
pub(super) const PARTS: TableDefinition<'static, (u128, u32), &[u8]> = TableDefinition::new("parts");
/// What is left of a chunk behind its parts: small values that share pages.
pub(super) const REMAINDERS: TableDefinition<'static, (u128, u32), &[u8]> =
    TableDefinition::new("remainders");
/// Ids that have content and no record: staged ahead, or deleted while an attempt was reading. Removed at start.
pub(super) const ORPHANS: TableDefinition<'static, u128, ()> = TableDefinition::new("orphans");
/// Ids set aside, with what is wrong.
pub(super) const DAMAGED: TableDefinition<'static, u128, &str> = TableDefinition::new("damaged");
/// Event id to fact, each type of events for itself: see [`events_of`]. (Format 1 had all of them in the first.)
pub(super) const EVENTS: [TableDefinition<'static, u64, &[u8]>; 3] =
    [TableDefinition::new("events"), TableDefinition::new("warnings"), TableDefinition::new("errors")];
/// Format version, instance name and the ledger.
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// Which of [`EVENTS`] the facts of a type are in.
pub(super) fn events_of(kind: EventType) -> usize {
    match kind {
        EventType::Information => 0,
        EventType::Warning => 1,
        EventType::Error => 2,
    }
}

/// The state's number in [`STATES`] and in the counters; none for sent messages, which are not stored.
pub(super) fn state_number(state: MessageState) -> Option<u8> {
    match state {
        MessageState::Queued => Some(0),
        MessageState::Deferred => Some(1),
        MessageState::Held => Some(2),
        MessageState::Failed => Some(3),
        MessageState::Sent => None,
    }
}

/// An entry of [`WAITING`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DueKey {
    pub(super) lane: Lane,
    pub(super) due: u64,
    pub(super) id: QueueId,
}

/// The key as the table has it.
pub(super) type RawDueKey = (u64, u8, u64, u128);

impl DueKey {
    pub(super) fn raw(self) -> RawDueKey {
        (self.lane.site, self.lane.rank, self.due, self.id.number())
    }
}

impl From<RawDueKey> for DueKey {
    fn from((site, rank, due, number): RawDueKey) -> DueKey {
        DueKey { lane: Lane { site, rank }, due, id: QueueId::from_number(number) }
    }
}

/// The index entries of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    state: u8,
    waiting: Option<(DueKey, u64)>,
    refused: bool,
    failed_at: Option<u64>,
}

impl Place {
    /// Follows from the record alone, so that it can be taken back later.
    pub(super) fn of(stored: &Stored) -> Option<Place> {
        let message = &stored.message;
        let state = message.state();
        let waits = matches!(state, MessageState::Queued | MessageState::Deferred);
        let key = |due: Moment| DueKey { lane: Lane::of(message), due: due.0, id: message.id };
        let waiting = message.due.filter(|_| waits).map(|due| (key(due), message.life_start.0));
        let refused = |(_, recipient): (usize, &Recipient)| !recipient.refused_by.is_empty();
        Some(Place {
            state: state_number(state)?,
            waiting,
            refused: waiting.is_some() && message.open_recipients().any(refused),
            failed_at: (state == MessageState::Failed).then_some(stored.changed_ms),
        })
    }

    /// Its entry among those that wait, and the beginning of its life.
    pub(super) fn waiting(self) -> Option<(DueKey, u64)> {
        self.waiting
    }
}

/// All tables, open for writing in one transaction.
pub(super) struct Tables<'t> {
    pub(super) messages: Table<'t, u128, &'static [u8]>,
    pub(super) waiting: Table<'t, RawDueKey, u64>,
    pub(super) refused: Table<'t, u128, ()>,
    pub(super) states: Table<'t, (u8, u128), ()>,
    pub(super) failed: Table<'t, (u64, u128), ()>,
    pub(super) parts: Table<'t, (u128, u32), &'static [u8]>,
    pub(super) remainders: Table<'t, (u128, u32), &'static [u8]>,
    pub(super) orphans: Table<'t, u128, ()>,
    pub(super) damaged: Table<'t, u128, &'static str>,
    pub(super) events: [Table<'t, u64, &'static [u8]>; 3],
    pub(super) meta: Table<'t, &'static str, &'static [u8]>,
    /// What all of them hold. Kept in the ledger from one transaction to the next.
    pub(super) usage: Usage,
}

impl<'t> Tables<'t> {
    /// Opens all of them; missing ones are made. `usage` is what they hold.
    pub(super) fn open(transaction: &'t WriteTransaction, usage: Usage) -> Result<Tables<'t>, redb::Error> {
        let [information, warnings, errors] = EVENTS;
        Ok(Tables {
            messages: transaction.open_table(MESSAGES)?,
            waiting: transaction.open_table(WAITING)?,
            refused: transaction.open_table(REFUSED)?,
            states: transaction.open_table(STATES)?,
            failed: transaction.open_table(FAILED)?,
            parts: transaction.open_table(PARTS)?,
            remainders: transaction.open_table(REMAINDERS)?,
            orphans: transaction.open_table(ORPHANS)?,
            damaged: transaction.open_table(DAMAGED)?,
            events: [
                transaction.open_table(information)?,
                transaction.open_table(warnings)?,
                transaction.open_table(errors)?,
            ],
            meta: transaction.open_table(META)?,
            usage,
        })
    }

    /// The record of a message: none if there is none, what is wrong if it cannot be read.
    pub(super) fn message(&self, id: QueueId) -> Result<Option<Result<Stored, String>>, redb::Error> {
        Ok(self.messages.get(id.number())?.map(|bytes| record::read_message(id.number(), bytes.value())))
    }

    /// Writes the record, nothing else.
    pub(super) fn write_message(&mut self, stored: &Stored) -> Result<(), redb::Error> {
        let record = record::write_message(stored);
        let before = self.messages.insert(stored.message.id.number(), record.as_slice())?;
        let before = before.map(|record| record.value().len());
        self.usage.change_record(before, Some(record.len()));
        Ok(())
    }

    /// Removes the record, nothing else.
    pub(super) fn remove_message(&mut self, id: QueueId) -> Result<(), redb::Error> {
        let before = self.messages.remove(id.number())?.map(|record| record.value().len());
        self.usage.change_record(before, None);
        Ok(())
    }

    /// The part of [`Tables::move_place`] that is about mail that waits.
    fn move_waiting(
        &mut self,
        id: QueueId,
        before: Option<Place>,
        after: Option<Place>,
    ) -> Result<(), redb::Error> {
        let waiting = |place: Option<Place>| place.and_then(Place::waiting);
        if waiting(before) != waiting(after) {
            if let Some((key, _)) = waiting(before) {
                self.waiting.remove(key.raw())?;
            }
            if let Some((key, life_start)) = waiting(after) {
                self.waiting.insert(key.raw(), life_start)?;
            }
        }
        let refused = |place: Option<Place>| place.is_some_and(|place| place.refused);
        match (refused(before), refused(after)) {
            (true, false) => drop(self.refused.remove(id.number())?),
            (false, true) => drop(self.refused.insert(id.number(), ())?),
            _ => {}
        }
        Ok(())
    }

    /// Makes the entries of a message that waits and has none yet.
    pub(super) fn enter_waiting(&mut self, id: QueueId, place: Place) -> Result<(), redb::Error> {
        self.move_waiting(id, None, Some(place))
    }

    /// Takes the index entries `before` back and makes those of `after`; the counters follow.
    pub(super) fn move_place(
        &mut self,
        counts: &mut record::Counts,
        id: QueueId,
        before: Option<Place>,
        after: Option<Place>,
    ) -> Result<(), redb::Error> {
        self.move_waiting(id, before, after)?;
        let id = id.number();
        let state = |place: Option<Place>| place.map(|place| place.state);
        if state(before) != state(after) {
            if let Some(state) = state(before) {
                self.states.remove((state, id))?;
                counts.take(state);
            }
            if let Some(state) = state(after) {
                self.states.insert((state, id), ())?;
                counts.add(state);
            }
        }
        let failed = |place: Option<Place>| place.and_then(|place| place.failed_at);
        if failed(before) != failed(after) {
            if let Some(at) = failed(before) {
                self.failed.remove((at, id))?;
            }
            if let Some(at) = failed(after) {
                self.failed.insert((at, id), ())?;
            }
        }
        Ok(())
    }
}
