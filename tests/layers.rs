//! Imports point only down the layers: no file of `src` uses a module of its own layer or of one above (ARCHITECTURE.md,
//! "Layers").

use std::path::{Path, PathBuf};

/// The layers from top to bottom, each with its modules. Two modules of one layer do not know each other.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["server"],
    &["admin"],
    &["smtp", "pickup", "deliver", "webhook"],
    &["pass_through"],
    &["reception"],
    &["policy"],
    &["queue"],
    &["event"],
    &["log"],
    &["config"],
    &["mail"],
    &["clock", "metrics", "unix", "https"],
];

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| {
        panic!("`{module}` is in no layer: give it one in tests/layers.rs and ARCHITECTURE.md")
    })
}

fn allowed(user: &str, used: &str) -> bool {
    user == used || layer(user) < layer(used)
}

#[test]
fn imports_point_only_down_the_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    assert!(files.len() > 10, "no source files under {}", src.display());
    let mut wrong = Vec::new();
    for file in &files {
        let inside = file.strip_prefix(&src).expect("a file under src").to_str().expect("a path of our own");
        let user = inside.split(['/', '.']).next().expect("a first component").to_owned();
        // lib.rs names every module, because it is the list of them.
        if user == "lib" {
            continue;
        }
        let text = std::fs::read_to_string(file).expect("a source file");
        for (line, used) in used_modules(&text, if user == "main" { "postroom::" } else { "crate::" }) {
            if !allowed(&user, &used) {
                wrong.push(format!("src/{inside}:{line}: `{user}` may not use `{used}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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

/// The top-level modules that the code names behind `prefix`, with their lines. Comments may name whom they like.
fn used_modules(text: &str, prefix: &str) -> Vec<(usize, String)> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or("").to_owned() + "\n").collect();
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        if before.is_alphanumeric() || matches!(before, '_' | '"' | ':') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        found.extend(first_segments(&code[at + prefix.len()..]).into_iter().map(|module| (line, module)));
    }
    // Macros and items at the crate's root are no modules.
    found.retain(|(_, name)| !name.is_empty() && name.starts_with(|first: char| first.is_ascii_lowercase()));
    found
}

/// `mail::Address` gives mail; `{clock::Clock, mail::{self, Reply}}` gives clock and mail.
pub fn first_segments(path: &str) -> Vec<String> {
    let segment =
        |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![segment(path)] };
    let mut depth = 1;
    let mut segments = vec![segment(group.trim_start())];
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => segments.push(segment(group[at + 1..].trim_start())),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    segments
}

#[test]
fn uses_are_found_however_they_are_written() {
    let text = "use crate::mail::Address;\n// crate::smtp::not_this\nfn f() -> crate::queue::Claim {}\nuse crate::{\n    \
                clock::{Clock, Moment},\n    event::Fact,\n};\nuse xcrate::cli;\n\
                pub(in crate::deliver) fn g() {}\ntarget: \"crate::outcome\"\n";
    let mut modules: Vec<String> =
        used_modules(text, "crate::").into_iter().map(|(_, module)| module).collect();
    modules.sort();
    assert_eq!(modules, ["clock", "deliver", "event", "mail", "queue"]);
}

#[test]
fn a_module_may_use_what_is_below_it_and_nothing_else() {
    for (user, used) in [
        ("smtp", "deliver"),
        ("deliver", "smtp"),
        ("policy", "smtp"),
        ("queue", "deliver"),
        ("config", "log"),
        ("mail", "queue"),
    ] {
        assert!(!allowed(user, used), "{user} may use {used}");
    }
    for (user, used) in [
        ("cli", "server"),
        ("server", "smtp"),
        ("smtp", "policy"),
        ("deliver", "queue"),
        ("log", "config"),
        ("smtp", "clock"),
    ] {
        assert!(allowed(user, used), "{user} may not use {used}");
    }
}

#[test]
fn the_table_in_architecture_has_the_same_layers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).expect("ARCHITECTURE.md");
    let (_, section) = text.split_once("\n## Layers\n").expect("a section on layers");
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let written: Vec<Vec<&str>> = rows
        .map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect())
        .collect();
    assert_eq!(written, LAYERS);
}
