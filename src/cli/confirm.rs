//! A question before what cannot be taken back.

use super::Failure;
use anyhow::anyhow;
use std::io::{self, BufRead, IsTerminal};

/// Asks on the terminal. Fails where there is none, and where the answer is not yes.
pub(super) fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let what =
            format!("{question}\n\nThere is no terminal to ask on: --yes says yes. Nothing was changed.");
        return Err(Failure::Usage(what));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(anyhow!("nothing was changed").into()),
    }
}

/// `1 message`, `2 messages`.
pub(super) fn messages(count: u64) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}
