//! Stop: SIGTERM at any step loses nothing and ends in time (rule 11, CASES D5, D6).

use crate::support::clients::{Envelope, smtplib};
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use rustix::process::Signal;

#[test]
fn a_transaction_under_way_may_finish_and_idle_clients_hear_421() {
    let mut proxy = Proxy::start("");
    let mut idle = Talk::connect(proxy.address());
    idle.say("EHLO c.test", "250");
    let mut busy = Talk::connect(proxy.address());
    busy.say("EHLO c.test", "250");
    busy.say("MAIL FROM:<a@a.test>", "250");
    busy.say("RCPT TO:<b@b.test>", "250");
    busy.say("DATA", "354");
    let stopping = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| proxy.terminate());
        idle.hear("421");
        let reply = busy.say("Subject: late\r\n\r\nx\r\n.", "250 2.0.0 queued as ");
        assert!(reply.len() > 40, "{reply}");
        stopping.join().unwrap()
    });
    assert!(stopping.success(), "{stopping}");
    proxy.start_again();
    assert_eq!(proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().len(), 1);
}

// CASES D6
#[test]
fn mail_that_an_upstream_is_slow_to_take_is_settled_before_the_end() {
    let recorder = Recorder::start();
    let mut proxy = Proxy::start(&recorder.upstream("only"));
    let hold = recorder.hold_final_replies();
    smtplib(
        proxy.address(),
        &Envelope { from: "a@a.test", to: &["b@b.test"] },
        b"Subject: t\r\n\r\nx\r\n",
        &[],
    );
    recorder.wait(1);
    let ended = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| proxy.terminate());
        drop(hold);
        stopping.join().unwrap()
    });
    assert!(ended.success());
    proxy.start_again();
    assert_eq!(
        proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().len(),
        0,
        "settled, not sent again"
    );
    assert_eq!(recorder.wait(1).len(), 1);
}

#[test]
fn started_and_stopped_are_events() {
    let mut proxy = Proxy::start("");
    proxy.terminate();
    let events = proxy.cli(&["events", "--json"]);
    let codes: Vec<&str> =
        events.as_array().unwrap().iter().filter_map(|event| event["code"].as_str()).collect();
    assert_eq!(codes, ["STARTED", "STOPPED"]);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let mut proxy = Proxy::start("");
    let mut busy = Talk::connect(proxy.address());
    busy.say("EHLO c.test", "250");
    busy.say("MAIL FROM:<a@a.test>", "250");
    busy.say("RCPT TO:<b@b.test>", "250");
    busy.say("DATA", "354");
    proxy.signal(Signal::TERM);
    // The transaction may go on for 25 s.
    proxy.wait_until_said("stopping: transactions and attempts under way may end");
    proxy.signal(Signal::TERM);
    let asked = std::time::Instant::now();
    assert!(proxy.wait().success());
    assert!(asked.elapsed() < std::time::Duration::from_secs(15), "{:?}", asked.elapsed());
    assert!(proxy.said().contains("stopped at once"));
}
