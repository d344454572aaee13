//! Many events at once: what waits is bounded, what is lost is counted, and mail is not kept waiting.

use super::receiver::Receiver;
use super::{DEBUG, wait_until_told};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use std::collections::BTreeSet;

const MESSAGES: usize = 10;
const RECIPIENTS: usize = 1_000;

#[test]
fn of_ten_thousand_events_a_thousand_wait_and_the_others_are_counted_while_mail_goes_on() {
    let mut receiver = Receiver::start();
    receiver.answer("hang");
    let proxy = Proxy::start(&(DEBUG.to_owned() + &receiver.webhook("ops", "\"delivered\"")));
    let recipients: Vec<String> = (0..RECIPIENTS).map(|number| format!("<ann{number}@b.test>")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    for _ in 0..MESSAGES {
        let mut client = Talk::hello(proxy.address());
        client.begin_data("<shop@a.test>", &recipients);
        client.send("Subject: t\r\n\r\nx\r\n.\r\n");
        client.hear("250");
    }
    // All are delivered before the receiver has answered once.
    for left in (0..MESSAGES).rev() {
        eventually("fewer messages in the queue", || {
            let waiting = proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().len();
            (waiting <= left).then_some(())
        });
    }
    assert!(receiver.requests().iter().all(|request| request["answer"] == "hang"));
    receiver.answer("1.1");
    (100..=1_000).step_by(100).for_each(|count| drop(receiver.wait(count)));
    let told = wait_until_told(&proxy, "takes events again");
    let end = told.iter().find(|text| text.contains("takes events again")).unwrap();
    let dropped: usize = end.split(" and ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(end.contains("0 were given up"), "{end}");
    let ids: BTreeSet<u64> =
        receiver.requests().iter().map(|request| request["body"]["id"].as_u64().unwrap()).collect();
    // On a machine that gives the process no time, events may come faster than anybody looks at them: that is told.
    let missed: usize = proxy
        .said()
        .lines()
        .filter_map(|line| {
            line.split_once(" events came too fast")?.0.rsplit(' ').next()?.parse::<usize>().ok()
        })
        .sum();
    assert!(ids.len() <= 1_001, "{} waited", ids.len());
    let all = ids.len() + dropped;
    assert!(
        all <= MESSAGES * RECIPIENTS && all + missed >= MESSAGES * RECIPIENTS,
        "{all} and {missed}: {end}"
    );
    assert!(proxy.get("/readyz").unwrap()["webhooks"].as_object().unwrap().is_empty());
}
