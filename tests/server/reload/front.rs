//! Keys of the front door: they hold for new sessions.

use super::{messages, refused, reload, reload_with, send};
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use crate::support::{not_proved_here, own_address};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Long enough for an answer that comes at once; where it is too short the test does not fail.
const A_MOMENT: Duration = Duration::from_millis(200);

fn with(limit: &str) -> String {
    format!("[limits]\n{limit}\n")
}

#[test]
pub fn hostname() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&recorder.upstream("only"));
    let mut before = Talk::hello(proxy.address());
    reload_with(&proxy, "\"proxy.test\"", "\"other.test\"");
    assert!(Talk::connect_only(proxy.address()).hear("220").contains(" other.test "));
    assert!(before.say("EHLO c.test", "250").contains("proxy.test"), "a session finishes under the old one");
    send(&proxy);
    let content = recorder.wait(1).remove(0).content;
    assert!(String::from_utf8_lossy(&content).contains("by other.test "), "the Received field");
}

/// The envelope of a message from `shop` to `root`, as the upstream gets it.
fn unqualified(proxy: &Proxy, recorder: &Recorder, number: usize) -> (String, Vec<String>) {
    let mut talk = Talk::hello(proxy.address());
    talk.begin_data("<shop>", &["<root>"]);
    talk.send("\r\nx\r\n.\r\n");
    talk.hear("250");
    let message = recorder.wait(number).remove(number - 1);
    (message.mail.split(' ').next().unwrap().to_owned(), message.rcpt)
}

#[test]
pub fn default_domain() {
    let recorder = Recorder::start();
    let config = |domain: &str| format!("default_domain = \"{domain}\"\n{}", recorder.upstream("only"));
    let proxy = Proxy::start(&recorder.upstream("only"));
    let envelope = |domain: &str| (format!("<shop@{domain}>"), vec![format!("<root@{domain}>")]);
    assert_eq!(unqualified(&proxy, &recorder, 1), envelope("proxy.test"));
    reload(&proxy, &config("a.test"));
    assert_eq!(unqualified(&proxy, &recorder, 2), envelope("a.test"));
    reload(&proxy, &config(""));
    assert_eq!(unqualified(&proxy, &recorder, 3), envelope("proxy.test"));
}

#[test]
pub fn aliases() {
    let recorder = Recorder::start();
    let config = |alias: &str| format!("{}[aliases]\n{alias}\n", recorder.upstream("only"));
    let proxy = Proxy::start(&config(""));
    assert_eq!(unqualified(&proxy, &recorder, 1).1, ["<root@proxy.test>"]);
    reload(&proxy, &config("root = \"ops@b.test\""));
    assert_eq!(unqualified(&proxy, &recorder, 2).1, ["<ops@b.test>"]);
    reload(&proxy, &config("root = \"staff@c.test\""));
    assert_eq!(unqualified(&proxy, &recorder, 3).1, ["<staff@c.test>"]);
    reload(&proxy, &config("postmaster = \"ops@b.test\""));
    assert_eq!(unqualified(&proxy, &recorder, 4).1, ["<root@proxy.test>"]);
}

#[test]
pub fn allow() {
    let listener = |allow: &str| format!("[listener.test]\naddress = \"@LISTEN@\"\nallow = [{allow}]\n");
    let proxy = Proxy::start(&listener("\"127.0.0.1\""));
    let mut before = Talk::hello(proxy.address());
    reload(&proxy, &listener("\"10.0.0.0/8\""));
    assert!(send(&proxy).starts_with("554 5.7.1"));
    assert!(before.mail("b@b.test", 100).starts_with("250"), "a session finishes under the old one");
    reload(&proxy, &listener("\"127.0.0.0/8\""));
    assert!(send(&proxy).starts_with("250"));
}

#[test]
pub fn class() {
    let config = |class: &str| {
        format!("[listener.test]\naddress = \"@LISTEN@\"\nclass = \"{class}\"\n[sending]\nenabled = false\n")
    };
    let proxy = Proxy::start(&config(""));
    send(&proxy);
    reload(&proxy, &config("bulk"));
    send(&proxy);
    reload(&proxy, &config("urgent"));
    send(&proxy);
    let classes: Vec<_> = messages(&proxy).iter().map(|one| one["class"].clone()).collect();
    assert_eq!(classes, ["urgent", "bulk", "normal"]);
}

#[test]
pub fn danger_open_relay() {
    let proxy = Proxy::start("");
    let second = |danger: &str| {
        let port = proxy.address().port();
        format!(
            "[listener.test]\naddress = \"0.0.0.0:{port}\" # @LISTEN@\nallow = [\"0.0.0.0/0\"]\n{danger}\n"
        )
    };
    refused(&proxy, &second(""), "an open relay");
    reload(&proxy, &second("danger_open_relay = true"));
    assert!(send(&proxy).starts_with("250"));
}

#[test]
pub fn message_size() {
    let proxy = Proxy::start("");
    reload(&proxy, &with("message_size = \"12345B\""));
    assert!(Talk::connect(proxy.address()).say("EHLO c.test", "250").contains("SIZE 12345\n"));
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 20_000).starts_with("552 5.3.4"));
}

#[test]
pub fn recipients() {
    let proxy = Proxy::start(&with("recipients = 102"));
    reload(&proxy, &with("recipients = 101"));
    let mut talk = Talk::hello(proxy.address());
    talk.say("MAIL FROM:<a@a.test>", "250");
    (0..101).for_each(|number| drop(talk.say(&format!("RCPT TO:<{number}@b.test>"), "250")));
    talk.say("RCPT TO:<more@b.test>", "452 4.5.3");
}

#[test]
pub fn connections() {
    let proxy = Proxy::start("");
    reload(&proxy, &with("connections = 1"));
    let first = Talk::connect(proxy.address());
    Talk::connect_only(proxy.address()).hear("421 4.7.0");
    reload(&proxy, &with("connections = 2"));
    let _second = Talk::connect(proxy.address());
    Talk::connect_only(proxy.address()).hear("421 4.7.0");
    drop(first);
}

#[test]
pub fn connections_per_client() {
    // Loopback is exempt.
    let Some(own) = own_address() else {
        return not_proved_here(
            "connections_per_client is reloaded",
            "the machine has no address but loopback",
        );
    };
    let proxy = Proxy::start("");
    let port = TcpListener::bind((own, 0)).unwrap().local_addr().unwrap().port();
    let far = SocketAddr::new(own, port);
    let config = |limit: usize| {
        format!(
            "[listener.test]\naddress = \"@LISTEN@\"\n[listener.far]\naddress = \"{far}\"\nallow = [\"{own}\"]\n\
             [limits]\nconnections_per_client = {limit}\n"
        )
    };
    reload(&proxy, &config(2));
    let _both = (Talk::connect(far), Talk::connect(far));
    Talk::connect_only(far).hear("421 4.7.0");
    reload(&proxy, &config(3));
    let _third = Talk::connect(far);
    Talk::connect_only(far).hear("421 4.7.0");
}

#[test]
pub fn command_timeout() {
    let proxy = Proxy::start(&with("command_timeout = \"1h\""));
    let mut before = Talk::connect(proxy.address());
    reload(&proxy, &with("command_timeout = \"300ms\""));
    Talk::connect(proxy.address()).hear("421 4.4.2");
    before.say("NOOP", "250");
}

#[test]
pub fn data_timeout() {
    let proxy = Proxy::start(&with("data_timeout = \"1h\""));
    reload(&proxy, &with("data_timeout = \"300ms\""));
    let mut talk = Talk::hello(proxy.address());
    talk.envelope("b@b.test").unwrap();
    talk.hear("421 4.4.2");
}

#[test]
pub fn received_hops() {
    let proxy = Proxy::start("");
    let twice = b"Received: from a\r\nReceived: from b\r\n\r\nx\r\n.\r\n";
    assert!(Talk::hello(proxy.address()).transact(twice).starts_with("250"));
    reload(&proxy, &with("received_hops = 1"));
    assert!(Talk::hello(proxy.address()).transact(twice).starts_with("554 5.4.6"));
}

#[test]
pub fn errors_per_session() {
    let proxy = Proxy::start("");
    reload(&proxy, &with("errors_per_session = 1"));
    let mut talk = Talk::hello(proxy.address());
    talk.say("BOGUS", "500");
    talk.say("BOGUS", "421 4.7.0");
}

/// The memory for one reception is 256 KiB.
#[test]
pub fn content_memory() {
    let proxy = Proxy::start(&with("content_memory = \"1MiB\""));
    let begin = |count: usize| -> Vec<Talk> {
        let begun = (0..count).map(|_| {
            let mut talk = Talk::hello(proxy.address());
            talk.envelope("b@b.test").unwrap();
            talk
        });
        begun.collect()
    };
    let waiting = || {
        let mut talk = Talk::hello(proxy.address());
        talk.send("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n");
        talk.hear("250");
        talk.hear("250");
        assert!(talk.is_silent_for(A_MOMENT), "there is no memory left");
        talk
    };
    let end = |mut talk: Talk| {
        talk.send("\r\n.\r\n");
        talk.hear("250");
    };
    let first = begin(4);
    let mut fifth = waiting();
    reload(&proxy, &with("content_memory = \"2MiB\""));
    fifth.hear("354");
    let more = begin(3);
    // Eight are under way, where four may be now: five must end before one can begin.
    reload(&proxy, &with("content_memory = \"1MiB\""));
    first.into_iter().for_each(end);
    let mut ninth = waiting();
    end(fifth);
    ninth.hear("354");
    more.into_iter().chain([ninth]).for_each(end);
}

#[test]
pub fn bare_newline() {
    let proxy = Proxy::start("");
    let bare = b"Subject: a\nb\r\n\r\nx\r\n.\r\n";
    assert!(Talk::hello(proxy.address()).transact(bare).starts_with("250"));
    reload(&proxy, &with("bare_newline = \"reject\""));
    assert!(Talk::hello(proxy.address()).transact(bare).starts_with("550 5.5.2"));
}
