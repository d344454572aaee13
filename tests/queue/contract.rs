//! What the trait promises, whatever engine keeps it.

use super::*;
use postroom::queue::{ActionResult, Filter, OperatorAction};

/// A restart: the queue is closed and opened again.
async fn restart(queue: RedbQueue, home: &Home) -> RedbQueue {
    queue.close().await.unwrap();
    drop(queue);
    home.open()
}

#[tokio::test]
async fn what_was_put_is_claimed_with_its_content_in_the_order_it_became_due() {
    let home = Home::new();
    let queue = home.open();
    let sizes = [0, 1, 500, 4_060, 4_200, 70_000, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE + 77];
    let mut messages = Vec::new();
    for size in sizes {
        let message = message(&queue, &["ann@example.com"], size);
        put(&queue, &message).await.unwrap();
        messages.push(message);
        home.clock.advance(Duration::from_millis(10));
    }
    let queue = restart(queue, &home).await;
    let claims = claim(&queue, 100).await;
    assert_eq!(claims.iter().map(|claim| (*claim.message).clone()).collect::<Vec<_>>(), messages);
    for message in &messages {
        assert_eq!(read(&queue, message).await.unwrap(), content(message));
    }
    assert!(claim(&queue, 100).await.is_empty(), "leased messages are not claimed again");
    assert_eq!((queue.status().queued, queue.status().claimed), (9, 9));
}

#[tokio::test]
async fn a_delivered_message_is_gone_for_good_and_its_facts_are_recorded() {
    let home = Home::new();
    let queue = home.open();
    let mut follow = queue.subscribe();
    let message = put_new(&queue, &["ann@example.com", "bob@example.com"]).await;
    let claim = claim_one(&queue).await;
    settle(&queue, claim, &[Outcome::Delivered, Outcome::Delivered]).await;
    assert_eq!(follow.recv().await.unwrap().fact.code, "QUEUED");
    assert_eq!((follow.recv().await.unwrap().id, queue.status()), (2, idle(0, 0, 0, 0)));
    let queue = restart(queue, &home).await;
    home.clock.advance(60 * MINUTE);
    assert!(super::claim(&queue, 10).await.is_empty());
    assert!(matches!(queue.show(message.id).await, Err(QueueError::NotFound(id)) if id == message.id));
    assert!(queue.chunk(message.id, 0).await.is_err());
    assert_eq!(codes(&queue.events(None, 10).await.unwrap()), ["QUEUED", "attempted"]);
    assert_eq!(next_due(&queue).await, None);
}

/// Nothing claimed, nothing damaged.
fn idle(queued: u64, deferred: u64, held: u64, failed: u64) -> postroom::queue::QueueStatus {
    postroom::queue::QueueStatus { writable: true, queued, deferred, held, failed, damaged: 0, claimed: 0 }
}

#[tokio::test]
async fn every_recipient_has_its_own_outcome() {
    let home = Home::new();
    let queue = home.open();
    let all = ["a@x.test", "b@x.test", "c@x.test", "d@x.test"];
    let message = put_new(&queue, &all).await;
    let outcomes = [Outcome::Delivered, Outcome::Deferred, Outcome::Failed, Outcome::Deferred];
    let first = claim_one(&queue).await;
    let mut settled = settlement(&queue, &first, &outcomes);
    settled.failed_upstream = Some("secondary".to_owned());
    queue.settle(first, settled).await.unwrap();
    assert!(claim(&queue, 1).await.is_empty(), "due in a minute");
    assert_eq!(next_due(&queue).await, Some(moment_in(&queue, MINUTE)));
    let queue = restart(queue, &home).await;
    assert_eq!(queue.status(), idle(0, 1, 0, 0));

    home.clock.advance(MINUTE);
    let second = claim_one(&queue).await;
    assert_eq!((second.message.attempts, second.message.failed_upstream.as_deref()), (1, Some("secondary")));
    let open: Vec<_> = second.message.open_recipients().map(|(place, one)| (place, one.state)).collect();
    assert_eq!(open, [(1, RecipientState::Deferred), (3, RecipientState::Deferred)]);
    settle(&queue, second, &[Outcome::Delivered, Outcome::Expired]).await;

    let shown = queue.show(message.id).await.unwrap();
    let states: Vec<_> = shown.recipients.iter().map(|one| one.state).collect();
    use RecipientState::{Delivered, Expired, Failed};
    assert_eq!(states, [Delivered, Delivered, Failed, Expired]);
    assert_eq!(shown.recipients[2].reply.as_deref(), Some("550 5.1.1 nobody"));
    assert_eq!((shown.state(), shown.due, shown.attempts), (MessageState::Failed, None, 2));
    assert_eq!(queue.status(), idle(0, 0, 0, 1));
    home.clock.advance(100 * MINUTE);
    assert!(claim(&queue, 1).await.is_empty());
    assert_eq!(read(&queue, &message).await.unwrap(), content(&message), "it can be sent again");
}

// CASES E12
#[tokio::test]
async fn a_lease_that_ran_out_fences_its_holder_off() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["ann@example.com"]).await;
    let slow = claim_one(&queue).await;
    home.clock.advance(5 * MINUTE);
    assert_eq!(next_due(&queue).await, Some(message.due.unwrap().max(queue.now())));
    let fast = claim_one(&queue).await;
    settle_too_late(&queue, slow.clone(), &[Outcome::Delivered]).await;
    queue.put_back(slow.clone());
    assert!(claim(&queue, 1).await.is_empty(), "the second holder keeps it");
    assert_eq!(queue.show(message.id).await.unwrap().attempts, 0);
    settle(&queue, fast.clone(), &[Outcome::Deferred]).await;
    settle_too_late(&queue, fast, &[Outcome::Failed]).await;
    settle_too_late(&queue, slow, &[Outcome::Delivered]).await;
    assert_eq!(queue.show(message.id).await.unwrap().attempts, 1, "each claim is settled once");
    assert_eq!(queue.status(), idle(0, 1, 0, 0));
    assert_eq!(codes(&queue.events(None, 10).await.unwrap()), ["QUEUED", "attempted"]);
}

#[tokio::test]
async fn a_lease_that_ran_out_is_still_good_while_nobody_else_has_it() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["ann@example.com"]).await;
    let slow = claim_one(&queue).await;
    home.clock.advance(5 * MINUTE);
    settle(&queue, slow, &[Outcome::Delivered]).await;
    assert!(queue.show(message.id).await.is_err());
}

#[tokio::test]
async fn put_back_gives_the_message_to_the_next_claim_as_it_was() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["ann@example.com"]).await;
    let given = claim_one(&queue).await;
    queue.put_back(given);
    let again = claim_one(&queue).await;
    assert_eq!(*again.message, message);
}

#[tokio::test]
async fn held_mail_goes_nowhere_until_released_and_the_time_held_does_not_count() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["ann@example.com"]).await;
    assert_eq!(
        queue.act(OperatorAction::Release, vec![message.id]).await.unwrap(),
        [ActionResult::Unchanged]
    );
    assert_eq!(queue.act(OperatorAction::Hold, vec![message.id]).await.unwrap(), [ActionResult::Done]);
    assert_eq!(queue.act(OperatorAction::Hold, vec![message.id]).await.unwrap(), [ActionResult::Unchanged]);
    assert_eq!(queue.act(OperatorAction::Retry, vec![message.id]).await.unwrap(), [ActionResult::Unchanged]);
    let queue = restart(queue, &home).await;
    assert_eq!(queue.status(), idle(0, 0, 1, 0));
    let held = queue.show(message.id).await.unwrap();
    assert_eq!((held.state(), held.recipients[0].state), (MessageState::Held, RecipientState::Held));
    home.clock.advance(90 * MINUTE);
    assert!(claim(&queue, 1).await.is_empty());
    assert_eq!(next_due(&queue).await, None);
    assert_eq!(queue.act(OperatorAction::Release, vec![message.id]).await.unwrap(), [ActionResult::Done]);
    let released = claim_one(&queue).await.message;
    assert_eq!(released.life_start, message.life_start.after(90 * MINUTE));
    assert_eq!(released.recipients[0].state, RecipientState::Pending);
    assert_eq!(codes(&queue.events(Some(2), 10).await.unwrap()), ["HELD", "RELEASED"]);
}

#[tokio::test]
async fn a_hold_during_an_attempt_takes_what_the_attempt_leaves() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["a@x.test", "b@x.test"]).await;
    let attempt = claim_one(&queue).await;
    assert_eq!(queue.act(OperatorAction::Hold, vec![message.id]).await.unwrap(), [ActionResult::Done]);
    settle(&queue, attempt, &[Outcome::Delivered, Outcome::Deferred]).await;
    let held = queue.show(message.id).await.unwrap();
    assert_eq!((held.state(), held.due, held.attempts), (MessageState::Held, None, 1));
    assert_eq!(held.recipients[1].state, RecipientState::Held);
    queue.act(OperatorAction::Release, vec![message.id]).await.unwrap();
    let released = claim_one(&queue).await;
    assert_eq!(released.message.recipients[1].state, RecipientState::Deferred);
}

#[tokio::test]
async fn retry_makes_due_now_and_opens_what_failed_but_never_what_was_delivered() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["a@x.test", "b@x.test", "c@x.test"]).await;
    let attempt = claim_one(&queue).await;
    settle(&queue, attempt, &[Outcome::Delivered, Outcome::Failed, Outcome::Expired]).await;
    home.clock.advance(MINUTE);
    assert_eq!(queue.act(OperatorAction::Retry, vec![message.id]).await.unwrap(), [ActionResult::Done]);
    assert_eq!(queue.status(), idle(1, 0, 0, 0));
    let again = claim_one(&queue).await;
    assert_eq!(again.message.life_start, queue.now(), "a fresh life");
    assert_eq!(again.message.attempts, 0, "and a fresh schedule");
    assert_eq!(again.message.open_recipients().map(|(place, _)| place).collect::<Vec<_>>(), [1, 2]);
    settle(&queue, again, &[Outcome::Deferred, Outcome::Deferred]).await;
    assert!(claim(&queue, 1).await.is_empty());
    assert_eq!(queue.act(OperatorAction::Retry, vec![message.id]).await.unwrap(), [ActionResult::Done]);
    let deferred = claim_one(&queue).await;
    assert_eq!(deferred.message.attempts, 1, "what was only deferred keeps its count");
    let unknown = QueueId::fresh(1);
    assert_eq!(queue.act(OperatorAction::Retry, vec![unknown]).await.unwrap(), [ActionResult::NotFound]);
}

#[tokio::test]
async fn upstreams_that_refused_are_remembered_until_a_retry_and_only_counted_attempts_count() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["a@x.test"]).await;
    for (outcome, refused_by, counted) in
        [(Outcome::Deferred, "first", false), (Outcome::Failed, "second", true)]
    {
        let attempt = claim_one(&queue).await;
        let mut settled = settlement(&queue, &attempt, &[outcome]);
        settled.verdicts[0].verdict.refused_by =
            vec![Refusal { upstream: refused_by.to_owned(), revision: 1 }];
        settled.counted = counted;
        queue.settle(attempt, settled).await.unwrap();
        let shown = queue.show(message.id).await.unwrap();
        assert_eq!(
            (shown.attempts, shown.recipients[0].refused_by[0].upstream.as_str()),
            (u32::from(counted), refused_by)
        );
        home.clock.advance(MINUTE);
    }
    queue.act(OperatorAction::Retry, vec![message.id]).await.unwrap();
    assert!(claim_one(&queue).await.message.recipients[0].refused_by.is_empty());
}

#[tokio::test]
async fn recipients_reopened_during_an_attempt_are_due_at_once() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["a@x.test", "b@x.test"]).await;
    let attempt = claim_one(&queue).await;
    settle(&queue, attempt, &[Outcome::Failed, Outcome::Deferred]).await;
    home.clock.advance(MINUTE);
    let attempt = claim_one(&queue).await;
    assert_eq!(queue.act(OperatorAction::Retry, vec![message.id]).await.unwrap(), [ActionResult::Done]);
    settle(&queue, attempt, &[Outcome::Delivered]).await;
    let again = claim_one(&queue).await;
    assert_eq!(again.message.open_recipients().map(|(place, _)| place).collect::<Vec<_>>(), [0]);
}

#[tokio::test]
async fn a_deleted_message_is_gone_now_or_when_its_attempt_has_ended() {
    let home = Home::new();
    let queue = home.open();
    let waiting = put_new(&queue, &["a@x.test"]).await;
    assert_eq!(
        queue.act(OperatorAction::Delete, vec![waiting.id, waiting.id]).await.unwrap(),
        [ActionResult::Done, ActionResult::NotFound]
    );
    assert!(queue.chunk(waiting.id, 0).await.is_err());

    for ending in ["settled", "put back", "killed"] {
        let large = message(&queue, &["a@x.test", "b@x.test"], 2 * CHUNK_SIZE + 5);
        put(&queue, &large).await.unwrap();
        let attempt = claim_one(&queue).await;
        assert_eq!(
            queue.act(OperatorAction::Delete, vec![large.id]).await.unwrap(),
            [ActionResult::Done],
            "{ending}"
        );
        assert!(queue.show(large.id).await.is_err());
        assert_eq!(queue.status().messages(), 0);
        assert_eq!(read(&queue, &large).await.unwrap(), content(&large), "the attempt can still read it");
        match ending {
            "settled" => settle(&queue, attempt, &[Outcome::Deferred, Outcome::Delivered]).await,
            "put back" => queue.put_back(attempt),
            _ => {}
        }
        if ending != "killed" {
            // The removal is in the writer's hands: whatever is committed after it comes after it.
            queue.act(OperatorAction::Delete, vec![waiting.id]).await.unwrap();
            assert!(queue.chunk(large.id, 0).await.is_err(), "{ending}");
        }
        home.clock.advance(10 * MINUTE);
        assert!(claim(&queue, 1).await.is_empty(), "{ending}");
    }
    let queue = restart(queue, &home).await;
    assert!(claim(&queue, 1).await.is_empty());
    assert_eq!(queue.status(), idle(0, 0, 0, 0));
}

#[tokio::test]
async fn failed_messages_go_when_they_are_old_enough() {
    let home = Home::new();
    let queue = home.open();
    let mut failed = Vec::new();
    for _ in 0..3 {
        failed.push(put_new(&queue, &["a@x.test"]).await.id);
        let attempt = claim_one(&queue).await;
        settle(&queue, attempt, &[Outcome::Failed]).await;
        home.clock.advance(MINUTE);
    }
    let queued = put_new(&queue, &["a@x.test"]).await.id;
    // A wall clock that jumps makes none of them old.
    home.clock.set_wall(queue.wall(queue.now()) + 60 * 24 * 60 * MINUTE);
    let before = queue.common_now().before(2 * MINUTE);
    assert_eq!(queue.remove_failed(before).await.unwrap(), 1);
    let page = queue.list(Filter::default(), None, 10).await.unwrap();
    assert_eq!(ids(&page.messages), [queued, failed[2], failed[1]]);
    assert_eq!(queue.status(), idle(1, 0, 0, 2));
    // Opened again it is no failed message any more.
    queue.act(OperatorAction::Retry, vec![failed[1]]).await.unwrap();
    assert_eq!(queue.remove_failed(Moment(u64::MAX)).await.unwrap(), 1);
    assert_eq!(queue.status(), idle(2, 0, 0, 0));
    let deleted: Vec<String> =
        queue.events(None, 100).await.unwrap().into_iter().map(|one| one.fact.message).collect();
    let whose = |id| {
        format!("message {id} from sender@example.com to a@x.test was deleted because it failed 0 days ago")
    };
    assert!(deleted.contains(&whose(failed[0])) && deleted.contains(&whose(failed[2])), "{deleted:?}");
}

#[tokio::test]
async fn the_event_of_a_deleted_message_says_by_whom_and_whose_it_was() {
    let home = Home::new();
    let queue = home.open();
    let addresses: Vec<String> = (0..7).map(|number| format!("r{number}@x.test")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let id = put_new(&queue, &addresses).await.id;
    queue.act(OperatorAction::Delete, vec![id]).await.unwrap();
    let events = queue.events(None, 100).await.unwrap();
    let told = &events.last().unwrap().fact.message;
    let named = addresses[..5].join(", ");
    assert_eq!(
        *told,
        format!("message {id} from sender@example.com to {named} and 2 more was deleted by an operator")
    );
}

#[tokio::test]
async fn listings_are_newest_first_page_by_page_and_filtered_by_state_and_text() {
    let home = Home::new();
    let queue = home.open();
    let mut all = Vec::new();
    for number in 0..40 {
        let mut one = message(&queue, &[&format!("r{number}@example.com")], 10);
        one.header.subject = Some(format!("Order {}", number * 100));
        put(&queue, &one).await.unwrap();
        all.push(one.id);
        home.clock.advance(Duration::from_millis(1));
    }
    all.reverse();
    let list = async |states: &[MessageState], text: Option<&str>, limit| {
        let text = Filter::parse(text.unwrap_or_default(), &jiff::Zoned::default()).unwrap();
        let filter = Filter::of_states(states.to_vec()).and(text);
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = queue.list(filter.clone(), cursor, limit).await.unwrap();
            assert!(page.messages.len() <= limit && page.damaged.is_empty());
            found.extend(ids(&page.messages));
            cursor = page.next;
            if cursor.is_none() {
                return found;
            }
        }
    };
    assert_eq!(list(&[], None, 7).await, all);
    assert_eq!(list(&[], None, 40).await, all);
    queue.act(OperatorAction::Hold, vec![all[3], all[9]]).await.unwrap();
    assert_eq!(list(&[MessageState::Held], None, 1).await, [all[3], all[9]]);
    assert_eq!(list(&[MessageState::Held, MessageState::Queued], None, 7).await, all, "merged in order");
    assert_eq!(list(&[MessageState::Failed, MessageState::Sent], None, 7).await, []);
    assert_eq!(list(&[], Some("R17@EXAMPLE"), 7).await, [all[22]]);
    assert_eq!(list(&[], Some("\"order 3900\""), 7).await, [all[0]]);
    assert_eq!(list(&[], Some("sender@"), 9).await, all);
    assert_eq!(list(&[MessageState::Held], Some(&all[9].to_string()), 9).await, [all[9]]);
    assert_eq!(list(&[], Some("nowhere"), 9).await, []);
}

#[tokio::test]
async fn old_mail_is_found_for_expiry_without_being_next_in_line() {
    let home = Home::new();
    let queue = home.open();
    let mut old = message(&queue, &["old@x.test"], 10);
    old.due = Some(moment_in(&queue, 10 * MINUTE));
    put(&queue, &old).await.unwrap();
    let born_by = queue.now();
    let claim_old = async |now: Moment| {
        queue.claim_old(vec![String::new()], now.since(born_by), MINUTE, 10).await.unwrap()
    };
    assert!(claim_old(queue.now()).await.is_empty(), "not due yet");
    home.clock.advance(20 * MINUTE);
    for _ in 0..5 {
        put_new(&queue, &["young@x.test"]).await;
    }
    let found = claim_old(queue.now()).await;
    assert_eq!(claimed(&found), [old.id]);
    assert!(claim_old(queue.now()).await.is_empty(), "leased");
    queue.put_back(found[0].clone());
    assert_eq!(claimed(&claim_old(queue.now()).await), [old.id]);
    home.clock.advance(2 * MINUTE);
    let expired = claim_old(queue.now()).await.remove(0);
    settle(&queue, expired, &[Outcome::Expired]).await;
    assert!(claim_old(queue.now()).await.is_empty());
    // One that comes in old is found as well.
    let mut late = message(&queue, &["late@x.test"], 10);
    late.life_start = Moment(born_by.0 - 5);
    put(&queue, &late).await.unwrap();
    assert_eq!(claimed(&claim_old(queue.now()).await), [late.id]);
}

#[tokio::test]
async fn the_event_log_counts_up_and_keeps_the_newest() {
    let home = Home::new();
    let queue = home.open();
    queue.keep_events(5);
    let id = QueueId::fresh(1);
    for number in 0..8 {
        queue.record(vec![fact(id, &format!("E{number}"))]);
    }
    put_new(&queue, &["a@x.test"]).await;
    let queue = restart(queue, &home).await;
    assert_eq!(codes(&queue.events(None, 3).await.unwrap()), ["E6", "E7", "QUEUED"]);
    let kept = queue.events(Some(0), 100).await.unwrap();
    assert_eq!(kept.iter().map(|event| event.id).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
    assert_eq!(codes(&queue.events(Some(7), 2).await.unwrap()), ["E6", "E7"]);
    assert!(queue.events(Some(10), 2).await.unwrap().is_empty());
}

/// A fact of a type, told in the order of their numbers.
fn fact_of(kind: EventType, number: usize) -> Fact {
    Fact::new(Timestamp::UNIX_EPOCH, kind, "Test", &format!("{kind:?}{number}"), "")
}

/// At full load the newest 100,000 events were six seconds, and what had gone wrong before was gone.
#[tokio::test]
async fn events_of_one_type_push_out_none_of_another() {
    let home = Home::new();
    let queue = home.open();
    queue.keep_events(3);
    queue.record(vec![fact_of(EventType::Error, 1), fact_of(EventType::Warning, 2)]);
    for number in 3..50 {
        queue.record(vec![fact_of(EventType::Information, number)]);
    }
    queue.record(vec![fact_of(EventType::Error, 50), fact_of(EventType::Information, 51)]);
    let queue = restart(queue, &home).await;
    let kept = queue.events(Some(0), 100).await.unwrap();
    let expected = ["Error1", "Warning2", "Information48", "Information49", "Error50", "Information51"];
    assert_eq!(codes(&kept), expected);
    // Whoever reads page by page gets the same, and ids are one sequence.
    assert_eq!(kept.iter().map(|event| event.id).collect::<Vec<_>>(), [1, 2, 48, 49, 50, 51]);
    let mut paged = Vec::new();
    let mut from = 0;
    while let Some(event) = queue.events(Some(from), 1).await.unwrap().pop() {
        from = event.id + 1;
        paged.push(event);
    }
    assert_eq!(paged, kept);
    assert_eq!(queue.events(None, 4).await.unwrap(), kept[2..]);
    assert!(queue.events(None, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lowered_limit_on_events_holds_after_some_commits_and_stops_none() {
    let home = Home::new();
    let queue = home.open();
    let kinds = [EventType::Information, EventType::Warning, EventType::Error];
    for kind in kinds {
        queue.record((0..5_000).map(|number| fact_of(kind, number)).collect());
    }
    put_new(&queue, &["a@x.test"]).await;
    queue.keep_events(10);
    let mut counts = Vec::new();
    for _ in 0..4 {
        put_new(&queue, &["a@x.test"]).await;
        let left = queue.events(Some(0), 20_000).await.unwrap();
        counts.push(kinds.map(|kind| left.iter().filter(|event| event.fact.kind == kind).count()));
    }
    // Each commit adds one event of Information and takes a bounded number of each type.
    assert_eq!(counts, [[3_001, 2_999, 2_999], [1_001, 998, 998], [10, 10, 10], [10, 10, 10]]);
}

#[tokio::test]
async fn whoever_waits_for_mail_is_woken() {
    let home = Home::new();
    let queue = home.open();
    let woken = queue.due_changed();
    let message = put_new(&queue, &["a@x.test"]).await;
    woken.notified().await;
    queue.act(OperatorAction::Hold, vec![message.id]).await.unwrap();
    queue.act(OperatorAction::Release, vec![message.id]).await.unwrap();
    woken.notified().await;
    let attempt = claim_one(&queue).await;
    settle(&queue, attempt, &[Outcome::Deferred]).await;
    woken.notified().await;
    queue.act(OperatorAction::Retry, vec![message.id]).await.unwrap();
    woken.notified().await;
    let claim = claim_one(&queue).await;
    queue.put_back(claim);
    woken.notified().await;
}

#[tokio::test]
async fn no_time_passes_while_the_timeline_is_frozen() {
    let home = Home::new();
    let queue = home.open();
    put_new(&queue, &["a@x.test"]).await;
    let attempt = claim_one(&queue).await;
    settle(&queue, attempt, &[Outcome::Deferred]).await;
    queue.freeze("", true);
    let then = queue.now();
    home.clock.advance(1_000 * MINUTE);
    let queue = restart(queue, &home).await;
    home.clock.advance(1_000 * MINUTE);
    assert_eq!(queue.now(), then);
    assert!(claim(&queue, 1).await.is_empty());
    queue.freeze("", false);
    home.clock.advance(MINUTE);
    assert_eq!(queue.now(), then.after(MINUTE));
    assert_eq!(claim(&queue, 1).await.len(), 1);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_moves_no_due_time_neither_now_nor_after_a_restart() {
    let home = Home::new();
    let queue = home.open();
    put_new(&queue, &["a@x.test"]).await;
    let attempt = claim_one(&queue).await;
    settle(&queue, attempt, &[Outcome::Deferred]).await;
    let due = moment_in(&queue, MINUTE);
    home.clock.set_wall(Timestamp::from_second(1_800_000_000 + 6 * 86_400).unwrap());
    assert!(claim(&queue, 1).await.is_empty());
    queue.record(vec![fact(QueueId::fresh(1), "CLOCK")]);
    let queue = restart(queue, &home).await;
    assert!(claim(&queue, 1).await.is_empty());
    assert_eq!(next_due(&queue).await, Some(due));
    home.clock.advance(MINUTE);
    assert_eq!(claim(&queue, 1).await.len(), 1);
}

#[tokio::test]
async fn nothing_is_left_of_what_was_staged_and_given_up() {
    let home = Home::new();
    let queue = home.open();
    let (given_up, forgotten) = (QueueId::fresh(1), QueueId::fresh(2));
    for id in [given_up, forgotten] {
        for number in 0..3 {
            queue.stage(id, number, Bytes::from(vec![number as u8; CHUNK_SIZE])).await.unwrap();
        }
    }
    queue.discard(given_up);
    put_new(&queue, &["a@x.test"]).await;
    assert!(queue.chunk(given_up, 0).await.is_err());
    assert!(queue.chunk(forgotten, 2).await.is_ok());
    assert_eq!(queue.list(Filter::default(), None, 10).await.unwrap().messages.len(), 1);
    let queue = restart(queue, &home).await;
    for number in 0..3 {
        assert!(queue.chunk(forgotten, number).await.is_err());
    }
}

#[tokio::test]
async fn a_closed_queue_says_so() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["a@x.test"]).await;
    let attempt = claim_one(&queue).await;
    let last = super::message(&queue, &["b@x.test"], 0);
    let (asked, closed) = (queue.put(last, Bytes::new(), vec![]), queue.close());
    assert!(asked.await.is_ok(), "what was asked before is finished");
    closed.await.unwrap();
    queue.close().await.unwrap();
    queue.record(vec![fact(message.id, "LATE")]);
    assert!(matches!(put(&queue, &message).await, Err(QueueError::Closed)));
    let outcome = settlement(&queue, &attempt, &[Outcome::Delivered]);
    assert!(matches!(queue.settle(attempt, outcome).await, Err(QueueError::Closed)));
    assert!(matches!(queue.show(message.id).await, Err(QueueError::Closed)));
    assert!(matches!(queue.list(Filter::default(), None, 1).await, Err(QueueError::Closed)));
    assert!(!queue.status().writable);
    // The file is free for the next one, though the handle still lives.
    drop(home.open());
}

#[tokio::test]
async fn the_instance_name_stays() {
    let home = Home::new();
    let queue = home.open();
    let name = queue.instance().to_owned();
    assert_eq!(name.len(), 16);
    assert_eq!(restart(queue, &home).await.instance(), name);
    assert_ne!(Home::new().open().instance(), name);
}

#[tokio::test]
async fn a_mode_that_is_noted_for_a_claimed_message_stays_with_it_however_its_attempt_ends() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["ann@example.com"]).await;
    let claim = claim_one(&queue).await;
    queue.note_mode(message.id).await.unwrap();
    assert!(super::claim(&queue, 10).await.is_empty(), "it is leased as before");
    queue.put_back(claim);
    assert!(super::claim(&queue, 10).await.is_empty(), "it is not what it was any more");
    // Noted and killed: nothing was settled.
    let queue = restart(queue, &home).await;
    assert!(queue.show(message.id).await.unwrap().under_mode);
    let request =
        ClaimRequest { group: ClaimGroup { under_mode: true, ..no_site() }, due_by: queue.now(), limit: 10 };
    assert_eq!(queue.claim(MINUTE, vec![request], usize::MAX).await.unwrap().len(), 1);
    queue.note_mode(QueueId::from_number(1)).await.unwrap();
}
