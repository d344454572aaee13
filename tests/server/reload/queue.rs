//! Keys of the queue and of sending.

use super::{messages, refused, refused_as_it_stands, reload, reload_with, rewrite, send};
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::scripted::{Act, Scripted};
use crate::support::talk::Talk;
use crate::support::{PATIENCE, eventually};
use std::time::Instant;

fn with(key: &str) -> String {
    format!("[queue]\n{key}\n")
}

fn upstream(server: &Scripted) -> String {
    format!("[upstream.only]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\nconnection_limit = 1\n", server.port())
}

#[test]
pub fn data_dir() {
    let proxy = Proxy::start("");
    // The verb asks where the running proxy is; the file that the proxy loads says otherwise.
    let running = proxy.data_dir();
    let elsewhere = running.with_extension("other");
    rewrite(&proxy, running.to_str().unwrap(), elsewhere.to_str().unwrap());
    let refused = proxy.try_command(&["reload", "--data-dir", running.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("data_dir: cannot change"), "{said}");
    assert!(send(&proxy).starts_with("250") && !elsewhere.exists());
}

#[test]
pub fn enabled() {
    let proxy = Proxy::start("");
    assert!(send(&proxy).starts_with("250 2.0.0 queued as "));
    reload(&proxy, &with("enabled = false"));
    assert!(send(&proxy).starts_with("451 4.3.2"), "there is no upstream to pass it to");
    reload(&proxy, &with("enabled = true"));
    assert!(send(&proxy).starts_with("250 2.0.0 queued as "));
}

#[test]
pub fn engine() {
    refused(&Proxy::start(""), &with("engine = \"postgres\""), "queue.engine");
}

#[test]
pub fn path() {
    let proxy = Proxy::start("");
    refused(&proxy, &with("path = \"other.redb\""), "queue.path: cannot change");
    rewrite(&proxy, "\"other.redb\"", "\"queue.redb\"");
    proxy.command(&["reload"]);
    rewrite(&proxy, "\"queue.redb\"", "\"third.redb\"");
    refused_as_it_stands(&proxy, "queue.path: cannot change");
}

/// Five wait when sending begins; one upstream takes one at a time and never answers: what is claimed is one batch.
#[test]
pub fn batch_size() {
    let server = Scripted::start(|s| s.on("MAIL", Act::Hang));
    let config = |size: usize, sending: bool| {
        format!(
            "{}{}[sending]\nenabled = {sending}\n",
            upstream(&server),
            with(&format!("batch_size = {size}"))
        )
    };
    let proxy = Proxy::start(&config(3, false));
    (0..5).for_each(|_| assert!(send(&proxy).starts_with("250")));
    reload(&proxy, &config(2, true));
    let claimed = || proxy.get("/api/v1/stats").unwrap()["in_flight"].as_u64().unwrap();
    eventually("a batch to be claimed", || (claimed() > 0).then_some(()));
    assert_eq!(claimed(), 2);
}

#[test]
pub fn retry() {
    let server = Scripted::start(|s| s.on("RCPT", "451 4.2.0 later"));
    let config = |retry: &str| upstream(&server) + &with(&format!("retry = [\"{retry}\"]"));
    let proxy = Proxy::start(&config("1h"));
    let hours = |count: usize| {
        send(&proxy);
        eventually("a deferred message", || {
            let all = messages(&proxy);
            let deferred = all.iter().all(|message| message["state"] == "deferred");
            (all.len() == count && deferred).then(|| {
                let time = |key: &str| all[0][key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
                time("next_attempt").duration_since(time("received_at")).as_hours()
            })
        })
    };
    assert!((0..=1).contains(&hours(1)));
    reload(&proxy, &config("100h"));
    assert!((89..=110).contains(&hours(2)));
}

#[test]
pub fn expire_after() {
    let server = Scripted::start(|s| s.on("RCPT", "451 4.2.0 later"));
    let config =
        |life: &str| upstream(&server) + &with(&format!("retry = [\"1s\"]\nexpire_after = \"{life}\""));
    let proxy = Proxy::start(&config("5d"));
    send(&proxy);
    eventually("a deferred message", || (messages(&proxy)[0]["state"] == "deferred").then_some(()));
    reload(&proxy, &config("1s"));
    eventually("an expired recipient", || {
        (messages(&proxy)[0]["recipients"][0]["state"] == "expired").then_some(())
    });
}

#[test]
pub fn bounce() {
    let server = Scripted::start(|s| s.on("RCPT TO:<b@", "550 5.1.1 no"));
    let config = |to: &str| upstream(&server) + &with(&format!("bounce = \"{to}\""));
    let proxy = Proxy::start(&config("none"));
    let failed = |count: usize| {
        send(&proxy);
        eventually("a failed message", || {
            let states: Vec<_> = messages(&proxy).iter().map(|message| message["state"].clone()).collect();
            (states.iter().filter(|state| *state == "failed").count() >= count).then_some(())
        });
    };
    failed(1);
    // Another message fails meanwhile, of which nobody is told.
    refused(&proxy, &config("report"), "queue.bounce");
    reload(&proxy, &config("sender"));
    failed(2);
    let told = server.wait_for(1);
    assert!(told.len() == 1 && told[0].mail.starts_with("<>"), "{told:?}");
}

#[test]
pub fn max_messages() {
    let proxy = Proxy::start("");
    assert!(send(&proxy).starts_with("250"));
    reload(&proxy, &with("max_messages = 1"));
    Talk::hello(proxy.address()).say("MAIL FROM:<a@a.test>", "452 4.3.1");
    reload(&proxy, &with("max_messages = 2"));
    assert!(send(&proxy).starts_with("250"));
}

/// At once, and not when the engine looks round next, which it does once a minute.
#[test]
pub fn archive_days() {
    let recorder = Recorder::start();
    let config = |days: u32| recorder.upstream("only") + &with(&format!("archive_days = {days}"));
    let proxy = Proxy::start(&config(0));
    send(&proxy);
    recorder.wait(1);
    eventually("an empty queue", || messages(&proxy).is_empty().then_some(()));
    reload(&proxy, &config(1));
    send(&proxy);
    let sent = || proxy.cli(&["sent", "list", "--json"]).as_array().unwrap().len();
    eventually("one that is archived", || (sent() == 1).then_some(()));
}

#[test]
pub fn failed_days() {
    let server = Scripted::start(|s| s.on("RCPT", "550 5.1.1 no"));
    let proxy = Proxy::start(&upstream(&server));
    send(&proxy);
    eventually("a failed message", || (messages(&proxy)[0]["state"] == "failed").then_some(()));
    let start = Instant::now();
    reload(&proxy, &(upstream(&server) + &with("failed_days = 0")));
    eventually("an empty queue", || messages(&proxy).is_empty().then_some(()));
    assert!(start.elapsed() < PATIENCE / 2, "the engine has done it, and not the reload");
}

#[test]
pub fn min_free_space() {
    let proxy = Proxy::start(&with("min_free_space = \"0\""));
    assert!(send(&proxy).starts_with("250"));
    reload(&proxy, &with("min_free_space = \"1000PiB\""));
    Talk::hello(proxy.address()).say("MAIL FROM:<a@a.test>", "452 4.3.1");
}

#[test]
pub fn sending_enabled() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&(recorder.upstream("only") + "[sending]\nenabled = false\n"));
    send(&proxy);
    assert_eq!(messages(&proxy)[0]["state"], "queued");
    reload_with(&proxy, "enabled = false", "enabled = true");
    recorder.wait(1);
    reload_with(&proxy, "enabled = true", "enabled = false");
    send(&proxy);
    eventually("the message to wait", || {
        (messages(&proxy).iter().filter(|message| message["state"] == "queued").count() == 1).then_some(())
    });
}
