//! Commands in pages: those in ` ```sh ` blocks are run, all others are at least commands that there are.

use super::{Page, files};
use crate::support::clients::succeeded;
use crate::support::proxy::{BINARY, Launch, Proxy};
use crate::support::recorder::Recorder;
use std::os::unix::fs::symlink;
use std::process::Command;

/// Puts one message into the queue, which keeps it, and returns its id.
#[track_caller]
fn with_a_message(proxy: &Proxy) -> String {
    let mut send =
        proxy.command_line(&["send", "--from", "shop@example.com", "--to", "ann@example.com", "-"]);
    succeeded(&mut send, b"Subject: Your order 4711\n\nhello\n");
    let listed = proxy.cli(&["queue", "list", "--json"]);
    listed[0]["id"].as_str().expect("the message is queued").to_owned()
}

#[track_caller]
fn run(proxy: &Proxy, block: &str, id: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    symlink(BINARY, folder.path().join("postroom")).expect("a folder of our own");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
    let words = block.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric());
    let script: String = words
        .map(|word| {
            word.strip_prefix("ID")
                .filter(|rest| rest.len() < 2)
                .map_or(word.to_owned(), |rest| format!("{id}{rest}"))
        })
        .collect();
    let mut command = Command::new("sh");
    command.args(["-euc", &script]).current_dir(&folder).env("PATH", path);
    command.env("POSTROOM_CONFIG", proxy.config_file()).env("POSTROOM_SENDMAIL", proxy.address().to_string());
    succeeded(&mut command, b"");
}

/// With sending off, so that the message stays in the queue whatever is done to it.
#[test]
fn commands_in_pages_work_with_the_configuration_of_the_page() {
    let recorder = Recorder::start();
    for page in Page::with_a_beginning() {
        let blocks = page.blocks_in("sh");
        assert!(!blocks.is_empty(), "{} has no commands", page.name);
        let proxy =
            page.proxy(recorder.address(), Launch::default().variable("POSTROOM_SENDING__ENABLED", "false"));
        for block in blocks {
            eprintln!("{}:\n{block}", page.name);
            let id = with_a_message(&proxy);
            run(&proxy, &block, &id);
        }
    }
}

/// The words of a command line, up to what the shell does with it.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), letter) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '|' | '<' | '>' | ';' | '&' | '#') => break,
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Each call of `postroom` in a block for the shell.
fn calls(block: &str) -> Vec<Vec<String>> {
    let text = block.replace("\\\n", " ");
    let mut calls = Vec::new();
    for line in text.lines() {
        for (at, _) in line.match_indices("postroom ") {
            let before = line[..at].trim_end();
            if before.is_empty() || before.ends_with(['|', '$', '#', ';', '&', '(']) {
                calls.push(words(&line[at..]));
            }
        }
    }
    calls
}

#[test]
fn commands_in_all_documents_are_commands_that_there_are() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    let names = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].map(str::to_owned);
    for name in names.into_iter().chain(files("docs", "md")) {
        let page = Page::read(&name);
        for block in page.blocks().into_iter().filter(|block| ["", "sh", "console"].contains(&block.language))
        {
            for call in calls(&block.text) {
                seen += 1;
                if let Err(error) = postroom::cli::command().try_get_matches_from(&call) {
                    wrong.push(format!("{name}: {}\n{error}", call.join(" ")));
                }
            }
        }
    }
    assert!(seen > 80, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// In prose: the verb, and the verb below it, with `|` between several.
#[test]
fn verbs_in_all_documents_are_verbs_that_there_are() {
    let root = postroom::cli::command();
    for name in ["README.md".to_owned()].into_iter().chain(files("docs", "md")) {
        let page = Page::read(&name);
        for span in page.text.split('`').skip(1).step_by(2).filter_map(|span| span.strip_prefix("postroom "))
        {
            let mut command = &root;
            for word in span.split_whitespace() {
                let several: Vec<&str> = word.split('|').map(|one| one.trim_end_matches('\\')).collect();
                let plain =
                    |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
                if !command.has_subcommands() || !several.iter().all(plain) {
                    break;
                }
                let above = command;
                for one in several {
                    let found = above.find_subcommand(one);
                    command = found.unwrap_or_else(|| panic!("{name}: `postroom {span}`: no {one}"));
                }
            }
        }
    }
}

#[test]
fn command_lines_are_read_as_a_shell_reads_them() {
    let line = "postroom queue list --filter 'a b'  # why";
    assert_eq!(words(line), ["postroom", "queue", "list", "--filter", "a b"]);
    let block = "printf x | postroom send \\\n  - > y\n# postroom check; ln -s /usr/bin/postroom x";
    assert_eq!(calls(block), [vec!["postroom", "send", "-"], vec!["postroom", "check"]]);
}
