//! The judgement: what the ledger and the proxy's own journal say together.
//!
//! - Every acknowledged message arrived, whole, under the very queue id that the client was told.
//! - What arrived was offered, and not more often than it may have been accepted.
//! - A queue id that arrived twice has a reason that can be named, each time: the upstream withheld its reply, or the
//!   process ended between the upstream's 250 and the commit of it. That it was before the commit is checked too: the
//!   journal, written in the same commit, may call each queue id delivered only once.
//! - Nothing is owed for what was not acknowledged.

use super::ledger::{Arrival, Book, End};
use postroom::mail::QueueId;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// A reply that left the upstream later than this after the final dot may have found nobody waiting for it: half of
/// `final_timeout`.
const LATE: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Default)]
pub struct Judgement {
    /// Numbers that clients offered.
    pub offered: usize,
    /// Of these, acknowledged.
    pub acknowledged: usize,
    /// Of these, with another try before of which nothing was known, or none but such tries.
    pub unknown: usize,
    /// Numbers that arrived.
    pub arrived: usize,
    /// Tries that were answered with a refusal.
    pub refused: u64,
    /// Repeated arrivals, by the reason.
    pub doubled: BTreeMap<&'static str, usize>,
    /// Numbers that arrived as two messages, because their client offered them again after a reply that it missed.
    pub resent: usize,
    /// From an upstream's 250 to the kill that made it arrive again: the longest.
    pub longest_gap: Duration,
    /// What may not be.
    pub wrong: Vec<String>,
}

/// Judges all of it.
pub fn judge(book: Book, delivered: &HashMap<QueueId, u32>) -> Judgement {
    let Book { offered, mut arrivals, ends, wrong } = book;
    let mut found = Judgement { wrong, offered: offered.len(), ..Judgement::default() };
    found.unknown = offered.values().filter(|note| note.unknown > 0).count();
    found.refused = offered.values().map(|note| u64::from(note.refused)).sum();
    arrivals.sort_by_key(|arrival| (arrival.number, arrival.queue_id, arrival.at));

    let mut by_number: BTreeMap<u64, Vec<&Arrival>> = BTreeMap::new();
    for arrival in &arrivals {
        by_number.entry(arrival.number).or_default().push(arrival);
    }
    found.arrived = by_number.len();
    for (number, note) in &offered {
        let came = by_number.get(number).map_or(&[][..], |came| came);
        let Some(id) = note.acknowledged else { continue };
        found.acknowledged += 1;
        if came.is_empty() {
            found.wrong.push(format!("LOST: number {number}, acknowledged ({note:?}), never arrived"));
        } else if id.is_some_and(|id| came.iter().all(|arrival| arrival.queue_id != id)) {
            found.wrong.push(format!("LOST: number {number} arrived, but not as {id:?}: {came:?}"));
        }
    }
    for (number, came) in &by_number {
        let messages = came.chunk_by(|one, other| one.queue_id == other.queue_id);
        let note = offered.get(number).cloned().unwrap_or_default();
        let accepted = usize::from(note.acknowledged.is_some()) + note.unknown as usize;
        if messages.clone().count() > accepted {
            found.wrong.push(format!("number {number} arrived more often than {note:?}: {came:?}"));
        }
        found.resent += messages.clone().count() - 1;
        for message in messages {
            if let Err(what) = reasons(message, &ends, &mut found) {
                found.wrong.push(what);
            }
            match delivered.get(&message[0].queue_id) {
                Some(1) => {}
                other => found.wrong.push(format!("delivered {other:?} times in the journal: {message:?}")),
            }
        }
    }
    found
}

/// Names the reason of every repetition of one message.
fn reasons(
    came: &[&Arrival],
    ends: &[(std::time::Instant, End)],
    found: &mut Judgement,
) -> Result<(), String> {
    for pair in came.windows(2) {
        let [first, again] = pair else { continue };
        let end = ends.iter().find(|(at, _)| (first.begun..again.begun).contains(at));
        let reason = match (first.replied, end) {
            (None, _) => "the upstream withheld its reply",
            (Some(replied), Some((at, how))) => {
                found.longest_gap = found.longest_gap.max(at.saturating_duration_since(replied));
                match how {
                    End::Kill => "killed between the upstream's 250 and the commit",
                    End::Stop => "stopped between the upstream's 250 and the commit",
                }
            }
            (Some(replied), None) if replied - first.at >= LATE => "the upstream's reply came late",
            _ => return Err(format!("DOUBLED without a reason: {first:?} and {again:?}")),
        };
        *found.doubled.entry(reason).or_default() += 1;
    }
    Ok(())
}
