//! `postroom queue`: list, show, retry, hold, release, delete, export. While no proxy runs, the verbs that only read open
//! the queue file themselves.

use super::archived;
use super::client::{Client, query_value};
use super::modes;
use super::table::{self, safe, size};
use super::{Failure, Global, small_runtime};
use crate::admin::json::{BulkJson, MessageJson, MessagesJson};
use crate::admin::query::{self, BulkQuery};
use crate::admin::safe_json::{to_json, to_json_pretty};
use crate::mail::QueueId;
use crate::policy::notices;
use crate::queue::QueueError;
use crate::queue::redb::{ReadOnlyQueue, RedbQueue};
use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use http_body_util::BodyExt;
use std::io::Write;
use std::path::Path;

/// `postroom queue`.
#[derive(Args, Debug)]
pub(super) struct QueueArgs {
    #[command(subcommand)]
    verb: QueueVerb,
}

#[derive(Subcommand, Debug)]
#[command(after_help = "Examples:
  postroom queue list --state failed --json
  postroom queue retry 01JD3Z5T8E3W6Q9Y0V7N2K4M1B
  postroom queue delete --filter 'state=failed newsletter'")]
enum QueueVerb {
    /// List messages, newest first (without --state all but sent ones)
    List(ListArgs),
    /// Show one message and what became of each recipient
    Show {
        /// Queue id
        id: String,
    },
    /// Make messages due now; failed and expired recipients open again
    Retry(Which),
    /// Hold messages: they go nowhere until released
    Hold(Which),
    /// Release held messages
    Release(Which),
    /// Delete messages for good
    Delete(Which),
    /// Print the content of a message as it was accepted
    Export {
        /// Queue id
        id: String,
    },
}

#[derive(Args, Debug, Default)]
struct ListArgs {
    /// Only these states: queued, deferred, held, failed, sent; several with commas
    #[arg(long)]
    state: Option<String>,
    /// Only those with this text in id, addresses, subject or reply
    #[arg(short, value_name = "TEXT")]
    q: Option<String>,
    /// At most that many [default: all]
    #[arg(long)]
    limit: Option<usize>,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// Queue ids
    ids: Vec<String>,
    /// All messages
    #[arg(long)]
    all: bool,
    /// All that match: `state=failed`, and other words as text to look for
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
}

/// Runs the verb.
pub(super) fn run(global: &Global, args: QueueArgs) -> Result<(), Failure> {
    let socket = global.control_socket()?;
    small_runtime()?.block_on(async {
        match args.verb {
            QueueVerb::List(args) => list(global, &socket, &args).await,
            QueueVerb::Show { id } => show(global, &socket, &id).await,
            QueueVerb::Retry(which) => act(global, &socket, "retry", which).await,
            QueueVerb::Hold(which) => act(global, &socket, "hold", which).await,
            QueueVerb::Release(which) => act(global, &socket, "release", which).await,
            QueueVerb::Delete(which) => act(global, &socket, "delete", which).await,
            QueueVerb::Export { id } => export(global, &socket, &id).await,
        }
    })
}

/// Lists the queue as `postroom queue list` does without options.
pub(super) fn list_all(global: &Global) -> Result<(), Failure> {
    run(global, QueueArgs { verb: QueueVerb::List(ListArgs::default()) })
}

/// The queue of a proxy that does not run.
pub(super) fn open_file(global: &Global) -> Result<ReadOnlyQueue, Failure> {
    Ok(RedbQueue::open_read_only(&global.load()?.settings.queue.path)?)
}

pub(super) fn parse(id: &str) -> Result<QueueId, Failure> {
    id.parse().map_err(|error: crate::mail::id::NotAQueueId| Failure::Usage(error.to_string()))
}

/// Page by page, so that memory does not follow the length of the queue.
async fn list(global: &Global, socket: &Path, args: &ListArgs) -> Result<(), Failure> {
    let filter =
        query::filter(args.state.as_deref(), args.q.as_deref()).map_err(|error| Failure::Usage(error.0))?;
    let mut listing = Listing { json: global.json, shown: 0 };
    let left = |shown: usize| args.limit.map_or(PAGE, |limit| limit.saturating_sub(shown).min(PAGE));
    if let Some(mut client) = Client::connect(socket).await? {
        modes::ask(&mut client).await;
        let mut cursor = String::new();
        while left(listing.shown) > 0 {
            let mut path = format!("/api/v1/messages?limit={}", left(listing.shown));
            for (key, value) in [("state", args.state.as_deref()), ("q", args.q.as_deref())] {
                if let Some(value) = value {
                    path += &format!("&{key}={}", query_value(value));
                }
            }
            let page: MessagesJson = client.get(&(path + &cursor)).await?;
            listing.page(&page.messages)?;
            let Some(next) = page.next_cursor else { break };
            cursor = format!("&cursor={next}");
        }
    } else {
        let queue = open_file(global)?;
        modes::print(notices::notices(&global.load()?.settings));
        let mut cursor = None;
        while left(listing.shown) > 0 {
            let page = queue.list(&filter, cursor, left(listing.shown))?;
            listing.page(&MessagesJson::of(&page, |site, due| queue.wall_of(site, due)).messages)?;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    listing.end()
}

/// Messages on a page of a listing.
const PAGE: usize = 1000;

/// A listing on its way to standard output.
struct Listing {
    json: bool,
    shown: usize,
}

impl Listing {
    fn page(&mut self, messages: &[MessageJson]) -> Result<(), Failure> {
        if self.json {
            let mut out = std::io::stdout().lock();
            for (place, message) in messages.iter().enumerate() {
                let before = if self.shown + place == 0 { "[" } else { ",\n" };
                write!(out, "{before}{}", to_json(message)?)?;
            }
        } else if !messages.is_empty() {
            let rows: Vec<Vec<String>> = messages.iter().map(row).collect();
            table::print(&["ID", "STATE", "RECEIVED", "SIZE", "TRIES", "FROM", "TO", "SUBJECT"], &rows)?;
        }
        self.shown += messages.len();
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        match (self.json, self.shown) {
            (true, 0) => writeln!(std::io::stdout(), "[]")?,
            (true, _) => writeln!(std::io::stdout(), "]")?,
            (false, 0) => writeln!(std::io::stdout(), "No messages.")?,
            (false, _) => {}
        }
        Ok(())
    }
}

/// The first recipient and how many more there are.
pub(super) fn recipients_in_short(message: &MessageJson) -> String {
    match &message.recipients[..] {
        [] => String::new(),
        [only] => only.address.clone(),
        [first, rest @ ..] => format!("{} +{}", first.address, rest.len()),
    }
}

fn row(message: &MessageJson) -> Vec<String> {
    vec![
        message.id.clone(),
        message.state.clone(),
        format!("{:.0}", message.received_at),
        size(message.size),
        message.attempts.to_string(),
        safe(message.reverse_path.as_deref().unwrap_or("<>"), 32),
        safe(&recipients_in_short(message), 32),
        safe(&message.subject, 40),
    ]
}

pub(super) async fn show(global: &Global, socket: &Path, id: &str) -> Result<(), Failure> {
    let id = parse(id)?;
    let message = if let Some(mut client) = Client::connect(socket).await? {
        client.get(&format!("/api/v1/messages/{id}")).await?
    } else {
        let queue = open_file(global)?;
        match queue.show(id) {
            Err(QueueError::NotFound(_)) => archived::show(global, &queue, id)?,
            message => MessageJson::of(&*message?, |site, due| queue.wall_of(site, due)),
        }
    };
    print(global, &message)
}

/// Prints a message and what became of each recipient.
pub(super) fn print(global: &Global, message: &MessageJson) -> Result<(), Failure> {
    if global.json {
        say!("{}", to_json_pretty(message)?);
        return Ok(());
    }
    let shown = |time: jiff::Timestamp| format!("{time:.0}");
    say!("Message   {}", message.id);
    say!("State     {}", message.state);
    say!("From      {}", safe(message.reverse_path.as_deref().unwrap_or("<>"), 400));
    say!("Subject   {}", safe(&message.subject, 256));
    say!("Size      {}", size(message.size));
    say!("Received  {} by listener {}", shown(message.received_at), message.listener);
    let class = serde_json::to_value(message.class)?;
    say!("Class     {}", class.as_str().unwrap_or_default());
    say!("Attempts  {}", message.attempts);
    match message.sent_at {
        Some(sent_at) => say!("Sent      {}", shown(sent_at)),
        None => say!("Next      {}", message.next_attempt.map_or("-".into(), shown)),
    }
    if let Some(archived) = &message.archived {
        say!("File      {}", safe(archived.wrong.as_ref().unwrap_or(&archived.file), 400));
    }
    for recipient in &message.recipients {
        let state = serde_json::to_value(recipient.state)?;
        let through = recipient.upstream.as_deref().map(|name| format!(" by {name}")).unwrap_or_default();
        say!("\n  {}  {}{through}", safe(&recipient.address, 400), state.as_str().unwrap_or_default());
        if let Some(reply) = &recipient.reply {
            say!("    {}", safe(reply, 1000));
        }
        if !recipient.refused_by.is_empty() && recipient.state.is_open() {
            say!("    refused by {}; waits for the other upstreams", recipient.refused_by.join(", "));
        }
    }
    Ok(())
}

async fn act(global: &Global, socket: &Path, action: &str, which: Which) -> Result<(), Failure> {
    which.ids.iter().try_for_each(|id| parse(id).map(drop))?;
    let (state, q) = which.filter.as_deref().map(query::expression).unwrap_or_default();
    query::filter(state.as_deref(), None).map_err(|error| Failure::Usage(error.0))?;
    if which.filter.is_some() && state.is_none() && q.is_none() {
        return Err(Failure::Usage("the filter is empty; use --all for all messages".into()));
    }
    let request = BulkQuery { action: action.to_owned(), ids: which.ids, all: which.all, state, q };
    let mut client = Client::must_connect(socket).await?;
    let done: BulkJson = client.post("/api/v1/messages/bulk", &request).await?;
    if global.json {
        say!("{}", to_json(&done)?);
    } else {
        say!("{action}: {} changed, {} had nothing to do", done.changed, done.unchanged);
    }
    if !done.not_found.is_empty() {
        return Err(anyhow!("no such message: {}", done.not_found.join(", ")).into());
    }
    Ok(())
}

async fn export(global: &Global, socket: &Path, id: &str) -> Result<(), Failure> {
    let id = parse(id)?;
    let mut out = std::io::stdout().lock();
    if let Some(mut client) = Client::connect(socket).await? {
        let mut body = client.open(&format!("/api/v1/messages/{id}/raw")).await?;
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.context("the content was cut off")?.into_data() {
                out.write_all(&data)?;
            }
        }
    } else {
        let queue = open_file(global)?;
        match queue.show(id) {
            Err(QueueError::NotFound(_)) => {
                std::io::copy(&mut archived::content(global, &queue.show_sent(id)?)?, &mut out)?;
            }
            message => {
                for number in 0..message?.chunks {
                    out.write_all(&queue.chunk(id, number)?)?;
                }
            }
        }
    }
    Ok(out.flush()?)
}
