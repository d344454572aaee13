//! A disk that is full or fails; and one that counts.

use super::disk::{Disk, EIO, ENOSPC, Faults, Mounted};
use super::*;
use futures_util::TryFutureExt;
use postroom::queue::{ActionResult, Filter, OperatorAction};

pub fn open(disk: &Arc<Disk>, clock: &Arc<ManualClock>) -> RedbQueue {
    let disk = disk.clone();
    RedbQueue::open_on(move || Ok(Mounted(disk.clone())), options(clock)).unwrap()
}

/// Waits until the queue has found out that it can be written again.
async fn writable(queue: &RedbQueue) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !queue.status().writable {
        assert!(std::time::Instant::now() < deadline, "the queue never became writable again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn full() -> Faults {
    Faults { full: true, ..Faults::default() }
}

/// Nothing can be written, not even in place.
fn no_writes() -> Faults {
    Faults { write: Some(ENOSPC), set_len: Some(ENOSPC), ..Faults::default() }
}

// CASES E1, E2
#[tokio::test]
async fn a_full_disk_refuses_mail_and_takes_it_again_when_there_is_room() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let before = put_new(&queue, &["a@x.test"]).await;
    disk.set_faults(full());
    for size in [3 * CHUNK_SIZE, 10 * CHUNK_SIZE] {
        let refused = message(&queue, &["b@x.test"], size);
        assert!(matches!(put(&queue, &refused).await, Err(QueueError::Full(_))));
        // A page of what was removed may fit where the large message did not: writable it may be, but not have it.
        assert!(matches!(queue.show(refused.id).await, Err(QueueError::NotFound(_))));
    }
    assert_eq!(queue.list(Filter::default(), None, 10).await.unwrap().messages.len(), 1, "reading goes on");
    disk.set_faults(no_writes());
    assert!(queue.act(OperatorAction::Hold, vec![before.id]).await.is_err());
    assert!(!queue.status().writable);
    disk.set_faults(Faults::default());
    writable(&queue).await;
    let after = put_new(&queue, &["c@x.test"]).await;
    assert_eq!(claimed(&claim(&queue, 10).await), [before.id, after.id]);
    drop(queue);
    let queue = open(&disk, &clock);
    assert_eq!(claimed(&claim(&queue, 10).await), [before.id, after.id]);
}

// CASES E3, E5
#[tokio::test]
async fn an_outcome_that_cannot_be_recorded_is_recorded_later_and_nobody_else_gets_the_message() {
    for fault in [no_writes(), Faults { sync: Some(EIO), ..Faults::default() }] {
        let (disk, clock) = (Disk::new(), clock());
        let queue = open(&disk, &clock);
        let message = put_new(&queue, &["a@x.test", "b@x.test"]).await;
        let attempt = claim_one(&queue).await;
        disk.set_faults(fault);
        let outcome = settlement(&queue, &attempt, &[Outcome::Delivered, Outcome::Deferred]);
        let mut settling = queue.settle(attempt, outcome);
        while queue.status().writable {
            assert!(futures_poll(&mut settling).is_none());
            tokio::task::yield_now().await;
        }
        let refused = super::message(&queue, &["c@x.test"], 100);
        assert!(put(&queue, &refused).await.is_err(), "puts are answered at once");
        clock.advance(10 * MINUTE);
        assert!(
            queue.claim(MINUTE, of_no_site(queue.now(), 10), usize::MAX).await.is_err(),
            "nothing is sent that could not be recorded"
        );
        disk.set_faults(Faults::default());
        settling.await.unwrap();
        let shown = queue.show(message.id).await.unwrap();
        assert_eq!(shown.attempts, 1, "counted once");
        assert_eq!(shown.recipients[0].state, RecipientState::Delivered);
        writable(&queue).await;
        assert_eq!(claimed(&claim(&queue, 10).await), [message.id]);
        assert_eq!(codes(&queue.events(None, 10).await.unwrap()), ["QUEUED", "attempted"]);
        assert_eq!(queue.list(Filter::default(), None, 10).await.unwrap().messages.len(), 1);
    }
}

/// Polls once.
fn futures_poll<T>(future: &mut std::pin::Pin<Box<dyn Future<Output = T> + Send + '_>>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => Some(result),
        std::task::Poll::Pending => None,
    }
}

/// A commit syncs twice: what it has written, then that it counts. An error of either leaves it open what is in the
/// file.
// CASES E5
#[tokio::test]
async fn what_was_answered_with_an_error_never_appears_though_its_commit_may_have_landed() {
    for good_syncs in 0..4 {
        let (disk, clock) = (Disk::new(), clock());
        let queue = open(&disk, &clock);
        let owed = put_new(&queue, &["a@x.test"]).await;
        let failed = put_new(&queue, &["f@x.test"]).await;
        let mut claims = claim(&queue, 2).await;
        settle(&queue, claims.remove(1), &[Outcome::Failed]).await;
        settle(&queue, claims.remove(0), &[Outcome::Deferred]).await;
        disk.set_faults(Faults { sync: Some(EIO), good_syncs, ..Faults::default() });
        let mut refused = message(&queue, &["b@x.test"], 2 * CHUNK_SIZE);
        let result = put(&queue, &refused).await;
        if result.is_ok() {
            // Enough good syncs for all of it; the next one is the one.
            refused = message(&queue, &["b@x.test"], 300);
            assert!(put(&queue, &refused).await.is_err());
        }
        assert!(queue.show(refused.id).await.is_err(), "{good_syncs}");
        let listed = queue.list(Filter::default(), None, 10).await;
        assert!(listed.is_err() || !ids(&listed.unwrap().messages).contains(&refused.id), "{good_syncs}");
        disk.set_faults(Faults::default());
        writable(&queue).await;
        clock.advance(10 * MINUTE);
        let again = claim(&queue, 10).await;
        assert!(claimed(&again).contains(&owed.id) && !claimed(&again).contains(&refused.id), "{good_syncs}");
        assert!(queue.chunk(refused.id, 0).await.is_err(), "{good_syncs}");
        let health = queue.status();
        drop(queue);
        let queue = open(&disk, &clock);
        let listed = ids(&queue.list(Filter::default(), None, 10).await.unwrap().messages);
        assert!(listed.contains(&owed.id) && listed.contains(&failed.id), "{good_syncs}");
        assert!(!listed.contains(&refused.id), "{good_syncs}");
        assert_eq!(queue.status().messages(), health.messages());
        assert_eq!(queue.status().messages(), listed.len() as u64);
    }
}

#[tokio::test]
async fn an_action_that_was_committed_though_it_reported_an_error_leaves_memory_and_file_of_one_mind() {
    for action in [OperatorAction::Delete, OperatorAction::Hold] {
        let (disk, clock) = (Disk::new(), clock());
        let queue = open(&disk, &clock);
        let message = put_new(&queue, &["a@x.test"]).await;
        disk.set_faults(Faults { sync: Some(EIO), good_syncs: 1, ..Faults::default() });
        assert!(queue.act(action, vec![message.id]).await.is_err());
        disk.set_faults(Faults::default());
        writable(&queue).await;
        let results = queue.act(action, vec![message.id]).await.unwrap();
        let expected =
            if action == OperatorAction::Delete { ActionResult::NotFound } else { ActionResult::Unchanged };
        assert_eq!(results, [expected]);
        assert!(claim(&queue, 1).await.is_empty());
        let health = queue.status();
        assert_eq!((health.queued, health.held), (0, u64::from(action == OperatorAction::Hold)));
    }
}

#[tokio::test]
async fn an_action_that_failed_leaves_the_message_as_it_was() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let message = put_new(&queue, &["a@x.test"]).await;
    disk.set_faults(no_writes());
    assert!(queue.act(OperatorAction::Delete, vec![message.id]).await.is_err());
    disk.set_faults(Faults::default());
    writable(&queue).await;
    assert!(queue.show(message.id).await.is_ok(), "not hidden any more");
    assert_eq!(claimed(&claim(&queue, 1).await), [message.id]);
    assert_eq!(read(&queue, &message).await.unwrap(), content(&message));
}

#[tokio::test]
async fn closing_ends_while_the_disk_is_full_and_the_message_is_sent_again_after_the_restart() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let message = put_new(&queue, &["a@x.test"]).await;
    let attempt = claim_one(&queue).await;
    disk.set_faults(no_writes());
    let outcome = settlement(&queue, &attempt, &[Outcome::Delivered]);
    let settled = queue.settle(attempt, outcome);
    queue.close().await.unwrap();
    assert!(settled.await.is_err());
    drop(queue);
    disk.set_faults(Faults::default());
    let queue = open(&disk, &clock);
    assert_eq!(claimed(&claim(&queue, 1).await), [message.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_come_together_share_one_commit() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = Arc::new(open(&disk, &clock));
    put_new(&*queue, &["warm@x.test"]).await;
    let start = disk.syncs();
    put_new(&*queue, &["alone@x.test"]).await;
    let one_commit = disk.syncs() - start;

    let claims = claim(&*queue, 2).await;
    disk.hold_syncs(true);
    let start = disk.syncs();
    let first = message(&*queue, &["first@x.test"], 100);
    let first = queue.put(first.clone(), Bytes::from(content(&first)), vec![]);
    while !disk.has_a_waiting_sync() {
        tokio::task::yield_now().await;
    }
    // Its commit is under way; all of these wait.
    let mut others = Vec::new();
    for _ in 0..100 {
        let message = message(&*queue, &["other@x.test"], 100);
        others.push(queue.put(message.clone(), Bytes::from(content(&message)), vec![]));
    }
    for claim in claims {
        let settlement = settlement(&*queue, &claim, &[Outcome::Delivered]);
        others.push(Box::pin(queue.settle(claim, settlement).map_ok(drop)));
    }
    disk.hold_syncs(false);
    first.await.unwrap();
    for other in others {
        other.await.unwrap();
    }
    // One more sync may be that of a file that grows.
    let syncs = disk.syncs() - start;
    assert!(syncs <= 2 * one_commit + 1, "{syncs} syncs, one commit takes {one_commit}");
    assert_eq!(queue.status().queued, 101);
}

/// Chunks are not synced one by one, so an error may have taken some of them with it: the message must not come to be without
/// them.
// CASES E5
#[tokio::test]
async fn a_message_whose_chunks_went_with_an_error_does_not_come_to_be() {
    for staged_after in [false, true] {
        let (disk, clock) = (Disk::new(), clock());
        let queue = open(&disk, &clock);
        let large = message(&queue, &["large@x.test"], 3 * CHUNK_SIZE + 1_000);
        let content = Bytes::from(content(&large));
        let chunk = |number: usize| content.slice(number * CHUNK_SIZE..(number + 1) * CHUNK_SIZE);
        queue.stage(large.id, 0, chunk(0)).await.unwrap();
        queue.stage(large.id, 1, chunk(1)).await.unwrap();
        if !staged_after {
            queue.stage(large.id, 2, chunk(2)).await.unwrap();
        }
        disk.set_faults(no_writes());
        let other = message(&queue, &["other@x.test"], 300);
        assert!(put(&queue, &other).await.is_err());
        disk.set_faults(Faults::default());
        writable(&queue).await;
        if staged_after {
            assert!(queue.stage(large.id, 2, chunk(2)).await.is_err(), "what came before it is gone");
        }
        let refused = queue.put(large.clone(), content.slice(3 * CHUNK_SIZE..), vec![]).await;
        assert!(matches!(refused, Err(QueueError::StagedLost(_))), "{refused:?}");
        queue.discard(large.id);
        // Sent once more under another id it is taken.
        let again = put_new(&queue, &["large@x.test"]).await;
        assert!(queue.show(large.id).await.is_err());
        let listed = queue.list(Filter::default(), None, 10).await.unwrap();
        assert_eq!(ids(&listed.messages), [again.id]);
    }
}

/// Once each chunk was a commit of its own: 200 for 25 MiB.
#[tokio::test]
async fn the_chunks_of_a_large_message_share_a_few_syncs() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    put_new(&queue, &["first@x.test"]).await;
    let large = message(&queue, &["large@x.test"], 25 * 1024 * 1024);
    let before = disk.syncs();
    put(&queue, &large).await.unwrap();
    // One for each 8 MiB, one for the put, one whenever the file has grown.
    let syncs = disk.syncs() - before;
    println!("{syncs} syncs");
    assert!(syncs <= 16, "{syncs} syncs");
    assert!(read(&queue, &large).await.unwrap() == content(&large));
    // After a power cut at this moment all of it is there.
    let after = open(&Disk::with(disk.image(super::disk::Fate::Lost)), &clock);
    assert!(read(&after, &large).await.unwrap() == content(&large));
}
