//! Who was refused, as events: the first at once, the others of a minute together, whatever the number of clients.

use super::test_server::{Client, TestServer, settings, within};
use postroom::clock::ManualClock;
use postroom::event::{EventType, code};
use postroom::smtp::refusals::{COUNTING_PERIOD, MAX_CLIENTS};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::TcpSocket;

/// A server where nobody gets a session.
async fn closed_door() -> (TestServer, Arc<ManualClock>) {
    let mut settings = settings();
    settings.limits.connections = 0;
    let clock = Arc::new(ManualClock::at(jiff::Timestamp::from_second(1_800_000_000).unwrap()));
    (TestServer::open_at(settings, clock.clone()).await, clock)
}

/// Connects from an address of loopback that is that client's own, and hears that there is no session.
async fn knock(server: &TestServer, client: usize) {
    let socket = TcpSocket::new_v4().unwrap();
    let from = Ipv4Addr::new(127, 1, (client >> 8) as u8, client as u8);
    socket.bind((from, 0).into()).unwrap();
    let mut client = Client(BufReader::new(within(socket.connect(server.address)).await.unwrap()));
    client.expect("421 4.7.0").await;
    client.expect_closed().await;
}

/// What was told since it was asked last.
fn told(server: &TestServer) -> Vec<String> {
    let facts = std::mem::take(&mut *server.queue.facts.lock().unwrap());
    for fact in &facts {
        let kind = (fact.kind, fact.source.as_str(), fact.code.as_str());
        assert_eq!(kind, (EventType::Warning, "Listener", code::REFUSED));
    }
    facts.into_iter().map(|fact| fact.message).collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_client_that_is_refused_all_day_is_an_event_a_minute() {
    let (server, clock) = closed_door().await;
    knock(&server, 1).await;
    let first = told(&server);
    assert_eq!(first.len(), 1, "at once: {first:?}");
    assert!(first[0].starts_with("127.1.0.1 was refused by listener local: 421 4.7.0 "), "{first:?}");
    for _ in 0..3 {
        knock(&server, 1).await;
    }
    clock.advance(COUNTING_PERIOD - SECOND);
    server.smtp.refusals.record_due();
    assert!(told(&server).is_empty(), "counted");
    // Told when the minute is over, though nobody comes again.
    clock.advance(SECOND);
    server.smtp.refusals.record_due();
    assert_eq!(told(&server), [format!("{} (3 times since the event before)", first[0])]);
    // With that the next minute begins; who comes after it is told together with those within.
    knock(&server, 1).await;
    clock.advance(COUNTING_PERIOD);
    knock(&server, 1).await;
    assert_eq!(told(&server), [format!("{} (2 times since the event before)", first[0])]);
    // After a quiet minute all is forgotten, and the next one is told at once.
    clock.advance(COUNTING_PERIOD);
    server.smtp.refusals.record_due();
    assert!(told(&server).is_empty());
    knock(&server, 1).await;
    assert_eq!(told(&server), first);
}

/// A whole network that knocks fills neither memory nor the event log, and is told all the same.
#[tokio::test]
async fn more_clients_than_are_told_apart_are_counted_together() {
    let (server, clock) = closed_door().await;
    for client in 0..MAX_CLIENTS {
        knock(&server, client).await;
    }
    assert_eq!(told(&server).len(), MAX_CLIENTS);
    for client in MAX_CLIENTS..MAX_CLIENTS + 3 {
        knock(&server, client).await;
    }
    knock(&server, 0).await;
    assert!(told(&server).is_empty());
    clock.advance(COUNTING_PERIOD);
    server.smtp.refusals.record_due();
    let mut all = told(&server);
    all.sort();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[0].starts_with("127.1.0.0 was refused"), "{all:?}");
    assert!(all[1].starts_with("more than 256 clients were refused within a minute"), "{all:?}");
    assert!(all[1].ends_with("(3 times since the event before)"), "{all:?}");
    assert!(all[1].contains("127.1.1.2 was refused by listener local"), "{all:?}");
    // There is room again.
    knock(&server, 500).await;
    assert_eq!(told(&server).len(), 1);
}

#[tokio::test]
async fn what_was_counted_is_told_at_the_end() {
    let (server, _) = closed_door().await;
    knock(&server, 1).await;
    knock(&server, 1).await;
    assert_eq!(told(&server).len(), 1);
    server.smtp.refusals.record_all();
    assert_eq!(told(&server).len(), 1);
    server.smtp.refusals.record_all();
    assert!(told(&server).is_empty());
}
