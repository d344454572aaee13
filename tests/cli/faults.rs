//! Faults of upstreams and of the network, seen by those who run the proxy.

use crate::support::clients::{Envelope, smtplib};
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::samples::with_attachment;
use crate::support::scripted::{Act, Scripted};
use crate::support::talk::Talk;
use crate::support::{eventually, free_address};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const ENVELOPE: Envelope<'static> = Envelope { from: "a@a.test", to: &["b@b.test"] };
const MESSAGE: &[u8] = b"Subject: t\r\n\r\nx\r\n";

fn upstream(name: &str, port: u16, more: &str) -> String {
    format!("[upstream.{name}]\nhost = \"127.0.0.1:{port}\"\ntls = \"none\"\n{more}\n")
}

fn events(proxy: &Proxy, code: &str) -> usize {
    let events = proxy.cli(&["events", "--json", "--limit", "1000"]);
    events.as_array().unwrap().iter().filter(|event| event["code"] == code).count()
}

fn messages(proxy: &Proxy) -> Vec<Value> {
    proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().clone()
}

/// The one message in the queue as soon as it is in that state.
fn message(proxy: &Proxy, state: &str) -> Value {
    eventually(&format!("a message that is {state}"), || {
        messages(proxy).into_iter().find(|message| message["state"] == state)
    })
}

fn reply(message: &Value) -> &str {
    message["recipients"][0]["reply"].as_str().expect("a reply")
}

// CASES F1, F2, F3, F4
#[test]
fn mail_goes_around_servers_that_give_no_usable_session() {
    let recorder = Recorder::start();
    let hangs = Scripted::start(|s| s.greeting(Act::Hang));
    let refuses = Scripted::start(|s| s.greeting("554 no"));
    let nonsense = Scripted::start(|s| s.greeting("bogus"));
    let impatient = "priority = \"high\"\nconnect_timeout = \"500ms\"";
    let proxy = Proxy::start(
        &(upstream("nobody", free_address().port(), "priority = \"default\"")
            + &upstream("hangs", hangs.port(), impatient)
            + &upstream("refuses", refuses.port(), "priority = \"high\"")
            + &upstream("nonsense", nonsense.port(), "priority = \"high\"")
            + &recorder.upstream("good")),
    );
    smtplib(proxy.address(), &ENVELOPE, MESSAGE, &[]);
    recorder.wait(1);
    eventually("four open circuits", || (events(&proxy, "CIRCUIT_OPEN") == 4).then_some(()));
    eventually("an empty queue", || messages(&proxy).is_empty().then_some(()));
    assert_eq!(events(&proxy, "DEFERRED"), 0);
}

// CASES F23
#[test]
fn a_server_that_stops_reading_loses_the_message_to_the_next_one() {
    let recorder = Recorder::start();
    let stops = Scripted::start(|s| s.in_content(100_000, Act::Hang));
    let impatient = "priority = \"high\"\ndata_timeout = \"500ms\"";
    let proxy = Proxy::start(&(upstream("stops", stops.port(), impatient) + &recorder.upstream("good")));
    let content = with_attachment(10 << 20);
    smtplib(proxy.address(), &ENVELOPE, &content, &[]);
    assert!(recorder.wait(1)[0].content.ends_with(&content));
    assert_eq!((events(&proxy, "DEFERRED"), stops.transactions().len()), (0, 0));
}

// CASES F25, F26, F27
#[test]
fn without_an_answer_to_the_dot_mail_waits_for_its_retry_and_the_log_says_why() {
    for act in [Act::Hang, Act::Close, Act::last("354 go on"), Act::last("250-and")] {
        let recorder = Recorder::start();
        let silent = Scripted::start(|s| s.at_dot(act.clone()));
        let impatient = "priority = \"high\"\nfinal_timeout = \"500ms\"";
        let proxy =
            Proxy::start(&(upstream("silent", silent.port(), impatient) + &recorder.upstream("good")));
        smtplib(proxy.address(), &ENVELOPE, MESSAGE, &[]);
        let waits = message(&proxy, "deferred");
        assert_eq!(waits["attempts"], 1, "{waits}");
        assert!(reply(&waits).contains("may be sent twice"), "{waits}");
        proxy.wait_until_said("may be sent twice");
        // Only when it is due again, or an operator says so, the other one gets it.
        proxy.command(&["queue", "retry", "--all"]);
        assert_eq!(recorder.wait(1).len(), 1);
    }
}

// CASES F18, F22, F36
#[test]
fn what_was_said_of_a_recipient_is_shown_on_one_line_without_control_characters() {
    let forged = b"550 5.1.1 no\rSubject: forged\x1b[2J\0 f\xfcr Sie\r\n".to_vec();
    let server = Scripted::start(|s| s.on("RCPT TO:<b@", Act::Say(forged)));
    let proxy = Proxy::start(&upstream("only", server.port(), ""));
    smtplib(proxy.address(), &Envelope { to: &["a@b.test", "b@b.test"], ..ENVELOPE }, MESSAGE, &[]);
    let failed = message(&proxy, "failed");
    let states: Vec<&Value> =
        failed["recipients"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["delivered", "failed"]);
    let text = failed["recipients"][1]["reply"].as_str().unwrap();
    assert!(text.starts_with("550 5.1.1 no") && !text.contains(char::is_control), "{text:?}");
    proxy.wait_until_said("status=\"failed\"");
    let said = proxy.said();
    assert!(!said.contains(['\r', '\0', '\u{1b}']), "{said:?}");
    assert!(!said.lines().any(|line| line.starts_with("Subject")), "{said}");
    let shown =
        String::from_utf8(proxy.command(&["queue", "show", failed["id"].as_str().unwrap()]).stdout).unwrap();
    let listed = String::from_utf8(proxy.command(&["events"]).stdout).unwrap();
    assert!(!(shown + &listed).contains(|c: char| c.is_control() && c != '\n'));
}

// CASES F34
#[test]
fn a_421_in_one_session_harms_no_other_message() {
    let server = Scripted::start(|s| s.once("RCPT TO:<b5@", Act::last("421 4.3.2 shutting down")));
    let proxy = Proxy::start(&upstream("only", server.port(), "connection_limit = 1"));
    for number in 0..10 {
        let to = format!("b{number}@b.test");
        smtplib(proxy.address(), &Envelope { to: &[&to], ..ENVELOPE }, MESSAGE, &[]);
    }
    server.wait_for(10);
    eventually("an empty queue", || messages(&proxy).is_empty().then_some(()));
    let mut taken: Vec<String> = server.transactions().into_iter().flat_map(|one| one.recipients).collect();
    taken.sort();
    taken.dedup();
    assert_eq!((taken.len(), server.transactions().len()), (10, 10), "each exactly once");
}

// CASES F35
#[test]
fn a_connection_that_was_closed_while_idle_costs_the_next_message_nothing() {
    let server = Scripted::start(|s| s.once("QUIT", Act::Close));
    let proxy = Proxy::start(&upstream("only", server.port(), ""));
    for number in 1..=3 {
        // Whatever comes first on the connection that waits: the server has closed it.
        if number > 1 {
            server.change(|s| s.once("MAIL", Act::last("421 4.4.2 idle for too long")));
        }
        smtplib(proxy.address(), &ENVELOPE, MESSAGE, &[]);
        server.wait_for(number);
    }
    eventually("an empty queue", || messages(&proxy).is_empty().then_some(()));
    assert_eq!((events(&proxy, "DEFERRED"), events(&proxy, "CIRCUIT_OPEN")), (0, 0));
    assert_eq!(server.sessions().len(), 3);
}

// CASES F37
#[test]
fn mail_for_a_name_that_does_not_resolve_waits_and_leaves_when_it_does() {
    let proxy = Proxy::start("[upstream.only]\nhost = \"no-such-host.invalid\"\ntls = \"none\"\n");
    smtplib(proxy.address(), &ENVELOPE, MESSAGE, &[]);
    let standing = eventually("an open circuit", || {
        let listed = proxy.cli(&["upstream", "list", "--json"]);
        (listed[0]["state"] == "open").then(|| listed[0].clone())
    });
    assert!(standing["last_error"].as_str().unwrap().contains("resolved"), "{standing}");
    let waits = &messages(&proxy)[0];
    assert_eq!((&waits["state"], &waits["attempts"]), (&Value::from("queued"), &Value::from(0)));
    let recorder = Recorder::start();
    proxy.configure(&recorder.upstream("only"));
    proxy.command(&["reload"]);
    recorder.wait(1);
}

/// Passes everything on to that address, as a port forwarding does.
fn forwarder(to: impl Fn() -> SocketAddr + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(to()) else { continue };
            let pump = |mut from: TcpStream, mut into: TcpStream| {
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        if into.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = into.shutdown(std::net::Shutdown::Both);
                });
            };
            pump(client.try_clone().unwrap(), server.try_clone().unwrap());
            pump(server, client);
        }
    });
    address
}

// CASES F38
#[test]
fn a_proxy_that_is_its_own_upstream_through_another_port_refuses_the_second_round() {
    let home = std::sync::Arc::new(std::sync::Mutex::new(None));
    let known = home.clone();
    let detour = forwarder(move || known.lock().unwrap().expect("known before the first mail"));
    let proxy = Proxy::start(&upstream("loop", detour.port(), ""));
    *home.lock().unwrap() = Some(proxy.address());
    smtplib(proxy.address(), &ENVELOPE, MESSAGE, &[]);
    let failed = message(&proxy, "failed");
    assert!(reply(&failed).starts_with("554 5.4.6"), "{failed}");
    assert_eq!(failed["attempts"], 1, "it went round once");
    // The notice to the sender goes the same way, and nobody is told of its failure.
    eventually("the notice to have gone", || (messages(&proxy).len() == 1).then_some(()));
}

// CASES F38
#[test]
fn two_proxies_that_send_to_each_other_stop_at_the_first_that_knows_the_message() {
    let other = std::sync::Arc::new(std::sync::Mutex::new(None));
    let known = other.clone();
    let to_second = forwarder(move || known.lock().unwrap().expect("known before the first mail"));
    let first = Proxy::start(&upstream("second", to_second.port(), ""));
    let bounce = "[queue]\nbounce = \"none\"\n";
    let second = Proxy::start(&(upstream("first", first.address().port(), "") + bounce));
    *other.lock().unwrap() = Some(second.address());
    smtplib(first.address(), &ENVELOPE, MESSAGE, &[]);
    let failed = message(&second, "failed");
    assert!(reply(&failed).starts_with("554 5.4.6"), "{failed}");
    assert!(messages(&first).is_empty(), "the first one was rid of it");
}

// CASES F38
#[test]
fn without_our_name_in_it_a_loop_ends_at_the_hop_limit() {
    let proxy = Proxy::start("[limits]\nreceived_hops = 3\n");
    let mut client = Talk::hello(proxy.address());
    let hops = |count: usize| "Received: from x by y; z\r\n".repeat(count) + "Subject: t\r\n\r\nx\r\n.\r\n";
    assert!(client.transact(hops(4).as_bytes()).starts_with("554 5.4.6"));
    assert!(client.transact(hops(3).as_bytes()).starts_with("250 "));
}
