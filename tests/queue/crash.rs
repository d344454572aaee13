//! The power is cut at every single sync of a life full of everything, with what was not synced lost, kept, or kept
//! in part; then the queue is opened again and has to keep its promises.

use super::disk::{Disk, Fate, Mounted};
use super::*;
use postroom::clock::Clock;
use postroom::queue::{Filter, OperatorAction, SentMail};
use std::collections::BTreeMap;

/// What the outside world knows of a message.
#[derive(Clone, Debug)]
struct Known {
    message: Message,
    put: Knowledge,
    /// Delivered or deleted.
    removed: Knowledge,
    /// Queued with the verdict that it failed.
    bounce: Option<QueueId>,
    /// Archived as sent, which is one way to be removed.
    sent: Knowledge,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Knowledge {
    No,
    /// Asked for, and answered with an error or not at all.
    Perhaps,
    Yes,
}

fn open(disk: &Arc<Disk>, clock: &Arc<ManualClock>) -> Result<RedbQueue, postroom::queue::redb::OpenError> {
    let disk = disk.clone();
    RedbQueue::open_on(move || Ok(Mounted(disk.clone())), options(clock))
}

/// Puts, settles and acts, until everything is done or the power is gone.
async fn live(queue: &RedbQueue, clock: &ManualClock, known: &mut BTreeMap<QueueId, Known>) -> Option<()> {
    for round in 0..6_usize {
        clock.advance(2 * MINUTE);
        for size in [300, 4_200, [CHUNK_SIZE + 9_000, 0][round % 2]] {
            let message = message(queue, &["a@x.test", "b@x.test"], size);
            let id = message.id;
            known.insert(
                id,
                Known {
                    message: message.clone(),
                    put: Knowledge::Perhaps,
                    removed: Knowledge::No,
                    bounce: None,
                    sent: Knowledge::No,
                },
            );
            put(queue, &message).await.ok()?;
            known.get_mut(&id)?.put = Knowledge::Yes;
        }
        let claims = queue.claim(MINUTE, of_no_site(queue.now(), 2 + round % 2), usize::MAX).await.ok()?;
        for (number, claim) in claims.into_iter().enumerate() {
            let id = claim.message.id;
            let outcomes = match (round + number) % 3 {
                0 => Outcome::Deferred,
                1 => Outcome::Failed,
                _ => Outcome::Delivered,
            };
            let mut all = vec![outcomes; claim.message.open_recipients().count()];
            all[0] = Outcome::Delivered;
            let failed = claim.message.recipients.iter().any(|one| one.state == RecipientState::Failed);
            let removes = match claim.message.is_notice {
                true => !all.contains(&Outcome::Deferred),
                false => all.iter().all(|outcome| *outcome == Outcome::Delivered) && !failed,
            };
            if removes {
                known.get_mut(&id)?.removed = Knowledge::Perhaps;
            }
            let mut settlement = settlement(queue, &claim, &all);
            let failed: Vec<&str> = settlement
                .verdicts
                .iter()
                .filter(|one| one.verdict.outcome == Outcome::Failed)
                .map(|one| one.address.as_str())
                .collect();
            if !failed.is_empty() && !claim.message.is_notice {
                let size = [400, CHUNK_SIZE + 700][number % 2];
                let (message, bounce) = follow_up(queue, &claim.message, &failed, size).await;
                let (put, removed) = (Knowledge::Perhaps, Knowledge::No);
                known.get_mut(&id)?.bounce = Some(message.id);
                known.insert(message.id, Known { message, put, removed, bounce: None, sent: Knowledge::No });
                settlement.follow_up = Some(bounce);
            }
            let archived = (removes && round % 2 == 0).then(|| clock.wall());
            if archived.is_some() {
                known.get_mut(&id)?.sent = Knowledge::Perhaps;
            }
            settlement.archived = archived;
            // The power may go here; then nobody answers until the queue is dropped.
            tokio::select! {
                settled = queue.settle(claim, settlement) => drop(settled.ok()?),
                () = no_longer_writable(queue) => return None,
            }
            if let Some(bounce) = known.get(&id)?.bounce {
                known.get_mut(&bounce)?.put = Knowledge::Yes;
            }
            if removes {
                known.get_mut(&id)?.removed = Knowledge::Yes;
            }
            if archived.is_some() {
                known.get_mut(&id)?.sent = Knowledge::Yes;
            }
        }
        let listed = queue.list(Filter::default(), None, 1).await.ok()?;
        let newest = listed.messages.first()?.id;
        let action = [OperatorAction::Hold, OperatorAction::Delete, OperatorAction::Retry][round % 3];
        if action == OperatorAction::Delete {
            known.get_mut(&newest)?.removed = Knowledge::Perhaps;
        }
        queue.act(action, vec![newest]).await.ok()?;
        if action == OperatorAction::Delete {
            known.get_mut(&newest)?.removed = Knowledge::Yes;
        }
        // Staged and never put.
        queue.stage(QueueId::fresh(1), 0, Bytes::from(vec![7; CHUNK_SIZE])).await.ok()?;
    }
    Some(())
}

async fn no_longer_writable(queue: &RedbQueue) {
    while queue.status().writable {
        tokio::task::yield_now().await;
    }
}

async fn check(disk: Arc<Disk>, clock: &Arc<ManualClock>, known: &BTreeMap<QueueId, Known>, what: &str) {
    let queue = open(&disk, clock).unwrap_or_else(|error| panic!("{what}: {error}"));
    let listed = queue.list(Filter::default(), None, 1_000).await.unwrap();
    assert_eq!(listed.damaged, [], "{what}");
    for message in &listed.messages {
        let known =
            known.get(&message.id).unwrap_or_else(|| panic!("{what}: {} came from nowhere", message.id));
        assert_ne!(known.removed, Knowledge::Yes, "{what}: {} is back", message.id);
        let stored = read(&queue, &known.message).await.unwrap();
        assert!(stored == content(&known.message), "{what}: {} has other content", message.id);
    }
    let there = ids(&listed.messages);
    // A verdict and its bounce are there together or not at all.
    for message in &listed.messages {
        let Some(bounce) = known.get(&message.id).and_then(|known| known.bounce) else { continue };
        let told = message.recipients.iter().any(|one| one.failure_told);
        let gone = known.get(&bounce).is_some_and(|bounce| bounce.removed != Knowledge::No);
        assert!(told == there.contains(&bounce) || (told && gone), "{what}: {} told: {told}", message.id);
    }
    for (id, known) in known {
        let owed = known.put == Knowledge::Yes && known.removed == Knowledge::No;
        assert!(!owed || there.contains(id), "{what}: {id} is lost");
    }
    // A message is queued or sent, whatever the cut fell between.
    let sent = queue.list_sent(Filter::default(), None, 1_000).await.unwrap().messages;
    let sent: Vec<QueueId> = sent.iter().map(|sent| sent.message.id).collect();
    for (id, known) in known {
        match known.sent {
            Knowledge::No => assert!(!sent.contains(id), "{what}: {id} was never sent"),
            Knowledge::Perhaps => assert!(sent.contains(id) != there.contains(id), "{what}: {id}"),
            Knowledge::Yes => assert!(sent.contains(id), "{what}: {id} was sent and is not there"),
        }
    }
    // The counters and indexes say what the records say.
    let count = |state| listed.messages.iter().filter(|one| one.state() == state).count() as u64;
    let health = queue.status();
    assert_eq!(
        [health.queued, health.deferred, health.held, health.failed],
        [MessageState::Queued, MessageState::Deferred, MessageState::Held, MessageState::Failed].map(count),
        "{what}"
    );
    for state in [MessageState::Queued, MessageState::Deferred, MessageState::Held, MessageState::Failed] {
        let filter = Filter::of_states(vec![state]);
        let page = queue.list(filter, None, 1_000).await.unwrap();
        assert_eq!(page.messages.len() as u64, count(state), "{what}");
    }
    // Everything that waits is claimed, once.
    clock.advance(60 * MINUTE);
    let mut due: Vec<_> = listed.messages.iter().filter(|one| one.due.is_some()).map(|one| one.id).collect();
    let mut all = claimed(&claim(&queue, 1_000).await);
    due.sort();
    all.sort();
    assert_eq!(all, due, "{what}");
    put_new(&queue, &["after@x.test"]).await;
    let last = claim_one(&queue).await;
    settle(&queue, last, &[Outcome::Delivered]).await;
    queue.close().await.unwrap();
}

/// One life with the power cut at that sync. None when the life has no such sync.
async fn life_and_death(cut: u64) -> Option<(Arc<Disk>, Arc<ManualClock>, BTreeMap<QueueId, Known>)> {
    let (disk, clock) = (Disk::new(), clock());
    disk.cut_at(cut);
    let mut known = BTreeMap::new();
    if let Ok(queue) = open(&disk, &clock) {
        let through = live(&queue, &clock, &mut known).await.is_some();
        drop(queue);
        if through && disk.has_power() {
            return None;
        }
    }
    Some((disk, clock, known))
}

#[tokio::test]
async fn a_power_cut_at_any_sync_loses_nothing_and_revives_nothing() {
    let mut cuts = 0;
    while let Some((disk, clock, known)) = life_and_death(cuts + 1).await {
        cuts += 1;
        let fates = [Fate::Lost, Fate::Kept, Fate::Some(cuts), Fate::Some(cuts + 1_000)];
        for fate in fates {
            let image = disk.image(fate);
            if known.is_empty() && open(&Disk::with(image.clone()), &clock).is_err() {
                // Before the first start has come to its end: a file would not have its name yet.
                continue;
            }
            check(Disk::with(image), &clock, &known, &format!("cut at sync {cuts}, {fate:?}")).await;
        }
    }
    assert!(cuts > 50, "only {cuts} syncs: the life is too short");
}

// CASES E10
#[tokio::test]
async fn a_second_power_cut_while_the_first_is_repaired_loses_nothing_either() {
    for cut in (5..60).step_by(7) {
        let (disk, clock, known) = life_and_death(cut).await.unwrap();
        for again in 1..6 {
            let second = Disk::with(disk.image(Fate::Some(cut)));
            second.cut_at(again);
            drop(open(&second, &clock));
            let what = format!("cut at sync {cut}, and again at {again}");
            check(Disk::with(second.image(Fate::Some(again))), &clock, &known, &what).await;
        }
    }
}
