//! What is changed of a header and what is not: `Bcc:` and `Resent-Bcc:` never leave, fields are added only where they are missing, the body
//! stays as it is (rule 8).

use super::reference;
use crate::support::lax::LaxUpstream;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const SECRET: &str = "kryptonite";

fn field() -> impl Strategy<Value = String> {
    let value = |word: &'static str| {
        proptest::collection::vec(prop_oneof![Just(" "), Just("\t"), Just("  ")], 0..3).prop_map(
            move |folds| {
                let folded: String = folds.iter().map(|fold| format!("{fold}{word}@x.test\r\n")).collect();
                format!(" {word}@x.test,\r\n{folded}")
            },
        )
    };
    let bcc = prop_oneof![
        Just("Bcc"),
        Just("BCC"),
        Just("bcc"),
        Just("bCc "),
        Just("Bcc\t"),
        Just("BcC \t "),
        Just("Resent-Bcc"),
        Just("resent-BCC "),
    ];
    let given = prop_oneof![
        Just("From"),
        Just("from"),
        Just("FROM "),
        Just("Date"),
        Just("dAtE"),
        Just("Date\t"),
        Just("Message-ID"),
        Just("message-id"),
        Just("Message-Id "),
        Just("To"),
        Just("Cc"),
        Just("Subject"),
        Just("X-Bcc"),
        Just("Bcc-X"),
        Just("Resent-Cc"),
        Just("B-cc"),
        Just("X-Mailer"),
        Just("Sender"),
    ];
    prop_oneof![
        (bcc, value(SECRET)).prop_map(|(name, value)| format!("{name}:{value}")),
        (given, value("open")).prop_map(|(name, value)| format!("{name}:{value}")),
        // A field without a value, and one whose value stands on the next line alone.
        Just("Bcc:\r\n".to_owned()),
        Just(format!("bcc:\r\n {SECRET}@x.test\r\n")),
        Just("Subject:\r\n".to_owned()),
    ]
}

fn body() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("Bcc: this is text".to_owned()),
        Just("Date: so is this".to_owned()),
        Just(".".to_owned()),
        Just("..".to_owned()),
        Just(String::new()),
        Just(" folded?".to_owned()),
        "[ -~äöü]{0,60}",
    ];
    (proptest::collection::vec(line, 0..8), 0..3_usize).prop_map(|(lines, start)| {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        // Behind the empty line as it should be; at once, where the first line ends the header; or nothing at all.
        match start {
            0 => format!("\r\n{lines}"),
            1 => format!("This is no field\r\n{lines}"),
            _ => String::new(),
        }
    })
}

// CASES B33
#[test]
fn bcc_never_leaves_what_is_missing_is_added_and_all_else_stays() {
    let upstream = LaxUpstream::start();
    let more = "connection_limit = 1\nmessages_per_connection = 100000\n";
    let proxy = Proxy::start(&format!("[log]\nlevel = \"warn\"\n{}{more}", upstream.upstream("lax")));
    let client = std::cell::RefCell::new(Talk::hello(proxy.address()));
    let sent = std::cell::Cell::new(0);
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let strategy = (proptest::collection::vec(field(), 0..8), body());
    let run = TestRunner::new(config).run(&strategy, |(fields, body)| {
        let content = (fields.concat() + &body).into_bytes();
        let doubled: Vec<u8> = content
            .split_inclusive(|byte| *byte == b'\n')
            .flat_map(|line| [if line.starts_with(b".") { &b"."[..] } else { b"" }, line].concat())
            .collect();
        let reply = client.borrow_mut().transact(&[&doubled, &b".\r\n"[..]].concat());
        prop_assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
        sent.set(sent.get() + 1);
        let received = upstream.wait_for_exactly(sent.get()).content();

        let (given, rest) = reference::fields(&content);
        let name = |field: &Vec<u8>| reference::name(field).unwrap();
        let kept: Vec<Vec<u8>> =
            given.iter().filter(|field| !["bcc", "resent-bcc"].contains(&&*name(field))).cloned().collect();
        let has = |wanted: &str| given.iter().any(|field| name(field) == wanted);
        let (arrived, arrived_rest) = reference::fields(&received);
        let added = arrived.len() - kept.len().min(arrived.len());
        let names: Vec<String> = arrived[..added].iter().map(name).collect();
        let mut expected = vec!["received"];
        expected.extend(["date", "message-id", "from"].into_iter().filter(|wanted| !has(wanted)));
        prop_assert_eq!(names, expected, "{}", String::from_utf8_lossy(&received));
        prop_assert_eq!(&arrived[added..], &kept[..]);
        // Content that begins with neither field nor empty line gets an empty line before it.
        let needs_line = given.is_empty() && !rest.starts_with(b"\r\n");
        let body = if needs_line { [b"\r\n", rest.as_slice()].concat() } else { rest };
        prop_assert_eq!(arrived_rest, body);
        prop_assert!(!String::from_utf8_lossy(&received).contains(SECRET));
        Ok(())
    });
    run.unwrap();
}
