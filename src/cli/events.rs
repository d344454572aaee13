//! `postroom events`: what happened, and what happens now.

use super::client::{Client, query_value};
use super::expression;
use super::queue::open_file;
use super::table::{coloured, safe, time_to_second, with_local_times};
use super::{Failure, Global, small_runtime};
use crate::admin::query;
use crate::admin::safe_json::to_json;
use crate::event::{EventFilter, code};
use anyhow::Context;
use clap::Args;
use http_body_util::BodyExt;
use serde_json::Value;
use std::io::Write;
use std::num::NonZeroUsize;

/// `postroom events`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  postroom events --limit 20
  postroom events --follow --type Error,Warning
  postroom events --since 1h --code CIRCUIT_OPEN
  postroom events --id 01JD3Z5T8E3W6Q9Y0V7N2K4M1B --json
  postroom events --code ann@example.com --since 2026-11-20")]
pub(super) struct EventsArgs {
    /// `list` may be said or left out
    #[arg(value_parser = ["list"], hide = true)]
    verb: Option<String>,
    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest
    #[arg(long, default_value = "100")]
    limit: NonZeroUsize,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Args, Debug)]
struct FilterArgs {
    /// Information, Warning or Error; several with commas
    #[arg(long = "type", value_name = "T")]
    types: Option<String>,
    /// With this code: a word such as DEFERRED, or the address of a recipient
    #[arg(long, value_name = "C")]
    code: Option<String>,
    /// From this source: Mail, Queue, Archive, Upstream, Listener, Configuration, Service
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// Not earlier: an age (90s, 5m, 2h, 2d), a day (2026-11-20) or a time (2026-11-20T14:00, 2026-11-20T14:00:00Z)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// About this message
    #[arg(long, value_name = "QUEUEID")]
    id: Option<String>,
}

impl FilterArgs {
    /// Read here too, so that wrong usage is told before anything is asked, and without a proxy.
    fn filter(&self) -> Result<EventFilter, Failure> {
        let FilterArgs { types, code, source, since, id } = self;
        let (types, code, source) = (types.as_deref(), code.as_deref(), source.as_deref());
        query::event_filter(types, code, source, since.as_deref(), id.as_deref(), &expression::now())
            .map_err(|error| Failure::Usage(error.0))
    }

    /// `&type=…` and so on, for the query of a route.
    fn parameters(&self) -> String {
        let FilterArgs { types, code, source, since, id } = self;
        let named = [("type", types), ("code", code), ("source", source), ("since", since), ("id", id)];
        let given = named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        given.map(|(name, value)| format!("&{name}={}", query_value(value))).collect()
    }
}

/// Runs the verb.
pub(super) fn run(global: &Global, args: &EventsArgs) -> Result<(), Failure> {
    small_runtime()?.block_on(async {
        let filter = args.filter.filter()?;
        let socket = global.control_socket()?;
        if args.follow {
            let parameters = args.filter.parameters();
            // Connected before the listing, so that nothing falls between the two.
            let mut client = Client::must_connect(&socket).await?;
            let stream = client.open(&format!("/api/v1/events/stream?{parameters}")).await?;
            let seen =
                list(global, &mut Client::must_connect(&socket).await?, args.limit.get(), &args.filter)
                    .await?;
            return follow(global, stream, seen).await;
        }
        match Client::connect(&socket).await? {
            Some(mut client) => list(global, &mut client, args.limit.get(), &args.filter).await.map(drop),
            None => {
                let events = open_file(global)?.events_where(&filter, None, args.limit.get())?;
                let events = events.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
                print(global, &events, false)
            }
        }
    })
}

/// Prints the newest and returns the id of the last.
async fn list(
    global: &Global,
    client: &mut Client,
    limit: usize,
    filter: &FilterArgs,
) -> Result<u64, Failure> {
    let parameters = filter.parameters();
    let answer: Value = client.get(&format!("/api/v1/events?limit={limit}{parameters}")).await?;
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    print(global, &events, false)?;
    if events.is_empty() {
        warn_of_unknown_words(client, filter).await?;
    }
    Ok(events.last().and_then(|event| event["id"].as_u64()).unwrap_or(0))
}

/// Says so of a code or a source that no event has: it may be misspelt.
async fn warn_of_unknown_words(client: &mut Client, filter: &FilterArgs) -> Result<(), Failure> {
    for (name, value) in [("code", &filter.code), ("source", &filter.source)] {
        let Some(value) = value else { continue };
        let answer: Value =
            client.get(&format!("/api/v1/events?limit=1&{name}={}", query_value(value))).await?;
        if answer["events"].as_array().is_none_or(Vec::is_empty) {
            eprintln!("postroom: no event that is kept has the {name} `{}`", safe(value, 200));
        }
    }
    Ok(())
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
            if let Some(missed) = event["missed"].as_u64() {
                eprintln!(
                    "postroom: {missed} events came faster than they were read here and are not shown; `postroom events` has them"
                );
            }
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
        let message = match event["code"].as_str() {
            Some(code::DEFERRED) => with_local_times(&field("message")),
            _ => field("message"),
        };
        let kind = field("type");
        // The colour takes no columns.
        let blanks = " ".repeat(11_usize.saturating_sub(kind.len()));
        let (kind, time) = (coloured(&kind), time_of_event(&field("time")));
        writeln!(out, "{time}  {kind}{blanks} {}  {}{reply}{id}", field("code"), message)?;
    }
    Ok(out.flush()?)
}

fn time_of_event(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), time_to_second)
}
