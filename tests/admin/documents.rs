//! docs/admin.md: each attack has its test.

use crate::front_door::{quoted, rows, source};

#[test]
fn every_attack_that_is_listed_has_its_test() {
    let rows = rows("admin.md", "Attacks");
    assert!(rows.len() > 20);
    let mut wrong = Vec::new();
    for row in rows {
        let tests = quoted(&row[2]);
        assert!(!tests.is_empty(), "{row:?}");
        wrong.extend(tests.into_iter().filter(|test| source(test).is_none()));
    }
    assert!(wrong.is_empty(), "there is no test {wrong:?}");
}
