//! The judgement: what the ledger and the proxy's own event log say together.
//!
//! - Every acknowledged message arrived, whole, under the very queue id that the client was told: at its recipient or, while
//!   redirect was on, at the report address; or the event log says that debug has logged it.
//! - What arrived was offered, and not more often than it may have been accepted.
//! - A queue id that arrived twice has a reason that can be named, each time: the upstream withheld its reply, or the
//!   process ended between the upstream's 250 and the commit of it. That it was before the commit is checked too: the
//!   event log, written in the same commit, may call each queue id delivered only once.
//! - Nothing is owed for what was not acknowledged.
//! - Whose recipient the upstreams do not know failed once, and its sender was told by one notice, which is judged like any other
//!   message; nobody was told of anything else.

use super::event_log::EventLog;
use super::ledger::{Arrival, Book, End};
use postroom::mail::QueueId;
use std::collections::BTreeMap;
use std::time::Duration;

/// A reply that left the upstream later than this after the final dot may have found nobody waiting for it: half of
/// `final_timeout`.
const LATE: Duration = Duration::from_secs(5);

/// Ends of the process so near to a repetition are told with it.
const NEAR: Duration = Duration::from_secs(10);

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
    /// Of the acknowledged ones, logged by debug and sent to nobody, or failed.
    pub ended: usize,
    /// Messages that failed; their senders were told.
    pub failed: usize,
    /// Messages of which a report address got a copy.
    pub copies: usize,
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
pub fn judge(book: Book, events: &EventLog) -> Judgement {
    let EventLog { delivered, ended, .. } = events;
    let Book { offered, mut arrivals, ends, wrong } = book;
    let mut found = Judgement { wrong, offered: offered.len(), ..Judgement::default() };
    found.unknown = offered.values().filter(|note| note.unknown > 0).count();
    found.refused = offered.values().map(|note| u64::from(note.refused)).sum();
    // By their beginnings: the last words of a killed process may be read after those of its successor.
    arrivals.sort_by_key(|arrival| (arrival.number, arrival.queue_id, arrival.begun));

    let mut by_number: BTreeMap<u64, Vec<&Arrival>> = BTreeMap::new();
    let (notices, letters): (Vec<&Arrival>, Vec<&Arrival>) =
        arrivals.iter().partition(|arrival| arrival.about.is_some());
    for arrival in letters {
        by_number.entry(arrival.number).or_default().push(arrival);
    }
    found.arrived = by_number.len();
    for (number, note) in &offered {
        let came = by_number.get(number).map_or(&[][..], |came| came);
        let Some(id) = note.acknowledged else { continue };
        found.acknowledged += 1;
        let ended = ended.get(number);
        let has_ended = ended.is_some_and(|ids| id.is_none_or(|id| ids.contains(&id)));
        found.ended += usize::from(has_ended);
        if has_ended {
            // Debug has taken it, or it failed: nobody is to be sent it any more.
        } else if came.is_empty() {
            found.wrong.push(format!("LOST: number {number}, acknowledged ({note:?}), never arrived"));
        } else if id.is_some_and(|id| came.iter().all(|arrival| arrival.queue_id != id)) {
            found.wrong.push(format!("LOST: number {number} arrived, but not as {id:?}: {came:?}"));
        }
    }
    for (number, came) in &by_number {
        let messages = came.chunk_by(|one, other| one.queue_id == other.queue_id);
        let note = offered.get(number).cloned().unwrap_or_default();
        let accepted = usize::from(note.acknowledged.is_some()) + note.unknown as usize;
        let mut ids = ended.get(number).cloned().unwrap_or_default();
        ids.extend(came.iter().map(|arrival| arrival.queue_id));
        if ids.len() > accepted {
            found.wrong.push(format!("number {number} arrived more often than {note:?}: {came:?}"));
        }
        found.resent += messages.clone().count() - 1;
        for message in messages {
            found.copies += usize::from(message.iter().any(|arrival| arrival.is_copy));
            if let Err(what) = reasons(message, &ends, &mut found) {
                found.wrong.push(what);
            }
            let id = message[0].queue_id;
            let failed = events.failed.contains_key(&id);
            if failed && message.iter().any(|arrival| !arrival.is_copy) {
                found.wrong.push(format!("it failed, and arrived: {message:?}"));
            }
            match delivered.get(&id) {
                Some(1) if !failed => {}
                None if failed => {}
                other => found.wrong.push(format!("delivered {other:?} times in the event log: {message:?}")),
            }
        }
    }
    judge_notices(&notices, &ends, events, &mut found);
    found
}

/// One failure, one notice; and that arrived like any message.
fn judge_notices(
    came: &[&Arrival],
    ends: &[(std::time::Instant, End)],
    events: &EventLog,
    found: &mut Judgement,
) {
    found.failed = events.failed.len();
    for (id, times) in &events.failed {
        let told = events.notices.get(id).map_or(&[][..], |told| told);
        if *times != 1 || told.len() != 1 {
            found.wrong.push(format!("{id} failed {times} times, and its sender was told by {told:?}"));
        }
    }
    let mut by_id: BTreeMap<QueueId, Vec<&Arrival>> = BTreeMap::new();
    for arrival in came {
        by_id.entry(arrival.queue_id).or_default().push(arrival);
    }
    for (about, notice) in
        events.notices.iter().flat_map(|(about, all)| all.iter().map(move |one| (about, one)))
    {
        if !events.failed.contains_key(about) {
            found.wrong.push(format!("a notice about {about}, which did not fail: {notice}"));
        }
        let delivered = events.delivered.get(notice);
        let arrived = by_id.contains_key(notice) || events.logged_notices.contains(notice);
        if delivered != Some(&1) || !arrived {
            found
                .wrong
                .push(format!("LOST: the notice {notice} about {about}, delivered {delivered:?} times"));
        }
    }
    for (id, came) in by_id {
        let known = |arrival: &&Arrival| {
            arrival.about.and_then(|about| events.notices.get(&about)).is_some_and(|all| all.contains(&id))
        };
        if !came.iter().all(known) {
            found.wrong.push(format!("a notice that the event log does not know: {came:?}"));
        }
        if let Err(what) = reasons(&came, ends, found) {
            found.wrong.push(what);
        }
    }
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
            _ => {
                let near = |at: &std::time::Instant| first.begun < *at + NEAR && *at < again.at + NEAR;
                let ends: Vec<_> = ends.iter().filter(|(at, _)| near(at)).collect();
                return Err(format!(
                    "DOUBLED without a reason: {first:?} and {again:?}; ends near: {ends:?}"
                ));
            }
        };
        *found.doubled.entry(reason).or_default() += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::ledger::Offered;
    use std::collections::BTreeSet;
    use std::time::Instant;

    /// The queue id of that number's message.
    fn id(number: u64) -> QueueId {
        format!("01ARZ3NDEKTSV4RRFFQ69G5{number:03}").parse().unwrap()
    }

    /// A ledger of four acknowledged numbers that arrived once, a second apart.
    fn four(start: Instant) -> (Book, EventLog) {
        let acknowledged = |number| Offered { acknowledged: Some(Some(id(number))), ..Offered::default() };
        let offered = (0..4).map(|number| (number, acknowledged(number))).collect();
        let arrivals = (0..4).map(|number| arrival(number, start + Duration::from_secs(number))).collect();
        let book = Book { offered, arrivals, ends: Vec::new(), wrong: Vec::new() };
        let delivered = (0..4).map(|number| (id(number), 1)).collect();
        let mut events = EventLog::default();
        events.delivered = delivered;
        (book, events)
    }

    fn arrival(number: u64, at: Instant) -> Arrival {
        Arrival {
            number,
            queue_id: id(number),
            begun: at,
            at,
            replied: Some(at),
            about: None,
            upstream: "first",
            is_copy: false,
        }
    }

    /// What is said to be wrong with four messages after `change`.
    fn wrong(change: impl FnOnce(&mut Book, &mut EventLog, Instant)) -> String {
        let start = Instant::now();
        let (mut book, mut events) = four(start);
        change(&mut book, &mut events, start);
        judge(book, &events).wrong.join("\n")
    }

    #[test]
    fn what_arrived_once_is_right_and_what_did_not_is_lost() {
        assert_eq!(wrong(|_, _, _| {}), "");
        assert!(
            wrong(|book, _, _| {
                book.arrivals.remove(2);
            })
            .starts_with("LOST: number 2,")
        );
        assert!(
            wrong(|book, _, _| book.arrivals[2].queue_id = id(9)).contains("LOST: number 2 arrived, but not")
        );
        // Nothing is owed for what was not acknowledged, and it may arrive.
        let unknown = |book: &mut Book| {
            book.offered.insert(2, Offered { unknown: 1, ..Offered::default() });
        };
        assert_eq!(wrong(|book, _, _| unknown(book)), "");
        assert_eq!(
            wrong(|book, _, _| {
                unknown(book);
                book.arrivals.remove(2);
            }),
            ""
        );
    }

    #[test]
    fn what_nobody_offered_or_what_was_refused_may_not_arrive() {
        assert!(
            wrong(|book, _, _| {
                book.offered.remove(&1);
            })
            .contains("number 1 arrived more often than")
        );
        let refused = Offered { refused: 1, ..Offered::default() };
        let said = wrong(|book, _, _| {
            book.offered.insert(1, refused);
        });
        assert!(said.contains("number 1 arrived more often than"), "{said}");
    }

    #[test]
    fn a_double_needs_a_reason_between_the_two() {
        let again = |book: &mut Book, start: Instant| {
            book.arrivals.push(arrival(1, start + Duration::from_secs(5)));
        };
        assert!(wrong(|book, _, start| again(book, start)).starts_with("DOUBLED without a reason"));
        for (second, is_reason) in [(0, false), (1, true), (4, true), (6, false)] {
            let said = wrong(|book, _, start| {
                again(book, start);
                book.ends.push((start + Duration::from_secs(second), End::Kill));
            });
            assert_eq!(said.is_empty(), is_reason, "killed at {second}: {said}");
        }
        let withheld = wrong(|book, _, start| {
            again(book, start);
            book.arrivals[1].replied = None;
        });
        assert_eq!(withheld, "");
    }

    #[test]
    fn the_last_words_of_a_killed_process_may_be_read_after_its_successors() {
        let after = |start: Instant, begun: u64, at: u64| Arrival {
            begun: start + Duration::from_secs(begun),
            ..arrival(1, start + Duration::from_secs(at))
        };
        let said = |killed: u64| {
            wrong(|book, _, start| {
                book.arrivals[1] = after(start, 5, 6);
                book.arrivals.push(after(start, 1, 7));
                book.ends.push((start + Duration::from_secs(killed), End::Kill));
            })
        };
        assert_eq!(said(3), "");
        // Two at once from one process.
        assert!(said(6).starts_with("DOUBLED without a reason"));
    }

    #[test]
    fn a_double_after_the_commit_is_seen_in_the_event_log() {
        let said = wrong(|book, events, start| {
            book.arrivals.push(arrival(1, start + Duration::from_secs(5)));
            book.ends.push((start + Duration::from_secs(3), End::Kill));
            events.delivered.insert(id(1), 2);
        });
        assert!(said.starts_with("delivered Some(2) times in the event log"), "{said}");
        assert!(
            wrong(|_, events, _| assert!(events.delivered.remove(&id(0)).is_some()))
                .contains("delivered None times")
        );
    }

    #[test]
    fn what_debug_logged_need_not_arrive_and_counts_as_one() {
        let logged = |events: &mut EventLog| {
            events.ended.insert(2, BTreeSet::from([id(2)]));
        };
        let not_arrived = wrong(|book, events, _| {
            book.arrivals.remove(2);
            logged(events);
        });
        assert_eq!(not_arrived, "");
        let as_another = wrong(|_, events, _| {
            events.ended.insert(2, BTreeSet::from([id(9)]));
        });
        assert!(as_another.contains("number 2 arrived more often than"), "{as_another}");
    }

    #[test]
    fn what_failed_is_told_once() {
        /// Number 2 failed, and its sender is told by message 900.
        fn failed(book: &mut Book, events: &mut EventLog, start: Instant) {
            book.arrivals[2] = Arrival { queue_id: id(900), about: Some(id(2)), ..arrival(2, start) };
            events.delivered.remove(&id(2));
            events.delivered.insert(id(900), 1);
            events.failed.insert(id(2), 1);
            events.ended.insert(2, BTreeSet::from([id(2)]));
            events.notices.insert(id(2), vec![id(900)]);
        }
        assert_eq!(wrong(failed), "");
        let with = |change: fn(&mut Book, &mut EventLog, Instant)| {
            wrong(|book, events, start| {
                failed(book, events, start);
                change(book, events, start);
            })
        };
        assert_eq!(
            with(|book, events, _| {
                book.arrivals.remove(2);
                events.logged_notices.insert(id(900));
            }),
            ""
        );
        assert!(with(|book, _, _| _ = book.arrivals.remove(2)).starts_with("LOST: the notice"));
        assert!(with(|_, events, _| events.notices.clear()).contains("and its sender was told by []"));
        let twice = with(|_, events, _| events.notices.get_mut(&id(2)).unwrap().push(id(901)));
        assert!(twice.contains("was told by ["), "{twice}");
        let again = |book: &mut Book, start: Instant| {
            let notice = book.arrivals[2].clone();
            let at = start + Duration::from_secs(9);
            book.arrivals.push(Arrival { begun: at, at, replied: Some(at), ..notice });
        };
        let said = wrong(|book, events, start| {
            failed(book, events, start);
            again(book, start);
        });
        assert!(said.starts_with("DOUBLED without a reason"), "{said}");
        assert!(
            with(|book, _, start| book.arrivals.push(arrival(2, start)))
                .starts_with("it failed, and arrived")
        );
        assert!(with(|_, events, _| events.failed.clear()).contains("which did not fail"),);
    }
}
