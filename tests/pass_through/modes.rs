//! Modes, sites and sender in pass-through, and what is switched while a transaction is under way.

use super::{
    commands, config, events_of, finish, in_front_of, mail_from, nothing_is_stored, rcpts, reload,
    up_to_content,
};
use crate::support::eventually;
use crate::support::scripted::{Script, Scripted};
use crate::support::talk::Talk;

const OFF: &str = "[sending]\nenabled = false\n";
const SIMULATE: &str = "[simulate]\nenabled = true\n";
const LOG: &str = "[log_emails]\nenabled = true\n";
const SHOP: &str = "[site.shop]\nsenders = [\"@shop.test\"]\n";

fn plain() -> Scripted {
    Scripted::start(|script| script)
}

fn redirect(to: &str) -> String {
    format!("[redirect]\nenabled = true\nreport_emails = [{to}]\nallow = [\"@ours.test\"]\n")
}

fn debug(failure_rate: f64) -> String {
    format!("[debug]\nenabled = true\nfailure_rate = {failure_rate:?}\n")
}

#[test]
fn with_sending_off_it_is_451() {
    let server = plain();
    let proxy = in_front_of(&[&server], &format!("{OFF}{LOG}"));
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "451 4.3.2 sending is off");
    talk.say("DATA", "503");
    talk.say("QUIT", "221");
    assert!(server.sessions().is_empty());
    assert!(events_of(&proxy, "b@y.test", 1)[0].starts_with("Warning deferred, no upstream could be asked"));
    // Nobody was asked and no mode has decided: that is no attempt.
    assert_eq!(std::fs::read_to_string(proxy.data_dir().join("logemails.log")).unwrap(), "");
    nothing_is_stored(&proxy);
}

#[test]
fn with_redirect_and_nobody_enabled_it_is_451() {
    let server = plain();
    let proxy = in_front_of(&[&server], &redirect("{ email = \"qa@r.test\", enabled = false }"));
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "451 4.3.2 redirect is on");
    assert!(server.sessions().is_empty());
    // Whom `allow` names gets his own.
    talk.say("RCPT TO:<dev@ours.test>", "250");
    talk.say("DATA", "354");
    finish(&mut talk, "250");
    assert_eq!(server.wait_for(1)[0].recipients, ["<dev@ours.test>"]);
}

#[test]
fn redirect_sends_one_copy_to_the_report_addresses_and_none_to_the_recipients() {
    let server = Scripted::start(|script| {
        script.on("RCPT TO:<qa", "250 2.1.5 qa is here").on("RCPT TO:<ops", "550 5.1.1 ops is not")
    });
    let proxy = in_front_of(&[&server], &redirect("\"qa@r.test\", \"ops@r.test\", \"QA@r.test\""));
    let mut talk = mail_from(&proxy, "a@x.test");
    for recipient in ["b@y.test", "c@y.test", "b@y.test"] {
        talk.say(&format!("RCPT TO:<{recipient}>"), "250");
    }
    talk.say("DATA", "354");
    talk.send("To: b@y.test\r\nReturn-Receipt-To: <a@x.test>\r\n\r\nhello\r\n");
    talk.say(".", "250");
    let message = server.wait_for(1).remove(0);
    assert!(message.mail.starts_with("<qa@r.test>"), "{}", message.mail);
    assert_eq!(
        (message.recipients, rcpts(&server)),
        (vec!["<qa@r.test>".to_owned()], vec!["<qa@r.test>".to_owned(), "<ops@r.test>".to_owned()])
    );
    let content = String::from_utf8(message.content).unwrap();
    assert!(content.contains("X-Original-To: b@y.test\r\nX-Original-To: c@y.test\r\n"), "{content}");
    assert!(
        content.contains("\r\nTo: b@y.test\r\nX-Original-Return-Receipt-To: <a@x.test>\r\n"),
        "{content}"
    );
    for original in ["b@y.test", "c@y.test"] {
        let told = events_of(&proxy, original, 1);
        assert!(told[0].starts_with("Information redirected: a report address took it"), "{told:?}");
    }
    assert!(events_of(&proxy, "ops@r.test", 1)[0].starts_with("Error report copy refused for good by a"));
}

#[test]
fn report_addresses_that_are_refused_are_the_recipients_reply() {
    let server = Scripted::start(|script| script.on("RCPT", "550 5.1.1 who is qa"));
    let proxy = in_front_of(&[&server], &redirect("\"qa@r.test\""));
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "550 5.1.1 who is qa");
    talk.say("RCPT TO:<c@y.test>", "550 5.1.1 who is qa");
    talk.say("DATA", "503");
    assert_eq!(rcpts(&server), ["<qa@r.test>"]);
    talk.say("QUIT", "221");
    assert!(events_of(&proxy, "c@y.test", 1)[0].starts_with("Error redirected: no report address took it"));
}

#[test]
fn one_transaction_has_one_kind_of_recipients() {
    let server = plain();
    let proxy = in_front_of(&[&server], &redirect("\"qa@r.test\""));
    for (first, second, expected) in
        [("b@y.test", "dev@ours.test", "<qa@r.test>"), ("dev@ours.test", "b@y.test", "<dev@ours.test>")]
    {
        let mut talk = mail_from(&proxy, "a@x.test");
        talk.say(&format!("RCPT TO:<{first}>"), "250");
        talk.say(&format!("RCPT TO:<{second}>"), "452 4.5.3");
        talk.say(&format!("RCPT TO:<{first}>"), "250");
        talk.say("DATA", "354");
        finish(&mut talk, "250");
        assert_eq!(server.transactions().last().unwrap().recipients, [expected]);
    }
}

#[test]
fn simulate_fails_each_recipient() {
    let server = plain();
    let proxy = in_front_of(&[&server], &format!("{SIMULATE}{LOG}"));
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "451 4.0.0");
    talk.say("RCPT TO:<c@y.test>", "451 4.0.0");
    talk.say("DATA", "503");
    talk.say("QUIT", "221");
    assert_eq!(events_of(&proxy, "b@y.test", 1), ["Error Sending failed for b@y.test [Simulated error]. ()"]);
    assert!(server.sessions().is_empty());
    let log = proxy.data_dir().join("logemails.log");
    let record = eventually("the record", || {
        std::fs::read_to_string(&log).ok().filter(|text| text.contains("HeadersEncoding"))
    });
    assert!(record.contains("\nRcpt: b@y.test;c@y.test\n"), "{record}");
}

#[test]
fn debug_takes_the_message_or_fails_a_recipient_and_connects_nowhere() {
    let server = plain();
    let proxy = in_front_of(&[&server], &format!("{}{LOG}", debug(0.0)));
    let mut talk = up_to_content(&proxy, "a@x.test");
    finish(&mut talk, "250 2.0.0 logged only");
    assert_eq!(
        events_of(&proxy, "b@y.test", 1),
        ["Information logged only: debug is on, nothing was sent ()"]
    );
    let log = std::fs::read_to_string(proxy.data_dir().join("logemails.log")).unwrap();
    assert!(log.contains("\nSubject: s\n"), "{log}");
    reload(&proxy, &config(&[&server], &debug(1.0)));
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "451 4.0.0");
    talk.say("DATA", "503");
    assert_eq!(events_of(&proxy, "b@y.test", 2)[1], "Error Sending failed for b@y.test ()");
    assert!(server.sessions().is_empty());
    nothing_is_stored(&proxy);
}

/// Each switch, at each step: no final dot leaves under what does not hold any more.
#[test]
fn what_is_switched_in_the_middle_ends_the_transaction_without_a_final_dot() {
    let on = redirect("\"qa@r.test\"");
    let switches = [("", OFF), ("", SIMULATE), ("", &debug(0.0)), ("", &on), (&on, "")];
    for (before, after) in switches {
        for step in ["MAIL", "RCPT", "DATA", "header", "content"] {
            let server = plain();
            let proxy = in_front_of(&[&server], before);
            let mut talk = mail_from(&proxy, "a@x.test");
            let named = |answer: String, past_mail: bool| {
                assert_eq!(answer.contains("had begun at a"), past_mail, "{step}: {answer}");
            };
            let switch = || reload(&proxy, &config(&[&server], after));
            if step == "MAIL" {
                // Nobody was asked yet: the new mode holds from the beginning.
                named(switch(), false);
                talk.send("RCPT TO:<b@y.test>\r\n");
                let accepted = talk.reply().starts_with("250");
                assert_eq!(accepted, [OFF, SIMULATE].iter().all(|refuses| *refuses != after), "{after}");
                continue;
            }
            talk.say("RCPT TO:<b@y.test>", "250");
            if step == "RCPT" {
                named(switch(), true);
                talk.say("RCPT TO:<c@y.test>", "451 4.3.2");
                talk.say("DATA", "451 4.3.2");
                assert!(!commands(&server).contains(&"DATA".to_owned()));
                continue;
            }
            if step == "DATA" {
                named(switch(), true);
                talk.say("DATA", "451 4.3.2");
                continue;
            }
            talk.say("DATA", "354");
            if step == "content" {
                talk.send(format!("Subject: s\r\n\r\n{}", "0123456789abcdef\r\n".repeat(10_000)));
            }
            named(switch(), true);
            if step == "header" {
                talk.send("Subject: s\r\n\r\nhello\r\n");
            }
            talk.say(".", "451 4.3.2");
            assert!(server.transactions().is_empty(), "{step} {after}");
            let told = events_of(&proxy, "b@y.test", 1);
            assert!(told[0].contains("has just been changed"), "{told:?}");
        }
    }
}

#[test]
fn a_session_from_before_is_under_the_modes_in_force() {
    let server = plain();
    let proxy = in_front_of(&[&server], "");
    let mut talk = Talk::hello(proxy.address());
    reload(&proxy, &config(&[&server], &redirect("\"qa@r.test\"")));
    talk.say("MAIL FROM:<a@x.test>", "250");
    talk.say("RCPT TO:<b@y.test>", "250");
    talk.say("DATA", "354");
    finish(&mut talk, "250");
    assert_eq!(server.wait_for(1)[0].recipients, ["<qa@r.test>"]);
}

#[test]
fn each_site_has_its_own_upstreams_and_modes() {
    let (of_all, of_shop) = (plain(), plain());
    let site = format!("{SHOP}[site.shop.redirect]\nenabled = true\nreport_emails = [\"qa@shop.test\"]\n");
    let shop = format!(
        "[upstream.shop]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\nsites = [\"shop\"]\npriority = \"high\"\n",
        of_shop.port()
    );
    let proxy = in_front_of(&[&of_all], &format!("{site}{shop}"));
    for reverse_path in ["a@shop.test", "a@x.test"] {
        let mut talk = up_to_content(&proxy, reverse_path);
        finish(&mut talk, "250");
    }
    assert_eq!(of_shop.wait_for(1)[0].recipients, ["<qa@shop.test>"]);
    assert_eq!(of_all.wait_for(1)[0].recipients, ["<b@y.test>"]);
}

/// The site of `<>` is that of From, which comes too late for another envelope.
#[test]
fn mail_with_the_null_reverse_path_leaks_from_no_site() {
    let server = plain();
    let redirected = |on: bool| {
        format!("{SHOP}[site.shop.redirect]\nenabled = {on}\nreport_emails = [\"qa@shop.test\"]\n")
    };
    let proxy = in_front_of(&[&server], &redirected(true));
    let send = |from: &str, expected: &str| {
        let mut talk = up_to_content(&proxy, "");
        talk.send(format!("From: {from}\r\nSubject: s\r\n\r\nsecret\r\n"));
        talk.say(".", expected)
    };
    let reply = send("Shop <a@shop.test>", "451 4.3.2");
    assert!(reply.contains("From belongs to a site"), "{reply}");
    let session = server.wait_for_ends(1).remove(0);
    assert!(session.raw.ends_with(b"DATA\r\n"), "nothing of it was passed on");
    // Of no site, or of one that is handled as all mail is: nothing to keep apart.
    send("a@x.test", "250");
    reload(&proxy, &config(&[&server], &redirected(false)));
    send("a@shop.test", "250");
    assert_eq!(server.wait_for(2).len(), 2);
    eventually("the event of the site", || {
        let all = proxy.cli(&["events", "--json", "--code", "b@y.test"]);
        let of_shop = |event: &serde_json::Value| event["site"] == "shop" && event["upstream"] == "a";
        all.as_array().unwrap().iter().any(of_shop).then_some(())
    });
    // A listener's site is known from the beginning.
    let listener = "[listener.in]\naddress = \"@LISTEN@\"\nsite = \"shop\"\n";
    let proxy = in_front_of(&[&server], &format!("{}{listener}", redirected(true)));
    let mut talk = up_to_content(&proxy, "");
    finish(&mut talk, "250");
    assert_eq!(server.wait_for(3)[2].recipients, ["<qa@shop.test>"]);
    assert!(server.wait_for(3)[2].mail.starts_with("<>"));
}

#[test]
fn a_site_that_sends_through_its_own_upstreams_only_does_so_with_the_null_reverse_path_too() {
    let server = plain();
    let proxy =
        in_front_of(&[&server], "[site.shop]\nsenders = [\"@shop.test\"]\nglobal_upstreams = false\n");
    let mut talk = up_to_content(&proxy, "");
    talk.send("From: a@shop.test\r\n\r\nsecret\r\n");
    talk.say(".", "451 4.3.2");
    let mut talk = mail_from(&proxy, "a@shop.test");
    talk.say("RCPT TO:<b@y.test>", "451 4.3.2");
    assert!(server.transactions().is_empty());
}

#[test]
fn the_sender_of_an_upstream_is_said_in_mail_and_from() {
    let server = plain();
    let proxy = in_front_of(
        &[],
        &format!(
            "[upstream.only]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\nsender = \"one@x.test\"\n",
            server.port()
        ),
    );
    let mut talk = up_to_content(&proxy, "a@x.test");
    finish(&mut talk, "250");
    let message = server.wait_for(1).remove(0);
    assert!(message.mail.starts_with("<one@x.test>"), "{}", message.mail);
    let content = String::from_utf8(message.content).unwrap();
    assert!(content.contains("\r\nFrom: one@x.test\r\nReply-To: a@x.test\r\n"), "{content}");
    assert!(content.contains("\r\nX-Original-From: a@x.test\r\n"), "{content}");
}

#[test]
fn a_site_that_a_reload_has_taken_away_is_not_everybodys() {
    let server = Scripted::start(|script: Script| script);
    let listener = "[listener.in]\naddress = \"@LISTEN@\"\nsite = \"shop\"\n";
    let proxy = in_front_of(&[&server], &format!("{SHOP}{listener}"));
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "250");
    reload(&proxy, &config(&[&server], "[listener.in]\naddress = \"@LISTEN@\"\n"));
    talk.say("DATA", "451 4.3.2");
    assert!(server.transactions().is_empty());
}
