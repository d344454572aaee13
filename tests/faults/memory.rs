//! Memory of the running proxy, as the system measures it (`VmHWM`: the highest resident size since the start).
//!
//! | what is done to it | bound |
//! |---|---|
//! | half a million pipelined commands | [`FLOOD`] |
//! | 20 clients that never read their replies | [`FLOOD`] |
//! | a command line, and a line of content, that do not end | [`FLOOD`] |
//! | replies of 100,000 lines from an upstream, at every step | [`FLOOD`] |
//! | 1,000 idle sessions | [`IDLE_SESSIONS`] |
//! | a listing of 20,000 messages, and their delivery | [`super::bulk`] |
//! | 200 messages of 20 MiB at once, to a slow upstream | [`super::bulk`] |
//!
//! docs/testing.md states them ("Limits"). They hold for this build, which is not optimized, and with the default settings.

use super::process::{MIB, assert_within, resident_kib};
use crate::support::proxy::Proxy;
use crate::support::scripted::{Act, Scripted};
use crate::support::talk::Talk;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// In KiB, as all bounds.
const FLOOD: u64 = 64 * MIB;
const IDLE_SESSIONS: u64 = 64 * MIB;

/// Sends `bytes` again and again, reading replies all the while, until that many have come.
fn pump(server: SocketAddr, bytes: &[u8], times: usize, replies: usize) {
    let mut talk = Talk::hello(server);
    let mut reader = talk.stream().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..times {
                talk.send(bytes);
            }
        });
        let (mut lines, mut buffer) = (0, vec![0; 64 * 1024]);
        while lines < replies {
            let count = reader.read(&mut buffer).unwrap();
            assert!(count > 0, "closed after {lines} replies");
            lines += memchr::memchr_iter(b'\n', &buffer[..count]).count();
        }
    });
}

#[test]
fn half_a_million_pipelined_commands() {
    let proxy = Proxy::start("");
    pump(proxy.address(), &b"NOOP\r\n".repeat(1_000), 250, 250_000);
    // Envelopes of a thousand recipients, taken back each time.
    let mut envelope = b"MAIL FROM:<shop@a.test>\r\n".to_vec();
    (0..1_000).for_each(|number| envelope.extend(format!("RCPT TO:<r{number}@b.test>\r\n").into_bytes()));
    envelope.extend_from_slice(b"RSET\r\n");
    pump(proxy.address(), &envelope, 250, 250 * 1_002);
    assert_within(&proxy, FLOOD, "500,000 pipelined commands");
}

#[test]
fn clients_that_never_read_their_replies() {
    const DEADLINE: Duration = Duration::from_secs(2);
    let proxy = Proxy::start("[limits]\ncommand_timeout = \"2s\"\n");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                // It waits for the greeting, as one must, and reads no more.
                let mut talk = Talk::connect(proxy.address());
                let deaf = talk.stream();
                // Takes part until nobody reads any more: its session has been given up.
                let commands = b"HELP\r\n".repeat(10_000);
                let error = loop {
                    if let Err(error) = deaf.write_all(&commands) {
                        break error;
                    }
                };
                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it was never given up");
            });
        }
    });
    assert_within(&proxy, FLOOD, "20 clients that never read");
    assert!(began.elapsed() >= DEADLINE, "they were given up early");
    Talk::hello(proxy.address());
}

// CASES B3
#[test]
fn lines_without_end() {
    let proxy = Proxy::start("");
    let piece = vec![b'x'; 64 * 1024];
    let mut command = Talk::connect(proxy.address());
    while command.stream().write_all(&piece).is_ok() {}

    let mut content = Talk::hello(proxy.address());
    content.envelope("r@b.test").unwrap();
    // Four times the largest message.
    for _ in 0..1_600 {
        content.send(&piece);
    }
    content.send("\r\n.\r\n");
    content.hear("552 5.3.4 ");
    content.say("NOOP", "250");
    assert_within(&proxy, FLOOD, "a command line and 100 MiB of content without a line end");
}

#[test]
fn replies_of_a_hundred_thousand_lines() {
    let lines =
        |code: &str| -> Act { Act::Say(format!("{code}-again and again\r\n").repeat(100_000).into_bytes()) };
    let servers = [
        Scripted::start(|script| script.greeting(lines("220"))),
        Scripted::start(|script| script.on("EHLO", lines("250"))),
        Scripted::start(|script| script.on("MAIL", lines("250"))),
        Scripted::start(|script| script.on("RCPT", lines("550"))),
        Scripted::start(|script| script.on("DATA", lines("354"))),
        Scripted::start(|script| script.at_dot(lines("250"))),
    ];
    let upstream = |(number, server): (usize, &Scripted)| {
        format!("[upstream.u{number}]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\n", server.port())
    };
    let proxy = Proxy::start(&servers.iter().enumerate().map(upstream).collect::<String>());
    let mut client = Talk::hello(proxy.address());
    for number in 0..20 {
        assert!(client.mail(&format!("r{number}@b.test"), 500).starts_with("250"));
    }
    for server in &servers {
        server.wait_for_ends(1);
    }
    assert_within(&proxy, FLOOD, "replies of 100,000 lines");
    let listed = proxy.cli(&["queue", "list", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 20, "nonsense decides nothing");
}

// CASES D2
#[test]
fn a_thousand_idle_sessions() {
    let proxy = Proxy::start("");
    drop(Talk::hello(proxy.address()));
    let before = resident_kib(proxy.pid());
    let sessions: Vec<Talk> = (0..1_000).map(|_| Talk::hello(proxy.address())).collect();
    Talk::connect_only(proxy.address()).hear("421 4.7.0 ");
    let each = (resident_kib(proxy.pid()) - before) as f64 / sessions.len() as f64;
    println!("{each:.1} KiB for each idle session");
    assert_within(&proxy, IDLE_SESSIONS, "1,000 idle sessions");
}
