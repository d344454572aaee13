//! `postroom man`: manual pages, made of the command line itself and of the default configuration file.

use super::Failure;
use crate::config;
use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io::Write;
use std::path::{Path, PathBuf};

/// `postroom man`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  postroom man | man -l -\n  postroom man --dir /usr/share/man/man1\n\n\
    DIR gets postroom.1, a page for each verb (postroom-queue-list.1) and postroom.toml.5.")]
pub(super) struct ManArgs {
    /// Write all pages into this folder (made if it is not there)
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the verb.
pub(super) fn run(args: &ManArgs) -> Result<(), Failure> {
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    match &args.dir {
        None => std::io::stdout().write_all(&page(&command)?)?,
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
            write_pages(&command, dir)?;
            write(&dir.join("postroom.toml.5"), &configuration_page()?)?;
        }
    }
    Ok(())
}

fn write(path: &Path, page: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, page).with_context(|| path.display().to_string())
}

fn write_pages(command: &Command, dir: &Path) -> anyhow::Result<()> {
    for verb in command.get_subcommands() {
        write_pages(verb, dir)?;
    }
    write(&dir.join(Man::new(command.clone()).get_filename()), &page(command)?)
}

/// The page of a verb; of all of it where it is `postroom`.
fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let mut page = title(name, "1");
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut more = Roff::default();
    if let Some(help) = command.get_after_help() {
        for (heading, text) in parts(&help.to_string()) {
            section(&mut more, heading);
            as_it_stands(&mut more, text.lines());
        }
    }
    let is_whole = name == "postroom";
    if is_whole {
        for (heading, entries) in ABOUT_ALL {
            section(&mut more, heading);
            entries.iter().for_each(|(name, text)| entry(&mut more, name, text));
        }
    }
    section(&mut more, "SEE ALSO");
    more.text([roman(if is_whole { "postroom.toml(5)" } else { "postroom(1), postroom.toml(5)" })]);
    more.to_writer(&mut page)?;
    Ok(page)
}

/// What holds for all verbs.
const ABOUT_ALL: [(&str, &[(&str, &str)]); 3] = [
    (
        "EXIT STATUS",
        &[
            ("0", "Success."),
            ("1", "The operation failed."),
            ("2", "Wrong usage."),
            ("78", "The configuration is wrong; every error is named."),
            ("64 to 78", "Of postroom sendmail: those of sysexits.h, see postroom-sendmail(1)."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("POSTROOM_CONFIG", "The configuration file, where --config names none."),
            (
                "POSTROOM_TABLE__KEY",
                "A key of the configuration, with __ between levels: POSTROOM_UPSTREAM__PRIMARY__PASSWORD.",
            ),
            (
                "RELAYHOST, RELAYHOST_USERNAME, RELAYHOST_PASSWORD, RELAYHOST_PASSWORD_FILE",
                "The one upstream of a container: host:port, and its login.",
            ),
            ("POSTROOM_SENDMAIL", "Where postroom sendmail finds the proxy: host:port, else 127.0.0.1:25."),
            ("RUST_LOG", "What is logged, as log.level."),
            ("NO_COLOR", "Tables without colours."),
        ],
    ),
    (
        "FILES",
        &[
            ("./postroom.toml, /etc/postroom/postroom.toml", "The configuration, in this order."),
            ("<data_dir>/queue.redb", "The queue: mail that waits, and events."),
            ("<data_dir>/admin.toml", "What verbs have changed."),
            (
                "<data_dir>/control.sock",
                "Where verbs find the running proxy. Who may open it may do everything.",
            ),
            ("<data_dir>/archive/", "Mail that was sent, with archive_days."),
            ("<data_dir>/logemails.log", "A record of each attempt, with log_emails."),
            ("<data_dir>/statistics.json", "What came and went in the last week."),
            ("<data_dir>/tokens.json", "Refresh tokens that were replaced."),
        ],
    ),
];

fn section(roff: &mut Roff, heading: &str) {
    roff.control("SH", [heading]);
}

fn entry(roff: &mut Roff, name: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(text)]);
}

fn as_it_stands<'a>(roff: &mut Roff, lines: impl Iterator<Item = &'a str>) {
    roff.control("nf", []);
    for line in lines {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

/// What stands below the options of `--help`: examples, from their heading to an empty line, and the rest.
fn parts(help: &str) -> Vec<(&'static str, String)> {
    let (mut examples, mut notes) = (Vec::new(), Vec::new());
    for block in help.split("\n\n") {
        match block.strip_prefix("Examples:\n").or_else(|| block.strip_prefix("Example:\n")) {
            Some(block) => examples.push(block),
            None => notes.push(block),
        }
    }
    let all = [("NOTES", notes), ("EXAMPLES", examples)];
    all.into_iter()
        .filter(|(_, blocks)| !blocks.is_empty())
        .map(|(name, blocks)| (name, blocks.join("\n\n")))
        .collect()
}

/// postroom.toml(5): the default file, its prose as prose.
fn configuration_page() -> anyhow::Result<Vec<u8>> {
    let mut roff = Roff::default();
    section(&mut roff, "NAME");
    roff.text([roman("postroom.toml - configuration of postroom(1)")]);
    section(&mut roff, "DESCRIPTION");
    for line in config::DEFAULT_FILE.lines() {
        match line.strip_prefix('#').unwrap_or(line) {
            "" => roff.control("PP", []),
            prose if prose.starts_with(' ') => roff.text([roman(prose.strip_prefix(' ').unwrap_or(prose))]),
            _ => {
                roff.control("RS", []);
                as_it_stands(&mut roff, std::iter::once(line));
                roff.control("RE", []).control("PP", [])
            }
        };
    }
    section(&mut roff, "SEE ALSO");
    roff.text([roman("postroom(1)")]);
    let mut page = title("postroom.toml", "5");
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// By hand, because roff leaves out an argument that is empty: the date, which would be another one in each build.
fn title(name: &str, section: &str) -> Vec<u8> {
    format!(".TH {name} {section} \"\" \"Postroom {}\" Postroom\n", env!("CARGO_PKG_VERSION")).into_bytes()
}
