//! Flipped bytes in the file: what is damaged is noticed and set aside, and stops no other mail.

use super::disk::{Disk, Fate, Mounted};
use super::failing::open;
use super::*;
use postroom::queue::{ActionResult, Filter, OperatorAction};

#[tokio::test]
async fn damaged_content_is_set_aside_and_shown_and_stops_no_other_mail() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let broken = message(&queue, &["a@x.test"], 5_000);
    put(&queue, &broken).await.unwrap();
    let whole = put_new(&queue, &["b@x.test"]).await;
    queue.close().await.unwrap();
    drop(queue);
    assert!(disk.flip(&content(&broken)[1_000..1_064]));
    let queue = open(&disk, &clock);
    let claims = claim(&queue, 10).await;
    assert_eq!(claimed(&claims), [broken.id, whole.id]);
    assert!(
        matches!(queue.chunk(broken.id, 0).await, Err(QueueError::Damaged { id, .. }) if id == broken.id)
    );
    assert_eq!(read(&queue, &whole).await.unwrap(), content(&whole));
    for claim in claims {
        queue.put_back(claim);
    }
    // The writer does things in their order: after this answer the message has been set aside.
    assert_eq!(queue.act(OperatorAction::Hold, vec![broken.id]).await.unwrap(), [ActionResult::Unchanged]);
    assert_eq!(claimed(&claim(&queue, 10).await), [whole.id]);
    drop(queue);
    let queue = open(&disk, &clock);
    let page = queue.list(Filter::default(), None, 10).await.unwrap();
    assert_eq!(ids(&page.messages), [whole.id]);
    assert_eq!(page.damaged.len(), 1);
    assert!(page.damaged[0].0 == broken.id && page.damaged[0].1.contains("checksum"), "{:?}", page.damaged);
    assert_eq!((queue.status().damaged, queue.status().queued), (1, 1));
    let events = queue.events(None, 10).await.unwrap();
    assert_eq!(codes(&events), ["QUEUED", "QUEUED", "DAMAGED"]);
    assert_eq!(queue.act(OperatorAction::Delete, vec![broken.id]).await.unwrap(), [ActionResult::Done]);
    assert_eq!(queue.status().damaged, 0);
}

/// A start after a kill is no occasion to doubt the whole file. redb's commits of one flush are told from unfinished ones by
/// their checksums: with them, after a kill one flipped byte took the newest message away without a word, or
/// stopped the start.
#[tokio::test]
async fn after_a_kill_a_flipped_byte_costs_no_more_than_the_message_that_it_is_in() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let mut all = Vec::new();
    for size in [9_000, 300_000, 300, 4_200, 9_000] {
        let message = message(&queue, &[&format!("r{}@x.test", all.len())], size);
        put(&queue, &message).await.unwrap();
        all.push(message);
    }
    // Staged without a flush, as a kill may find it.
    queue.stage(QueueId::fresh(1), 0, Bytes::from(vec![7; CHUNK_SIZE])).await.unwrap();
    for fate in [Fate::Lost, Fate::Kept] {
        for broken in &all {
            let killed = Disk::with(disk.image(fate));
            let content = content(broken);
            assert!(killed.flip(&content[content.len() - 64..]));
            let queue = open(&killed, &clock);
            let claims = claim(&queue, 10).await;
            assert_eq!(claimed(&claims), ids(&all.clone().into_iter().map(Arc::new).collect::<Vec<_>>()));
            for message in &all {
                let read = read(&queue, message).await;
                assert_eq!(read.is_err(), message.id == broken.id, "{fate:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_record_is_set_aside_and_shown_and_stops_no_other_mail() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let broken = put_new(&queue, &["broken@x.test"]).await;
    let whole = put_new(&queue, &["whole@x.test"]).await;
    queue.close().await.unwrap();
    drop(queue);
    assert!(disk.flip(b"broken@x.test"));
    let queue = open(&disk, &clock);
    assert_eq!(claimed(&claim(&queue, 10).await), [whole.id]);
    assert!(matches!(queue.show(broken.id).await, Err(QueueError::Damaged { .. })));
    assert_eq!(queue.act(OperatorAction::Retry, vec![broken.id]).await.unwrap(), [ActionResult::Unchanged]);
    assert_eq!((queue.status().damaged, queue.status().queued), (1, 1));
    assert_eq!(next_due(&queue).await, None, "its index entry is gone");
    let page = queue.list(Filter::default(), None, 10).await.unwrap();
    assert_eq!((page.messages.len(), page.damaged.len()), (1, 1));
    assert_eq!(queue.act(OperatorAction::Delete, vec![broken.id]).await.unwrap(), [ActionResult::Done]);
    assert_eq!(queue.list(Filter::default(), None, 10).await.unwrap().damaged, []);
    assert_eq!((queue.status().damaged, queue.status().queued), (0, 1));
}

/// Flips a bit of the message's entry in the due index: of the moment (8 octets) or of the id behind it.
fn misplace(disk: &Disk, message: &Message, place: usize) {
    let key = [&message.due.unwrap().0.to_le_bytes()[..], &message.id.number().to_le_bytes()].concat();
    assert!(disk.flip_behind(&key[..place], &key[place..]));
}

/// The keys of an index are under no checksum. Where it shows that one was altered, all messages that lost their place
/// among those that are due get it back.
#[tokio::test]
async fn messages_that_lost_their_place_in_the_due_index_get_it_back() {
    // Of the id, so that the entry names nobody: a byte that leaves it in its order, and one that does not. Of the
    // moment its end: it is due in a distant future, and those behind it wait with it.
    for place in [8, 8 + 8, 7] {
        let (disk, clock) = (Disk::new(), clock());
        let queue = open(&disk, &clock);
        let lost = put_new(&queue, &["a@x.test"]).await;
        let all = [lost.id, put_new(&queue, &["b@x.test"]).await.id, put_new(&queue, &["c@x.test"]).await.id];
        queue.close().await.unwrap();
        drop(queue);
        misplace(&disk, &lost, place);
        let queue = open(&disk, &clock);
        let mut claims = claimed(&claim(&queue, 10).await);
        next_due(&queue).await;
        assert_eq!(ids(&queue.list(Filter::default(), None, 10).await.unwrap().messages).len(), 3);
        // The writer does things in their order: after this answer it has looked after what was noticed.
        assert_eq!(
            queue.act(OperatorAction::Release, all.to_vec()).await.unwrap(),
            [ActionResult::Unchanged; 3]
        );
        claims.extend(claimed(&claim(&queue, 10).await));
        claims.sort();
        assert_eq!(claims, all, "{place}");
        let events = queue.events(None, 10).await.unwrap();
        assert_eq!(codes(&events), ["QUEUED", "QUEUED", "QUEUED", "DAMAGED"], "{place}");
        // Nobody trips over it again.
        assert!(claim(&queue, 10).await.is_empty());
        assert_eq!(next_due(&queue).await, None, "{place}");
        let health = queue.status();
        assert_eq!((health.queued, health.damaged), (3, 0));
    }
}

/// An entry with an earlier moment than the record's: no settlement would find it, so that its message would be sent again
/// and again without a pause while the upstream puts it off.
#[tokio::test]
async fn a_message_that_is_due_too_early_keeps_to_its_schedule() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let early = put_new(&queue, &["a@x.test"]).await;
    let other = put_new(&queue, &["b@x.test"]).await;
    queue.close().await.unwrap();
    drop(queue);
    misplace(&disk, &early, 4);
    let queue = open(&disk, &clock);
    assert_eq!(claimed(&claim(&queue, 10).await), [other.id]);
    assert_eq!(queue.act(OperatorAction::Release, vec![early.id]).await.unwrap(), [ActionResult::Unchanged]);
    let attempt = claim_one(&queue).await;
    assert_eq!(attempt.message.id, early.id);
    settle(&queue, attempt, &[Outcome::Deferred]).await;
    assert!(claim(&queue, 10).await.is_empty());
    assert_eq!(next_due(&queue).await, Some(moment_in(&queue, MINUTE)));
}

/// The last entry, with a moment before the first one's: noticed, mended, and that is all.
#[tokio::test]
async fn the_due_index_is_mended_once() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let mut all = Vec::new();
    for minutes in 1..=4 {
        let mut message = message(&queue, &["a@x.test"], 500);
        message.due = Some(moment_in(&queue, minutes * MINUTE));
        put(&queue, &message).await.unwrap();
        all.push(message);
    }
    queue.close().await.unwrap();
    drop(queue);
    misplace(&disk, &all[3], 4);
    let queue = open(&disk, &clock);
    for action in [OperatorAction::Release, OperatorAction::Retry, OperatorAction::Hold] {
        for _ in 0..3 {
            next_due(&queue).await;
            assert_eq!(
                queue.act(OperatorAction::Release, vec![all[3].id]).await.unwrap(),
                [ActionResult::Unchanged]
            );
        }
        queue.act(action, vec![all[3].id]).await.unwrap();
        let events = queue.events(None, 20).await.unwrap();
        assert_eq!(codes(&events).iter().filter(|code| **code == "DAMAGED").count(), 1, "{action:?}");
        queue.act(OperatorAction::Release, vec![all[3].id]).await.unwrap();
    }
    assert_eq!(next_due(&queue).await, all[3].due.map(|_| queue.now()), "retried: due at once");
}

/// A record that cannot be read keeps a place in the index that is made anew: whoever claims it notices.
#[tokio::test]
async fn a_damaged_record_is_noticed_though_the_index_was_made_anew() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let early = put_new(&queue, &["a@x.test"]).await;
    let mut broken = message(&queue, &["broken@x.test"], 500);
    broken.due = Some(moment_in(&queue, MINUTE));
    put(&queue, &broken).await.unwrap();
    queue.close().await.unwrap();
    drop(queue);
    misplace(&disk, &early, 4);
    assert!(disk.flip(b"broken@x.test"));
    let queue = open(&disk, &clock);
    assert!(claim(&queue, 10).await.is_empty());
    // The writer does things in their order: the index has been mended after the first answer, and what the claim
    // between the two found has been set aside after the second.
    assert_eq!(queue.act(OperatorAction::Release, vec![early.id]).await.unwrap(), [ActionResult::Unchanged]);
    assert_eq!(claimed(&claim(&queue, 10).await), [early.id]);
    assert_eq!(queue.act(OperatorAction::Release, vec![early.id]).await.unwrap(), [ActionResult::Unchanged]);
    assert_eq!((queue.status().queued, queue.status().damaged), (1, 1));
}

/// Alone and due in a distant future, it looks like any message that waits. An operator who does not want to wait is
/// done, though the record says that it is due already.
#[tokio::test]
async fn a_retry_puts_a_message_back_among_those_that_are_due() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let lost = put_new(&queue, &["a@x.test"]).await;
    queue.close().await.unwrap();
    drop(queue);
    misplace(&disk, &lost, 7);
    let queue = open(&disk, &clock);
    assert!(claim(&queue, 10).await.is_empty());
    assert_eq!(queue.act(OperatorAction::Retry, vec![lost.id]).await.unwrap(), [ActionResult::Done]);
    assert_eq!(claimed(&claim(&queue, 10).await), [lost.id]);
}

#[tokio::test]
async fn one_flipped_byte_anywhere_never_panics_nor_passes_for_mail() {
    let (disk, clock) = (Disk::new(), clock());
    let queue = open(&disk, &clock);
    let mut all = Vec::new();
    for size in [100, 4_200, 9_000] {
        let message = message(&queue, &["a@x.test"], size);
        put(&queue, &message).await.unwrap();
        all.push(message);
    }
    queue.close().await.unwrap();
    drop(queue);
    let image = disk.image(Fate::Kept);
    let used: Vec<usize> = (0..image.len()).filter(|place| image[*place] != 0).collect();
    let mut random = fastrand::Rng::with_seed(4);
    for _ in 0..400 {
        let mut image = image.clone();
        let place = used[random.usize(..used.len())];
        image[place] ^= 1 << random.u32(..8);
        let disk = Disk::with(image);
        let opened = RedbQueue::open_on(move || Ok(Mounted(disk.clone())), options(&clock));
        let Ok(queue) = opened else { continue };
        let _ = queue.list(Filter::default(), None, 10).await;
        for claim in queue.claim(MINUTE, of_no_site(queue.now(), 10), usize::MAX).await.unwrap_or_default() {
            let Some(original) = all.iter().find(|one| one.id == claim.message.id) else {
                panic!("byte {place}: a message that nobody put");
            };
            assert_eq!(*claim.message, *original, "byte {place}");
            if let Ok(read) = read(&queue, original).await {
                assert!(read == content(original), "byte {place}: damaged content passed for mail");
            }
        }
        let _ = put(&queue, &message(&queue, &["b@x.test"], 700)).await;
    }
}
