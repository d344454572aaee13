//! What is cited is there: cases in `docs/cases.md`, rules and headings in `docs/rules.md`, files and headings that a page
//! links to. And nothing cites papers that are not in the repository.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|one| one == extension) {
            found.push(path);
        }
    }
}

fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    files(&root().join("docs"), "md", &mut pages);
    let top = std::fs::read_dir(root()).unwrap().flatten().map(|entry| entry.path());
    pages.extend(top.filter(|path| path.extension().is_some_and(|one| one == "md")));
    pages
}

/// Sources and pages with their text, comments that go over several lines made into one.
fn texts() -> Vec<(PathBuf, String)> {
    let mut paths = pages();
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        files(&root().join(folder), "rs", &mut paths);
    }
    // This file says what is not to be said.
    paths.retain(|path| !path.ends_with("tests/citations.rs"));
    let flowing = |text: String| {
        let lines =
            text.lines().map(|line| line.trim().trim_start_matches('/').trim_start_matches('!').trim());
        lines.collect::<Vec<_>>().join(" ")
    };
    paths.into_iter().map(|path| (path.clone(), flowing(read(&path)))).collect()
}

/// The list behind `word`, as far as it is one: `F12, F13`, `2 to 5, 9 and 13`.
fn cited<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let joins = ["to", "and", "or"];
    let mut found = Vec::new();
    for (at, _) in text.match_indices(word) {
        let before = text[..at].chars().next_back().unwrap_or(' ');
        if before.is_alphanumeric() || matches!(before, '`' | '_') {
            continue;
        }
        for token in text[at + word.len()..].split_whitespace() {
            let bare = token.trim_matches(|letter: char| !letter.is_alphanumeric());
            if joins.contains(&bare) {
                continue;
            }
            let short = bare.len() <= 3 && bare.ends_with(|letter: char| letter.is_ascii_digit());
            if !short {
                break;
            }
            found.push(bare);
            // `(rule 8)` and `rule 3: …` end the list, `F12,` and `F14;` do not.
            if token.ends_with([')', '.', ':']) || token.ends_with("'s") {
                break;
            }
        }
    }
    found
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn cases_and_rules_that_are_cited_exist() {
    let cases = read(&root().join("docs/cases.md"));
    let rules = read(&root().join("docs/rules.md"));
    let (mut seen, mut wrong) = (0, Vec::new());
    for (path, text) in texts() {
        let path = path.strip_prefix(root()).unwrap().display();
        for case in cited(&text, "CASES ") {
            seen += 1;
            if !cases.contains(&format!("\n| {case} | ")) {
                wrong.push(format!("{path}: docs/cases.md has no case {case}"));
            }
        }
        for rule in [cited(&text, "rule "), cited(&text, "rules ")].concat() {
            seen += 1;
            if !rules.contains(&format!("\n### {rule}. ")) {
                wrong.push(format!("{path}: docs/rules.md has no rule {rule}"));
            }
        }
        for (at, name) in text.match_indices("docs/rules.md#") {
            let rest = &text[at + name.len()..];
            let end =
                rest.find(|letter: char| !letter.is_alphanumeric() && letter != '-').unwrap_or(rest.len());
            if !anchors(&rules).contains(&rest[..end]) {
                wrong.push(format!("{path}: docs/rules.md has no heading {}", &rest[..end]));
            }
        }
        for paper in ["PRODUCT", "DESIGN"] {
            if text.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == paper) {
                wrong.push(format!("{path}: {paper} is not in this repository: cite docs/rules.md"));
            }
        }
    }
    assert!(seen > 150, "only {seen} citations were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = read(&page);
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let sound = target.exists() && (heading.is_empty() || anchors(&read(&target)).contains(heading));
            if !sound {
                wrong.push(format!("{}: {link} leads nowhere", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each line of docs/pass-through.md names its tests, and each test under tests/pass_through stands in a line.
#[test]
fn every_line_of_pass_through_has_its_test() {
    let page = read(&root().join("docs/pass-through.md"));
    let mut sources = Vec::new();
    files(&root().join("tests/pass_through"), "rs", &mut sources);
    sources.push(root().join("tests/server/leaks/passing.rs"));
    let sources: String = sources.iter().map(|path| read(path)).collect();
    let tests = sources.split("#[test]\n").skip(1).filter_map(|behind| {
        let name = behind.split("fn ").nth(1)?.split('(').next()?;
        Some(name.to_owned())
    });
    let tests: BTreeSet<String> = tests.collect();
    let mut named = BTreeSet::new();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| situation |"));
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<String> = last.split(", ").map(|name| name.trim_matches('`').to_owned()).collect();
        assert!(names.iter().all(|name| tests.contains(name)), "no test for: {row}");
        named.extend(names);
    }
    assert_eq!(named, tests, "a test and its line belong together");
}

#[test]
fn citations_are_found_however_they_are_written() {
    assert_eq!(
        cited("(CASES F1 to F6, F14, F37; C6, C17).", "CASES "),
        ["F1", "F6", "F14", "F37", "C6", "C17"]
    );
    assert_eq!(cited("CASES A1 in 3 pieces", "CASES "), ["A1"]);
    assert_eq!(cited("rules 2 to 5, 9 and 13, CASES F", "rules "), ["2", "5", "9", "13"]);
    assert_eq!(cited("the table of rule 3, with 7 rows; a rule of thumb", "rule "), ["3"]);
    assert_eq!(anchor("3. A sick upstream is `not` bad"), "3-a-sick-upstream-is-not-bad");
}
