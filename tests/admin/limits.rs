//! What a client can use up.

use super::{Admin, TOKEN, with_password};
use crate::support::eventually;
use crate::support::talk::Talk;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

#[test]
fn huge_bodies_are_refused() {
    let admin = Admin::start("");
    let post = "POST /api/v1/messages/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let announced = admin.say(format!("{post}Content-Length: 1099511627776\r\n\r\n").as_bytes());
    announced.is_problem(413, "1048576 bytes");
    let mut stream = admin.connect();
    stream.write_all(format!("{post}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    // It is cut off long before.
    let sent = (0..1000).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok()).count();
    assert!(sent < 1000, "64 MB were taken");
    let whole = admin.post("/api/v1/messages/bulk", &[], &" ".repeat(1 << 20));
    assert_eq!(whole.status, 400, "a MiB is read: {whole:?}");
    let strangers = Admin::start(&with_password());
    let login = strangers.form("/login", &[], &format!("password={}", "x".repeat(20_000)));
    login.is_problem(413, "16384 bytes");
    let answer = strangers.say(format!("{post}Content-Length: 1099511627776\r\n\r\n").as_bytes());
    answer.is_problem(401, "log in");
}

#[test]
fn huge_headers_are_refused() {
    let admin = Admin::start("");
    let long = admin.get("/livez", &[&format!("X: {}", "x".repeat(100_000))]);
    assert_eq!(long.status, 431, "{long:?}");
    let many: Vec<String> = (0..1000).map(|number| format!("X-{number}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(admin.get("/livez", &many).status, 431);
    let path = admin.get(&format!("/{}", "x".repeat(100_000)), &[]);
    assert!([414, 431].contains(&path.status), "{path:?}");
    assert_eq!(admin.get("/livez", &[]).status, 200);
}

/// One that drips, one that says nothing, one that has asked before: each is disconnected while the others are served.
#[test]
fn who_sends_its_header_slowly_is_disconnected() {
    let admin = Admin::start("");
    let (mut silent, mut idle, mut dripping) = (admin.connect(), admin.connect(), admin.connect());
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    dripping.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let mut drip = dripping.try_clone().unwrap();
    let dripped = std::thread::spawn(move || {
        eventually("to be disconnected", || drip.write_all(b"X: y\r\n").is_err().then_some(()));
    });
    assert_eq!(admin.get("/livez", &[]).status, 200);
    let mut said = Vec::new();
    let _ = silent.read_to_end(&mut said);
    let _ = idle.read_to_end(&mut said);
    assert!(said.starts_with(b"HTTP/1.1 200"));
    let _ = dripping.read_to_end(&mut Vec::new());
    dripped.join().unwrap();
}

/// Bytes that are resident in the process.
fn resident(admin: &Admin) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", admin.proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn slow_readers_take_little_memory() {
    let admin = Admin::start("");
    let size = 20 << 20;
    assert!(Talk::hello(admin.proxy.address()).mail("b@b.test", size).starts_with("250"));
    let id = admin.get("/api/v1/messages", &[]).json()["messages"][0]["id"].as_str().unwrap().to_owned();
    let whole = admin.get(&format!("/api/v1/messages/{id}/raw"), &[]);
    assert!(whole.body.len() >= size);
    let before = resident(&admin);
    let request =
        format!("GET /api/v1/messages/{id}/raw HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let readers: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut reader = admin.connect();
            reader.write_all(request.as_bytes()).unwrap();
            // What it has begun to send it would go on with.
            reader.read_exact(&mut [0; 16]).unwrap();
            reader
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(admin.get("/api/v1/stats", &[]).status, 200, "others are served");
    }
    let more = resident(&admin).saturating_sub(before);
    assert!(more < 200 << 20, "{} readers of {size} bytes took {more} bytes", readers.len());
}

/// A follower of events, once its answer has begun: with its status.
fn follow(admin: &Admin) -> (TcpStream, u16) {
    let mut stream = admin.connect();
    let request = format!(
        "GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    let status = std::str::from_utf8(&status).unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    (stream, status)
}

#[test]
fn a_thousand_streams_are_served_and_no_more() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let more = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, more).unwrap();
    let admin = Admin::start(&with_password());
    let mut streams: Vec<TcpStream> = (0..1000)
        .map(|number| {
            let (stream, status) = follow(&admin);
            assert_eq!(status, 200, "stream {number}");
            stream
        })
        .collect();
    let (mut refused, status) = follow(&admin);
    assert_eq!(status, 503);
    let mut answer = String::new();
    refused.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("1000 event streams are open"), "{answer}");
    assert_eq!(admin.get("/readyz", &[]).status, 200);
    let took = resident(&admin);
    assert!(took < 300 << 20, "{took} bytes");
    // Everybody is told, also the first and the last.
    assert!(Talk::hello(admin.proxy.address()).mail("b@b.test", 100).starts_with("250"));
    for stream in [0, 500, 999] {
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&text).contains("QUEUED") {
            let length = streams[stream].read(&mut piece).unwrap();
            assert!(length > 0, "{}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&piece[..length]);
        }
    }
    // Connections have a bound of their own: who opens them and asks for nothing keeps nobody out.
    let idle: Vec<TcpStream> = (0..300).map(|_| admin.connect()).collect();
    let is_closed = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        matches!(stream.read(&mut [0; 12]), Ok(0))
    };
    eventually("the oldest one to make place", || is_closed(&idle[0]).then_some(()));
    assert_eq!(admin.get("/livez", &[]).status, 200);
    assert!(!is_closed(&streams[0]) && !is_closed(&idle[299]));
    streams[0].set_nonblocking(false).unwrap();
    drop(idle);
    streams.truncate(500);
    eventually("a place for another stream", || (follow(&admin).1 == 200).then_some(()));
}

#[test]
fn a_stop_ends_event_streams() {
    let mut admin = Admin::start(&with_password());
    let (mut stream, status) = follow(&admin);
    assert_eq!(status, 200);
    assert!(admin.proxy.terminate().success());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the end of the stream, and no reset");
    let gone = TcpStream::connect(admin.address).map_err(|error| error.kind());
    assert!(matches!(gone, Err(ErrorKind::ConnectionRefused)), "{gone:?}");
}

#[test]
fn another_address_is_served_before_the_old_one_is_closed() {
    let admin = Admin::start(&with_password());
    let (mut stream, _) = follow(&admin);
    let other = crate::support::free_address();
    admin.proxy.configure(&super::config(other, &with_password()));
    admin.proxy.command(&["reload"]);
    stream.read_to_end(&mut Vec::new()).expect("streams on the old one end");
    let there = Admin { address: other, proxy: admin.proxy };
    assert_eq!(there.get("/livez", &[]).status, 200);
    eventually("the old one to be closed", || TcpStream::connect(admin.address).is_err().then_some(()));
    there.proxy.configure("[sending]\nenabled = false\n");
    there.proxy.command(&["reload"]);
    eventually("none to be open", || TcpStream::connect(other).is_err().then_some(()));
}
