//! 250 means stored, and nothing else does.

use super::test_server::{TestServer, settings};
use postroom::event::{EventType, code};
use postroom::mail::{BodyType, MessageState};
use postroom::queue::{CHUNK_SIZE, MailStore, QueueError};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Content of every size around the borders of chunks comes through DATA and BDAT unchanged, and gives its memory
/// back.
#[tokio::test]
async fn content_of_any_size_is_stored_as_it_was_sent() {
    let server = TestServer::open(settings()).await;
    let mut client = server.greeted().await;
    let all = server.memory.available_permits();
    let sizes =
        [0, 2, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE, 2 * CHUNK_SIZE + 3, 3_000_000];
    for size in sizes {
        let line = format!("{}\r\n", "x".repeat(61));
        let mut content: String = line.repeat(size / line.len() + 1);
        content.truncate(size.saturating_sub(2));
        let content =
            if size == 0 { content } else { content.replace("\r", "y").replace("\n", "z") + "\r\n" };
        client.begin_data().await;
        client.say(format!("{content}.\r\n")).await;
        let reply = client.expect("250 2.0.0 queued as ").await;
        client.say("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n").await;
        client.expect("250").await;
        client.expect("250").await;
        client.say(format!("BDAT {}\r\n{}", size / 2, &content[..size / 2])).await;
        client.expect("250").await;
        client.say(format!("BDAT {} LAST\r\n{}", size - size / 2, &content[size / 2..])).await;
        client.expect("250 2.0.0 queued as ").await;
        let taken = std::mem::take(&mut *server.queue.messages.lock().unwrap());
        assert_eq!(taken.len(), 2);
        assert_eq!(reply, format!("250 2.0.0 queued as {}", taken[0].0.id));
        for (message, stored) in taken {
            assert!(stored == content.as_bytes(), "{size} octets came out differently");
            assert_eq!(message.chunks as usize, size.div_ceil(CHUNK_SIZE));
        }
        assert_eq!(server.memory.available_permits(), all);
    }
}

#[tokio::test]
async fn the_message_tells_where_it_came_from() {
    let server = TestServer::open(settings()).await;
    let mut client = server.greeted().await;
    client
        .say("MAIL FROM:<a@x.test> BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<b@y.test>\r\nDATA\r\nx\r\n.\r\n")
        .await;
    for reply in ["250", "250", "354", "250"] {
        client.expect(reply).await;
    }
    let (message, _) = server.queue.taken().remove(0);
    assert_eq!(message.origin.client, Some(IpAddr::from([127, 0, 0, 1])));
    assert_eq!((&*message.origin.listener, &*message.origin.helo), ("local", "c.test"));
    assert_eq!(message.origin.protocol, "UTF8SMTP");
    assert_eq!((message.body, message.smtp_utf8), (BodyType::EightBitMime, true));
    assert_eq!((message.state(), message.attempts), (MessageState::Queued, 0));
    assert_eq!((message.due, message.life_start.0), (Some(message.life_start), 7));
    let facts = server.queue.facts.lock().unwrap();
    assert_eq!((&*facts[0].code, facts[0].queue_id), (code::QUEUED, Some(message.id)));
    assert_eq!(facts[0].message, "from <a@x.test> for 1 recipient, 3 bytes");
}

/// E1, E4: no room is 452, any other fault 451; the session goes on and so does reception when the fault is gone.
// CASES E1, E4
#[tokio::test]
async fn what_is_not_stored_is_never_acknowledged() {
    let server = TestServer::open(settings()).await;
    let mut client = server.greeted().await;
    let full = || Some(QueueError::Full("No space left on device".into()));
    let broken = || Some(QueueError::Storage("Input/output error".into()));
    let large = format!("{}\r\n.\r\n", "x".repeat(3 * CHUNK_SIZE));
    for (put, stage, content, reply) in [
        (full(), None, "x\r\n.\r\n", "452 4.3.1"),
        (broken(), None, "x\r\n.\r\n", "451 4.3.0"),
        (broken(), None, &*large, "451 4.3.0"),
        (None, full(), &*large, "452 4.3.1"),
        (None, broken(), &*large, "451 4.3.0"),
        (None, None, &*large, "250"),
    ] {
        *server.queue.faults.put.lock().unwrap() = put;
        *server.queue.faults.stage.lock().unwrap() = stage;
        client.begin_data().await;
        client.say(content).await;
        client.expect(reply).await;
        assert!(server.queue.staged.lock().unwrap().is_empty(), "chunks were left behind");
    }
    assert_eq!(server.queue.taken().len(), 1);
}

/// The client is gone before its 250: the message is the queue's all the same.
#[tokio::test]
async fn a_message_that_is_complete_is_queued_even_if_the_client_leaves() {
    let server = TestServer::open(settings()).await;
    let closed = server.queue.gate.write().await;
    let mut client = server.greeted().await;
    client.begin_data().await;
    client.say("x\r\n.\r\n").await;
    drop(client);
    drop(closed);
    server.empty().await;
    assert_eq!(server.queue.taken().len(), 1);
}

#[tokio::test]
async fn chunks_of_a_message_that_is_given_up_are_discarded() {
    let server = TestServer::open(settings()).await;
    let large = "x".repeat(3 * CHUNK_SIZE);
    let mut data = server.greeted().await;
    data.begin_data().await;
    data.say(&large).await;
    let mut chunks = server.greeted().await;
    chunks.say("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n").await;
    chunks.say(format!("BDAT {}\r\n{large}", large.len())).await;
    for _ in 0..3 {
        chunks.expect("250").await;
    }
    assert!(!server.queue.staged.lock().unwrap().is_empty());
    chunks.say("RSET\r\n").await;
    chunks.expect("250").await;
    drop(data);
    drop(chunks);
    server.empty().await;
    assert!(server.queue.staged.lock().unwrap().is_empty());
    assert_eq!(server.memory.available_permits(), 256 * 1024);
}

/// E6: one event for an episode, not one for each message.
// CASES E6
#[tokio::test]
async fn low_disk_is_recorded_once() {
    let mut settings = settings();
    settings.queue.min_free_space = u64::MAX;
    let server = TestServer::open(settings).await;
    let mut client = server.greeted().await;
    for _ in 0..3 {
        client.say("MAIL FROM:<a@x.test>\r\n").await;
        client.expect("452 4.3.1").await;
    }
    let facts = server.queue.facts.lock().unwrap();
    assert_eq!(facts.iter().filter(|fact| fact.code == code::LOW_DISK).count(), 1);
}

/// A disk with room for one of two messages that are announced at the same time.
// CASES E6
#[tokio::test]
async fn what_was_announced_is_kept_free_until_its_transaction_ends() {
    let mut settings = settings();
    settings.queue.min_free_space = 500_000;
    let server = TestServer::open(settings).await;
    *server.queue.disk.lock().unwrap() = Some(1_000_000);
    let (mut first, mut second) = (server.greeted().await, server.greeted().await);
    for ended in ["RSET\r\n", "EHLO again\r\n", "RCPT TO:<b@y.test>\r\nDATA\r\nshort\r\n.\r\n"] {
        first.say("MAIL FROM:<a@x.test> SIZE=400000\r\n").await;
        first.expect("250").await;
        second.say("MAIL FROM:<a@x.test> SIZE=200000\r\n").await;
        second.expect("452 4.3.1").await;
        first.say(ended).await;
        if ended.contains("DATA") {
            first.expect("250").await;
            first.expect("354").await;
        }
        first.expect("250").await;
        second.say("MAIL FROM:<a@x.test> SIZE=200000\r\n").await;
        second.expect("250").await;
        second.say("RSET\r\n").await;
        second.expect("250").await;
    }
    first.say("MAIL FROM:<a@x.test> SIZE=400000\r\n").await;
    first.expect("250").await;
    drop(first);
    server.empty_but(1).await;
    second.say("MAIL FROM:<a@x.test> SIZE=400000\r\n").await;
    second.expect("250").await;
}

/// A client need not say how much will come: then each chunk is asked for.
// CASES E6
#[tokio::test]
async fn content_that_nobody_announced_is_refused_where_it_would_go_below_the_limit() {
    let mut settings = settings();
    settings.queue.min_free_space = 500_000;
    let server = TestServer::open(settings).await;
    *server.queue.disk.lock().unwrap() = Some(1_000_000);
    let mut client = server.greeted().await;
    for (size, reply) in [(450_000, "250"), (150_000, "452 4.3.1"), (40_000, "250"), (20_000, "452 4.3.1")] {
        client.begin_data().await;
        client.say(format!("{}\r\n.\r\n", "x".repeat(size))).await;
        client.expect(reply).await;
        assert!(server.queue.free_space().unwrap() >= 500_000);
    }
    assert_eq!(server.queue.taken().len(), 2);
}

// CASES E6, H5
#[tokio::test]
async fn an_episode_of_low_disk_has_one_event_when_it_begins_and_one_when_it_is_over() {
    let mut settings = settings();
    settings.queue.min_free_space = 500_000;
    let server = TestServer::open(settings.clone()).await;
    let settings = Arc::new(settings);
    let mut client = server.greeted().await;
    let disk = |bytes| *server.queue.disk.lock().unwrap() = Some(bytes);
    let said = || {
        let facts = server.queue.facts.lock().unwrap();
        let low = facts.iter().filter(|fact| fact.code == code::LOW_DISK);
        low.map(|fact| fact.kind).collect::<Vec<_>>()
    };
    for episode in 1..4 {
        disk(499_999);
        if episode == 2 {
            // Nobody sends mail.
            server.smtp.disk_space.record_changes(&settings);
        }
        for _ in 0..3 {
            client.say("MAIL FROM:<a@x.test>\r\n").await;
            client.expect("452 4.3.1").await;
            server.smtp.disk_space.record_changes(&settings);
        }
        // Back and forth at the limit is the same episode.
        disk(510_000);
        server.smtp.disk_space.record_changes(&settings);
        disk(499_999);
        server.smtp.disk_space.record_changes(&settings);
        disk(600_000);
        server.smtp.disk_space.record_changes(&settings);
        let expected = [EventType::Warning, EventType::Information].repeat(episode);
        assert_eq!(said(), expected);
    }
    // A message that is too large for what there is, is no episode.
    client.say("MAIL FROM:<a@x.test> SIZE=200000\r\n").await;
    client.expect("452 4.3.1").await;
    assert_eq!(said().len(), 6);
}

// CASES D4
#[tokio::test]
async fn a_panic_ends_only_its_own_session() {
    let mut settings = settings();
    settings.queue.max_messages = 10;
    let server = TestServer::open(settings).await;
    let (mut unlucky, mut other) = (server.greeted().await, server.greeted().await);
    server.queue.faults.health_panics.store(true, Ordering::SeqCst);
    unlucky.say("MAIL FROM:<a@x.test>\r\n").await;
    unlucky.expect("421 4.3.0").await;
    unlucky.expect_closed().await;
    server.queue.faults.health_panics.store(false, Ordering::SeqCst);
    other.begin_data().await;
    other.say(".\r\n").await;
    other.expect("250").await;
    server.greeted().await;
}
