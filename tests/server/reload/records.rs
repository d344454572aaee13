//! Keys of what is written down.

use super::{reload, send};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;

#[test]
pub fn log_emails_enabled() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&recorder.upstream("only"));
    let file = proxy.data_dir().join("logemails.log");
    send(&proxy);
    recorder.wait(1);
    assert!(!file.exists());
    reload(&proxy, &(recorder.upstream("only") + "[log_emails]\nenabled = true\n"));
    send(&proxy);
    recorder.wait(2);
    assert_eq!(std::fs::read_to_string(&file).unwrap().matches("Timestamp: ").count(), 1);
    reload(&proxy, &recorder.upstream("only"));
    send(&proxy);
    recorder.wait(3);
    assert_eq!(std::fs::read_to_string(&file).unwrap().matches("Timestamp: ").count(), 1);
}

#[test]
pub fn log_emails_path() {
    let recorder = Recorder::start();
    let config = |path: &str| {
        recorder.upstream("only") + &format!("[log_emails]\nenabled = true\npath = \"{path}\"\n")
    };
    let proxy = Proxy::start(&config("one.log"));
    reload(&proxy, &config("two.log"));
    send(&proxy);
    recorder.wait(1);
    let length = |name: &str| std::fs::metadata(proxy.data_dir().join(name)).unwrap().len();
    assert_eq!(length("one.log"), 0);
    assert!(length("two.log") > 50);
    proxy.configure(&config("not/there.log"));
    assert_eq!(proxy.try_command(&["reload"]).status.code(), Some(78));
    send(&proxy);
    recorder.wait(2);
    assert!(length("two.log") > 100, "a wrong one changes nothing");
}

#[test]
pub fn events_keep() {
    let proxy = Proxy::start("");
    (0..10).for_each(|_| drop(send(&proxy)));
    let events = || proxy.cli(&["events", "--json", "--limit", "1000"]).as_array().unwrap().len();
    eventually("ten events", || (events() >= 10).then_some(()));
    reload(&proxy, "[events]\nkeep = 3\n");
    send(&proxy);
    eventually("three of each type at most", || (events() <= 9).then_some(()));
}

#[test]
pub fn log_level() {
    let recorder = Recorder::start();
    let config = |level: &str| recorder.upstream("only") + &format!("[log]\nlevel = \"{level}\"\n");
    let mut proxy = Proxy::start(&config("error"));
    let accepted = || proxy.said().matches("accepted").count();
    send(&proxy);
    recorder.wait(1);
    assert_eq!(accepted(), 0);
    reload(&proxy, &config("info"));
    send(&proxy);
    proxy.wait_until_said("accepted");
    reload(&proxy, &config("postroom::smtp=debug"));
    send(&proxy);
    proxy.wait_until_said("connected");
    eventually("the second line", || (accepted() == 2).then_some(()));
    reload(&proxy, &config("error"));
    send(&proxy);
    recorder.wait(4);
    // Lines are written a moment after they were logged, and all of them before the end.
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.refused().1.matches("accepted").count(), 2);
}

#[test]
pub fn log_format() {
    let proxy = Proxy::start("");
    let config = |format: &str| format!("[log]\nformat = \"{format}\"\n");
    reload(&proxy, &config("json"));
    send(&proxy);
    proxy.wait_until_said("\"message\":\"accepted\"");
    let said = proxy.said();
    let line = said.lines().find(|line| line.contains("\"accepted\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["fields"]["from"], "shop@a.test");
    reload(&proxy, &config("text"));
    send(&proxy);
    proxy.wait_until_said(": accepted queue_id=");
}

/// A rotated log was followed into its grave: only SIGHUP opened it again, and `systemctl reload` sends none.
#[test]
fn logemails_log_is_opened_again_by_the_verb_and_by_the_signal_also_under_a_wrong_configuration() {
    let recorder = Recorder::start();
    let config = recorder.upstream("only") + "[log_emails]\nenabled = true\n";
    let proxy = Proxy::start(&config);
    let file = proxy.data_dir().join("logemails.log");
    let rotate = |number: usize| std::fs::rename(&file, file.with_extension(number.to_string())).unwrap();
    rotate(1);
    proxy.command(&["reload"]);
    assert!(file.exists());
    rotate(2);
    proxy.hang_up();
    eventually("the file to be back", || file.exists().then_some(()));
    rotate(3);
    proxy.configure("[limits]\nrecipients = 1\n");
    assert_eq!(proxy.try_command(&["reload"]).status.code(), Some(78));
    assert!(file.exists());
    send(&proxy);
    recorder.wait(1);
    assert!(std::fs::read_to_string(&file).unwrap().contains("Rcpt: b@b.test"));
}
