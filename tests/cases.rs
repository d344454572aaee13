//! Which test proves which case of `docs/cases.md`. Every test of a case says so in a line `// CASES F12, F13` above it; a
//! dialogue says it by its name. A case without a test fails here, unless the page gives a reason under "Not built yet"; so
//! does whatever cites a case, or a rule or heading of `docs/rules.md`, that is not there.
//! `cargo test --test main cases -- --nocapture` prints the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A group and a number.
type Case = (char, u32);

/// A case and the places of its tests.
type Table = BTreeMap<Case, BTreeSet<String>>;

#[test]
fn every_case_has_a_test_or_a_reason() {
    let mut table: Table = documented().into_iter().map(|case| (case, BTreeSet::new())).collect();
    let mut wrong = Vec::new();
    read_dialogs(&mut table, &mut wrong);
    for folder in ["tests", "src"] {
        for file in sources(&root().join(folder)) {
            read_source(&file, &mut table, &mut wrong);
        }
    }
    let reasons = not_built_yet();
    for ((group, number), places) in &table {
        let listed: Vec<&str> = places.iter().map(String::as_str).collect();
        println!("{group}{number}: {}", reasons.get(&(*group, *number)).unwrap_or(&listed.join(", ")));
        match (listed.is_empty(), reasons.contains_key(&(*group, *number))) {
            (true, false) => {
                wrong.push(format!("{group}{number} has neither a test nor a reason under \"Not built yet\""))
            }
            (false, true) => wrong.push(format!("{group}{number} has a test: it is built")),
            _ => {}
        }
    }
    wrong.extend(
        reasons
            .keys()
            .filter(|case| !table.contains_key(case))
            .map(|(group, number)| format!("\"Not built yet\" names {group}{number}, which is no case")),
    );
    let proved = table.values().filter(|places| !places.is_empty()).count();
    println!("{proved} of {} cases have tests, {} a reason why not yet", table.len(), reasons.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The cases in the first column of the tables.
fn documented() -> BTreeSet<Case> {
    let text = document("cases.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let cases: Vec<Case> = rows.filter_map(parse).collect();
    let set: BTreeSet<Case> = cases.iter().copied().collect();
    assert!(
        set.len() == cases.len() && set.len() > 100,
        "docs/cases.md: {} rows, {} cases",
        cases.len(),
        set.len()
    );
    set
}

/// The lines `- F15, F16: why` under the last heading.
fn not_built_yet() -> BTreeMap<Case, String> {
    let text = document("cases.md");
    let (_, list) = text.split_once("\n## Not built yet\n").unwrap();
    let lines = list.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(": "));
    lines
        .flat_map(|(cases, why)| cases.split(", ").map(move |case| (parse(case).unwrap(), why.to_owned())))
        .collect()
}

fn parse(case: &str) -> Option<Case> {
    let mut letters = case.chars();
    Some((letters.next()?, letters.as_str().parse().ok()?))
}

fn note(case: &str, place: String, table: &mut Table, wrong: &mut Vec<String>) {
    match parse(case).and_then(|case| table.get_mut(&case)) {
        Some(places) => drop(places.insert(place)),
        None => wrong.push(format!("{place}: there is no case {case}")),
    }
}

/// `b12-long-path.smtp` is a test of B12. Dialogues of no case have names without a number.
fn read_dialogs(table: &mut Table, wrong: &mut Vec<String>) {
    for entry in std::fs::read_dir(root().join("tests/dialogs")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let case = name.split('-').next().unwrap_or_default().to_ascii_uppercase();
        if parse(&case).is_some() {
            note(&case, format!("tests/dialogs/{name}"), table, wrong);
        }
    }
}

/// Lines of the form `// CASES F12, F13` with a test below them.
fn read_source(file: &Path, table: &mut Table, wrong: &mut Vec<String>) {
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let place = |number: usize| format!("{}:{number}", file.strip_prefix(root()).unwrap().display());
    for (at, line) in lines.iter().enumerate() {
        let Some(cases) = line.strip_prefix("// CASES ") else { continue };
        let below = lines[at + 1..].iter().take_while(|line| !line.is_empty()).take(6);
        let function =
            below.filter_map(|line| line.split("fn ").nth(1)).find_map(|rest| rest.split('(').next());
        let Some(function) = function else {
            wrong.push(format!("{}: no test stands below", place(at + 1)));
            continue;
        };
        for case in cases.split(", ") {
            let place = place(at + 1);
            note(case, format!("{} {function}", place.rsplit_once(':').unwrap().0), table, wrong);
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
