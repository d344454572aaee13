//! Keys of what happens to mail: sites, redirect, debug, simulate, sender.

use super::{messages, reload, send};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::{Recorded, Recorder};
use crate::support::talk::Talk;

/// From this address, to that one, with a whole header.
fn mail(proxy: &Proxy, from: &str, to: &str) {
    let mut talk = Talk::hello(proxy.address());
    talk.begin_data(&format!("<{from}>"), &[&format!("<{to}>")]);
    talk.send(format!("From: {from}\r\nSubject: s\r\n\r\nx\r\n.\r\n"));
    let reply = talk.reply();
    assert!(reply.starts_with("250"), "{reply}");
}

/// The recipients of the last of so many messages.
fn recipients(recorder: &Recorder, count: usize) -> Vec<String> {
    recorder.wait(count).pop().unwrap().rcpt
}

fn text(message: &Recorded) -> String {
    String::from_utf8_lossy(&message.content).into_owned()
}

/// The messages of the newest events of a recipient.
fn events_of(proxy: &Proxy, recipient: &str) -> Vec<String> {
    let events = proxy.cli(&["events", "--json"]);
    let events = events.as_array().unwrap().iter().filter(|event| event["code"] == recipient);
    events.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

fn site_of_last(proxy: &Proxy) -> Option<String> {
    messages(proxy).first()?["site"].as_str().map(str::to_owned)
}

const OFF: &str = "[sending]\nenabled = false\n";

#[test]
pub fn listener_site() {
    let listener = |site: &str| {
        format!("{OFF}[listener.test]\naddress = \"@LISTEN@\"\nsite = \"{site}\"\n[site.a]\n[site.b]\n")
    };
    let proxy = Proxy::start(&listener("a"));
    send(&proxy);
    assert_eq!(site_of_last(&proxy).as_deref(), Some("a"));
    reload(&proxy, &listener("b"));
    send(&proxy);
    assert_eq!(site_of_last(&proxy).as_deref(), Some("b"));
}

#[test]
pub fn redirect_enabled() {
    let recorder = Recorder::start();
    let redirect = |enabled| {
        recorder.upstream("only")
            + &format!("[redirect]\nenabled = {enabled}\nreport_emails = [\"qa@r.test\"]\n")
    };
    let proxy = Proxy::start(&redirect(false));
    mail(&proxy, "a@a.test", "b@b.test");
    assert_eq!(recipients(&recorder, 1), ["<b@b.test>"]);
    reload(&proxy, &redirect(true));
    mail(&proxy, "a@a.test", "b@b.test");
    let all = recorder.wait(2);
    assert_eq!(all[1].rcpt, ["<qa@r.test>"]);
    assert!(all[1].mail.starts_with("<qa@r.test>"), "{}", all[1].mail);
    assert!(text(&all[1]).contains("X-Original-To: b@b.test\r\n"), "{}", text(&all[1]));
    reload(&proxy, &redirect(false));
    mail(&proxy, "a@a.test", "c@b.test");
    assert_eq!(recipients(&recorder, 3), ["<c@b.test>"]);
}

#[test]
pub fn redirect_report_emails() {
    let recorder = Recorder::start();
    let to = |list: &str| {
        recorder.upstream("only") + &format!("[redirect]\nenabled = true\nreport_emails = {list}\n")
    };
    let proxy = Proxy::start(&to("[\"one@r.test\", { email = \"two@r.test\", enabled = false }]"));
    send(&proxy);
    assert_eq!(recipients(&recorder, 1), ["<one@r.test>"]);
    reload(&proxy, &to("[{ email = \"two@r.test\" }, { email = \"one@r.test\", enabled = false }]"));
    send(&proxy);
    assert_eq!(recipients(&recorder, 2), ["<two@r.test>"]);
    reload(&proxy, &to("[]"));
    send(&proxy);
    eventually("the message to be held", || (messages(&proxy).first()?["state"] == "held").then_some(()));
    assert_eq!(messages(&proxy)[0]["held_because"][0], "nobody_to_report_to");
    reload(&proxy, &to("[\"three@r.test\"]"));
    assert_eq!(recipients(&recorder, 3), ["<three@r.test>"], "released by the reload that enables one");
}

#[test]
pub fn redirect_allow() {
    let recorder = Recorder::start();
    let allow = |list: &str| {
        recorder.upstream("only")
            + &format!("[redirect]\nenabled = true\nreport_emails = [\"qa@r.test\"]\nallow = {list}\n")
    };
    let proxy = Proxy::start(&allow("[]"));
    send(&proxy);
    assert_eq!(recipients(&recorder, 1), ["<qa@r.test>"]);
    reload(&proxy, &allow("[\"@B.test\"]"));
    send(&proxy);
    assert_eq!(recipients(&recorder, 2), ["<b@b.test>"]);
    reload(&proxy, &allow("[\"@est\", \"a@b.test\"]"));
    send(&proxy);
    assert_eq!(recipients(&recorder, 3), ["<qa@r.test>"]);
}

#[test]
pub fn debug_enabled() {
    let recorder = Recorder::start();
    let debug =
        |enabled| recorder.upstream("only") + &format!("[debug]\nenabled = {enabled}\nfailure_rate = 0.0\n");
    let proxy = Proxy::start(&debug(true));
    mail(&proxy, "a@a.test", "b@b.test");
    eventually("the event", || (!events_of(&proxy, "b@b.test").is_empty()).then_some(()));
    assert!(events_of(&proxy, "b@b.test")[0].contains("debug"));
    reload(&proxy, &debug(false));
    mail(&proxy, "a@a.test", "c@b.test");
    assert_eq!(recipients(&recorder, 1), ["<c@b.test>"], "the first one never left");
}

#[test]
pub fn debug_failure_rate() {
    let debug = |rate: &str| format!("[debug]\nenabled = true\nfailure_rate = {rate}\n");
    let proxy = Proxy::start(&debug("0"));
    mail(&proxy, "a@a.test", "b@b.test");
    eventually("the event", || (!events_of(&proxy, "b@b.test").is_empty()).then_some(()));
    reload(&proxy, &debug("1.0"));
    mail(&proxy, "a@a.test", "c@b.test");
    let failed = eventually("the event", || events_of(&proxy, "c@b.test").pop());
    assert_eq!(failed, "Sending failed for c@b.test");
    assert_eq!(messages(&proxy)[0]["state"], "deferred");
}

#[test]
pub fn debug_seed() {
    let debug = |seed| format!("[debug]\nenabled = true\nfailure_rate = 0.5\nseed = {seed}\n");
    let outcomes = |proxy: &Proxy, to: &str| -> Vec<bool> {
        let address = |number| format!("{to}{number}@b.test");
        for number in 0..16 {
            mail(proxy, "a@a.test", &address(number));
            eventually("the event", || (!events_of(proxy, &address(number)).is_empty()).then_some(()));
        }
        (0..16).map(|number| events_of(proxy, &address(number))[0].starts_with("Sending failed")).collect()
    };
    let proxy = Proxy::start(&debug(7));
    let seven = outcomes(&proxy, "x");
    reload(&proxy, &debug(8));
    assert_ne!(outcomes(&proxy, "y"), seven);
    drop(proxy);
    assert_eq!(outcomes(&Proxy::start(&debug(7)), "z"), seven, "the same in each run");
}

#[test]
pub fn simulate_enabled() {
    let recorder = Recorder::start();
    let simulate = |enabled| recorder.upstream("only") + &format!("[simulate]\nenabled = {enabled}\n");
    let proxy = Proxy::start(&simulate(false));
    mail(&proxy, "a@a.test", "b@b.test");
    recorder.wait(1);
    reload(&proxy, &simulate(true));
    mail(&proxy, "a@a.test", "c@b.test");
    let failed = eventually("the event", || events_of(&proxy, "c@b.test").pop());
    assert_eq!(failed, "Sending failed for c@b.test [Simulated error].");
    assert_eq!(recorder.messages().len(), 1);
}

#[test]
pub fn sender_rewrite() {
    let recorder = Recorder::start();
    let sender = |rewrite: &str| {
        recorder.upstream("only")
            + &format!("[sender]\nrewrite = \"{rewrite}\"\naddress = '\"The Shop\" <shop@own.test>'\n")
    };
    let proxy = Proxy::start(&sender("never"));
    mail(&proxy, "a@a.test", "b@b.test");
    assert!(recorder.wait(1)[0].mail.starts_with("<a@a.test>"));
    reload(&proxy, &sender("always"));
    mail(&proxy, "a@a.test", "b@b.test");
    let always = recorder.wait(2).remove(1);
    assert!(always.mail.starts_with("<shop@own.test>"), "{}", always.mail);
    for field in ["From: \"The Shop\" <shop@own.test>", "Reply-To: a@a.test", "X-Original-From: a@a.test"] {
        assert!(text(&always).contains(&format!("\r\n{field}\r\n")), "{field}: {}", text(&always));
    }
    reload(&proxy, &sender("missing"));
    mail(&proxy, "a@a.test", "b@b.test");
    let missing = recorder.wait(3).remove(2);
    assert!(missing.mail.starts_with("<a@a.test>") && text(&missing).contains("From: a@a.test\r\n"));
}

#[test]
pub fn sender_address() {
    let recorder = Recorder::start();
    let sender = |address: &str| {
        recorder.upstream("only") + &format!("[sender]\nrewrite = \"always\"\naddress = \"{address}\"\n")
    };
    let proxy = Proxy::start(&sender("one@own.test"));
    send(&proxy);
    assert!(recorder.wait(1)[0].mail.starts_with("<one@own.test>"));
    reload(&proxy, &sender("two@own.test"));
    send(&proxy);
    assert!(recorder.wait(2)[1].mail.starts_with("<two@own.test>"));
}

#[test]
pub fn site_senders() {
    let config = |senders: &str| format!("{OFF}[site.shop]\nsenders = [\"{senders}\"]\n");
    let proxy = Proxy::start(&config("@shop.test"));
    mail(&proxy, "a@Shop.test", "b@b.test");
    assert_eq!(site_of_last(&proxy).as_deref(), Some("shop"));
    reload(&proxy, &config("a@other.test"));
    mail(&proxy, "a@shop.test", "b@b.test");
    assert_eq!(site_of_last(&proxy), None);
    mail(&proxy, "a@other.test", "b@b.test");
    assert_eq!(site_of_last(&proxy).as_deref(), Some("shop"));
    // For <> From says it.
    let mut talk = Talk::hello(proxy.address());
    talk.begin_data("<>", &["<b@b.test>"]);
    talk.send("Subject: s\r\nFrom: \"A, b\"\r\n <a@other.test>\r\n\r\nx\r\n.\r\n");
    talk.hear("250");
    assert_eq!(site_of_last(&proxy).as_deref(), Some("shop"));
}

const SHOP: &str = "[site.shop]\nsenders = [\"@shop.test\"]\n";

#[test]
pub fn site_global_upstreams() {
    let recorder = Recorder::start();
    let config = |global| format!("{}{SHOP}global_upstreams = {global}\n", recorder.upstream("only"));
    let proxy = Proxy::start(&config(false));
    mail(&proxy, "a@shop.test", "b@b.test");
    mail(&proxy, "a@a.test", "c@b.test");
    assert_eq!(recipients(&recorder, 1), ["<c@b.test>"]);
    assert_eq!(messages(&proxy)[0]["state"], "queued");
    reload(&proxy, &config(true));
    assert_eq!(recipients(&recorder, 2), ["<b@b.test>"]);
}

/// For one site alone: `key` is switched from `before` to `after`, with what these do to its mail.
fn of_one_site(below: &str, before: &str, after: &str, is_so: impl Fn(&Proxy, &Recorder) -> bool) {
    let recorder = Recorder::start();
    let config = |how: &str| format!("{}{SHOP}[site.shop.{below}]\n{how}\n", recorder.upstream("only"));
    let proxy = Proxy::start(&config(before));
    mail(&proxy, "a@shop.test", "b@b.test");
    assert_eq!(recipients(&recorder, 1), ["<b@b.test>"]);
    reload(&proxy, &config(after));
    mail(&proxy, "a@shop.test", "b@b.test");
    mail(&proxy, "a@a.test", "other@b.test");
    eventually("other mail to go as ever", || {
        recorder.messages().iter().any(|one| one.rcpt == ["<other@b.test>"]).then_some(())
    });
    eventually("the site's mail to be handled otherwise", || is_so(&proxy, &recorder).then_some(()));
    let direct = recorder.messages().iter().filter(|one| one.rcpt == ["<b@b.test>"]).count();
    assert!(direct == 1 || below == "sender");
}

#[test]
pub fn site_sending_enabled() {
    of_one_site("sending", "enabled = true", "enabled = false", |proxy, _| {
        messages(proxy).first().is_some_and(|message| message["state"] == "queued")
    });
}

#[test]
pub fn site_redirect_enabled() {
    let list = "report_emails = [\"qa@r.test\"]\n";
    let (off, on) = (format!("{list}enabled = false"), format!("{list}enabled = true"));
    of_one_site("redirect", &off, &on, |_, recorder| {
        recorder.messages().iter().any(|one| one.rcpt == ["<qa@r.test>"])
    });
}

#[test]
pub fn site_debug_enabled() {
    of_one_site("debug", "enabled = false", "enabled = true\nfailure_rate = 0.0", |proxy, _| {
        events_of(proxy, "b@b.test").iter().any(|event| event.contains("debug"))
    });
}

#[test]
pub fn site_simulate_enabled() {
    of_one_site("simulate", "enabled = false", "enabled = true", |proxy, _| {
        events_of(proxy, "b@b.test").iter().any(|event| event.contains("[Simulated error]"))
    });
}

#[test]
pub fn site_sender_rewrite() {
    let address = "address = \"shop@own.test\"\n";
    let (never, always) = (format!("{address}rewrite = \"never\""), format!("{address}rewrite = \"always\""));
    of_one_site("sender", &never, &always, |_, recorder| {
        recorder.messages().iter().any(|one| one.mail.starts_with("<shop@own.test>"))
    });
}

#[test]
pub fn upstream_sites() {
    let (shops, others) = (Recorder::start(), Recorder::start());
    let config = |sites: &str| {
        format!(
            "{SHOP}{}sites = {sites}\npriority = \"high\"\n{}",
            shops.upstream("shops"),
            others.upstream("others")
        )
    };
    let proxy = Proxy::start(&config("[\"shop\"]"));
    mail(&proxy, "a@a.test", "b@b.test");
    others.wait(1);
    mail(&proxy, "a@shop.test", "b@b.test");
    shops.wait(1);
    reload(&proxy, &config("[]"));
    mail(&proxy, "a@a.test", "b@b.test");
    shops.wait(2);
    assert_eq!(others.messages().len(), 1);
}

#[test]
pub fn upstream_sender() {
    let recorder = Recorder::start();
    let config = |sender: &str| recorder.upstream("only") + &format!("sender = \"{sender}\"\n");
    let proxy = Proxy::start(&config(""));
    send(&proxy);
    recorder.wait(1);
    reload(&proxy, &config("relay@own.test"));
    mail(&proxy, "a@a.test", "b@b.test");
    let sent = recorder.wait(2).remove(1);
    assert!(sent.mail.starts_with("<relay@own.test>"), "{}", sent.mail);
    assert!(text(&sent).contains("\r\nFrom: relay@own.test\r\n"), "{}", text(&sent));
}

/// What a session that began before the switch brings in is known to have come under the mode, or under none.
#[test]
fn a_session_that_goes_on_over_a_switch_brings_in_mail_of_the_present_mode() {
    let recorder = Recorder::start();
    let redirect = |enabled| {
        recorder.upstream("only")
            + &format!("[redirect]\nenabled = {enabled}\nreport_emails = [\"qa@r.test\"]\n")
    };
    let proxy = Proxy::start(&redirect(true));
    let mut talk = Talk::hello(proxy.address());
    assert!(talk.mail("one@b.test", 100).starts_with("250"));
    assert_eq!(recipients(&recorder, 1), ["<qa@r.test>"]);
    reload(&proxy, &redirect(false));
    assert!(talk.mail("two@b.test", 100).starts_with("250"));
    assert_eq!(recipients(&recorder, 2), ["<two@b.test>"], "not held: redirect was off when it came in");
}

/// Released while redirect is on, it is still redirected mail.
#[test]
fn a_release_while_redirect_is_on_sends_nothing_to_the_addressees_when_it_ends() {
    let recorder = Recorder::start();
    let config = |enabled, upstream: bool| {
        let upstream = if upstream { recorder.upstream("only") } else { String::new() };
        format!("{upstream}[redirect]\nenabled = {enabled}\nreport_emails = [\"qa@r.test\"]\n")
    };
    let proxy = Proxy::start(&config(true, false));
    mail(&proxy, "a@a.test", "b@b.test");
    let id = messages(&proxy)[0]["id"].as_str().unwrap().to_owned();
    proxy.command(&["queue", "hold", &id]);
    proxy.command(&["queue", "release", &id]);
    reload(&proxy, &config(false, true));
    eventually("the message to be held", || (messages(&proxy)[0]["state"] == "held").then_some(()));
    assert_eq!(messages(&proxy)[0]["held_because"][0], "mode_ended");
    // Released now, by somebody who knows that the mode has ended, it goes.
    proxy.command(&["queue", "release", &id, "--yes"]);
    assert_eq!(recipients(&recorder, 1), ["<b@b.test>"]);
}
