//! Answers of the proxy that end too early or leave something out are told as what they are.

use super::bulk::{post, stuck};
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Output;

/// A proxy of old whose control socket somebody else answers: each connection gets the answer to what it asks for.
fn answering(answer: fn(&str) -> String) -> Proxy {
    let mut proxy = stuck("");
    proxy.kill();
    let socket = proxy.data_dir().join("control.sock");
    std::fs::remove_file(&socket).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut length) = (String::new(), 0);
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                request += &line;
                if line.trim().is_empty() {
                    break;
                }
            }
            lines.read_exact(&mut vec![0; length]).unwrap();
            // The verb may have ended.
            let _ = stream.write_all(answer(&request).as_bytes());
        }
    });
    proxy
}

fn run(proxy: &Proxy, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = proxy.try_command(arguments);
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_proxy_that_is_killed_during_an_action_has_said_how_far_it_was() {
    let proxy = answering(|_| {
        let so_far =
            r#"{"matching":500,"changed":437,"unchanged":63,"held_by_mode":0,"not_found":[],"until":null}"#;
        let line = format!("{{\"progress\":{so_far}}}\n");
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{line}\r\n", line.len())
    });
    let (code, said) = run(&proxy, &["queue", "hold", "--all"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("437 messages were changed as far as it told, and stay so"), "{said}");
}

#[test]
fn whoever_follows_events_too_slowly_is_told_how_many_were_missed() {
    let proxy = answering(|request| {
        let body = match request.contains("/stream") {
            true => "event: missed\ndata: {\"missed\":17}\n\n",
            false => r#"{"events":[],"next":null}"#,
        };
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}")
    });
    let (_, said) = run(&proxy, &["events", "--follow"]);
    assert!(said.contains("17 events came faster than they were read here"), "{said}");
}

#[test]
fn a_stream_of_events_says_what_it_leaves_out() {
    let proxy = stuck("[sending]\nenabled = false\n");
    let mut talk = Talk::hello(proxy.address());
    (0..150).for_each(|number| drop(talk.mail(&format!("r{number}@b.test"), 10)));
    let mut stream = UnixStream::connect(proxy.data_dir().join("control.sock")).unwrap();
    write!(stream, "GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "HTTP/1.1 200 OK");
    // Far more than are buffered while nobody reads.
    for _ in 0..30 {
        for action in ["hold", "release"] {
            let done = post(&proxy, "/api/v1/messages/bulk", &json!({"action": action, "all": true})).1;
            assert_eq!(done["changed"], 150);
        }
    }
    let missed = lines.map(Result::unwrap).find(|line| line.starts_with("event: missed"));
    assert!(missed.is_some());
}
