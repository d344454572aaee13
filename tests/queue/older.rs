//! A queue file that an older Postroom wrote is taken over as it is.

use super::{clock, options};
use postroom::event::EventType;
use postroom::mail::{Class, HoldReason, MessageState, RecipientState};
use postroom::queue::redb::RedbQueue;
use postroom::queue::{EventLog, Filter, MailStore, Operations, Queue, QueueStatus, Timeline};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Unpacks a sample of `tests/samples` to a file.
fn unpack(sample: &str, to: &Path) {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(sample);
    let unpacked = Command::new("gzip").args(["-d", "-c"]).arg(packed).stdout(Stdio::piped()).output();
    let unpacked = unpacked.expect("gzip, which every system has");
    assert!(unpacked.status.success());
    std::fs::File::create(to).unwrap().write_all(&unpacked.stdout).unwrap();
}

/// Written by version 0.1.0: seven messages in every state that they can be in, one of them in three chunks. Once every
/// record that lacked a new field would have been "damaged".
#[tokio::test]
async fn what_the_first_release_stored_is_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    unpack("queue-v1.redb.gz", &path);

    // Without a proxy, too, and without changing anything.
    let reader = RedbQueue::open_read_only(&path).unwrap();
    assert_eq!(reader.list(&Filter::default(), None, 100).unwrap().messages.len(), 7);
    let events = reader.events(None, 1_000).unwrap();
    drop(reader);

    let clock = clock();
    let queue = RedbQueue::open(&path, options(&clock)).unwrap();
    let expected =
        QueueStatus { writable: true, queued: 1, deferred: 4, held: 1, failed: 1, damaged: 0, claimed: 0 };
    assert_eq!(queue.status(), expected);
    let page = queue.list(Filter::default(), None, 100).await.unwrap();
    let told: Vec<_> = page
        .messages
        .iter()
        .map(|one| (one.header.subject.as_deref().unwrap_or_default(), one.state(), one.attempts))
        .collect();
    assert_eq!(
        told,
        [
            ("held", MessageState::Held, 0),
            ("queued", MessageState::Queued, 0),
            ("refused by one", MessageState::Deferred, 1),
            ("three chunks", MessageState::Deferred, 1),
            ("failed", MessageState::Failed, 1),
            ("partly delivered", MessageState::Deferred, 1),
            ("deferred", MessageState::Deferred, 1),
        ]
    );
    let partly: Vec<_> = page.messages[5].recipients.iter().map(|one| one.state).collect();
    assert_eq!(partly, [RecipientState::Delivered, RecipientState::Deferred, RecipientState::Failed]);
    let large = &page.messages[3];
    let mut content = Vec::new();
    for number in 0..large.chunks {
        content.extend(queue.chunk(large.id, number).await.unwrap());
    }
    assert_eq!((large.chunks, content.len() as u64), (3, large.size));
    assert!(content.ends_with(b"0008999 a line of a large message\r\n"));
    // The index of what waits was laid out anew: retries once their time has come, and what was never tried before them.
    // It was stopped with sending switched off, so no time has passed for it.
    queue.freeze("", false);
    clock.advance(10 * super::MINUTE);
    let claims = super::claim(&queue, 100).await;
    let subjects: Vec<_> =
        claims.iter().map(|claim| claim.message.header.subject.as_deref().unwrap_or_default()).collect();
    assert_eq!(subjects, ["queued", "refused by one", "three chunks", "partly delivered", "deferred"]);
    // Its events stood in one table. Each type is counted for itself from now on, and ids go on.
    assert!(events.iter().any(|event| event.fact.code == "HELD"));
    let after = queue.events(None, 1_000).await.unwrap();
    assert_eq!(after, events);
    queue.keep_events(1);
    let next = events.last().unwrap().id + 1;
    super::put_new(&queue, &["a@x.test"]).await;
    let kept = queue.events(Some(0), 1_000).await.unwrap();
    let newest = |kind| events.iter().rfind(|event| event.fact.kind == kind).unwrap().id;
    let (warning, error) = (newest(EventType::Warning), newest(EventType::Error));
    let mut expected = [warning, error, next];
    expected.sort();
    assert_eq!(kept.iter().map(|event| event.id).collect::<Vec<_>>(), expected);
    queue.close().await.unwrap();
}

/// Messages as they were stored before there were modes and reasons to hold.
#[tokio::test]
async fn what_was_stored_before_there_were_modes_is_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    unpack("queue-v2.redb.gz", &path);
    let clock = clock();
    let queue = RedbQueue::open(&path, options(&clock)).unwrap();
    let page = queue.list(Filter::default(), None, 100).await.unwrap();
    assert_eq!(page.damaged, []);
    let told: Vec<_> = page
        .messages
        .iter()
        .map(|one| (one.header.subject.as_deref().unwrap_or_default(), one.state(), one.class))
        .collect();
    assert_eq!(
        told,
        [
            ("queued", MessageState::Queued, Class::Normal),
            ("held", MessageState::Held, Class::Bulk),
            ("refused by one", MessageState::Failed, Class::Normal),
            ("failed", MessageState::Failed, Class::Normal),
            ("partly delivered", MessageState::Deferred, Class::Normal),
            ("deferred", MessageState::Deferred, Class::Normal),
        ]
    );
    let reasons: Vec<Vec<_>> = page.messages.iter().map(|one| one.hold.iter().copied().collect()).collect();
    assert_eq!(reasons, [vec![], vec![HoldReason::Operator], vec![], vec![], vec![], vec![]]);
    assert!(page.messages.iter().all(|one| !one.under_mode));
    let reply = page.messages[5].recipients[0].reply.as_deref();
    assert_eq!(reply, Some("451 4.2.1 later"));
}
