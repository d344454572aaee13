//! `postroom check`: load the configuration, print what is in force (secrets masked), name every error.

use super::{Failure, Global, modes};
use crate::admin::safe_json::to_json_pretty;
use crate::mail::printable;
use crate::policy::notices;

/// Runs the verb. Errors end it with 78, each named with its file, line and key.
pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let loaded = global.load()?;
    for warning in &loaded.warnings {
        eprintln!("warning: {}", printable(warning));
    }
    modes::print(loaded.dropped.iter().map(|one| format!("{} (at the next start or reload)", one.text)));
    modes::print(notices::notices(&loaded.settings));
    if global.json {
        say!("{}", to_json_pretty(&loaded.in_force)?);
        return Ok(());
    }
    match &loaded.file {
        Some(file) => say!("# {} is right. In force:", printable(&file.to_string_lossy())),
        None => say!("# No configuration file; the built-in defaults are in force:"),
    }
    say!("\n{}", loaded.in_force.to_toml());
    Ok(())
}
