//! `postroom hash`: what stands in `password_hash`.

use super::Failure;
use crate::config::password;
use crate::unix;
use anyhow::{Context, bail, ensure};
use std::io::{IsTerminal, Read};

/// A password that is longer is a mistake.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Runs the verb.
pub(super) fn run() -> Result<(), Failure> {
    let hash = password::hash(&password()?).map_err(anyhow::Error::msg)?;
    say!("{hash}");
    Ok(())
}

/// A password, or another secret, from standard input; a terminal is asked.
pub(super) fn password() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() { ask() } else { read() }
}

/// Twice, because nobody sees what they type.
fn ask() -> anyhow::Result<String> {
    let mut said = Vec::new();
    for prompt in ["Password: ", "Again: "] {
        let line = unix::read_hidden_line(prompt).context("the terminal cannot be read")?;
        said.push(sound(line)?);
    }
    ensure!(said[0] == said[1], "these are two different passwords");
    Ok(said.remove(0))
}

/// All of standard input, but for the line end behind it.
fn read() -> anyhow::Result<String> {
    let mut text = String::new();
    let stdin = std::io::stdin().lock();
    stdin.take(MAX_PASSWORD_BYTES + 1).read_to_string(&mut text).context("standard input cannot be read")?;
    sound(text)
}

fn sound(text: String) -> anyhow::Result<String> {
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    match password {
        "" => bail!("the password is empty"),
        long if long.len() as u64 > MAX_PASSWORD_BYTES => bail!("the password is too long"),
        password if password.contains(['\n', '\0']) => bail!("a password is one line without NUL"),
        password => Ok(password.to_owned()),
    }
}
