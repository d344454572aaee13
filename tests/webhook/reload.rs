//! The keys of a webhook, changed by a reload.

use super::receiver::{Receiver, SECRET};
use super::{DEBUG, send, told, wait_until_told};
use crate::support::proxy::Proxy;

fn reload(proxy: &Proxy, config: &str) {
    proxy.configure(config);
    proxy.command(&["reload"]);
}

/// Its line in the log is written when everybody has been told who was to be.
fn send_and_wait(proxy: &Proxy, recipient: &str) {
    send(proxy, recipient);
    proxy.wait_until_said(&format!("to=\"{recipient}\""));
}

/// Added, moved with what waits for it, removed.
#[test]
pub fn url() {
    let (mut first, second) = (Receiver::start(), Receiver::start());
    let proxy = Proxy::start(DEBUG);
    send_and_wait(&proxy, "nobody@b.test");
    reload(&proxy, &(DEBUG.to_owned() + &first.webhook("ops", "\"delivered\"")));
    send(&proxy, "ann@b.test");
    assert_eq!(first.wait(1)[0]["body"]["code"], "ann@b.test");
    first.answer("503");
    send(&proxy, "bob@b.test");
    first.wait(2);
    reload(&proxy, &(DEBUG.to_owned() + &second.webhook("ops", "\"delivered\"")));
    send(&proxy, "cid@b.test");
    let requests = second.wait(2);
    assert_eq!(
        (&requests[0]["body"]["code"], &requests[1]["body"]["code"]),
        (&"bob@b.test".into(), &"cid@b.test".into())
    );
    reload(&proxy, DEBUG);
    send_and_wait(&proxy, "dan@b.test");
    // Added again, it gets what comes from then on.
    reload(&proxy, &(DEBUG.to_owned() + &second.webhook("ops", "\"delivered\"")));
    send(&proxy, "eve@b.test");
    assert_eq!(second.wait(3)[2]["body"]["code"], "eve@b.test");
}

#[test]
pub fn on() {
    let (receiver, all) = (Receiver::start(), Receiver::start());
    let config =
        |on: &str| DEBUG.to_owned() + &all.webhook("all", "\"delivered\"") + &receiver.webhook("ops", on);
    let proxy = Proxy::start(&config("\"failed\""));
    send(&proxy, "ann@b.test");
    // Who is told of an event is decided for all at once.
    all.wait(1);
    reload(&proxy, &config("\"held\", \"delivered\""));
    send(&proxy, "bob@b.test");
    assert_eq!(receiver.wait(1)[0]["body"]["code"], "bob@b.test");
    proxy.configure(&config("\"faild\""));
    let refused = proxy.try_command(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("did you mean \"failed\"?"), "{said}");
}

#[test]
pub fn secret() {
    let receiver = Receiver::start();
    let config =
        |secret: &str| DEBUG.to_owned() + &receiver.webhook("ops", "\"delivered\"").replace(SECRET, secret);
    let proxy = Proxy::start(&config("another secret"));
    send(&proxy, "ann@b.test");
    assert_eq!(receiver.wait(1)[0]["verified"], false);
    reload(&proxy, &config(SECRET));
    send(&proxy, "bob@b.test");
    assert_eq!(receiver.wait(2)[1]["verified"], true);
    let shown = proxy.cli(&["check", "--json"]).to_string() + &proxy.said() + &told(&proxy).concat();
    assert!(
        !shown.contains(SECRET) && !shown.contains("another secret") && !shown.contains("s3cret"),
        "{shown}"
    );
}

#[test]
fn what_waits_for_a_webhook_that_is_not_changed_stays_and_that_for_one_that_is_gone_is_told() {
    let (mut stays, mut goes) = (Receiver::start(), Receiver::start());
    stays.answer("hang");
    goes.answer("hang");
    let (stays_too, both) = {
        let stays = DEBUG.to_owned() + &stays.webhook("stays", "\"delivered\"");
        (stays.clone(), stays + &goes.webhook("goes", "\"delivered\""))
    };
    let proxy = Proxy::start(&both);
    for number in 0..3 {
        send(&proxy, &format!("ann{number}@b.test"));
    }
    stays.wait(1);
    goes.wait(1);
    // All three wait: the last one's event comes after those of the others.
    crate::support::eventually("three events", || {
        let log = proxy.cli(&["events", "--json", "--code", "ann2@b.test"]);
        (!log.as_array().unwrap().is_empty()).then_some(())
    });
    reload(&proxy, &stays_too);
    wait_until_told(
        &proxy,
        "webhook goes: 3 events that waited for it are dropped: it is not configured any more",
    );
    stays.answer("200");
    assert_eq!(stays.wait(3).len(), 3);
    assert_eq!(goes.requests().len(), 1);
}
