//! Default file, known keys and documents say the same.

use super::Desk;
use std::collections::BTreeSet;
use toml_edit::{DocumentMut, Item, TableLike};

/// A file of this package; none where it is not written yet.
fn text(name: &str) -> Option<String> {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).ok()
}

fn default_file() -> String {
    text("conf/postroom.toml").unwrap()
}

/// What a user does who takes the templates into use: the `#` before settings goes, prose stays. An example that stands
/// above a setting of the same key stays one.
fn uncommented(text: &str) -> String {
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let before = lines.last().and_then(|before| key(before));
        if before.is_some() && before == key(line) {
            lines.pop();
        }
        lines.push(line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line));
    }
    lines.join("\n") + "\n"
}

fn keys(text: &str) -> BTreeSet<String> {
    fn walk(table: &dyn TableLike, path: &str, keys: &mut BTreeSet<String>) {
        for (key, item) in table.iter() {
            match item.as_table_like() {
                Some(below) => walk(below, &format!("{path}{key}."), keys),
                None => {
                    keys.insert(format!("{path}{key}"));
                }
            }
        }
    }
    let mut keys = BTreeSet::new();
    walk(text.parse::<DocumentMut>().unwrap().as_table(), "", &mut keys);
    keys
}

/// The tables of the default file that are there as templates alone: they hold tables by name.
fn named_tables() -> BTreeSet<String> {
    let tables = |text: &str| -> BTreeSet<String> {
        let document: DocumentMut = text.parse().unwrap();
        document.iter().map(|(name, _)| name.to_owned()).collect()
    };
    let text = default_file();
    &tables(&uncommented(&text)) - &tables(&text)
}

/// Paths of all keys of the default file with `*` for names.
pub fn default_key_patterns() -> BTreeSet<String> {
    let named = named_tables();
    let pattern = |key: String| {
        let mut parts: Vec<&str> = key.split('.').collect();
        if named.contains(parts[0]) {
            parts[1] = "*";
        }
        parts.join(".")
    };
    default_keys().into_iter().map(pattern).collect()
}

/// Paths of all keys of the default file, those of its templates included.
fn default_keys() -> BTreeSet<String> {
    keys(&uncommented(&default_file()))
}

/// The tables of the default file in which every key may stand, as it has none itself.
pub fn free_tables() -> Vec<String> {
    let document: DocumentMut = default_file().parse().unwrap();
    let empty = |item: &Item| item.as_table().is_some_and(|table| table.is_empty());
    document.iter().filter(|(_, item)| empty(item)).map(|(name, _)| name.to_owned()).collect()
}

/// One of each of the tables that have names.
const TEMPLATES: &str = "[listener.local]\n[user.app1]\npassword = \"x\"\n[upstream.primary]\nhost = \"smtp.example.com\"\n[pickup.web1]\ndirectory = \"in\"\n[webhook.ops]\nurl = \"https://ops.example.com\"\n\
    [credentials.default]\nusername = \"app\"\npassword = \"s3cret\"\n\
    [site.intranet]\nsending.enabled = true\nredirect.enabled = false\ndebug.enabled = false\nsimulate.enabled = false\n\
    sender.rewrite = \"never\"\n";

#[test]
fn every_key_of_the_default_file_is_read_and_every_key_that_is_read_stands_in_it() {
    let desk = Desk::with(TEMPLATES);
    let read: BTreeSet<String> = desk.loaded().in_force.keys().collect();
    assert_eq!(read, default_keys());
}

#[test]
fn the_default_file_names_nothing_and_changes_nothing() {
    let text = default_file();
    let named = named_tables();
    assert!(named.contains("listener") && named.contains("upstream"), "{named:?}");
    assert!(!keys(&text).iter().any(|key| named.iter().any(|table| key.starts_with(&format!("{table}.")))));
    let (own, none) = (Desk::with(&text).loaded().settings, Desk::new().loaded().settings);
    assert_eq!(format!("{own:?}").replace(&own.data_dir.display().to_string(), ""), {
        format!("{none:?}").replace(&none.data_dir.display().to_string(), "")
    });
}

#[test]
fn the_templates_hold_every_key_of_a_named_table_at_its_default() {
    let whole = Desk::with(&uncommented(&default_file())).loaded().settings;
    let short = Desk::with("[upstream.primary]\nhost = \"smtp.example.com:587\"\n").loaded().settings;
    assert_eq!(whole.listeners, short.listeners);
    assert_eq!(whole.upstreams, short.upstreams);
}

#[test]
fn every_key_of_the_default_file_has_a_comment_or_stands_in_a_table_that_speaks_for_itself() {
    let text = default_file();
    let mut before = "";
    for line in text.lines() {
        let setting = line.trim_start_matches('#');
        if setting.contains(" = ") && !line.starts_with("# ") && setting != "path = \"logemails.log\"" {
            // An example of the same key has the comment above it.
            let example = before.strip_prefix('#').and_then(|before| before.split_once(" = "));
            let key = setting.split_once(" = ").map(|(key, _)| key);
            let is_example = example.map(|(key, _)| key) == key;
            assert!(before.starts_with("# ") || is_example, "no comment above {line}");
        }
        before = line;
    }
}

#[test]
fn no_document_shows_a_key_that_does_not_exist() {
    let documents = ["README.md", "ARCHITECTURE.md", "SECURITY.md"].map(str::to_owned);
    for document in documents.into_iter().chain(crate::pages::files("docs", "md")) {
        let Some(text) = text(&document) else { continue };
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let Err(errors) = Desk::with(block).load() else { continue };
            for error in errors.errors {
                let stranger = ["unknown key", "not in this version", "is not TOML"];
                assert!(!stranger.iter().any(|word| error.wrong.contains(word)), "{document}: {error}");
            }
        }
    }
}
