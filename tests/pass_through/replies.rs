//! What the client hears, step by step; failover, and its end.

use super::{
    PASS, commands, events_of, finish, in_front_of, mail_from, nothing_is_stored, rcpts, to, up_to_content,
};
use crate::support::proxy::Proxy;
use crate::support::scripted::{Act, Script, Scripted};
use crate::support::talk::Talk;
use crate::support::{eventually, free_address};
use std::time::{Duration, Instant};

fn plain(script: Script) -> Script {
    script.ehlo(&["PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN"])
}

#[test]
fn each_recipient_and_the_final_dot_get_the_upstreams_own_reply() {
    let server = Scripted::start(|script| {
        plain(script)
            .on("RCPT TO:<good", "250 2.1.5 good is known here")
            .on("RCPT TO:<later", "450-4.2.0 come\r\n450 4.2.0 again")
            .on("RCPT TO:<bad", "550 5.1.1 who is bad")
            .on("RCPT TO:<bare", "553 no code")
            .at_dot("250 2.6.0 taken as 4711")
    });
    let proxy = in_front_of(&[&server], "");
    let mut talk = mail_from(&proxy, "a@x.test");
    assert_eq!(talk.say("RCPT TO:<good@y.test>", "250"), "250 2.1.5 good is known here");
    assert_eq!(talk.say("RCPT TO:<later@y.test>", "450"), "450-4.2.0 come\n450 4.2.0 again");
    assert_eq!(talk.say("RCPT TO:<bad@y.test>", "550"), "550 5.1.1 who is bad");
    assert_eq!(talk.say("RCPT TO:<bare@y.test>", "553"), "553 no code");
    talk.say("DATA", "354");
    assert_eq!(finish(&mut talk, "250"), "250 2.6.0 taken as 4711");
    assert_eq!(server.wait_for(1)[0].recipients, ["<good@y.test>"]);
    let told = |who: &str| events_of(&proxy, who, 1);
    assert_eq!(told("good@y.test"), ["Information delivered through a (250 2.6.0 taken as 4711)"]);
    assert_eq!(told("later@y.test"), ["Warning deferred, last asked was a (450 4.2.0 come again)"]);
    assert_eq!(told("bad@y.test"), ["Error refused for good by a (550 5.1.1 who is bad)"]);
    proxy.wait_until_said("status=\"delivered\"");
    nothing_is_stored(&proxy);
}

#[test]
fn the_final_dot_is_refused_in_the_upstreams_words() {
    let server = Scripted::start(|script| plain(script).at_dot("554 5.7.1 this is spam"));
    let proxy = in_front_of(&[&server], "");
    let mut talk = up_to_content(&proxy, "a@x.test");
    assert_eq!(finish(&mut talk, "554"), "554 5.7.1 this is spam");
    // The transaction is over, the session is not.
    talk.say("RCPT TO:<b@y.test>", "503");
    talk.say("MAIL FROM:<a@x.test>", "250");
    assert_eq!(events_of(&proxy, "b@y.test", 1), ["Error refused for good by a (554 5.7.1 this is spam)"]);
}

#[test]
fn data_is_refused_in_the_upstreams_words() {
    let server = Scripted::start(|script| plain(script).once("DATA", "451 4.7.1 greylisted"));
    let proxy = in_front_of(&[&server], "");
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "250");
    assert_eq!(talk.say("DATA", "451"), "451 4.7.1 greylisted");
    // Nobody knows of the transaction any more, here or there; its connection is good for the next one.
    talk.say("DATA", "503");
    talk.say("MAIL FROM:<a@x.test>", "250");
    talk.say("RCPT TO:<b@y.test>", "250");
    talk.say("DATA", "354");
    finish(&mut talk, "250");
    assert_eq!(server.sessions().len(), 1);
    assert!(commands(&server).contains(&"RSET".to_owned()), "{:?}", commands(&server));
}

#[test]
fn an_upstream_without_a_session_or_that_refuses_the_sender_is_passed_over() {
    let (silent, refuses, takes) = (
        Scripted::start(|script| script.greeting("554 5.3.2 not today")),
        Scripted::start(|script| plain(script).on("MAIL", "550 5.7.1 not from you")),
        Scripted::start(plain),
    );
    let proxy = in_front_of(&[&silent, &refuses, &takes], "");
    let mut talk = up_to_content(&proxy, "a@x.test");
    finish(&mut talk, "250");
    assert_eq!(takes.wait_for(1)[0].recipients, ["<b@y.test>"]);
    assert_eq!(rcpts(&refuses).len() + rcpts(&silent).len(), usize::from(!rcpts(&refuses).is_empty()));
}

#[test]
fn an_upstream_that_is_lost_before_it_has_answered_a_recipient_is_passed_over() {
    for act in [Act::Close, Act::last("421 4.3.2 going down")] {
        for step in ["MAIL", "RCPT"] {
            let lost = Scripted::start(|script| script.on(step, act.clone()));
            let takes = Scripted::start(plain);
            let proxy = in_front_of(&[&lost, &takes], "");
            let mut talk = up_to_content(&proxy, "a@x.test");
            finish(&mut talk, "250");
            assert_eq!((lost.transactions().len(), takes.wait_for(1).len()), (0, 1), "{step} {act:?}");
        }
    }
}

#[test]
fn failover_ends_with_the_first_recipient_that_an_upstream_answered() {
    for refusal in ["450 4.2.0 later", "550 5.7.54 unable to relay", "530 5.7.0 authenticate first"] {
        let first = Scripted::start(|script| plain(script).on("RCPT TO:<b", refusal));
        let second = Scripted::start(plain);
        let proxy = in_front_of(&[&first, &second], "");
        let mut talk = mail_from(&proxy, "a@x.test");
        assert_eq!(talk.say("RCPT TO:<b@y.test>", ""), refusal);
        talk.say("RCPT TO:<c@y.test>", "250");
        talk.say("DATA", "354");
        finish(&mut talk, "250");
        assert_eq!(first.wait_for(1)[0].recipients, ["<c@y.test>"]);
        assert!(second.sessions().is_empty());
    }
}

#[test]
fn a_sender_whom_all_refuse_hears_the_last_refusal_and_one_whom_some_refuse_is_to_come_again() {
    let refuses = |words: &'static str| Scripted::start(move |script| script.on("MAIL", words));
    let (first, second) = (refuses("550 5.7.1 not from you"), refuses("553 5.1.8 nor here"));
    let proxy = in_front_of(&[&first, &second], "");
    let mut talk = mail_from(&proxy, "a@x.test");
    assert_eq!(talk.say("RCPT TO:<b@y.test>", "553"), "553 5.1.8 nor here");
    // Nobody is asked a second time in the same transaction.
    talk.say("RCPT TO:<c@y.test>", "553");
    assert_eq!(first.sessions().len(), 1);
    talk.say("DATA", "503");
    let (for_good, for_now) = (refuses("550 5.7.1 not from you"), refuses("451 4.3.0 later"));
    let proxy = in_front_of(&[&for_now, &for_good], "");
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "451");
    let (for_good, gone) = (refuses("550 5.7.1 not from you"), free_address());
    let proxy = Proxy::start(&format!("{PASS}{}{}", to("a", for_good.port()), to("b", gone.port())));
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "451 4.3.2");
}

#[test]
fn with_nothing_available_it_is_451_at_once() {
    let proxy = Proxy::start(PASS);
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "451 4.3.2");
    talk.say("DATA", "503");
    // Nobody listens there: an open circuit is not waited for.
    let proxy = Proxy::start(&format!("{PASS}{}", to("a", free_address().port())));
    for _ in 0..3 {
        let mut talk = mail_from(&proxy, "a@x.test");
        talk.say("RCPT TO:<b@y.test>", "451 4.3.2");
    }
    assert!(
        events_of(&proxy, "b@y.test", 3)[0].starts_with("Warning deferred, no upstream could be asked (451")
    );
    nothing_is_stored(&proxy);
}

#[test]
fn an_upstream_in_use_is_waited_for_but_not_for_ever() {
    let server = Scripted::start(plain);
    let limits = "[limits]\ncommand_timeout = \"1s\"\n";
    let config = |limits: &str| format!("{PASS}{limits}{}connection_limit = 1\n", to("a", server.port()));
    let proxy = Proxy::start(&config(""));
    let mut first = mail_from(&proxy, "a@x.test");
    first.say("RCPT TO:<b@y.test>", "250");
    let mut second = mail_from(&proxy, "a@x.test");
    second.send("RCPT TO:<c@y.test>\r\n");
    assert!(second.is_silent_for(Duration::from_millis(200)));
    first.say("RSET", "250");
    second.hear("250");
    drop((first, second));
    let proxy = Proxy::start(&config(limits));
    let mut first = mail_from(&proxy, "a@x.test");
    first.say("RCPT TO:<b@y.test>", "250");
    let mut second = mail_from(&proxy, "a@x.test");
    // The first client stays as long as the other waits.
    let (over, stays) = std::sync::mpsc::channel::<()>();
    let staying = std::thread::spawn(move || {
        while stays.recv_timeout(Duration::from_millis(100))
            == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            first.say("NOOP", "250");
        }
    });
    let start = Instant::now();
    second.say("RCPT TO:<c@y.test>", "451 4.3.2");
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    drop(over);
    staying.join().unwrap();
}

#[test]
fn a_rate_that_is_used_up_is_waited_for_where_that_is_short() {
    for (rate, expected) in [("1/2s", "250"), ("1/1h", "451 4.3.2")] {
        let server = Scripted::start(plain);
        let proxy = Proxy::start(&format!("{PASS}{}rate_limit = \"{rate}\"\n", to("a", server.port())));
        let mut talk = up_to_content(&proxy, "a@x.test");
        finish(&mut talk, "250");
        let start = Instant::now();
        let mut talk = mail_from(&proxy, "a@x.test");
        talk.say("RCPT TO:<b@y.test>", expected);
        assert!(start.elapsed() < Duration::from_secs(20), "{rate} {:?}", start.elapsed());
    }
}

#[test]
fn a_session_lost_behind_the_first_answer_is_451_4_4_2() {
    for act in [Act::Close, Act::last("421 4.3.2 going down"), Act::from("what?")] {
        for step in ["RCPT TO:<c", "DATA"] {
            let (lost, other) =
                (Scripted::start(|script| script.on(step, act.clone())), Scripted::start(plain));
            let proxy = in_front_of(&[&lost, &other], "");
            let mut talk = mail_from(&proxy, "a@x.test");
            talk.say("RCPT TO:<b@y.test>", "250");
            if step == "DATA" {
                talk.say("DATA", "451 4.4.2");
            } else {
                talk.say("RCPT TO:<c@y.test>", "451 4.4.2");
                talk.say("RCPT TO:<d@y.test>", "451 4.4.2");
                talk.say("DATA", "451 4.4.2");
            }
            let told = events_of(&proxy, "b@y.test", 1);
            assert!(told[0].starts_with("Warning deferred, last asked was a (451 4.4.2"), "{told:?}");
            assert!(other.sessions().is_empty() && lost.transactions().is_empty(), "{step} {act:?}");
            // The next transaction is a new one.
            lost.change(|_| plain(Script::default()));
            talk.say("MAIL FROM:<a@x.test>", "250");
            talk.say("RCPT TO:<b@y.test>", "250");
        }
    }
}

#[test]
fn a_session_lost_within_the_content_is_451_4_4_2_and_nothing_was_sent() {
    let server = Scripted::start(|script| plain(script).in_content(100_000, Act::Close));
    let proxy = in_front_of(&[&server], "");
    let mut talk = up_to_content(&proxy, "a@x.test");
    // More than all buffers on the way hold, so that the loss is known before the final dot.
    talk.send(format!("Subject: s\r\n\r\n{}", "0123456789abcdef\r\n".repeat(900_000)));
    let reply = talk.say(".", "451 4.4.2");
    assert!(reply.contains("nothing was sent"), "{reply}");
    assert!(server.transactions().is_empty());
}

#[test]
fn a_refusal_within_the_content_is_the_reply_to_its_end() {
    let refusal = Act::SayAndClose(b"552 5.3.4 far too much\r\n".to_vec());
    let server = Scripted::start(|script| plain(script).in_content(100_000, refusal));
    let proxy = in_front_of(&[&server], "");
    let mut talk = up_to_content(&proxy, "a@x.test");
    talk.send(format!("Subject: s\r\n\r\n{}", "0123456789abcdef\r\n".repeat(400_000)));
    let reply = talk.say(".", "");
    // A connection that is closed with unread content may be reset before the refusal is read.
    assert!(reply == "552 5.3.4 far too much" || reply.starts_with("451 4.4.2"), "{reply}");
}

// The final dot has left: it may have been sent, and nobody else is asked.
#[test]
fn lost_between_the_final_dot_and_its_answer_is_said_to_be_uncertain() {
    for act in [Act::Close, Act::from("what?"), Act::from("354 more")] {
        let (lost, other) =
            (Scripted::start(|script| plain(script).at_dot(act.clone())), Scripted::start(plain));
        let proxy = in_front_of(&[&lost, &other], "");
        let mut talk = up_to_content(&proxy, "a@x.test");
        let reply = finish(&mut talk, "451 4.4.2");
        assert!(reply.contains("may have been sent"), "{reply}");
        let told = events_of(&proxy, "b@y.test", 1);
        assert!(told[0].contains("may be sent twice"), "{told:?}");
        assert!(other.sessions().is_empty());
    }
    // 421 is an explicit reply: it was not taken.
    let lost = Scripted::start(|script| plain(script).at_dot(Act::last("421 4.3.2 going down")));
    let proxy = in_front_of(&[&lost], "");
    let mut talk = up_to_content(&proxy, "a@x.test");
    let reply = finish(&mut talk, "451 4.4.2");
    assert!(reply.contains("nothing was sent"), "{reply}");
}

#[test]
fn a_silent_upstream_is_waited_for_as_long_as_its_timeouts_say() {
    let hangs = |step: &'static str| Scripted::start(move |script| plain(script).on(step, Act::Hang));
    let timeouts = "command_timeout = \"300ms\"\nfinal_timeout = \"300ms\"\n";
    for step in ["RCPT TO:<c", "DATA", "<dot>"] {
        let server = hangs(step);
        let proxy = Proxy::start(&format!("{PASS}{}{timeouts}", to("a", server.port())));
        let mut talk = mail_from(&proxy, "a@x.test");
        talk.say("RCPT TO:<b@y.test>", "250");
        match step {
            "DATA" => drop(talk.say("DATA", "451 4.4.2")),
            "<dot>" => {
                talk.say("DATA", "354");
                assert!(finish(&mut talk, "451 4.4.2").contains("may have been sent"));
            }
            _ => drop(talk.say("RCPT TO:<c@y.test>", "451 4.4.2")),
        }
    }
}

#[test]
fn a_pooled_connection_that_was_closed_is_no_loss() {
    let server = Scripted::start(plain);
    let proxy = in_front_of(&[&server], "");
    for count in 1..=3 {
        let mut talk = up_to_content(&proxy, "a@x.test");
        finish(&mut talk, "250");
        server.wait_for(count);
    }
    assert_eq!(server.sessions().len(), 1, "the connection is used again");
    server.change(|script| plain(script).once("MAIL", Act::Close));
    let mut talk = up_to_content(&proxy, "a@x.test");
    finish(&mut talk, "250");
    assert_eq!(server.wait_for(4).len(), 4);
}

#[test]
fn a_group_of_pipelined_commands_is_answered_in_order() {
    let server = Scripted::start(|script| plain(script).on("RCPT TO:<bad", "550 5.1.1 who is bad"));
    let proxy = in_front_of(&[&server], "");
    let mut talk = Talk::hello(proxy.address());
    talk.send("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<bad@y.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n");
    for expected in ["250", "250", "550 5.1.1", "250", "354"] {
        talk.hear(expected);
    }
    finish(&mut talk, "250");
    // Each recipient is asked about once.
    assert_eq!(server.wait_for(1)[0].recipients, ["<b@y.test>"]);
    // Nobody is accepted: DATA is refused, and what follows is no command.
    talk.send("MAIL FROM:<a@x.test>\r\nRCPT TO:<bad@y.test>\r\nDATA\r\n");
    for expected in ["250", "550", "503"] {
        talk.hear(expected);
    }
}

#[test]
fn what_the_upstream_refuses_is_no_error_of_the_client() {
    let server = Scripted::start(|script| plain(script).on("RCPT TO:<bad", "550 5.1.1 who is that"));
    let proxy = in_front_of(&[&server], "[limits]\nerrors_per_session = 3\n");
    let mut talk = mail_from(&proxy, "a@x.test");
    for number in 0..10 {
        talk.say(&format!("RCPT TO:<bad{number}@y.test>"), "550 5.1.1");
    }
    talk.say("RCPT TO:<b@y.test>", "250");
    let refused = proxy.cli(&["events", "--json", "--code", "REFUSED"]);
    assert_eq!(refused, serde_json::json!([]), "no client was refused");
}

/// Memory does not follow what a client asks about: those who are refused are recipients of the transaction, too.
#[test]
fn whom_the_upstream_refuses_counts_for_the_limit_of_recipients() {
    let server = Scripted::start(|script| plain(script).on("RCPT TO:<bad", "550 5.1.1 who is that"));
    let proxy = in_front_of(&[&server], "[limits]\nrecipients = 100\n");
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "250");
    for number in 0..98 {
        talk.say(&format!("RCPT TO:<bad{number}@y.test>"), "550 5.1.1");
    }
    // Asked about again, it counts again.
    talk.say("RCPT TO:<bad0@y.test>", "550 5.1.1");
    talk.say("RCPT TO:<c@y.test>", "452 4.5.3");
    talk.say("RCPT TO:<b@y.test>", "250");
    assert_eq!(rcpts(&server).len(), 100);
    talk.say("DATA", "354");
    finish(&mut talk, "250");
    talk.say("MAIL FROM:<a@x.test>", "250");
    talk.say("RCPT TO:<c@y.test>", "250");
}

/// What is put in front of a message is not known when its size is said: it keeps none from being sent.
#[test]
fn a_message_just_below_the_limit_of_the_upstream_is_offered_to_it() {
    let server = Scripted::start(|script| script.ehlo(&["SIZE 5000"]));
    let proxy = in_front_of(&[&server], "");
    for (size, said) in [(3000, 4024), (4500, 5000), (5000, 5000)] {
        let mut talk = Talk::hello(proxy.address());
        talk.say(&format!("MAIL FROM:<a@x.test> SIZE={size}"), "250");
        talk.say("RCPT TO:<b@y.test>", "250");
        talk.say("DATA", "354");
        finish(&mut talk, "250");
        let mail = server.transactions().pop().unwrap().mail;
        assert_eq!(mail, format!("<a@x.test> SIZE={said}"));
    }
    let mut talk = Talk::hello(proxy.address());
    talk.say("MAIL FROM:<a@x.test> SIZE=5001", "250");
    talk.say("RCPT TO:<b@y.test>", "552 5.3.4");
}

#[test]
fn a_message_or_an_address_that_the_upstream_cannot_take_is_refused_for_good() {
    let server = Scripted::start(|script| script.ehlo(&["SIZE 5000"]));
    let proxy = in_front_of(&[&server], "");
    let mut talk = Talk::hello(proxy.address());
    talk.say("MAIL FROM:<a@x.test> SIZE=6000", "250");
    talk.say("RCPT TO:<b@y.test>", "552 5.3.4");
    talk.say("RSET", "250");
    talk.say("MAIL FROM:<a@x.test> SMTPUTF8", "250");
    talk.say("RCPT TO:<ü@y.test>", "553 5.6.7");
    // What is only declared is no reason.
    talk.say("RSET", "250");
    talk.say("MAIL FROM:<a@x.test> SMTPUTF8 BODY=8BITMIME", "250");
    talk.say("RCPT TO:<b@y.test>", "250");
    talk.say("RCPT TO:<ü@y.test>", "553 5.6.7");
    talk.say("DATA", "354");
    finish(&mut talk, "250");
    assert_eq!(server.wait_for(1)[0].recipients, ["<b@y.test>"]);
    // One that offers it takes it.
    let able = Scripted::start(plain);
    let proxy = in_front_of(&[&server, &able], "");
    let mut talk = Talk::hello(proxy.address());
    talk.say("MAIL FROM:<ü@x.test> SIZE=6000 SMTPUTF8", "250");
    talk.say("RCPT TO:<ü@y.test>", "250");
    talk.say("DATA", "354");
    finish(&mut talk, "250");
    let mail = able.wait_for(1).remove(0).mail;
    assert!(mail.starts_with("<ü@x.test> SIZE=7024 BODY=8BITMIME SMTPUTF8"), "{mail}");
}

#[test]
fn dsn_is_neither_offered_nor_taken() {
    let server = Scripted::start(plain);
    let proxy = in_front_of(&[&server], "");
    let mut talk = Talk::connect(proxy.address());
    let offered = talk.say("EHLO c.test", "250");
    assert!(!offered.contains("DSN") && offered.contains("CHUNKING"), "{offered}");
    talk.say("MAIL FROM:<a@x.test> RET=HDRS", "555");
    talk.say("MAIL FROM:<a@x.test>", "250");
    talk.say("RCPT TO:<b@y.test> NOTIFY=NEVER", "555");
    talk.say("RCPT TO:<b@y.test>", "250");
    assert_eq!(commands(&server)[1..], ["MAIL FROM:<a@x.test> BODY=8BITMIME", "RCPT TO:<b@y.test>"]);
}

#[test]
fn the_rules_of_the_session_hold() {
    let server = Scripted::start(plain);
    let listener = "[listener.in]\naddress = \"@LISTEN@\"\nauth = \"optional\"\nallow = [\"127.0.0.1\"]\n\
                    [user.app]\npassword = \"pw\"\nsenders = [\"app@x.test\"]\n[aliases]\nroot = \"ops@y.test\"\n";
    let proxy = in_front_of(&[&server], listener);
    let mut talk = Talk::hello(proxy.address());
    talk.say("AUTH PLAIN AGFwcABwdw==", "235");
    talk.say("MAIL FROM:<other@x.test>", "553 5.7.1");
    talk.say("MAIL FROM:<app@x.test>", "250");
    talk.say("RCPT TO:<root>", "250");
    talk.say("RCPT TO:<>", "501");
    talk.say("MAIL FROM:<app@x.test>", "503");
    talk.say("DATA", "354");
    finish(&mut talk, "250");
    let received = server.wait_for(1).remove(0);
    assert_eq!(received.recipients, ["<ops@y.test>"]);
    let content = String::from_utf8(received.content).unwrap();
    assert!(
        content.starts_with("Received: from c.test ([127.0.0.1])") && content.contains("with ESMTPA id ")
    );
}

#[test]
fn rset_and_a_new_hello_end_the_upstreams_transaction_and_keep_its_connection() {
    let server = Scripted::start(plain);
    let proxy = in_front_of(&[&server], "");
    let mut talk = mail_from(&proxy, "a@x.test");
    for again in ["RSET", "EHLO c.test", "HELO c.test"] {
        talk.say("RCPT TO:<b@y.test>", "250");
        talk.say(again, "250");
        talk.say("DATA", "503");
        talk.say("MAIL FROM:<a@x.test>", "250");
    }
    talk.say("RCPT TO:<c@y.test>", "250");
    talk.say("DATA", "354");
    finish(&mut talk, "250");
    assert_eq!(server.wait_for(1)[0].recipients, ["<c@y.test>"]);
    assert_eq!(server.sessions().len(), 1);
    // QUIT in the middle: the connection is there for the next client.
    talk.say("MAIL FROM:<a@x.test>", "250");
    talk.say("RCPT TO:<d@y.test>", "250");
    talk.say("QUIT", "221");
    let mut talk = up_to_content(&proxy, "a@x.test");
    finish(&mut talk, "250");
    assert_eq!(server.sessions().len(), 1);
    let is_free = || proxy.cli(&["upstream", "list", "--json"])[0]["in_flight"] == 0;
    eventually("the connection to be free", || is_free().then_some(()));
}
