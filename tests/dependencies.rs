//! What is used is explained: the table of ARCHITECTURE.md names every direct dependency and no other.

use std::collections::BTreeSet;
use std::path::Path;
use toml_edit::{DocumentMut, TableLike};

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The crates in the second column of the table.
fn explained() -> BTreeSet<String> {
    let architecture = text("ARCHITECTURE.md");
    let (_, section) = architecture.split_once("\n## Dependencies").expect("a section on dependencies");
    let section = section.split("\n## ").next().expect("a first part");
    let crates = section.lines().filter_map(|line| line.strip_prefix('|')?.split('|').nth(1));
    crates.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn the_table_names_every_direct_dependency_and_no_other() {
    let manifest: DocumentMut = text("Cargo.toml").parse().expect("TOML");
    let names = |name: &str| {
        let table = manifest.get(name).and_then(|item| item.as_table_like());
        let table: &dyn TableLike = table.unwrap_or_else(|| panic!("Cargo.toml has no {name}"));
        table.iter().map(|(name, _)| name.to_owned()).collect::<BTreeSet<String>>()
    };
    let used = &names("dependencies") | &names("dev-dependencies");
    let explained = explained();
    let missing: Vec<_> = used.difference(&explained).collect();
    let surplus: Vec<_> = explained.difference(&used).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "not in the table: {missing:?}; not used: {surplus:?}");
}
