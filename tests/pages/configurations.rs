//! Each configuration in a page, and each in conf/examples, is one that `postroom check` takes.

use super::{Page, files, make_secrets, root};
use crate::support::proxy::postroom;

/// What `postroom check` says on standard error of a configuration that stands in a folder of its own, its secrets beside
/// it. An error where it is wrong.
fn checked(config: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("postroom.toml");
    std::fs::write(&file, config).expect("a folder of our own");
    make_secrets(config, folder.path());
    let mut command = postroom();
    command.args(["check", "--config"]).arg(&file).current_dir(&folder);
    // This machine's own name may be one that servers do not like.
    let output = command.env("POSTROOM_HOSTNAME", "proxy.example.com").output().expect("the built binary");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[track_caller]
fn is_right(name: &str, config: &str) {
    match checked(config) {
        Ok(said) => assert!(!said.contains("warning"), "{name}:\n{said}"),
        Err(said) => panic!("{name}:\n{said}"),
    }
}

#[test]
fn the_examples_are_right() {
    let examples = files("conf/examples", "toml");
    assert!(examples.len() >= 8, "{examples:?}");
    for name in examples {
        let text = std::fs::read_to_string(root().join(&name)).expect("it was listed");
        is_right(&name, &text);
    }
}

/// A block further down is whole by itself, or goes on where the first one ends.
#[test]
fn the_configurations_in_pages_are_right() {
    for page in Page::with_a_beginning() {
        let blocks = page.blocks_in("toml");
        let Some((first, more)) = blocks.split_first() else { panic!("{} has no configuration", page.name) };
        is_right(&page.name, first);
        for block in more {
            let alone = checked(block);
            let together = checked(&format!("{first}\n{block}"));
            if let (Err(alone), Err(together)) = (alone, together) {
                panic!("{}:\n{block}\nalone:\n{alone}\nbehind the first:\n{together}", page.name);
            }
        }
    }
}

#[test]
fn readme_leads_to_every_page_and_example() {
    let readme = Page::read("README.md").text;
    for name in files("docs", "md").into_iter().chain(files("conf/examples", "toml")) {
        assert!(readme.contains(&format!("({name}")), "README.md does not lead to {name}");
    }
}
