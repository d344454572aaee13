//! Each event has a line in docs/rules.md, which says what it is, and one in docs/operating.md, which says what to do.

use super::Page;
use std::collections::BTreeSet;

/// The codes of `event::code`.
fn codes() -> BTreeSet<String> {
    let source = Page::read("src/event/mod.rs").text;
    let (_, module) = source.split_once("pub mod code {").expect("the module of the codes");
    let lines = module.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
    lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// The upper-case words in the first column of the tables with the heading `code`.
fn listed(page: &str) -> BTreeSet<String> {
    let text = Page::read(page).text;
    let tables = text.split("\n| code |").skip(1).map(|rest| rest.split("\n\n").next().unwrap_or_default());
    let rows = tables.flat_map(|table| table.lines().skip(2).filter_map(|row| row.split('|').nth(1)));
    rows.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_event_is_explained_and_no_other() {
    let codes = codes();
    assert!(codes.len() > 15, "{codes:?}");
    assert_eq!(listed("docs/rules.md"), codes, "docs/rules.md");
    assert_eq!(listed("docs/operating.md"), codes, "docs/operating.md");
}
