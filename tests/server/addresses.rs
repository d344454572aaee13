//! What an upstream gets as an address is byte for byte what the client wrote, and no address becomes a parameter, a
//! second command or another recipient.

use crate::support::lax::{LaxUpstream, Taken};
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// A quoted local part with any printable in it.
fn quoted() -> impl Strategy<Value = String> {
    proptest::collection::vec(" |[!-~]", 0..40).prop_map(|letters| {
        let inner: String =
            letters
                .iter()
                .map(|letter| {
                    if ["\"", "\\"].contains(&letter.as_str()) {
                        format!("\\{letter}")
                    } else {
                        letter.clone()
                    }
                })
                .collect();
        format!("\"{inner}\"")
    })
}

fn local_part() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => quoted(),
        3 => "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}",
        // Dots where no grammar has them, as Japanese carriers do; longer than 64, as VERP and BATV make them.
        1 => "\\.{0,2}[a-z]{1,5}\\.{1,3}[a-z]{0,5}\\.{0,2}",
        1 => "prvs=[0-9]{4}=[a-z+=-]{60,150}",
        2 => "[a-zäöüß用户д.-]{1,20}",
    ]
}

fn domain() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\\.[a-z0-9]{1,8}){0,4}",
        1 => "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}".prop_map(|address| format!("[{address}]")),
        1 => Just("[IPv6:2001:db8::25]".to_owned()),
        1 => Just("under_score.example.".to_owned()),
        1 => "[a-zü例子]{1,8}\\.test",
    ]
}

fn address() -> impl Strategy<Value = String> {
    (local_part(), domain())
        .prop_map(|(local, domain)| format!("{local}@{domain}"))
        .prop_filter("longer than a path may be", |address| address.len() <= 254)
}

struct Stage {
    upstream: LaxUpstream,
    client: Talk,
    _proxy: Proxy,
    sent: usize,
}

impl Stage {
    fn start() -> Stage {
        let upstream = LaxUpstream::start();
        let more = "connection_limit = 1\nmessages_per_connection = 100000\n";
        let limits = "[limits]\nerrors_per_session = 1000000\n";
        let proxy =
            Proxy::start(&format!("[log]\nlevel = \"warn\"\n{limits}{}{more}", upstream.upstream("lax")));
        Stage { client: Talk::hello(proxy.address()), upstream, _proxy: proxy, sent: 0 }
    }

    /// Ends the transaction with a content and returns what came of it upstream.
    fn finish(&mut self) -> Taken {
        self.client.say("DATA", "354");
        self.client.send("Subject: t\r\n\r\nx\r\n.\r\n");
        self.client.hear("250 2.0.0 queued as ");
        self.sent += 1;
        self.upstream.wait_for_exactly(self.sent)
    }
}

/// The path of a MAIL or RCPT argument as RFC 5321 reads it, and what follows it.
fn path(argument: &[u8]) -> (&[u8], &[u8]) {
    assert_eq!(argument[0], b'<', "{:?}", String::from_utf8_lossy(argument));
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in argument.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return (&argument[1..at], &argument[at + 1..]),
            _ => {}
        }
    }
    panic!("no end of path in {:?}", String::from_utf8_lossy(argument));
}

/// Nothing but parameters that we put there.
fn is_ours(parameters: &[u8]) -> bool {
    let text = std::str::from_utf8(parameters).unwrap();
    text.split(' ').skip(1).all(|word| {
        word == "SMTPUTF8"
            || word == "BODY=8BITMIME"
            || word.strip_prefix("SIZE=").is_some_and(|n| n.parse::<u64>().is_ok())
    })
}

// CASES B19
#[test]
fn what_the_upstream_gets_is_what_the_client_wrote() {
    let stage = std::cell::RefCell::new(Stage::start());
    let strategy = (address(), proptest::collection::vec(address(), 1..6));
    let config = Config { cases: 250, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&strategy, |(sender, mut recipients)| {
        let mut known = std::collections::HashSet::new();
        recipients.retain(|recipient| known.insert(recipient.clone()));
        let stage = &mut *stage.borrow_mut();
        let utf8 =
            if sender.is_ascii() && recipients.iter().all(|one| one.is_ascii()) { "" } else { " SMTPUTF8" };
        stage.client.say(&format!("MAIL FROM:<{sender}>{utf8}"), "250 2.1.0");
        for recipient in &recipients {
            stage.client.say(&format!("RCPT TO:<{recipient}>"), "250 2.1.5");
        }
        let taken = stage.finish();
        let (from, parameters) = path(&taken.mail);
        prop_assert_eq!(from, sender.as_bytes());
        prop_assert!(is_ours(parameters));
        prop_assert_eq!(taken.mail.ends_with(b" SMTPUTF8"), !utf8.is_empty());
        let expected: Vec<Vec<u8>> = recipients.iter().map(|one| format!("<{one}>").into_bytes()).collect();
        prop_assert_eq!(taken.rcpt, expected);
        Ok(())
    });
    run.unwrap();
}

/// What somebody would send who wants an address to be more than one.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => prop_oneof![Just("\""), Just("\\"), Just(">"), Just("<"), Just("@"), Just(" "), Just(":"), Just(","), Just("\t")]
            .prop_map(|text| text.as_bytes().to_vec()),
        2 => prop_oneof![Just("a@x.test"), Just("x.test"), Just("\"a\""), Just("@x,@y:"), Just("> SIZE=1"), Just("> ORCPT=x")]
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop_oneof![Just("\r"), Just("\0"), Just("\u{85}"), Just("\u{2028}"), Just("ü"), Just("\u{1b}[2J")]
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>().prop_filter("ends the line", |byte| *byte != b'\n'), 1..4),
        2 => "[a-z.]{1,6}".prop_map(String::into_bytes),
    ];
    let quoted = prop_oneof![
        4 => prop_oneof![Just("> ORCPT=x@y"), Just("<"), Just(">"), Just(" "), Just("@"), Just(","), Just("RCPT TO:<z@z.test>")],
        2 => prop_oneof![Just("\\\""), Just("\\\\"), Just("\\>"), Just("a")],
        1 => prop_oneof![Just("\""), Just("\\"), Just("\"@y.test> SIZE=1")],
    ];
    let quoted =
        proptest::collection::vec(quoted, 0..6).prop_map(|pieces| format!("\"{}\"@x.test", pieces.concat()));
    prop_oneof![
        proptest::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat()),
        quoted.prop_map(String::into_bytes),
    ]
}

// CASES B19
#[test]
fn no_address_becomes_a_parameter_a_command_or_another_recipient() {
    let stage = std::cell::RefCell::new(Stage::start());
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let strategy = (hostile(), proptest::collection::vec((hostile(), any::<bool>()), 1..4));
    let accepted = std::cell::Cell::new(0);
    let run = TestRunner::new(config).run(&strategy, |(sender, recipients)| {
        let stage = &mut *stage.borrow_mut();
        let mut say = |start: &[u8], path: &[u8], closed: bool, end: &str| {
            let close: &[u8] = if closed { b">" } else { b"" };
            stage.client.send([start, path, close, end.as_bytes(), b"\r\n"].concat());
            stage.client.reply().starts_with("250")
        };
        if !say(b"MAIL FROM:<", &sender, true, " SMTPUTF8") {
            assert!(say(b"MAIL FROM:<", b"a@x.test", true, " SMTPUTF8"));
        }
        let taken: Vec<Vec<u8>> = recipients
            .into_iter()
            .filter(|(path, closed)| say(b"RCPT TO:<", path, *closed, ""))
            .map(|(path, _)| path)
            .collect();
        if taken.is_empty() {
            stage.client.say("RSET", "250");
            return Ok(());
        }
        accepted.set(accepted.get() + taken.len());
        let seen = stage.finish();
        let (_, parameters) = path(&seen.mail);
        prop_assert!(is_ours(parameters), "{:?}", String::from_utf8_lossy(&seen.mail));
        let mut distinct = taken.clone();
        distinct.sort();
        distinct.dedup();
        prop_assert!(seen.rcpt.len() <= taken.len() && !seen.rcpt.is_empty());
        for argument in &seen.rcpt {
            let (inner, rest) = path(argument);
            prop_assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(argument));
            // As it was written, but for a route in front, a name of ours behind, and what stood behind its end.
            let bare = inner.strip_suffix(b"@proxy.test").unwrap_or(inner);
            let is_from = |sent: &Vec<u8>| sent.windows(bare.len().max(1)).any(|window| window == bare);
            prop_assert!(taken.iter().any(is_from), "{:?} of {taken:?}", String::from_utf8_lossy(argument));
        }
        Ok(())
    });
    run.unwrap();
    assert!(accepted.get() > 60, "only {} hostile addresses were accepted: nothing is shown", accepted.get());
    let known: [&[u8]; 6] = [b"EHLO ", b"MAIL FROM:<", b"RCPT TO:<", b"DATA", b"RSET", b"QUIT"];
    for command in stage.borrow().upstream.commands() {
        assert!(
            known.iter().any(|known| command.starts_with(known)),
            "{:?}",
            String::from_utf8_lossy(&command)
        );
    }
}

// CASES B12, B19
#[test]
fn a_path_of_256_octets_passes_and_one_more_is_refused() {
    let mut stage = Stage::start();
    let longest = format!(
        "{}@{}.test",
        "l".repeat(100),
        "d".repeat(60) + "." + &"e".repeat(60) + "." + &"f".repeat(26)
    );
    assert_eq!(longest.len(), 254);
    stage.client.say(&format!("MAIL FROM:<{longest}>"), "250");
    stage.client.say(&format!("RCPT TO:<{longest}>"), "250");
    stage.client.say(&format!("RCPT TO:<l{longest}>"), "501");
    let taken = stage.finish();
    assert!(taken.mail.starts_with(format!("<{longest}>").as_bytes()));
    assert_eq!(taken.rcpt, [format!("<{longest}>").into_bytes()]);
}

/// Cron writes to `root`, as `root`: both were completed with the name of this machine, which no upstream knows.
#[test]
fn who_has_no_domain_is_an_alias_or_gets_the_default_domain() {
    let recorder = Recorder::start();
    let aliases = "[aliases]\nroot = \"ops@example.com\"\n\"john doe\" = \"john@example.com\"\nPostmaster = \"ops@example.com\"\n";
    let proxy =
        Proxy::start(&format!("default_domain = \"corp.test\"\n{}{aliases}", recorder.upstream("only")));
    let mut client = Talk::hello(proxy.address());
    client.begin_data(
        "<root>",
        &[
            "<ROOT>",
            "www-data",
            "<\"John Doe\">",
            "<postmaster>",
            "<root@a.test>",
            "<\"root\">",
            "<root@corp.test>",
        ],
    );
    client.send("From: root\r\nTo: root\r\n\r\nx\r\n.\r\n");
    client.hear("250");
    let message = recorder.wait(1).remove(0);
    assert!(message.mail.starts_with("<root@corp.test>"), "who sends is no alias: {}", message.mail);
    // Three mean the same recipient, who gets one.
    let expected = [
        "<ops@example.com>",
        "<www-data@corp.test>",
        "<john@example.com>",
        "<root@a.test>",
        "<root@corp.test>",
    ];
    assert_eq!(message.rcpt, expected);
    let content = String::from_utf8(message.content).unwrap();
    assert!(content.contains("From: root\r\nTo: root\r\n"), "the header stays as it is: {content}");
}
