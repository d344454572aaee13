//! No name for two things: a type's name stands once in `src`, private ones included, so that whoever reads it in a log, a
//! comment or a search result knows which one is meant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[test]
fn no_type_has_the_name_of_another() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a source file");
        let inside = file.strip_prefix(&src).expect("a file under src").display().to_string();
        // Types of unit tests are nobody else's.
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for name in code.lines().filter_map(type_name) {
            places.entry(name).or_default().push(inside.clone());
        }
    }
    assert!(places.len() > 200, "only {} types found", places.len());
    let twice: Vec<String> = places
        .into_iter()
        .filter(|(_, files)| files.len() > 1)
        .map(|(name, files)| format!("{name}: {}", files.join(", ")))
        .collect();
    assert!(twice.is_empty(), "names that stand for two things:\n{}", twice.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of src").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The type that this line defines. Types within an `impl` (`type Err = …`) belong to their trait.
fn type_name(line: &str) -> Option<String> {
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.strip_prefix(' ')?,
        None => line,
    };
    let rest = ["struct ", "enum ", "trait ", "type "].iter().find_map(|word| line.strip_prefix(word))?;
    let name: String = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[test]
fn a_definition_is_known_by_its_line() {
    for (line, name) in [
        ("pub struct Message {", Some("Message")),
        ("pub(super) enum End<'a> {", Some("End")),
        ("struct Unit;", Some("Unit")),
        ("pub type Pending<'a, T> = Pin<Box<T>>;", Some("Pending")),
        ("    type Err = String;", None),
        ("// struct Comment", None),
        ("pub structure: u8,", None),
    ] {
        assert_eq!(type_name(line).as_deref(), name, "{line}");
    }
}

/// The library's face is for the tests, the benchmarks and whoever reads the code: each public type, trait, function, constant and
/// module says what it is for. Fields and variants speak for themselves where their name does.
#[test]
fn every_public_item_says_what_it_is_for() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let mut silent = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a source file");
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| is_public_item(line)) {
            let above = lines[..number].iter().rev().map(|line| line.trim_start());
            // Attributes, over several lines too, stand between an item and its comment.
            let mut above =
                above.skip_while(|line| !line.is_empty() && !line.starts_with("///") && !line.ends_with('}'));
            if !above.next().is_some_and(|line| line.starts_with("///")) {
                silent.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

fn is_public_item(line: &str) -> bool {
    let kinds = ["fn ", "async fn ", "const fn ", "struct ", "enum ", "trait ", "type ", "const ", "static "];
    let item = line.trim_start().strip_prefix("pub ");
    item.is_some_and(|item| kinds.iter().any(|kind| item.starts_with(kind)))
}
