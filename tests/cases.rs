//! Which test proves which case. Every test of a case says so in a line `// CASES F12, F13` above it; a dialogue says it by
//! its name. A case without a test fails here, unless it stands in [`NOT_YET`] with the reason; so does a line that names
//! no case. `cargo test --test main cases -- --nocapture` prints the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// All cases, by group: what clients send (A: contents, B: commands, C: TLS, AUTH, relaying), resources (D), storage (E),
/// upstreams (F), configuration (G), what strangers' software taught (H).
const CASES: &[(char, &[u32])] = &[
    ('A', &[1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 16, 17, 18, 20, 21, 22]),
    (
        'B',
        &[
            1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 22, 23, 24, 25, 26, 27, 28, 29,
            32, 33, 34, 35, 37, 38, 39, 40, 41, 42,
        ],
    ),
    ('C', &[1, 3, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17]),
    ('D', &[1, 2, 3, 4, 5, 6, 7, 9]),
    ('E', &[1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13]),
    (
        'F',
        &[
            1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27, 28, 29, 31,
            33, 34, 35, 36, 37, 38, 39, 40,
        ],
    ),
    ('G', &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ('H', &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
];

/// Cases of what does not exist yet, and why.
const NOT_YET: &[(&[&str], &str)] = &[
    (&["C1", "C3", "C5", "C14"], "there is no inbound TLS: STARTTLS is answered 502"),
    (&["B27", "B42", "C6", "C7", "C9", "C10", "C11", "C12"], "there is no inbound AUTH: it is answered 502"),
    (&["E11", "E13"], "there is no PostgreSQL queue"),
    (&["F15"], "there is no OAuth2: auth = \"oauth2\" is refused"),
    (&["F39"], "there are no bounce messages; of F40 the one that all recipients share"),
    (&["G4", "H11"], "there is no redirecting: [redirect] is refused"),
    (&["H12"], "there are no sites: [site] is refused"),
    (
        &["G7"],
        "there is no inbound TLS, so no certificate of our own; tls_ca is checked (tests/config/upstreams.rs)",
    ),
];

/// A case and the places of its tests.
type Table = BTreeMap<(char, u32), BTreeSet<String>>;

#[test]
fn every_case_has_a_test_or_a_reason() {
    let mut table: Table = CASES
        .iter()
        .flat_map(|(group, numbers)| numbers.iter().map(|number| ((*group, *number), BTreeSet::new())))
        .collect();
    let mut wrong = Vec::new();
    read_dialogs(&mut table, &mut wrong);
    for folder in ["tests", "src"] {
        for file in sources(&root().join(folder)) {
            read_source(&file, &mut table, &mut wrong);
        }
    }
    let reasons: BTreeMap<(char, u32), &str> = NOT_YET
        .iter()
        .flat_map(|(cases, why)| cases.iter().map(|case| (parse(case).unwrap(), *why)))
        .collect();
    for ((group, number), places) in &table {
        let listed: Vec<&str> = places.iter().map(String::as_str).collect();
        println!(
            "{group}{number}: {}",
            reasons.get(&(*group, *number)).copied().unwrap_or(&listed.join(", "))
        );
        match (listed.is_empty(), reasons.contains_key(&(*group, *number))) {
            (true, false) => {
                wrong.push(format!("{group}{number} has neither a test nor a reason in NOT_YET"))
            }
            (false, true) => wrong.push(format!("{group}{number} has a test: take it out of NOT_YET")),
            _ => {}
        }
    }
    wrong.extend(
        reasons
            .keys()
            .filter(|case| !table.contains_key(case))
            .map(|(group, number)| format!("NOT_YET: there is no {group}{number}")),
    );
    let proved = table.values().filter(|places| !places.is_empty()).count();
    println!("{proved} of {} cases have tests, {} a reason why not yet", table.len(), reasons.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn parse(case: &str) -> Option<(char, u32)> {
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
