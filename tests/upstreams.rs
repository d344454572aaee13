//! docs/upstreams.md: every key of upstreams has its row, every test that is named exists, and those of keys run a real server,
//! unless the row says why none can.

use crate::config::drift::default_key_patterns;
use crate::front_door::{has_one_of, quoted, rows, source};
use std::collections::BTreeSet;

/// What a test of a key calls, itself or by a function beside it, to run a server of other people's.
const SERVERS: &[&str] =
    &["Postfix::start", "Exim::start", "OpenSmtpd::start", "Dovecot::start", "Aiosmtpd::start"];

#[test]
fn every_key_of_upstreams_has_a_test_with_a_real_server_or_a_reason() {
    let wanted: BTreeSet<String> = default_key_patterns()
        .into_iter()
        .filter(|key| ["upstream.", "credentials."].iter().any(|table| key.starts_with(table)))
        .collect();
    let rows = rows("upstreams.md", "Keys, and the servers that prove them");
    let listed: BTreeSet<String> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(listed, wanted, "docs/upstreams.md and conf/postroom.toml have the same keys");
    let mut wrong = Vec::new();
    let mut real = 0;
    for row in &rows {
        let tests = quoted(&row[2]);
        assert!(!tests.is_empty(), "{row:?}");
        for test in tests {
            match source(&test) {
                None => wrong.push(format!("there is no test {test}")),
                Some(_) if row[1].starts_with("none: ") => {}
                Some((body, file)) if has_one_of(SERVERS, &body, &file) => real += 1,
                Some(_) => wrong.push(format!("{test} runs no real server")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(real > 20, "only {real} tests run a real server");
}

#[test]
fn every_test_of_what_goes_wrong_that_is_named_exists() {
    let rows = rows("upstreams.md", "What goes wrong");
    assert!(rows.len() > 10);
    for row in rows {
        let tests = quoted(&row[2]);
        assert!(!tests.is_empty(), "{row:?}");
        tests.iter().for_each(|test| assert!(source(test).is_some(), "there is no test {test}"));
    }
}
