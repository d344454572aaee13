//! A message that is queued in the commit of an outcome: there with it, or not at all.

use super::disk::{Disk, Faults};
use super::failing::open;
use super::*;
use postroom::queue::OperatorAction;

const SIZES: [usize; 3] = [0, 400, 2 * CHUNK_SIZE + 77];

async fn codes_of(queue: &dyn Queue) -> Vec<String> {
    let events = queue.events(None, 100).await.unwrap();
    events.into_iter().map(|event| event.fact.code).collect()
}

/// What is left of a follow-up that was not queued: nothing.
async fn is_gone(queue: &dyn Queue, bounce: &Message) {
    assert!(matches!(queue.show(bounce.id).await, Err(QueueError::NotFound(_))));
    assert!(queue.chunk(bounce.id, 0).await.is_err());
    assert!(!codes_of(queue).await.contains(&"BOUNCED".to_owned()));
}

#[tokio::test]
async fn it_is_there_with_the_outcome_and_due_at_once() {
    for size in SIZES {
        let home = Home::new();
        let queue = home.open();
        let failed = put_new(&queue, &["a@x.test", "b@x.test"]).await;
        let attempt = claim_one(&queue).await;
        let (bounce, notice) = follow_up(&queue, &failed, &["b@x.test"], size).await;
        let mut outcome = settlement(&queue, &attempt, &[Outcome::Deferred, Outcome::Failed]);
        outcome.follow_up = Some(notice);
        queue.settle(attempt, outcome).await.unwrap();
        let told: Vec<bool> =
            queue.show(failed.id).await.unwrap().recipients.iter().map(|one| one.failure_told).collect();
        assert_eq!(told, [false, true]);
        assert_eq!(claim_one(&queue).await.message.id, bounce.id);
        assert_eq!(codes_of(&queue).await, ["QUEUED", "attempted", "BOUNCED"]);
        queue.close().await.unwrap();
        drop(queue);
        let queue = home.open();
        assert!(read(&queue, &bounce).await.unwrap() == content(&bounce));
    }
}

#[tokio::test]
async fn whoever_is_fenced_off_queues_nothing() {
    for size in SIZES {
        let home = Home::new();
        let queue = home.open();
        let message = put_new(&queue, &["a@x.test"]).await;
        let late = claim_one(&queue).await;
        home.clock.advance(6 * MINUTE);
        let attempt = claim_one(&queue).await;
        let (bounce, notice) = follow_up(&queue, &message, &["a@x.test"], size).await;
        let mut outcome = settlement(&queue, &late, &[Outcome::Failed]);
        outcome.follow_up = Some(notice);
        let refused = queue.settle(late, outcome).await;
        assert!(matches!(refused, Err(QueueError::FencedOff(_))), "{refused:?}");
        settle(&queue, attempt, &[Outcome::Deferred]).await;
        is_gone(&queue, &bounce).await;
        assert!(!queue.show(message.id).await.unwrap().recipients[0].failure_told);
    }
}

#[tokio::test]
async fn a_message_that_was_deleted_during_its_attempt_causes_none() {
    for size in SIZES {
        let home = Home::new();
        let queue = home.open();
        let message = put_new(&queue, &["a@x.test"]).await;
        let attempt = claim_one(&queue).await;
        queue.act(OperatorAction::Delete, vec![message.id]).await.unwrap();
        let (bounce, notice) = follow_up(&queue, &message, &["a@x.test"], size).await;
        let mut outcome = settlement(&queue, &attempt, &[Outcome::Failed]);
        outcome.follow_up = Some(notice);
        queue.settle(attempt, outcome).await.unwrap();
        is_gone(&queue, &bounce).await;
    }
}

#[tokio::test]
async fn where_staged_chunks_were_lost_nothing_changes_and_the_claim_stands() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let message = put_new(&queue, &["a@x.test"]).await;
    let attempt = claim_one(&queue).await;
    let (bounce, notice) = follow_up(&queue, &message, &["a@x.test"], SIZES[2]).await;
    disk.set_faults(Faults { sync: Some(super::disk::EIO), ..Faults::default() });
    assert!(put(&queue, &super::message(&queue, &["b@x.test"], 10)).await.is_err());
    disk.set_faults(Faults::default());
    let mut outcome = settlement(&queue, &attempt, &[Outcome::Failed]);
    outcome.follow_up = Some(notice);
    let refused = queue.settle(attempt.clone(), outcome).await;
    assert!(matches!(refused, Err(QueueError::StagedLost(id)) if id == bounce.id), "{refused:?}");
    assert!(claim(&queue, 10).await.is_empty(), "it is leased");
    assert!(!codes_of(&queue).await.contains(&"attempted".to_owned()));
    // Again, with one that fits into a chunk.
    let (bounce, notice) = follow_up(&queue, &message, &["a@x.test"], 100).await;
    let mut outcome = settlement(&queue, &attempt, &[Outcome::Failed]);
    outcome.follow_up = Some(notice);
    queue.settle(attempt, outcome).await.unwrap();
    assert_eq!(claim_one(&queue).await.message.id, bounce.id);
}

// CASES F39
#[tokio::test]
async fn a_notice_that_fails_is_dropped() {
    for outcome in [Outcome::Failed, Outcome::Expired, Outcome::Delivered] {
        let home = Home::new();
        let queue = home.open();
        let notice = Message { is_notice: true, ..message(&queue, &["a@x.test"], 10) };
        put(&queue, &notice).await.unwrap();
        let attempt = claim_one(&queue).await;
        settle(&queue, attempt, &[Outcome::Deferred]).await;
        assert!(queue.show(notice.id).await.is_ok());
        home.clock.advance(2 * MINUTE);
        let attempt = claim_one(&queue).await;
        settle(&queue, attempt, &[outcome]).await;
        assert!(queue.show(notice.id).await.is_err() && queue.chunk(notice.id, 0).await.is_err());
        assert_eq!(queue.status().messages(), 0);
    }
}
