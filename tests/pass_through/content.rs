//! The content on its way through: what the upstream gets is what a queued message would be, in bounded memory, and it gets a
//! final dot only for what is whole and sound.

use super::{PASS, events_of, finish, in_front_of, mail_from, nothing_is_stored, up_to_content};
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::samples::{long_lines, one_line, sample, with_attachment};
use crate::support::scripted::{Act, Identity, Scripted};
use crate::support::talk::Talk;
use crate::support::{PATIENCE, eventually};
use std::io::Write;
use std::time::Duration;

/// Without what differs from one message to the next: queue ids and dates of ours.
fn comparable(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content).into_owned();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    assert!(lines[0].starts_with("Received: from "), "{}", lines[0]);
    let id = lines[2].split("id ").nth(1).unwrap().trim_end_matches(";\r\n").to_owned();
    let instance = lines[1].split("Postroom ").nth(1).unwrap().trim_end_matches(")\r\n").to_owned();
    let date = lines[3].trim().to_owned();
    for line in &mut lines {
        *line = line.replace(&id, "ID").replace(&instance, "INSTANCE").replace(&date, "DATE");
    }
    lines.concat()
}

/// Sends it through a proxy with these settings, with a queue or without: MAIL and content as they came.
fn sent(more: &str, content: &[u8], pass: &str) -> (String, String) {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&format!("{pass}{more}\n{}", recorder.upstream("only")));
    let mut talk = Talk::hello(proxy.address());
    talk.begin_data("<a@x.test>", &["<b@y.test>", "<c@y.test>"]);
    let mut stuffed = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    talk.send(stuffed);
    talk.hear("250");
    let message = recorder.wait(1).remove(0);
    let path = message.mail.split_inclusive('>').next().unwrap().to_owned();
    (format!("{path} {:?}", message.rcpt), comparable(&message.content))
}

#[test]
fn the_upstream_gets_what_it_would_get_of_a_queued_message() {
    let bare = b"Bcc: secret@y.test\r\nTo: b@y.test\r\n\r\nx\r\n".to_vec();
    let receipts =
        b"From: Shop <shop@x.test>\r\nDisposition-Notification-To: <shop@x.test>\r\n\r\n.\r\n..x\r\n";
    let contents = [
        sample("multipart.eml"),
        sample("dots.eml"),
        sample("eight-bit.eml"),
        long_lines(),
        one_line(),
        with_attachment(700_000),
        bare,
        receipts.to_vec(),
        b"no header at all\r\n.\r\n".to_vec(),
        b"\r\n".to_vec(),
        Vec::new(),
    ];
    let redirect = "[redirect]\nenabled = true\nreport_emails = [\"qa@r.test\", \"ops@r.test\"]\n";
    let sender = "[sender]\nrewrite = \"always\"\naddress = \"Shop <sender@x.test>\"\n";
    for more in ["", redirect, sender] {
        for content in &contents {
            let (queued, passed) = (sent(more, content, ""), sent(more, content, PASS));
            assert_eq!(passed.0, queued.0);
            assert!(
                passed.1 == queued.1,
                "{more}\n{}\n---\n{}",
                &queued.1[..600.min(queued.1.len())],
                &passed.1
            );
        }
    }
}

#[test]
fn chunks_are_passed_on_as_one_message() {
    let server = Scripted::start(|script| script.at_dot("250 2.6.0 taken as 4711"));
    let proxy = in_front_of(&[&server], "");
    let mut talk = mail_from(&proxy, "a@x.test");
    talk.say("RCPT TO:<b@y.test>", "250");
    for chunk in ["Subject: s\r\nFrom: a@x", ".test\r\n\r\nhello\r\n.", "\r\n"] {
        talk.send(format!("BDAT {}\r\n{chunk}", chunk.len()));
        talk.hear("250 2.0.0");
    }
    assert_eq!(talk.say("BDAT 0 LAST", "250"), "250 2.6.0 taken as 4711");
    let content = String::from_utf8(server.wait_for(1).remove(0).content).unwrap();
    assert!(content.ends_with("Subject: s\r\nFrom: a@x.test\r\n\r\nhello\r\n.\r\n"), "{content}");
    // DATA is refused there: the chunk is skipped, and so is what was sent behind it.
    server.change(|script| script.on("DATA", "451 4.7.1 greylisted"));
    talk.say("MAIL FROM:<a@x.test>", "250");
    talk.say("RCPT TO:<b@y.test>", "250");
    talk.send("BDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nNOOP\r\n");
    assert_eq!(talk.hear("451"), "451 4.7.1 greylisted");
    talk.hear("503");
    talk.say("NOOP", "250");
}

/// The highest resident size of the process so far, in MiB.
fn peak(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn memory_does_not_follow_the_size_of_a_message() {
    let recorder = Recorder::start();
    let proxy =
        Proxy::start(&format!("{PASS}[limits]\nmessage_size = \"100MiB\"\n{}", recorder.upstream("only")));
    let mut talk = Talk::hello(proxy.address());
    assert!(talk.transact(b"Subject: t\r\n\r\nx\r\n.\r\n").starts_with("250 "));
    let before = peak(&proxy);
    talk.begin_data("<a@x.test>", &["<b@y.test>"]);
    talk.send("Subject: large\r\n\r\n");
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n".repeat(1_000);
    (0..900).for_each(|_| talk.send(&line));
    talk.say(".", "250");
    assert!(recorder.wait(2)[1].content.len() > 900 * line.len());
    let grown = peak(&proxy) - before;
    assert!(grown < 8, "60 MB of content took {grown} MiB of memory");
}

#[test]
fn a_client_sends_no_faster_than_the_upstream_takes() {
    let server = Scripted::start(|script| script.in_content(100_000, Act::Hang));
    let proxy = in_front_of(&[&server], "[limits]\nmessage_size = \"100MiB\"\n");
    let mut talk = up_to_content(&proxy, "a@x.test");
    talk.send("Subject: large\r\n\r\n");
    talk.stream().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let piece = "0123456789abcdef\r\n".repeat(60_000);
    let stopped = (0..90).position(|_| talk.stream().write_all(piece.as_bytes()).is_err());
    talk.stream().set_write_timeout(Some(PATIENCE)).unwrap();
    assert!(stopped.is_some(), "90 MB were read, and the upstream took 100 kB");
}

#[test]
fn a_client_that_leaves_in_the_middle_has_sent_nothing() {
    let server = Scripted::start(|script| script);
    let proxy = in_front_of(&[&server], "");
    for content in
        ["", "Subject: s\r\n", "Subject: s\r\n\r\nhello\r\n", &"Subject: s\r\n\r\nx\r\n".repeat(50_000)]
    {
        let mut talk = up_to_content(&proxy, "a@x.test");
        talk.send(content);
        drop(talk);
    }
    let sessions = server.wait_for_ends(4);
    assert!(sessions.iter().all(|session| !session.raw.ends_with(b"\r\n.\r\n")));
    assert!(server.transactions().is_empty());
    nothing_is_stored(&proxy);
}

#[test]
fn a_client_that_is_too_slow_is_disconnected_and_has_sent_nothing() {
    let server = Scripted::start(|script| script);
    let proxy = in_front_of(&[&server], "[limits]\ndata_timeout = \"300ms\"\n");
    let mut talk = up_to_content(&proxy, "a@x.test");
    talk.send("Subject: s\r\n\r\nhello\r\n");
    talk.hear("421 4.4.2");
    server.wait_for_ends(1);
    assert!(server.transactions().is_empty());
    let told = events_of(&proxy, "b@y.test", 1);
    assert!(told[0].starts_with("Warning deferred, last asked was a (421 4.4.2 timeout"), "{told:?}");
}

#[test]
fn what_is_refused_here_never_gets_a_final_dot_there() {
    let server = Scripted::start(|script| script);
    let proxy = in_front_of(&[&server], "[limits]\nmessage_size = \"100kB\"\nbare_newline = \"reject\"\n");
    let large = format!("Subject: s\r\n\r\n{}", "0123456789abcdef\r\n".repeat(10_000));
    let long_header = format!("X-Long: {}\r\n", "x".repeat(90_000));
    let cases = [
        ("Subject: s\r\n\r\na\0b\r\n", "550 5.6.0"),
        ("Subject: s\r\n\r\na\nb\r\n", "550 5.5.2"),
        (&large, "552 5.3.4"),
        (&long_header, "250"),
    ];
    for (number, (content, expected)) in cases.into_iter().enumerate() {
        let mut talk = up_to_content(&proxy, "a@x.test");
        talk.send(content);
        talk.say(".", expected);
        // The session goes on.
        talk.say("MAIL FROM:<a@x.test>", "250");
        assert_eq!(server.transactions().len(), usize::from(number == 3), "{expected}");
    }
    let refused = eventually("the event about the client", || {
        let all = proxy.cli(&["events", "--json", "--code", "REFUSED"]);
        all[0]["message"].as_str().map(str::to_owned)
    });
    assert!(refused.contains("550 5.6.0"), "{refused}");
}

#[test]
fn a_header_is_read_whole_up_to_128_kib() {
    let server = Scripted::start(|script| script);
    let proxy = in_front_of(&[&server], "");
    for (size, expected) in [(120_000, "250"), (400_000, "552 5.3.4")] {
        let mut talk = up_to_content(&proxy, "a@x.test");
        talk.send(format!("X-Many: {}\r\n", "x".repeat(100)).repeat(size / 110));
        talk.send("\r\nbody\r\n");
        talk.say(".", expected);
    }
    assert_eq!(server.transactions().len(), 1);
    // The body behind it may be of any size.
    let mut talk = up_to_content(&proxy, "a@x.test");
    talk.send(format!("Subject: s\r\n\r\n{}", "0123456789abcdef\r\n".repeat(100_000)));
    talk.say(".", "250");
}

#[test]
fn mail_that_comes_round_is_refused_before_any_of_it_is_passed_on() {
    let server = Scripted::start(|script| script);
    let proxy = in_front_of(&[&server], "[limits]\nreceived_hops = 3\n");
    let mut talk = up_to_content(&proxy, "a@x.test");
    finish(&mut talk, "250");
    let first = String::from_utf8(server.wait_for(1).remove(0).content).unwrap();
    let mut talk = up_to_content(&proxy, "a@x.test");
    talk.send(&first);
    talk.say(".", "554 5.4.6");
    let mut talk = up_to_content(&proxy, "a@x.test");
    talk.send("Received: from x\r\n".repeat(4) + "\r\nbody\r\n");
    talk.say(".", "554 5.4.6");
    let sessions = server.wait_for_ends(2);
    assert_eq!(server.transactions().len(), 1);
    assert!(sessions.iter().skip(1).all(|session| session.raw.ends_with(b"DATA\r\n")));
}

#[test]
fn content_leaves_encrypted_in_pieces_of_any_size() {
    let identity = Identity::of(&["127.0.0.1"]);
    let pem = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pem.path(), identity.pem()).unwrap();
    let server = Scripted::start(|script| script.implicit_tls(&identity));
    let proxy = Proxy::start(&format!(
        "{PASS}[upstream.only]\nhost = \"127.0.0.1:{}\"\ntls = \"implicit\"\ntls_ca = \"{}\"\n",
        server.port(),
        pem.path().display()
    ));
    for (count, lines) in [0, 10, 1_000, 2_000, 20_000].into_iter().enumerate() {
        let body = "0123456789abcdef\r\n".repeat(lines);
        let mut talk = up_to_content(&proxy, "a@x.test");
        talk.send(format!("Subject: s\r\n\r\n{body}"));
        talk.say(".", "250");
        let message = server.wait_for(count + 1).remove(count);
        assert!(message.tls && message.content.ends_with(format!("Subject: s\r\n\r\n{body}").as_bytes()));
    }
}
