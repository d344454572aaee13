//! What operators do with messages: retry, hold, release, delete; and the removal of what failed long ago.

use super::super::{ActionResult, Filter, HoldChange, OperatorAction};
use super::batch::Batch;
use super::damage::set_aside;
use super::index_entries::IndexEntries;
use super::memory_update::MemoryUpdate;
use super::stored::StoredMessage;
use crate::clock::Moment;
use crate::config::Topic;
use crate::event::{EventType, Fact, code, named_site};
use crate::mail::{HoldReason, Message, QueueId, RecipientState, printable};
use jiff::Timestamp;
use redb::ReadableTable;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Recipients that the event about a deleted message names.
const MOST_NAMED: usize = 5;
/// Who deleted it, as the event says.
const BY_OPERATOR: &str = "by an operator";

/// Does it where the filter means the message as it is now, and records a fact, if that changes it.
pub(super) fn act_where(
    batch: &mut Batch<'_, '_>,
    action: OperatorAction,
    id: QueueId,
    filter: &Filter,
) -> Result<ActionResult, redb::Error> {
    let stored = match batch.tables.message(id)? {
        None => return Ok(ActionResult::NotFound),
        Some(_) if batch.shared.database.is_hidden(id) && action != OperatorAction::Delete => {
            return Ok(ActionResult::NotFound);
        }
        Some(Ok(stored))
            if !filter.matches(&stored.message) || !filter.allows_change_at(changed_at(batch, &stored)) =>
        {
            return Ok(ActionResult::Unchanged);
        }
        Some(Err(what)) if action == OperatorAction::Delete && filter.matches_unreadable(id) => {
            // Only its id is known, so the whole due index is searched for its entry; setting it aside finds the
            // entries in the other indexes.
            batch.tables.due_index.retain(|(_, _, _, number), _| number != id.number())?;
            set_aside(batch, id, None, &what)?;
            delete(batch, id, None, None, BY_OPERATOR)?;
            return Ok(ActionResult::Done);
        }
        Some(Err(_)) => return Ok(ActionResult::Unchanged),
        Some(Ok(stored)) => stored,
    };
    let before = batch.entries(&stored)?;
    match action {
        OperatorAction::Delete => {
            delete(batch, id, before, Some(&stored.message), BY_OPERATOR)?;
            Ok(ActionResult::Done)
        }
        OperatorAction::Retry => retry(batch, stored, before),
        OperatorAction::Hold => hold(batch, stored, before),
        OperatorAction::ReleaseOwn if stored.message.is_held_by_mode() => Ok(ActionResult::HeldByMode),
        OperatorAction::Release | OperatorAction::ReleaseOwn => release(batch, stored, before),
    }
}

/// When it changed last, by the wall clock as it is now.
fn changed_at(batch: &Batch<'_, '_>, stored: &StoredMessage) -> Timestamp {
    batch.shared.timelines.common_wall(Moment(stored.changed_at))
}

fn retry(
    batch: &mut Batch<'_, '_>,
    mut stored: StoredMessage,
    before: Option<IndexEntries>,
) -> Result<ActionResult, redb::Error> {
    let now = batch.shared.timelines.now_of(&stored.message.site);
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
        // The operator may have repaired the upstream that refused.
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
        message.life_stopped = None;
    }
    message.due = Some(message.due.map_or(now, |due| due.min(now)));
    let id = message.id;
    batch.shared.state().make_due(id);
    readmit(batch, id)?;
    // Removed from the indexes and inserted again, so that an entry that a damaged disk has eaten comes back.
    batch.tables.replace_entries(&mut batch.metadata.counts, id, before, None)?;
    change(batch, None, stored, (code::QUEUED, None), "was made due by an operator")
}

fn hold(
    batch: &mut Batch<'_, '_>,
    mut stored: StoredMessage,
    before: Option<IndexEntries>,
) -> Result<ActionResult, redb::Error> {
    let now = batch.shared.timelines.now_of(&stored.message.site);
    let message = &mut stored.message;
    if before.is_none() || message.open_recipients().next().is_none() {
        return Ok(ActionResult::Unchanged);
    }
    if !message.hold_for(HoldReason::Operator, now) {
        return Ok(ActionResult::Unchanged);
    }
    // From the commit on the attempt that has it begins no transaction.
    batch.memory_updates.push(MemoryUpdate::Held(stored.message.id, true));
    change(batch, before, stored, (code::HELD, Some(Topic::Held)), "was held by an operator")
}

fn release(
    batch: &mut Batch<'_, '_>,
    mut stored: StoredMessage,
    before: Option<IndexEntries>,
) -> Result<ActionResult, redb::Error> {
    let message = &mut stored.message;
    if message.held_since.is_none() || before.is_none() {
        return Ok(ActionResult::Unchanged);
    }
    let site_gone = message.hold.contains(&HoldReason::SiteGone);
    if site_gone {
        message.site.clear();
    }
    // It may go to its addressees now, but not because it was released while a mode still applied to it.
    if site_gone || message.hold.contains(&HoldReason::ModeEnded) {
        message.under_mode = false;
    }
    message.end_hold(batch.shared.timelines.now_of(&message.site));
    batch.memory_updates.push(MemoryUpdate::Held(stored.message.id, false));
    change(batch, before, stored, (code::RELEASED, None), "was released by an operator")
}

/// Changes what holds a message, unless something else has changed that first.
pub(super) fn change_hold(batch: &mut Batch<'_, '_>, change: &HoldChange) -> Result<(), redb::Error> {
    let Some(Ok(mut stored)) = batch.tables.message(change.id)? else { return Ok(()) };
    let before = batch.entries(&stored)?;
    let message = &mut stored.message;
    if before.is_none() || message.hold != change.expected || message.held_since.is_none() {
        return Ok(());
    }
    message.under_mode = change.under_mode;
    if change.hold.is_empty() {
        message.end_hold(batch.shared.timelines.now_of(&message.site));
    } else {
        message.hold.clone_from(&change.hold);
    }
    batch.uncache(change.id);
    batch.memory_updates.push(MemoryUpdate::Held(change.id, !change.hold.is_empty()));
    batch.store(before, &stored)?;
    batch.record(change.facts.iter().cloned())
}

/// Makes those due now that some upstream has refused and that wait for their time: at most `limit`, from an id on.
/// Returns where to go on.
pub(super) fn make_refused_due(
    batch: &mut Batch<'_, '_>,
    from: u128,
    limit: usize,
) -> Result<Option<u128>, redb::Error> {
    let found = batch.tables.refused.range(from..)?.take(limit).map(|entry| Ok(entry?.0.value()));
    let found = found.collect::<Result<Vec<u128>, redb::StorageError>>()?;
    for number in &found {
        let id = QueueId::from_number(*number);
        let Some(Ok(mut stored)) = batch.tables.message(id)? else { continue };
        let before = batch.entries(&stored)?;
        batch.shared.state().make_due(id);
        let now = batch.shared.timelines.now_of(&stored.message.site);
        if stored.message.due.is_some_and(|due| due > now) && before.is_some() {
            stored.message.due = Some(now);
            batch.uncache(id);
            batch.store(before, &stored)?;
        }
    }
    let more = found.len() == limit;
    Ok(found.last().filter(|_| more).and_then(|last| last.checked_add(1)))
}

/// Stores the message as an action has changed it.
fn change(
    batch: &mut Batch<'_, '_>,
    before: Option<IndexEntries>,
    mut stored: StoredMessage,
    (code, topic): (&str, Option<Topic>),
    what: &str,
) -> Result<ActionResult, redb::Error> {
    let (id, site) = (stored.message.id, named_site(&stored.message.site));
    stored.changed_at = batch.shared.timelines.common_now().0;
    batch.uncache(id);
    batch.store(before, &stored)?;
    let fact = batch.fact(EventType::Information, code, id, format!("message {id} {what}"));
    batch.record([Fact { site, topic, ..fact }])?;
    Ok(ActionResult::Done)
}

/// Takes back that a message was set aside: its record can be read, so an operator may have it tried again.
fn readmit(batch: &mut Batch<'_, '_>, id: QueueId) -> Result<(), redb::Error> {
    if batch.is_set_aside(id)? {
        batch.tables.damaged.remove(id.number())?;
        batch.metadata.counts.damaged = batch.metadata.counts.damaged.saturating_sub(1);
    }
    Ok(())
}

/// Removes the message; its content only when no attempt is reading it. `message` is none where it cannot be read, `why` is said in
/// the event.
fn delete(
    batch: &mut Batch<'_, '_>,
    id: QueueId,
    before: Option<IndexEntries>,
    message: Option<&Message>,
    why: &str,
) -> Result<(), redb::Error> {
    batch.uncache(id);
    let leased = {
        let state = batch.shared.state();
        // Under the lock that claims take: from here on no claim leases it.
        batch.shared.database.hide([id]);
        state.is_leased(id, batch.shared.monotonic())
    };
    if leased {
        // The record goes now, so a restart does not bring the message back; the start removes the content.
        batch.tables.orphans.insert(id.number(), ())?;
        batch.remove(id, before, Some(0))?;
        batch.memory_updates.push(MemoryUpdate::RemovedWhileLeased(id));
    } else {
        batch.remove(id, before, message.map(|message| message.chunks))?;
        batch.memory_updates.push(MemoryUpdate::Removed(id));
    }
    let whose = message.map(whose).unwrap_or_default();
    let text = format!("message {id}{whose} was deleted {why}");
    let fact = batch.fact(EventType::Information, code::DELETED, id, text);
    batch.record([Fact { site: message.and_then(|message| named_site(&message.site)), ..fact }])
}

/// ` from a@x.test to b@y.test, c@y.test`; of many recipients the first ones.
fn whose(message: &Message) -> String {
    let from = message.reverse_path.address().map_or("<>".to_owned(), ToString::to_string);
    let (mut named, all) = (Vec::new(), message.originals().count());
    named.extend(message.originals().take(MOST_NAMED).map(|one| one.address.to_string()));
    let more = if all > MOST_NAMED { format!(" and {} more", all - MOST_NAMED) } else { String::new() };
    printable(&format!(" from {from} to {}{more}", named.join(", ")))
}

/// Deletes messages that failed before that moment, at most `limit`.
pub(super) fn remove_failed(
    batch: &mut Batch<'_, '_>,
    before: Moment,
    limit: usize,
) -> Result<u64, redb::Error> {
    let now = batch.shared.timelines.common_now();
    let old = batch.tables.failed.range(..(before.0, 0))?.take(limit);
    let old = old.map(|entry| Ok(entry?.0.value()));
    let old = old.collect::<Result<Vec<(u64, u128)>, redb::StorageError>>()?;
    for (failed_at, number) in &old {
        let id = QueueId::from_number(*number);
        let days = now.since(Moment(*failed_at)).as_secs() / DAY.as_secs();
        let plural = if days == 1 { "" } else { "s" };
        let why = format!("because it failed {days} day{plural} ago");
        match batch.tables.message(id)? {
            Some(Ok(stored)) => {
                let entries = batch.entries(&stored)?;
                delete(batch, id, entries, Some(&stored.message), &why)?;
            }
            Some(Err(_)) => drop(act_where(batch, OperatorAction::Delete, id, &Filter::default())?),
            // An entry without a record would be found again and again.
            None => batch.tables.failed.retain(|(_, entry), ()| entry != *number)?,
        }
    }
    Ok(old.len() as u64)
}
