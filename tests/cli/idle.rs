//! Nothing polls: with nothing to do the proxy sleeps.

use crate::support::clients::{Envelope, smtplib};
use crate::support::free_address;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::scripted::Scripted;
use crate::webhook::receiver::Receiver;
use std::time::Duration;

/// How often the threads of the process have gone to sleep.
fn naps(proxy: &Proxy) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).unwrap();
    let statuses =
        tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    statuses
        .map(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            line.trim().parse::<u64>().unwrap()
        })
        .sum()
}

/// An upstream whose circuit might be probed again, but for want of mail, once kept the engine awake all the time.
#[test]
fn an_upstream_that_failed_keeps_nobody_awake_when_there_is_no_mail_for_it() {
    let recorder = Recorder::start();
    let down =
        format!("[upstream.down]\nhost = \"{}\"\ntls = \"none\"\npriority = \"high\"\n", free_address());
    let proxy = Proxy::start(&(down + &recorder.upstream("up")));
    let envelope = Envelope { from: "a@a.test", to: &["b@b.test"] };
    smtplib(proxy.address(), &envelope, b"Subject: t\r\n\r\nx\r\n", &[]);
    recorder.wait(1);
    // The circuit is open for one second; behind it the upstream is available again.
    std::thread::sleep(Duration::from_millis(1_500));
    let before = naps(&proxy);
    std::thread::sleep(Duration::from_secs(1));
    let naps = naps(&proxy) - before;
    assert!(naps < 200, "it woke up {naps} times in a second with nothing to do");
}

/// Neither one that was told something nor one that cannot be told.
#[test]
fn webhooks_keep_nobody_awake_when_there_is_nothing_to_tell() {
    let receiver = Receiver::start();
    let webhooks = receiver.webhook("takes", "\"delivered\"") + &receiver.webhook("unused", "\"token\"");
    let proxy = Proxy::start(&format!("[debug]\nenabled = true\nfailure_rate = 0\n{webhooks}"));
    let envelope = Envelope { from: "a@a.test", to: &["b@b.test"] };
    smtplib(proxy.address(), &envelope, b"Subject: t\r\n\r\nx\r\n", &[]);
    receiver.wait(1);
    let before = naps(&proxy);
    std::thread::sleep(Duration::from_secs(1));
    let naps = naps(&proxy) - before;
    assert!(naps < 200, "it woke up {naps} times in a second with nothing to do");
}

/// It was once closed when somebody looked, which was once a minute.
#[test]
fn an_idle_connection_is_closed_at_its_time() {
    let only = Scripted::start(|script| script);
    let address = format!("127.0.0.1:{}", only.port());
    let upstream = format!("[upstream.only]\nhost = \"{address}\"\ntls = \"none\"\nmax_idle_time = \"1s\"\n");
    let proxy = Proxy::start(&upstream);
    let envelope = Envelope { from: "a@a.test", to: &["b@b.test"] };
    smtplib(proxy.address(), &envelope, b"Subject: t\r\n\r\nx\r\n", &[]);
    // Waits for half a minute at most.
    let sessions = only.wait_for_ends(1);
    assert_eq!(sessions[0].commands.last().unwrap(), "QUIT");
}
