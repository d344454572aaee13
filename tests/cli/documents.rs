//! README, CHANGELOG and `--help` say the same as the program does.

use clap::Command;

const README: &str = include_str!("../../README.md");
const CHANGELOG: &str = include_str!("../../CHANGELOG.md");

fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| verb.get_name() != "help")
}

#[test]
fn every_verb_is_in_readme_and_changelog_and_has_an_example() {
    let command = postroom::cli::command();
    for verb in verbs(&command) {
        let name = verb.get_name();
        assert!(README.contains(&format!("postroom {name}")), "README.md says nothing of `postroom {name}`");
        let told = CHANGELOG.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == name);
        assert!(told, "CHANGELOG.md says nothing of `{name}`");
        let help = verb.clone().render_long_help().to_string();
        let examples = help.split("Example").nth(1).unwrap_or_default();
        let below = verbs(verb).any(|verb| verb.clone().render_long_help().to_string().contains("postroom"));
        assert!(examples.contains(&format!("postroom {name}")) || below, "no example in\n{help}");
    }
}

#[test]
fn readme_names_only_verbs_that_exist() {
    let command = postroom::cli::command();
    for line in README.lines() {
        for (at, _) in line.match_indices("`postroom ") {
            let name: String = line[at + 10..].chars().take_while(char::is_ascii_lowercase).collect();
            assert!(verbs(&command).any(|verb| verb.get_name() == name), "`postroom {name}` in: {line}");
        }
    }
}
