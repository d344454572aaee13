//! `postroom completions`: what a shell completes, made of the command line itself.

use super::Failure;
use clap::Args;
use clap_complete::Shell;
use std::io::Write;

/// `postroom completions`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  postroom completions bash > /usr/share/bash-completion/completions/postroom\n  \
    postroom completions zsh > /usr/share/zsh/vendor-completions/_postroom\n  \
    postroom completions fish > /usr/share/fish/vendor_completions.d/postroom.fish\n  \
    source <(postroom completions bash)         for this shell alone"
)]
pub(super) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Runs the verb.
pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "postroom", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}
