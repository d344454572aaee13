//! `postroom reset`: what verbs and pages changed goes back to what the file says.

use super::change;
use super::{Failure, Global};
use crate::config::Change;
use clap::Args;

/// `postroom reset`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  postroom reset redirect                        all that was changed in [redirect]\n  \
                  postroom reset upstream.primary.enabled site.intranet\n  \
                  postroom reset --all                           upstreams that were added, too\n\n\
                  `postroom check` shows what was changed, and what the file says there."
)]
pub(super) struct ResetArgs {
    /// Keys or tables: redirect, debug.enabled, upstream.primary, site.intranet.sender.address
    #[arg(value_name = "KEY", required_unless_present = "all", conflicts_with = "all")]
    keys: Vec<String>,
    /// Everything; also where admin.toml cannot be read any more
    #[arg(long)]
    all: bool,
    /// Do not ask, also where a mode ends and mail goes to its addressees then
    #[arg(long)]
    yes: bool,
}

/// Runs the verb.
pub(super) fn run(global: &Global, args: ResetArgs) -> Result<(), Failure> {
    let ResetArgs { keys, all, yes: confirmed } = args;
    let wanted = if all { Change::ResetAll { confirmed } } else { Change::Reset { keys, confirmed } };
    change::run(global, "reset", wanted)
}
