//! Reload: checked whole, swapped at once; a wrong one changes nothing and says why (rule 10, CASES G9).

use crate::support::clients::{Envelope, smtplib};
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::{eventually, free_address};

fn send(proxy: &Proxy) {
    smtplib(
        proxy.address(),
        &Envelope { from: "a@a.test", to: &["b@b.test"] },
        b"Subject: t\r\n\r\nx\r\n",
        &[],
    );
}

fn events(proxy: &Proxy, code: &str) -> Vec<String> {
    let events = proxy.cli(&["events", "--json", "--limit", "1000"]);
    let of = events.as_array().unwrap().iter().filter(|event| event["code"] == code);
    of.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn new_upstreams_take_the_mail_that_waits() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&format!("[upstream.old]\nhost = \"{}\"\ntls = \"none\"\n", free_address()));
    send(&proxy);
    proxy.configure(&recorder.upstream("new"));
    proxy.command(&["reload"]);
    recorder.wait(1);
    eventually("the event", || (events(&proxy, "RELOADED").len() == 1).then_some(()));
}

#[test]
fn sighup_reloads_too() {
    let recorder = Recorder::start();
    let proxy = Proxy::start("");
    send(&proxy);
    proxy.configure(&recorder.upstream("new"));
    proxy.hang_up();
    recorder.wait(1);
}

// CASES G9
#[test]
fn a_broken_file_changes_nothing_and_says_why() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&recorder.upstream("only"));
    proxy.configure("[limits]\nrecipients = 3\nmessage_sise = \"1MiB\"\n");
    let refused = proxy.try_command(&["reload"]);
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("limits.recipients") && said.contains("message_size"), "{said}");
    eventually("the event", || (events(&proxy, "RELOAD_FAILED").len() == 1).then_some(()));
    send(&proxy);
    recorder.wait(1);
}

#[test]
fn what_cannot_change_while_it_runs_is_refused() {
    let proxy = Proxy::start("");
    proxy.configure("[queue]\npath = \"other.redb\"\n");
    let refused = proxy.try_command(&["reload"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("queue.path"));
}

#[test]
fn listeners_come_and_go_and_one_that_cannot_be_bound_changes_nothing() {
    let proxy = Proxy::start("[listener.main]\naddress = \"@LISTEN@\"\n");
    let second = free_address();
    proxy.configure(&format!(
        "[listener.main]\naddress = \"@LISTEN@\"\n[listener.second]\naddress = \"{second}\"\n"
    ));
    proxy.command(&["reload"]);
    smtplib(second, &Envelope { from: "a@a.test", to: &["b@b.test"] }, b"Subject: t\r\n\r\nx\r\n", &[]);
    proxy.configure("[listener.main]\naddress = \"@LISTEN@\"\n");
    proxy.command(&["reload"]);
    eventually("the second listener to be gone", || {
        std::net::TcpStream::connect(second).is_err().then_some(())
    });

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    proxy.configure(&format!(
        "[listener.main]\naddress = \"@LISTEN@\"\n[listener.third]\naddress = \"{address}\"\n"
    ));
    assert_eq!(proxy.try_command(&["reload"]).status.code(), Some(78));
    send(&proxy);
}
