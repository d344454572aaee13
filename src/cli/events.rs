//! `postroom events`: what happened, and what happens now.

use super::client::Client;
use super::queue::open_file;
use super::table::safe;
use super::{Failure, Global, small_runtime};
use crate::admin::safe_json::to_json;
use anyhow::Context;
use clap::Args;
use http_body_util::BodyExt;
use serde_json::Value;
use std::io::Write;

/// `postroom events`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  postroom events --limit 20
  postroom events --follow
  postroom events list --json")]
pub(super) struct EventsArgs {
    /// `list` may be said or left out
    #[arg(value_parser = ["list"], hide = true)]
    verb: Option<String>,
    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// Runs the verb.
pub(super) fn run(global: &Global, args: &EventsArgs) -> Result<(), Failure> {
    small_runtime()?.block_on(async {
        let socket = global.control_socket()?;
        if args.follow {
            // Connected before the listing, so that nothing falls between the two.
            let mut client = Client::must_connect(&socket).await?;
            let stream = client.open("/api/v1/events/stream").await?;
            let seen = list(global, &mut Client::must_connect(&socket).await?, args.limit).await?;
            return follow(global, stream, seen).await;
        }
        match Client::connect(&socket).await? {
            Some(mut client) => list(global, &mut client, args.limit).await.map(drop),
            None => {
                let events = open_file(global)?.events(None, args.limit)?;
                let events = events.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
                print(global, &events, false)
            }
        }
    })
}

/// Prints the newest and returns the id of the last.
async fn list(global: &Global, client: &mut Client, limit: usize) -> Result<u64, Failure> {
    let answer: Value = client.get(&format!("/api/v1/events?limit={limit}")).await?;
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    print(global, &events, false)?;
    Ok(events.last().and_then(|event| event["id"].as_u64()).unwrap_or(0))
}

async fn follow(global: &Global, mut stream: hyper::body::Incoming, seen: u64) -> Result<(), Failure> {
    let mut text = Vec::new();
    while let Some(frame) = stream.frame().await {
        let Ok(data) = frame.context("the proxy has ended")?.into_data() else { continue };
        text.extend_from_slice(&data);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let Some(json) = line.strip_prefix(b"data: ") else { continue };
            let event: Value = serde_json::from_slice(json)?;
            if event["id"].as_u64().is_some_and(|id| id > seen) {
                print(global, &[event], true)?;
            }
        }
    }
    Ok(())
}

/// As text one line each; as JSON one array, or one object a line while following.
fn print(global: &Global, events: &[Value], following: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if global.json && !following {
        writeln!(out, "{}", to_json(&events)?)?;
        return Ok(());
    }
    for event in events {
        if global.json {
            writeln!(out, "{}", to_json(event)?)?;
            continue;
        }
        let field = |name: &str| safe(event[name].as_str().unwrap_or_default(), 500);
        let id = event["queue_id"].as_str().map(|id| format!(" [{id}]")).unwrap_or_default();
        let reply =
            event["reply"].as_str().map(|reply| format!(" ({})", safe(reply, 300))).unwrap_or_default();
        writeln!(
            out,
            "{}  {:11} {}  {}{reply}{id}",
            field("time"),
            field("type"),
            field("code"),
            field("message")
        )?;
    }
    Ok(out.flush()?)
}
