//! `postroom sink`: a throw-away upstream that takes mail, or refuses it, or answers late, and prints what it got.
//!
//! For trying things out on one machine, and for `postroom demo`'s two upstreams. It must not be open to strangers: anybody
//! may send, nothing times out, and only what was asked for with `--dump` is kept. `sink/server.rs` has the limits.

mod command;
mod options;
mod receiver;
mod server;

use clap::Args;
pub use options::SinkOptions;
pub use server::{RunningSink, Sink};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `postroom sink`
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    postroom sink                                    take everything on 127.0.0.1:2526\n  \
    postroom sink --refuse 0.3 --delay 200ms         a flaky upstream\n  \
    postroom sink --reject-to unknown --refuse-to full     to unknown@ it fails, to full@ it waits\n  \
    postroom sink --listen 127.0.0.1:2527 --dump var/got   keep each message as a file")]
pub struct SinkArgs {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2526")]
    pub listen: SocketAddr,
    /// Share of recipients answered 451 (try again later), 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub refuse: f64,
    /// Share of recipients answered 550 (refused for good), 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub reject: f64,
    /// Always answer 452 to recipients with this local part (before the @), for example full; may be given several times
    #[arg(long, value_name = "LOCAL-PART")]
    pub refuse_to: Vec<String>,
    /// Always answer 550 to recipients with this local part, for example unknown; may be given several times
    #[arg(long, value_name = "LOCAL-PART")]
    pub reject_to: Vec<String>,
    /// Wait that long before the answer to the end of a message, for example 200ms
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub delay: Duration,
    /// Makes the refusals the same each time; 0 = random
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print nothing about messages
    #[arg(long)]
    pub quiet: bool,
    /// Write each message to a file of its own in this folder (made if it is not there)
    #[arg(long, value_name = "DIR")]
    pub dump: Option<PathBuf>,
    /// What it calls itself in its greeting
    #[arg(long, default_value = "sink.localhost")]
    pub name: String,
}

/// A share as it is written on the command line.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("a share is a number from 0 (none) to 1 (all), for example 0.3".to_owned()),
    }
}

/// Runs `postroom sink` until Ctrl-C.
///
/// # Errors
/// The address cannot be listened on, or the folder for dumps cannot be made.
pub async fn run(arguments: SinkArgs) -> io::Result<()> {
    let quiet = arguments.quiet;
    let options = SinkOptions {
        listen: arguments.listen,
        refuse: arguments.refuse,
        reject: arguments.reject,
        refuse_to: arguments.refuse_to,
        reject_to: arguments.reject_to,
        delay: arguments.delay,
        seed: arguments.seed,
        dump: arguments.dump,
        name: arguments.name,
        // A reader that went away (`postroom sink | head`) does not stop the sink.
        say: Arc::new(move |line| {
            if !quiet {
                let _ = writeln!(io::stdout(), "{line}");
            }
        }),
    };
    let sink = Sink::start(options).await?;
    let _ = writeln!(io::stdout(), "listening on {}, Ctrl-C ends it", sink.address());
    let ended = tokio::signal::ctrl_c().await;
    sink.stop().await;
    ended
}
