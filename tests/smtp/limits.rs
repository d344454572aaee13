//! Limits that a transcript cannot show: deadlines, caps on sessions and memory, lines without end.

use super::test_server::{Client, TestServer, settings, within};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

const SHORT: Duration = Duration::from_millis(300);

/// D1: a byte now and then does not keep a session alive, for the deadline of a command line is a total one.
// CASES D1
#[tokio::test]
async fn a_command_that_drips_is_timed_out() {
    let mut settings = settings();
    settings.limits.command_timeout = SHORT;
    let server = TestServer::open(settings).await;
    // The session's time begins with its greeting, which may have been said long before it is read.
    let began = Instant::now();
    let mut slow = server.connect().await;
    slow.expect("220").await;
    let (mut read, mut write) = slow.0.into_inner().into_split();
    let drip = tokio::spawn(async move {
        while write.write_all(b"N").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut heard = String::new();
    within(read.read_to_string(&mut heard)).await.ok();
    assert!(heard.starts_with("421 4.4.2 "), "{heard:?}");
    assert!(began.elapsed() >= SHORT);
    drip.abort();
    server.empty().await;
}

// CASES D1
#[tokio::test]
async fn content_that_drips_is_timed_out_and_nothing_of_it_is_queued() {
    let mut settings = settings();
    settings.limits.data_timeout = SHORT;
    let server = TestServer::open(settings).await;
    let mut data = server.greeted().await;
    data.begin_data().await;
    let mut chunk = server.greeted().await;
    chunk.say("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nBDAT 10 LAST\r\nabc").await;
    chunk.expect("250").await;
    chunk.expect("250").await;
    let mut other = server.greeted().await;
    let (mut read, mut write) = data.0.into_inner().into_split();
    let drip = tokio::spawn(async move {
        while write.write_all(b"x\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut heard = String::new();
    within(read.read_to_string(&mut heard)).await.ok();
    assert!(heard.starts_with("421 4.4.2 "), "{heard:?}");
    chunk.expect("421 4.4.2 ").await;
    other.say("NOOP\r\n").await;
    other.expect("250").await;
    drip.abort();
    assert!(server.queue.taken().is_empty());
}

// CASES B3
#[tokio::test]
async fn a_line_without_end_is_refused_and_closed() {
    let server = TestServer::open(settings()).await;
    let mut client = server.connect().await;
    client.expect("220").await;
    let (mut read, mut write) = client.0.into_inner().into_split();
    let sent = tokio::spawn(async move {
        let mut sent = 0;
        while write.write_all(&[b'x'; 4096]).await.is_ok() {
            sent += 4096;
        }
        sent
    });
    let mut heard = String::new();
    within(read.read_to_string(&mut heard)).await.ok();
    assert!(heard.starts_with("500 5.5.2 "), "{heard:?}");
    drop(read);
    // What was sent beyond the limit fits into the buffers of two sockets: the server stopped reading.
    assert!(within(sent).await.unwrap() < 32 * 1024 * 1024);
    server.empty().await;
}

// CASES B25
#[tokio::test]
async fn a_client_that_speaks_before_the_greeting_is_refused() {
    // The client's words are there before anybody accepts, so there is no race with the greeting.
    let server = TestServer::open(settings()).await;
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut hasty = tokio::net::TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
    hasty.write_all(b"EHLO c.test\r\n").await.unwrap();
    let listener = server.settings.borrow().listeners[0].clone();
    tokio::spawn(postroom::smtp::listen(server.smtp.clone(), listener, socket, server.shutdown.clone()));
    let mut heard = String::new();
    within(hasty.read_to_string(&mut heard)).await.ok();
    assert!(heard.starts_with("554 5.5.1 "), "{heard:?}");
    assert_eq!(heard.lines().count(), 1);
}

/// A reload closes a socket: its backlog would be reset with it.
#[tokio::test]
async fn who_has_connected_to_a_listener_that_is_closed_is_served() {
    let server = TestServer::open(settings()).await;
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let stream = tokio::net::TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        clients.push(Client(BufReader::new(stream)));
    }
    let listener = server.settings.borrow().listeners[0].clone();
    postroom::smtp::serve_waiting(&server.smtp, &listener, &socket, &server.shutdown);
    drop(socket);
    for mut client in clients {
        client.expect("220").await;
        client.say("QUIT\r\n").await;
        client.expect("221").await;
    }
}

// CASES D2
#[tokio::test]
async fn sessions_beyond_the_limit_hear_421_and_places_come_back() {
    let mut settings = settings();
    settings.limits.connections = 2;
    let server = TestServer::open(settings).await;
    let first = server.greeted().await;
    let mut second = server.greeted().await;
    let mut third = server.connect().await;
    third.expect("421 4.7.0").await;
    third.expect_closed().await;
    second.say("QUIT\r\n").await;
    second.expect("221").await;
    second.expect_closed().await;
    drop(first);
    // The places come back when the sessions have noticed; until then 421 is right.
    let mut replies = 0;
    loop {
        let mut next = server.connect().await;
        let reply = next.reply().await;
        replies += 1;
        if reply.starts_with("220") {
            break;
        }
        assert!(reply.starts_with("421") && replies < 10_000, "{reply}");
    }
}

/// D2: with no file descriptor left the accept loop rests and does not spin, and goes on when there are some again.
// CASES D2
#[tokio::test]
async fn accepting_outlives_the_limit_on_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if std::env::var("NEXTEST_EXECUTION_MODE").as_deref() != Ok("process-per-test") {
        return; // The limit is the whole process's: other tests must not run in it.
    }
    let cpu_ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<u64> = stat.split(' ').skip(13).take(2).map(|field| field.parse().unwrap()).collect();
        fields[0] + fields[1]
    };
    let server = TestServer::open(settings()).await;
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(tokio::net::TcpStream::connect(socket.local_addr().unwrap()).await.unwrap());
    }
    let usual = getrlimit(Resource::Nofile);
    let before = cpu_ticks();
    setrlimit(Resource::Nofile, Rlimit { current: Some(4), ..usual }).unwrap();
    let listener = server.settings.borrow().listeners[0].clone();
    tokio::spawn(postroom::smtp::listen(server.smtp.clone(), listener, socket, server.shutdown.clone()));
    let mut early = [0];
    assert!(
        tokio::time::timeout(3 * SHORT, clients[0].read(&mut early)).await.is_err(),
        "no descriptor was left"
    );
    setrlimit(Resource::Nofile, usual).unwrap();
    assert!(cpu_ticks() - before < 20, "the accept loop spun");
    for client in &mut clients {
        let mut greeting = [0; 4];
        within(client.read_exact(&mut greeting)).await.unwrap();
        assert_eq!(&greeting, b"220 ");
    }
}

/// A reload changes the limits of the next session, not of this one.
#[tokio::test]
async fn a_session_keeps_the_settings_it_began_with() {
    let server = TestServer::open(settings()).await;
    let mut before = server.greeted().await;
    let mut new = settings();
    new.limits.message_size = 5;
    server.settings.send(std::sync::Arc::new(new)).unwrap();
    let mut after = server.greeted().await;
    for (client, reply) in [(&mut before, "250"), (&mut after, "552")] {
        client.say("MAIL FROM:<a@x.test> SIZE=6\r\n").await;
        client.expect(reply).await;
    }
}

/// `content_memory` is one budget: a second content waits until the first has given its part back.
#[tokio::test]
async fn content_waits_for_memory() {
    let mut settings = settings();
    settings.limits.content_memory = 300 * 1024;
    let server = TestServer::open(settings).await;
    let mut first = server.greeted().await;
    first.begin_data().await;
    let mut second = server.greeted().await;
    second.say("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n").await;
    second.expect("250").await;
    second.expect("250").await;
    let mut early = [0];
    let early = tokio::time::timeout(SHORT, second.0.read(&mut early)).await;
    assert!(early.is_err(), "354 while the memory was used up");
    first.say(".\r\n").await;
    first.expect("250").await;
    second.expect("354").await;
    second.say(".\r\n").await;
    second.expect("250").await;
    assert_eq!(server.memory.available_permits(), 300);
}

/// No memory comes free in time: DATA is refused, and the content behind it is no command.
// CASES B41
#[tokio::test]
async fn content_behind_a_data_that_found_no_memory_is_not_run() {
    let mut settings = settings();
    (settings.limits.content_memory, settings.limits.command_timeout) = (300 * 1024, Duration::from_secs(2));
    let server = TestServer::open(settings).await;
    let all = server.memory.clone().acquire_many_owned(300).await.unwrap();
    let mut clients = Vec::new();
    for behind in ["", "NOOP\r\n", "Subject: t\r\n\r\nMAIL FROM:<evil@x.test>\r\n"] {
        let mut client = server.greeted().await;
        client.say(format!("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n{behind}")).await;
        clients.push((client, behind.is_empty()));
    }
    for (client, waits) in &mut clients {
        for reply in ["250", "250", "452 4.3.1"] {
            client.expect(reply).await;
        }
        if *waits {
            client.say("QUIT\r\n").await;
            client.expect("221").await;
        }
        client.expect_closed().await;
    }
    drop(all);
    assert!(server.queue.taken().is_empty());
}

/// A client that never reads its replies: the session neither collects them nor stays for ever.
#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let mut settings = settings();
    settings.limits.command_timeout = SHORT;
    let server = TestServer::open(settings).await;
    let mut deaf = server.connect().await;
    deaf.expect("220").await;
    let written = async {
        let commands = b"HELP\r\n".repeat(10_000);
        while deaf.0.write_all(&commands).await.is_ok() {}
    };
    within(written).await;
    server.empty().await;
}
