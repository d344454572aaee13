//! Receivers that fail: what is tried again, what is given up, what is told, and who is kept waiting: nobody.

use super::receiver::Receiver;
use super::{DEBUG, send, told, wait_until_told};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually, free_address};
use serde_json::Value;
use std::time::Instant;

fn id(request: &Value) -> &str {
    request["header"]["x-postroom-event-id"].as_str().unwrap()
}

fn recipients(requests: &[Value]) -> Vec<&str> {
    requests.iter().map(|request| request["body"]["recipient"].as_str().unwrap()).collect()
}

/// One webhook for what debug delivers, and a proxy.
fn start(answers: &str) -> (Receiver, Proxy) {
    let mut receiver = Receiver::start();
    receiver.answer(answers);
    let proxy = Proxy::start(&(DEBUG.to_owned() + &receiver.webhook("ops", "\"delivered\"")));
    (receiver, proxy)
}

#[test]
fn what_fails_for_now_is_sent_again_under_the_same_id_before_what_came_later() {
    for answer in ["503", "500", "408", "425", "cut", "nonsense"] {
        let (receiver, proxy) = start(&format!("{answer} 200"));
        send(&proxy, "ann@b.test");
        send(&proxy, "bob@b.test");
        let requests = receiver.wait(3);
        assert_eq!(recipients(&requests), ["ann@b.test", "ann@b.test", "bob@b.test"], "{answer}");
        assert_eq!(id(&requests[0]), id(&requests[1]));
        assert_ne!(id(&requests[0]), id(&requests[2]));
        assert_eq!(requests[0]["body"], requests[1]["body"]);
        let told = wait_until_told(&proxy, "takes events again");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("webhook ops: http://localhost:"), "{told:?}");
        assert!(!told.concat().contains("hook?"), "the path is nobody's business: {told:?}");
    }
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let (receiver, proxy) = start("429:3 200");
    let sent = Instant::now();
    send(&proxy, "ann@b.test");
    receiver.wait(2);
    assert!(sent.elapsed().as_secs() >= 3, "it came after {:?}", sent.elapsed());
    assert!(told(&proxy)[0].contains("429 Too Many Requests"));
}

#[test]
fn what_is_refused_is_given_up_at_once_and_told_once() {
    for (answer, words) in [("404", "404 Not Found"), ("302", "redirects are not followed"), ("401", "401")] {
        let (mut receiver, proxy) = start(answer);
        for number in 0..5 {
            send(&proxy, &format!("ann{number}@b.test"));
        }
        let requests = receiver.wait(5);
        assert!(
            requests.iter().all(|request| request["path"] == "/hook?key=s3cret"),
            "{answer}: {requests:?}"
        );
        receiver.answer("200");
        send(&proxy, "last@b.test");
        let told = wait_until_told(&proxy, "takes events again; 5 were given up and 0 dropped");
        assert_eq!((told.len(), receiver.requests().len()), (2, 6), "{told:?}");
        assert!(told[0].contains(words), "{told:?}");
    }
}

/// The status has decided; what comes behind it changes nothing, and nobody reads it for ever.
#[test]
fn an_answer_that_never_ends_and_one_that_is_cut_off_count_by_their_status() {
    let (receiver, proxy) = start("endless cut-body 200");
    for recipient in ["ann@b.test", "bob@b.test", "cid@b.test"] {
        send(&proxy, recipient);
    }
    let requests = receiver.wait(3);
    assert_eq!(recipients(&requests), ["ann@b.test", "bob@b.test", "cid@b.test"]);
    assert_eq!(told(&proxy), [""; 0]);
}

#[test]
fn a_connection_is_kept_while_events_wait() {
    let (mut receiver, proxy) = start("hang");
    for number in 0..20 {
        send(&proxy, &format!("ann{number}@b.test"));
    }
    receiver.wait(1);
    receiver.answer("1.1");
    assert_eq!(receiver.wait(20).len(), 20);
    assert_eq!(told(&proxy), [""; 0]);
}

#[test]
fn one_that_hangs_delays_no_other_and_no_mail_and_no_stop() {
    let (mut hangs, takes) = (Receiver::start(), Receiver::start());
    hangs.answer("hang");
    let nobody = free_address();
    let mut proxy = Proxy::start(&format!(
        "{DEBUG}{}{}[webhook.nobody]\nurl = \"http://{nobody}/\"\non = [\"delivered\"]\n",
        hangs.webhook("hangs", "\"delivered\""),
        takes.webhook("takes", "\"delivered\""),
    ));
    for number in 0..10 {
        send(&proxy, &format!("ann{number}@b.test"));
    }
    assert_eq!(takes.wait(10).len(), 10);
    assert_eq!(hangs.requests().len(), 1, "it still has the first one");
    let trouble = eventually("its trouble", || {
        proxy.get("/readyz").unwrap()["webhooks"]["nobody"].as_str().map(str::to_owned)
    });
    assert!(trouble.contains("refused"), "{trouble}");
    let asked = Instant::now();
    assert!(proxy.terminate().success());
    assert!(asked.elapsed() < PATIENCE);
    let said = proxy.refused().1;
    for name in ["hangs", "nobody"] {
        let words = format!("webhook {name}: 10 events that waited for it are dropped: the proxy stops");
        assert!(said.contains(&words), "{words} is not in {said}");
    }
    // It is in the event log, too.
    let log = proxy.cli(&["events", "--json", "--code", "WEBHOOK"]);
    assert!(log.to_string().contains("are dropped: the proxy stops"), "{log}");
    assert_eq!(takes.requests().len(), 10);
}

/// What waits at a stop is sent to those who take it.
#[test]
fn a_stop_sends_what_waits() {
    let (mut receiver, mut proxy) = start("hang");
    for number in 0..50 {
        send(&proxy, &format!("ann{number}@b.test"));
    }
    receiver.wait(1);
    let log = || proxy.cli(&["events", "--json", "--source", "Mail", "--limit", "1000"]);
    eventually("all to be delivered", || {
        (log().as_array().unwrap().iter().filter(|one| one.get("recipient").is_some()).count() == 50)
            .then_some(())
    });
    receiver.answer("200");
    proxy.terminate();
    let (taken, said) = (receiver.requests().len(), proxy.refused().1);
    // On a busy machine the grace may not be enough; then the rest is told.
    let dropped =
        said.split("webhook ops: ").find_map(|rest| rest.split_once(" events that waited")?.0.parse().ok());
    assert!(taken + dropped.unwrap_or(0) >= 50, "{taken} taken, {dropped:?} dropped");
}

/// What is told of a webhook's own troubles is sent to none, or it would feed itself.
#[test]
fn a_webhook_is_not_told_of_its_own_failures() {
    let topics = "\"delivered\", \"deferred\", \"failed\", \"expired\", \"bounced\", \"held\", \"circuit\", \"mode\", \"token\"";
    let mut receiver = Receiver::start();
    receiver.answer("404 404 404 200");
    let proxy = Proxy::start(&(DEBUG.to_owned() + &receiver.webhook("ops", topics)));
    for number in 0..4 {
        send(&proxy, &format!("ann{number}@b.test"));
    }
    let told = wait_until_told(&proxy, "takes events again");
    assert_eq!(told.len(), 2, "{told:?}");
    // That debug is on, and four recipients.
    let codes: Vec<Value> = receiver.wait(5).iter().map(|request| request["body"]["code"].clone()).collect();
    assert_eq!(codes, ["MODE", "ann0@b.test", "ann1@b.test", "ann2@b.test", "ann3@b.test"]);
}
