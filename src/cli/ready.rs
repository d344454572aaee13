//! `postroom ready`: for HEALTHCHECK in images without a shell.

use super::client::Client;
use super::modes;
use super::{Failure, Global, small_runtime};
use clap::Args;
use serde_json::Value;
use std::time::Duration;

/// Between two looks while waiting.
const PAUSE: Duration = Duration::from_millis(50);

/// `postroom ready`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  postroom ready --wait 30 && echo up")]
pub(super) struct ReadyArgs {
    /// Wait that long for it
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

/// Runs the verb.
pub(super) fn run(global: &Global, args: &ReadyArgs) -> Result<(), Failure> {
    let socket = global.control_socket()?;
    small_runtime()?.block_on(async {
        let end = tokio::time::Instant::now() + Duration::from_secs(args.wait);
        let answer = loop {
            let answer = async { Client::must_connect(&socket).await?.get::<Value>("/readyz").await };
            match answer.await {
                Ok(answer) => break answer,
                Err(failure) if tokio::time::Instant::now() >= end => return Err(failure),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        if global.json {
            say!("{answer}");
        } else {
            say!("ready");
            modes::print(modes::of(&answer));
        }
        Ok(())
    })
}
