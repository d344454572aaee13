//! Memory: the resident size of this very process (nextest gives each test one of its own).

use super::test_server::{TestServer, settings, within};
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn resident_kib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
}

/// An idle session costs less than 10 KiB, its client in this process included.
#[tokio::test]
async fn idle_sessions_are_cheap() {
    const SESSIONS: u64 = 400;
    let server = TestServer::open(settings()).await;
    drop(server.greeted().await);
    let before = resident_kib();
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = TcpStream::connect(server.address).await.unwrap();
        let mut buffer = [0; 512];
        within(client.read(&mut buffer)).await.unwrap();
        client.write_all(b"EHLO c.test\r\n").await.unwrap();
        within(client.read(&mut buffer)).await.unwrap();
        clients.push(client);
    }
    let each = (resident_kib() - before) / SESSIONS;
    println!("{each} KiB for each of {SESSIONS} idle sessions");
    assert!(each < 10, "{each} KiB for each idle session");
}

/// Many large messages at once stay within `content_memory`, whatever their number.
// CASES D3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_stay_within_content_memory() {
    const MESSAGES: usize = 100;
    let mut settings = settings();
    settings.limits.content_memory = 4 * 1024 * 1024;
    let server = TestServer::open(settings).await;
    server.queue.faults.forgetful.store(true, Ordering::SeqCst);
    let piece = "x".repeat(62) + "\r\n";
    let piece: &'static str = piece.repeat(1024).leak();
    let mut clients = Vec::new();
    for _ in 0..MESSAGES {
        clients.push(server.greeted().await);
    }
    let before = resident_kib();
    let sending = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            client.begin_data().await;
            for _ in 0..48 {
                client.say(piece).await;
            }
            client.say(".\r\n").await;
            client.expect("250").await;
        })
    });
    let mut highest = before;
    for sent in sending.collect::<Vec<_>>() {
        sent.await.unwrap();
        highest = highest.max(resident_kib());
    }
    let taken = server.queue.taken();
    assert_eq!(
        taken.iter().map(|(message, _)| message.size).sum::<u64>(),
        (MESSAGES * 48 * piece.len()) as u64
    );
    let grown = (highest - before) / 1024;
    println!("300 MiB in {MESSAGES} messages at once: grown by {grown} MiB");
    assert!(grown < 16, "300 MiB of content took {grown} MiB of memory, with 4 MiB allowed for content");
}

/// Half a million pipelined commands, and an endless line after them, leave the resident size where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_commands_does_not_pile_up() {
    let server = TestServer::open(settings()).await;
    let mut client = server.greeted().await;
    client.say("NOOP\r\n").await;
    client.expect("250").await;
    let before = resident_kib();
    let (mut read, mut write) = client.0.into_inner().into_split();
    let commands: &'static [u8] = b"NOOP\r\n".repeat(1000).leak();
    let sending = tokio::spawn(async move {
        for _ in 0..500 {
            write.write_all(commands).await.unwrap();
        }
        write
    });
    let (mut lines, mut buffer) = (0, vec![0; 64 * 1024]);
    while lines < 500_000 {
        let count = within(read.read(&mut buffer)).await.unwrap();
        lines += memchr::memchr_iter(b'\n', &buffer[..count]).count();
    }
    let mut write = sending.await.unwrap();
    let endless = [b'x'; 64 * 1024];
    while write.write_all(&endless).await.is_ok() {}
    let grown = resident_kib().saturating_sub(before);
    println!("grown by {grown} KiB");
    assert!(grown < 4096, "grown by {grown} KiB");
}
