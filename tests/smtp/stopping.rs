//! The server is closed in two steps (rule 11, CASES D5).

use super::test_server::{TestServer, settings};

// CASES D5
#[tokio::test]
async fn idle_sessions_end_at_once_and_transactions_may_finish() {
    let server = TestServer::open(settings()).await;
    let (mut idle, mut busy, mut waiting) =
        (server.greeted().await, server.greeted().await, server.greeted().await);
    busy.begin_data().await;
    waiting.say("MAIL FROM:<c@x.test>\r\nRCPT TO:<d@y.test>\r\nBDAT 3\r\nabc").await;
    for _ in 0..3 {
        waiting.expect("250").await;
    }
    server.shutdown.started.cancel();
    idle.expect("421 4.3.2").await;
    idle.expect_closed().await;
    waiting.say("BDAT 3 LAST\r\ndef").await;
    waiting.expect("250 2.0.0 queued").await;
    waiting.expect("421 4.3.2").await;
    busy.say("x\r\n.\r\nMAIL FROM:<c@x.test>\r\n").await;
    busy.expect("250 2.0.0 queued").await;
    busy.expect("421 4.3.2").await;
    busy.expect_closed().await;
    server.empty().await;
    assert_eq!(server.queue.taken().len(), 2);
}

// CASES D5
#[tokio::test]
async fn what_does_not_finish_within_the_grace_is_not_queued() {
    let server = TestServer::open(settings()).await;
    let (mut data, mut envelope) = (server.greeted().await, server.greeted().await);
    data.begin_data().await;
    data.say("half of it\r\n").await;
    envelope.say("MAIL FROM:<a@x.test>\r\n").await;
    envelope.expect("250").await;
    server.shutdown.started.cancel();
    server.shutdown.grace_over.cancel();
    for client in [&mut data, &mut envelope] {
        client.expect("421 4.3.2").await;
        client.expect_closed().await;
    }
    server.empty().await;
    assert!(server.queue.taken().is_empty());
}
