//! Open files used up by clients that do nothing: the proxy lives, rests instead of spinning, serves those
//! that it has, and serves the others when there is room again.

use super::process::{cpu_time, descriptors};
use crate::support::eventually;
use crate::support::proxy::{Launch, Proxy};
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: usize = 48;

/// With both limits, soft and hard.
fn with_open_files(soft: usize, hard: usize) -> Launch {
    Launch::default().through(&["prlimit", &format!("--nofile={soft}:{hard}")])
}

// CASES D2
#[test]
fn with_no_descriptor_left_it_rests_serves_whom_it_has_and_takes_others_when_there_is_room() {
    let recorder = Recorder::start();
    let config = format!("[sending]\nenabled = false\n{}", recorder.upstream("only"));
    let proxy = Proxy::start_with(&config, with_open_files(LIMIT, LIMIT));
    proxy.wait_until_said(&format!("only {LIMIT} files may be open"));
    let mut early = Talk::hello(proxy.address());
    assert!(early.mail("r0@b.test", 500).starts_with("250"));
    let mut idle: Vec<TcpStream> =
        (0..3 * LIMIT).map(|_| TcpStream::connect(proxy.address()).expect("the kernel answers")).collect();
    proxy.wait_until_said("cannot accept");
    // Inherited ones may have numbers beyond it.
    assert!(descriptors(proxy.pid()) >= LIMIT, "all are in use");

    // Tries five times a second: 100 ms of work in two seconds would be a lot. What its processors did is measured,
    // so that it does not matter what else the machine does.
    let before = cpu_time(proxy.pid());
    std::thread::sleep(Duration::from_secs(2));
    let spent = cpu_time(proxy.pid()) - before;
    println!("with no descriptor left: {} ms of processor time in 2 s", spent.as_millis());
    assert!(spent < Duration::from_millis(300), "it spins: {spent:?} in 2 s");

    // Whoever is in is served as ever, and large content finds its way to the disk.
    assert!(early.mail("r1@b.test", 500_000).starts_with("250"));
    let mut late = Talk::connect_only(proxy.address());
    drop(idle.drain(..2 * LIMIT + LIMIT / 2));
    late.hear("220");
    late.say("EHLO late.test", "250");
    assert!(late.mail("r2@b.test", 500).starts_with("250"));
    for mut one in idle {
        let mut greeting = [0; 4];
        one.read_exact(&mut greeting).expect("the others come in, too");
        assert_eq!(&greeting, b"220 ");
    }
    proxy.configure(&recorder.upstream("only"));
    proxy.command(&["reload"]);
    assert_eq!(recorder.wait(3).len(), 3);
}

/// Delivery needs descriptors, too. That there are none is no fault of the upstream or of the mail.
// CASES D2
#[test]
fn mail_that_cannot_be_sent_for_want_of_descriptors_is_sent_when_there_are_some() {
    let recorder = Recorder::start();
    let proxy = Proxy::start_with(&recorder.upstream("only"), with_open_files(LIMIT, LIMIT));
    let mut early = Talk::hello(proxy.address());
    let idle: Vec<TcpStream> =
        (0..LIMIT).map(|_| TcpStream::connect(proxy.address()).expect("the kernel answers")).collect();
    proxy.wait_until_said("cannot accept");
    for number in 0..3 {
        assert!(early.mail(&format!("r{number}@b.test"), 500).starts_with("250"));
    }
    drop(idle);
    eventually("the control socket to answer", || (proxy.http_status("/readyz") == Some(200)).then_some(()));
    assert_eq!(recorder.wait(3).len(), 3);
    eventually("the queue to be empty", || {
        proxy.get("/api/v1/messages")?["messages"].as_array()?.is_empty().then_some(())
    });
}

// CASES D2
#[test]
fn the_soft_limit_on_open_files_is_raised_to_the_hard_one() {
    let proxy = Proxy::start_with("[limits]\nconnections = 100\n", with_open_files(48, 512));
    let sessions: Vec<Talk> = (0..100).map(|_| Talk::hello(proxy.address())).collect();
    Talk::connect_only(proxy.address()).hear("421 4.7.0 ");
    drop(sessions);
    assert!(!proxy.said().contains("files may be open") && !proxy.said().contains("cannot accept"));
}
