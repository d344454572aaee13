//! No circles: within a module, files do not use each other in a round, so that each can be read after those it uses.
//!
//! `mod.rs` stands above its files: it names and re-exports them, which is no use of them. What it says itself, a contract say,
//! they may use as long as it uses none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Folders of `src` that hold to it.
const FOLDERS: &[&str] = &[
    "admin",
    "cli/demo",
    "cli/sendmail",
    "cli/sink",
    "config",
    "deliver",
    "event",
    "mail",
    "policy",
    "queue",
    "queue/redb",
    "reception",
    "server",
    "pickup",
    "smtp",
];

#[test]
fn no_circles() {
    let mut circles = Vec::new();
    for folder in FOLDERS {
        let uses = uses(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder), folder);
        assert!(uses.len() > 2, "no files in src/{folder}");
        circles.extend(circle(&uses).map(|files| format!("src/{folder}: {}", files.join(" -> "))));
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

/// Which files of a folder each of them uses. A folder in it counts as one file.
fn uses(folder: &Path, module: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder of src").flatten() {
        let path = entry.path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name of our own").to_owned();
        let text = match path.is_dir() {
            // Its own files say `super::super::` for what is here.
            true => all_below(&path)
                .replace("super::super::", "\0")
                .replace("super::", "")
                .replace('\0', "super::"),
            false => std::fs::read_to_string(&path).expect("a source file"),
        };
        texts.entry(name).or_default().push_str(&code(&text));
    }
    let names: BTreeSet<String> = texts.keys().cloned().collect();
    let used = |(name, text): (&String, &String)| {
        let mut used = match name.as_str() {
            "mod" => used_by_mod(text, &names),
            _ => used_by(text, &["super::", &format!("crate::{}::", module.replace('/', "::"))], &names),
        };
        used.remove(name);
        (name.clone(), used)
    };
    texts.iter().map(used).collect()
}

fn all_below(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder of src").flatten() {
        let path = entry.path();
        text += &match path.is_dir() {
            true => all_below(&path),
            false => code(&std::fs::read_to_string(&path).expect("a source file")),
        };
    }
    text
}

/// Without comments and without the tests at the end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let text = text.split("#[cfg(test)]\npub(crate) mod tests {").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect()
}

/// The files named behind one of `prefixes`; `mod` where what is named is no file.
fn used_by(text: &str, prefixes: &[&str], names: &BTreeSet<String>) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for prefix in prefixes {
        for (at, _) in text.match_indices(prefix) {
            let before = text[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || matches!(before, '_' | ':' | '"') {
                continue;
            }
            for name in crate::layers::first_segments(&text[at + prefix.len()..]) {
                used.insert(if names.contains(&name) { name } else { "mod".to_owned() });
            }
        }
    }
    used
}

/// What `mod.rs` uses: neither `mod x;` nor `pub use x::Y;`.
fn used_by_mod(text: &str, names: &BTreeSet<String>) -> BTreeSet<String> {
    let statements = text.split_inclusive(';');
    let code: String =
        statements.filter(|statement| !statement.trim_start().starts_with("pub use ")).collect();
    let is_used = |name: &&String| {
        code.match_indices(&format!("{name}::")).any(|(at, _)| {
            let before = &code[..at];
            let own = before.strip_suffix("self::").unwrap_or(before);
            !own.ends_with(|last: char| last.is_alphanumeric() || matches!(last, '_' | ':'))
        })
    };
    names.iter().filter(is_used).cloned().collect()
}

/// The files of one circle, the first named again at the end.
fn circle(uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn search(
        uses: &BTreeMap<String, BTreeSet<String>>,
        file: &str,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|before| before == file) {
            way.push(file.to_owned());
            return Some(way[start..].to_vec());
        }
        if !done.insert(file.to_owned()) {
            return None;
        }
        way.push(file.to_owned());
        for used in uses.get(file).into_iter().flatten() {
            if let Some(found) = search(uses, used, way, done) {
                return Some(found);
            }
        }
        way.pop();
        None
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|file| search(uses, file, &mut Vec::new(), &mut done))
}

#[test]
fn circles_are_found_however_they_are_written() {
    let names: BTreeSet<String> = ["mod", "a", "b", "c"].map(str::to_owned).into();
    let used = |text: &str| {
        let used = used_by(&code(text), &["super::", "crate::x::"], &names);
        used.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(used("use super::{a, b::C};\n// super::c\nfn f() {}"), ["a", "b"]);
    assert_eq!(used("use super::Contract;\nuse crate::x::c::{D, E};"), ["c", "mod"]);
    assert_eq!(used("fn f() { super::a::g() }\n#[cfg(test)]\nmod tests {\nuse super::super::b;\n}"), ["a"]);
    let by_mod = |text: &str| used_by_mod(text, &names).into_iter().collect::<Vec<_>>();
    assert_eq!(by_mod("mod a;\npub use a::A;\npub use b::{\n    B,\n};\nuse c::C;\n"), ["c"]);
    assert_eq!(by_mod("fn f() { self::a::g(); std::b::h() }"), ["a"]);

    let graph = |edges: &[(&str, &str)]| {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (user, used) in edges {
            graph.entry((*user).to_owned()).or_default().insert((*used).to_owned());
        }
        graph
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
    let found = circle(&graph(&[("a", "b"), ("b", "c"), ("c", "b")])).unwrap();
    assert_eq!(found, ["b", "c", "b"]);
}
