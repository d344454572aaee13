//! What is made of the command line: completions that each shell takes, manual pages that troff and mandoc take.

use crate::support::clients::succeeded;
use crate::support::foreign::have;
use crate::support::proxy::postroom;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Runs a script in that shell, without anybody's settings, in a folder with the completions as `file`.
#[track_caller]
fn in_shell(shell: &str, arguments: &[&str], file: &str) -> Option<String> {
    if !have(&[shell]) {
        return None;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = succeeded(postroom().args(["completions", shell]), b"");
    std::fs::write(folder.path().join(file), &script.stdout).expect("a folder of our own");
    let mut command = Command::new(shell);
    command.args(arguments).current_dir(&folder).env("HOME", folder.path()).env("TERM", "dumb");
    command.env_remove("XDG_CONFIG_HOME").env_remove("ZDOTDIR").env_remove("BASH_ENV");
    let output = succeeded(&mut command, b"");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn bash_completes_verbs_and_options() {
    let script = "source postroom.bash; COMP_WORDS=(postroom queue re); COMP_CWORD=2
        _postroom postroom re queue; echo \"${COMPREPLY[@]}\"
        COMP_WORDS=(postroom upstream add --pass); COMP_CWORD=3
        _postroom postroom --pass add; echo \"${COMPREPLY[@]}\"";
    let Some(said) = in_shell("bash", &["--norc", "-c", script], "postroom.bash") else { return };
    let lines: Vec<BTreeSet<&str>> = said.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines, [["release", "retry"].into(), ["--password-file", "--password-stdin"].into()]);
}

#[test]
fn fish_completes_verbs_with_what_they_do() {
    let script =
        "source postroom.fish; complete -C 'postroom queue rel'; complete -C 'postroom completions f'";
    let Some(said) = in_shell("fish", &["--no-config", "-c", script], "postroom.fish") else { return };
    assert!(said.contains("release\tRelease held messages"), "{said}");
    assert!(said.contains("fish"), "{said}");
}

#[test]
fn zsh_finds_the_completions_by_their_file() {
    let script = "fpath=($PWD $fpath); autoload -U compinit; compinit -u -D; echo $_comps[postroom]
        autoload +X -U _postroom && whence -w _postroom";
    let Some(said) = in_shell("zsh", &["-f", "-c", script], "_postroom") else { return };
    assert_eq!(said, "_postroom\n_postroom: function\n");
}

fn verbs(command: &clap::Command, name: &str, found: &mut BTreeSet<String>) {
    found.insert(format!("{name}.1"));
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        verbs(verb, &format!("{name}-{}", verb.get_name()), found);
    }
}

fn pages(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("a folder of our own").flatten();
    entries.map(|entry| entry.file_name().into_string().expect("a name of ours")).collect()
}

#[test]
fn each_verb_has_a_manual_page_that_troff_and_mandoc_take() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().join("man");
    let dir = folder.to_str().expect("a path of ours");
    succeeded(postroom().args(["man", "--dir", dir]), b"");
    let mut expected = BTreeSet::from(["postroom.toml.5".to_owned()]);
    verbs(&postroom::cli::command(), "postroom", &mut expected);
    assert_eq!(pages(&folder), expected);

    let whole = succeeded(postroom().arg("man"), b"").stdout;
    assert_eq!(whole, std::fs::read(folder.join("postroom.1")).expect("it was listed"));
    let text = String::from_utf8(whole).expect("text");
    for part in ["SYNOPSIS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "FILES", "queue.redb"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let page = std::fs::read_to_string(folder.join("postroom.toml.5")).expect("it was listed");
    assert!(
        page.contains("\n#address = \"127.0.0.1:25\"\n") && page.contains("\nAddress and port.\n"),
        "{page}"
    );

    if have(&["groff"]) {
        let mut command = Command::new("groff");
        command.args(["-man", "-ww", "-z", "-Tutf8", "-Kutf8"]).args(&expected).current_dir(&folder);
        let said = succeeded(&mut command, b"").stderr;
        assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
    if have(&["mandoc"]) {
        succeeded(
            Command::new("mandoc").args(["-T", "lint", "-W", "error"]).args(&expected).current_dir(&folder),
            b"",
        );
    }
}
