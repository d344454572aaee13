//! Pass-through switched on and off, told, stopped and killed; what is queued already; records.

use super::{
    PASS, config, events_of, finish, in_front_of, mail_from, nothing_is_stored, reload, to, up_to_content,
};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::scripted::{Act, Scripted};
use crate::support::talk::Talk;
use rustix::process::Signal;

fn plain() -> Scripted {
    Scripted::start(|script| script.at_dot("250 2.6.0 taken as 4711"))
}

#[test]
fn a_reload_switches_it_and_sessions_finish_as_they_began() {
    let server = plain();
    let upstream = to("a", server.port());
    let proxy = Proxy::start(&upstream);
    let mut queueing = Talk::hello(proxy.address());
    assert!(reload(&proxy, &format!("{PASS}{upstream}")).contains("queue"));
    assert!(queueing.mail("b@y.test", 100).starts_with("250 2.0.0 queued as "));
    let mut passing = Talk::hello(proxy.address());
    assert_eq!(passing.mail("b@y.test", 100), "250 2.6.0 taken as 4711");
    reload(&proxy, &upstream);
    assert!(queueing.mail("b@y.test", 100).starts_with("250 2.0.0 queued as "));
    assert_eq!(passing.mail("b@y.test", 100), "250 2.6.0 taken as 4711");
    assert!(Talk::hello(proxy.address()).mail("b@y.test", 100).starts_with("250 2.0.0 queued as "));
    assert_eq!(server.wait_for(5).len(), 5);
}

#[test]
fn what_is_queued_already_and_what_is_sent_again_use_the_queue() {
    let server = plain();
    let upstream = to("a", server.port());
    let archive = "archive_days = 1\nretry = [\"50ms\"]\n";
    let off = "[sending]\nenabled = false\n";
    let proxy = Proxy::start(&format!("[queue]\n{archive}{off}{upstream}"));
    assert!(Talk::hello(proxy.address()).mail("b@y.test", 100).starts_with("250 2.0.0 queued as "));
    server.change(|script| script.once("RCPT", "451 4.2.0 later"));
    reload(&proxy, &format!("{PASS}{archive}{upstream}"));
    // Retried by the queue, and archived.
    server.wait_for(1);
    let sent = eventually("the archived message", || {
        let listed = proxy.cli(&["sent", "list", "--json"]).as_array().unwrap().clone();
        listed.first().cloned()
    });
    proxy.command(&["sent", "resend", sent["id"].as_str().unwrap()]);
    server.wait_for(2);
    // What is passed through is not.
    let mut talk = up_to_content(&proxy, "a@x.test");
    finish(&mut talk, "250");
    server.wait_for(3);
    eventually("the second archived message", || {
        (proxy.cli(&["sent", "list", "--json"]).as_array().unwrap().len() == 2).then_some(())
    });
    assert_eq!(proxy.cli(&["queue", "list", "--json"]), serde_json::json!([]));
}

/// Nothing of what was passed on is kept with a queued message that leaves on the same connection.
#[test]
fn what_was_passed_on_is_in_no_other_messages_record() {
    let server = plain();
    let (archive, upstream) = ("archive_days = 1\n", to("a", server.port()));
    let proxy = Proxy::start(&format!("[queue]\n{archive}{upstream}"));
    assert!(Talk::hello(proxy.address()).mail("b@y.test", 100).starts_with("250 2.0.0 queued as "));
    let archived = |count: usize| {
        eventually("archived messages", || {
            let listed = proxy.cli(&["sent", "list", "--json"]).as_array().unwrap().clone();
            let ids = listed.iter().map(|one| one["id"].as_str().unwrap().to_owned());
            Some(ids.collect::<Vec<_>>()).filter(|ids| ids.len() == count)
        })
    };
    let first = archived(1).remove(0);
    reload(&proxy, &format!("{PASS}{archive}{upstream}"));
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<passed@y.test>", "250");
    talk.say("DATA", "354");
    finish(&mut talk, "250");
    proxy.command(&["sent", "resend", &first]);
    let second = archived(2).into_iter().find(|id| *id != first).unwrap();
    assert_eq!(server.sessions().len(), 1, "all of them left on one connection");
    let said = String::from_utf8(proxy.raw(&format!("/api/v1/messages/{second}/transcript"))).unwrap();
    assert!(said.contains("RCPT TO:<b@y.test>") && said.contains("open already"), "{said}");
    assert!(!said.contains("passed@y.test"), "{said}");
}

/// It is as if it had said QUIT: what the upstream has said of its recipients is told, and its connection serves the next one.
#[test]
fn a_client_that_is_gone_without_a_word_leaves_outcomes_and_the_connection() {
    let server = Scripted::start(|script| script.on("RCPT TO:<bad", "550 5.1.1 who is bad"));
    let proxy = in_front_of(&[&server], "[log_emails]\nenabled = true\n");
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<bad@y.test>", "550");
    drop(talk);
    let told = events_of(&proxy, "bad@y.test", 1);
    assert!(told[0].contains("550 5.1.1 who is bad"), "{told:?}");
    let log = proxy.data_dir().join("logemails.log");
    eventually("the record of the attempt", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("\nRcpt: bad@y.test\n")).then_some(())
    });
    let mut talk = up_to_content(&proxy, "a@x.test");
    finish(&mut talk, "250");
    assert_eq!(server.sessions().len(), 1);
}

#[test]
fn nothing_is_tried_again_kept_or_bounced() {
    let server =
        Scripted::start(|script| script.on("RCPT TO:<bad", "550 5.1.1 who is bad").at_dot("451 4.3.0 later"));
    let proxy = in_front_of(&[&server], "archive_days = 1\nretry = [\"10ms\"]\n");
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<bad@y.test>", "550");
    talk.say("RCPT TO:<b@y.test>", "250");
    talk.say("DATA", "354");
    finish(&mut talk, "451 4.3.0");
    events_of(&proxy, "bad@y.test", 1);
    nothing_is_stored(&proxy);
    // Another transaction is the next thing that the upstream hears: there was nothing in between.
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<c@y.test>", "250");
    let said: Vec<String> = super::rcpts(&server);
    assert_eq!(said, ["<bad@y.test>", "<b@y.test>", "<c@y.test>"]);
    assert!(!proxy.data_dir().join("archive").exists());
}

#[test]
fn a_full_disk_and_a_full_queue_do_not_matter() {
    let server = plain();
    let proxy = in_front_of(&[&server], "min_free_space = \"1000TiB\"\nmax_messages = 1\n");
    let mut talk = Talk::hello(proxy.address());
    talk.say("MAIL FROM:<a@x.test> SIZE=1000", "250");
    talk.say("RCPT TO:<b@y.test>", "250");
    talk.say("DATA", "354");
    finish(&mut talk, "250 2.6.0");
}

#[test]
fn it_is_said_wherever_people_look() {
    let server = plain();
    let proxy = in_front_of(&[&server], "");
    proxy.wait_until_said("pass-through is on");
    for verb in [&["check"][..], &["ready"], &["queue", "list"], &["upstream", "list"]] {
        let output = proxy.command(verb);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains("pass-through is on ([queue] enabled = false)"), "{verb:?}: {said}");
    }
    let started = proxy.cli(&["events", "--json", "--code", "MODE"]);
    assert!(started[0]["message"].as_str().unwrap().contains("pass-through is on"), "{started}");
    reload(&proxy, &to("a", server.port()));
    let output = proxy.command(&["queue", "list"]);
    assert!(!String::from_utf8([output.stdout, output.stderr].concat()).unwrap().contains("pass-through"));
}

#[test]
fn each_attempt_has_its_record_in_logemails() {
    let server = Scripted::start(|script| script.on("RCPT TO:<bad", "550 5.1.1 who is bad"));
    let proxy = in_front_of(&[&server], "[log_emails]\nenabled = true\n");
    let log = || std::fs::read_to_string(proxy.data_dir().join("logemails.log")).unwrap();
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<bad@y.test>", "550");
    talk.say("RCPT TO:<b@y.test>", "250");
    talk.say("DATA", "354");
    talk.send("From: Shop <a@x.test>\r\nTo: b@y.test\r\nSubject: s\r\nX-Campaign: autumn\r\n\r\nhello\r\n");
    talk.say(".", "250");
    let record = log();
    for line in [
        "Rcpt: b@y.test\nBcc: bad@y.test\nFrom: \"Shop\" <a@x.test>\n",
        "Subject: s\n",
        "    X-Campaign: autumn\n",
    ] {
        assert!(record.contains(line) || record.contains(&line.replace('"', "")), "{line} in {record}");
    }
    // Everybody was refused: an attempt, of which no header came.
    talk.say("MAIL FROM:<a@x.test>", "250");
    talk.say("RCPT TO:<bad@y.test>", "550");
    talk.say("RSET", "250");
    assert_eq!(log().matches("Timestamp: ").count(), 2, "{}", log());
    assert!(log().contains("\nRcpt: bad@y.test\n"), "{}", log());
}

#[test]
fn the_log_has_one_id_from_the_client_to_the_upstream() {
    let server = plain();
    let proxy = in_front_of(&[&server], "");
    let mut talk = up_to_content(&proxy, "a@x.test");
    finish(&mut talk, "250");
    let content = String::from_utf8(server.wait_for(1).remove(0).content).unwrap();
    let id = content.split("with ESMTP id ").nth(1).unwrap().split(';').next().unwrap().to_owned();
    proxy.wait_until_said("status=\"delivered\"");
    let said = proxy.said();
    let lines = said.lines().filter(|line| line.contains(&id));
    assert_eq!(lines.clone().count(), 2, "{said}");
    assert!(lines.clone().any(|line| line.contains("passing on")));
    assert!(lines.into_iter().any(|line| line.contains("to=\"b@y.test\"") && line.contains("dsn=\"2.6.0\"")));
    let event = proxy.cli(&["events", "--json", "--id", &id]);
    assert_eq!(event[0]["upstream"], "a");
}

/// The client has heard no 250 of what the upstream has not taken, whenever the process dies.
#[test]
fn killed_at_any_step_it_has_promised_nothing() {
    for step in ["MAIL", "RCPT", "DATA", "content", "dot"] {
        let recorder = Recorder::start();
        let mut proxy = Proxy::start(&format!("{PASS}{}", recorder.upstream("only")));
        let gate = recorder.hold_final_replies();
        let mut talk = mail_from(&proxy, "a@x.test");
        if step != "MAIL" {
            talk.say("RCPT TO:<b@y.test>", "250");
        }
        if matches!(step, "DATA" | "content" | "dot") {
            talk.say("DATA", "354");
        }
        if matches!(step, "content" | "dot") {
            talk.send(format!("Subject: s\r\n\r\n{}", "0123456789abcdef\r\n".repeat(10_000)));
        }
        if step == "dot" {
            talk.send(".\r\n");
            recorder.wait(1);
        }
        proxy.kill();
        assert_eq!(talk.reply(), "", "{step}: killed, and yet it was answered");
        drop(gate);
        proxy.start_again();
        nothing_is_stored(&proxy);
        // It goes on as it began.
        let mut talk = up_to_content(&proxy, "a@x.test");
        finish(&mut talk, "250");
        let taken = recorder.wait(1 + usize::from(step == "dot")).len();
        assert_eq!(taken, 1 + usize::from(step == "dot"), "{step}");
    }
}

#[test]
fn a_stop_lets_a_transaction_finish() {
    let server = plain();
    let mut proxy = in_front_of(&[&server], "");
    let mut talk = up_to_content(&proxy, "a@x.test");
    proxy.signal(Signal::TERM);
    proxy.wait_until_said("stopping");
    finish(&mut talk, "250 2.6.0");
    talk.hear("421");
    assert!(proxy.wait().success());
    assert_eq!(server.transactions().len(), 1);
}

#[test]
fn a_transaction_that_outlives_the_stop_ends_with_421_and_no_final_dot() {
    let server = Scripted::start(|script| script.on("RCPT TO:<c", Act::Hang).at_dot(Act::Hang));
    let mut proxy = Proxy::start(&format!("{PASS}{}connection_limit = 5\n", to("a", server.port())));
    let mut within = up_to_content(&proxy, "a@x.test");
    within.send("Subject: s\r\n\r\nhello\r\n");
    let mut waiting = mail_from(&proxy, "a@x.test");
    waiting.send("RCPT TO:<c@y.test>\r\n");
    let mut behind_the_dot = mail_from(&proxy, "a@x.test");
    behind_the_dot.say("RCPT TO:<d@y.test>", "250");
    behind_the_dot.say("DATA", "354");
    behind_the_dot.send("Subject: s\r\n\r\nhello\r\n.\r\n");
    let is_asked = || super::rcpts(&server).contains(&"<c@y.test>".to_owned());
    eventually("the upstream to be asked", || is_asked().then_some(()));
    proxy.signal(Signal::TERM);
    for client in [&mut within, &mut waiting, &mut behind_the_dot] {
        client.hear("421");
    }
    assert!(proxy.wait().success());
    assert!(server.transactions().is_empty());
    for recipient in ["b@y.test", "c@y.test"] {
        let told = events_of(&proxy, recipient, 1);
        assert!(told[0].contains("deferred") && told[0].contains("421 4.3.2"), "{told:?}");
    }
    // Of that one nobody knows what the upstream did.
    let told = events_of(&proxy, "d@y.test", 1);
    assert!(told[0].contains("may be sent twice"), "{told:?}");
}

#[test]
fn a_folder_is_no_upstream_of_what_is_passed_through() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = format!(
        "[upstream.folder]\ndelivery = \"pickup\"\npickup_directory = \"{}\"\npriority = \"high\"\n",
        folder.path().display()
    );
    let server = plain();
    let proxy =
        Proxy::start(&config(&[&server], "").replace("[upstream.a]", &format!("{upstream}[upstream.a]")));
    proxy.wait_until_said("mail is not passed through to a folder");
    let mut talk = up_to_content(&proxy, "a@x.test");
    finish(&mut talk, "250 2.6.0");
    reload(&proxy, &format!("{PASS}{upstream}"));
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "451 4.3.2");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
