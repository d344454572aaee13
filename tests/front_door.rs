//! docs/front-door.md: every key has its row, every test that is named exists, and those of keys run a real client.

use crate::config::drift::default_key_patterns;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a test of a key calls, itself or by a function beside it, to run a client of other people's.
const CLIENTS: &[&str] = &[
    "swaks(",
    "smtplib(",
    "smtp_source(",
    "Command::new(",
    "script(",
    "ClientConnection::new(",
    "served_with(",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the table under a heading of a page in docs, cell by cell.
pub fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(root().join("docs").join(page)).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).expect("the heading");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = |row: &str| row.split(" | ").map(|cell| cell.trim().to_owned()).collect();
    rows.skip(2).map(cells).collect()
}

/// What stands in backticks.
pub fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The source of a function, from its name on, and the file that it stands in: `server::tls::name` is in
/// tests/server/tls.rs or src/server/tls.rs; unit tests stand in a module `tests` of the file.
pub fn source(test: &str) -> Option<(String, String)> {
    let (module, name) = test.rsplit_once("::")?;
    let path = module.trim_end_matches("::tests").replace("::", "/");
    let below = |folder: &str| root().join(folder).join(Path::new(&path).with_extension("rs"));
    let file =
        ["tests", "tests/fuzz", "src"].iter().find_map(|folder| std::fs::read_to_string(below(folder)).ok());
    let file =
        file.or_else(|| std::fs::read_to_string(root().join("tests").join(&path).join("mod.rs")).ok())?;
    let start = file.find(&format!("fn {name}("))?;
    let end = file[start..].find("\n}\n").map_or(file.len(), |end| start + end);
    Some((file[start..end].to_owned(), file))
}

/// Whether the body of a function, or a function beside it that it calls, has one of these texts.
pub fn has_one_of(texts: &[&str], body: &str, file: &str) -> bool {
    let helpers = file.replace("\npub fn ", "\nfn ");
    let helpers = helpers.split("\nfn ").skip(1);
    let called = helpers
        .filter(|helper| helper.split('(').next().is_some_and(|name| body.contains(&format!("{name}("))));
    called.chain([body]).any(|code| texts.iter().any(|text| code.contains(text)))
}

#[test]
fn every_key_of_the_front_door_has_a_test_with_a_real_client() {
    let wanted: BTreeSet<String> = default_key_patterns()
        .into_iter()
        .filter(|key| ["listener.", "user.", "limits."].iter().any(|table| key.starts_with(table)))
        .collect();
    let rows = rows("front-door.md", "Keys");
    let listed: BTreeSet<String> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(listed, wanted, "docs/front-door.md and conf/postroom.toml have the same keys");
    let mut wrong = Vec::new();
    for test in rows.iter().flat_map(|row| quoted(&row[2])) {
        match source(&test) {
            None => wrong.push(format!("there is no test {test}")),
            Some((body, file)) if !has_one_of(CLIENTS, &body, &file) => {
                wrong.push(format!("{test} runs no real client"));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_of_bad_input_that_is_named_exists() {
    let rows = rows("front-door.md", "Bad input");
    assert!(rows.len() > 5);
    for row in rows {
        let tests = quoted(&row[2]);
        assert!(!tests.is_empty(), "{row:?}");
        tests.iter().for_each(|test| assert!(source(test).is_some(), "there is no test {test}"));
    }
}
