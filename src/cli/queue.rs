//! `postroom queue`: list, show, retry, hold, release, delete, export. While no proxy runs, the verbs that only read open
//! the queue file themselves.

use super::archived;
use super::attempts::History;
use super::client::Client;
use super::queue_bulk::{self, Which};
use super::queue_list::{self, ListArgs};
use super::table::{coloured, safe, size, time_and_distance, word};
use super::{Failure, Global, small_runtime};
use crate::admin::json::{MessageJson, RecipientJson};
use crate::admin::safe_json::to_json_pretty;
use crate::deliver::health::Availability;
use crate::deliver::waits_for::WaitsFor;
use crate::mail::{HoldReason, Mode, QueueId, RecipientState, Role};
use crate::queue::QueueError;
use crate::queue::redb::{ReadOnlyQueue, RedbQueue};
use anyhow::Context;
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

/// What a filter is, for `--help`.
const FILTERS: &str = "Filters: all terms have to hold, - before one says not, quotes keep blanks.
  state:failed,held    queued, deferred, held, failed; several with commas
  from:shop@ to:@example.com subject:\"your order\"
                       that text in the reverse-path, a recipient, the subject (from:\"\": the null reverse-path);
                       to:ann@,bob@ one of several
  upstream:primary     that one has taken or refused a recipient, or was asked last
  site:intranet  class:bulk  larger:1MiB
  older:2d  newer:2h   by age (90s, 5m, 2h, 2d), day (2026-11-20) or time (2026-11-20T14:00, 2026-11-20T14:00:00Z)
  invoice              in the id, an address, the subject or a reply";

const EXAMPLES: &str = "Examples:
  postroom queue list --filter 'state:deferred older:1h -class:bulk'
  postroom queue show 01JD3Z5T8E3W6Q9Y0V7N2K4M1B
  postroom queue retry --filter 'upstream:primary state:failed'
  postroom queue delete --filter 'from:newsletter@ state:deferred' --yes";

#[derive(Subcommand, Debug)]
#[command(after_help = EXAMPLES)]
enum QueueVerb {
    /// List messages, newest first
    #[command(after_help = FILTERS)]
    List(ListArgs),
    /// Show one message and what became of each recipient
    Show {
        /// Queue id
        id: String,
        /// Also what was said to each upstream, without secrets and content
        #[arg(long)]
        transcript: bool,
    },
    /// Make messages due now; failed and expired recipients open again
    #[command(after_help = FILTERS)]
    Retry(Which),
    /// Hold messages: they go nowhere until released
    #[command(after_help = FILTERS)]
    Hold(Which),
    /// Release held messages. Asks first where a mode, not an operator, holds them: they may go to whom they are addressed to
    #[command(after_help = FILTERS)]
    Release(Which),
    /// Delete messages for good. Asks first for --all and --filter
    #[command(after_help = FILTERS)]
    Delete(Which),
    /// Write the content of a message to standard output, byte for byte as it was accepted (> FILE)
    Export {
        /// Queue id
        id: String,
    },
}

/// Runs the verb.
pub(super) fn run(global: &Global, args: QueueArgs) -> Result<(), Failure> {
    let socket = global.control_socket()?;
    small_runtime()?.block_on(async {
        match args.verb {
            QueueVerb::List(args) => queue_list::list(global, &socket, &args).await,
            QueueVerb::Show { id, transcript } => show(global, &socket, &id, transcript).await,
            QueueVerb::Retry(which) => queue_bulk::act(global, &socket, "retry", which).await,
            QueueVerb::Hold(which) => queue_bulk::act(global, &socket, "hold", which).await,
            QueueVerb::Release(which) => queue_bulk::act(global, &socket, "release", which).await,
            QueueVerb::Delete(which) => queue_bulk::act(global, &socket, "delete", which).await,
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

pub(super) async fn show(global: &Global, socket: &Path, id: &str, transcript: bool) -> Result<(), Failure> {
    let id = parse(id)?;
    let (message, history) = if let Some(mut client) = Client::connect(socket).await? {
        let message = client.get(&format!("/api/v1/messages/{id}")).await?;
        (message, History::ask(&mut client, id, transcript).await?)
    } else {
        let queue = open_file(global)?;
        let message = match queue.show(id) {
            Err(QueueError::NotFound(_)) => archived::show(global, &queue, id)?,
            message => MessageJson::of(&*message?, |site, due| queue.wall_of(site, due)),
        };
        (message, History::read(&queue, id, transcript)?)
    };
    if global.json {
        let mut all = serde_json::to_value(&message)?;
        all["history"] = serde_json::to_value(&history.attempts)?;
        if let Some(transcript) = history.transcript {
            all["transcript"] = transcript.into();
        }
        say!("{}", to_json_pretty(&all)?);
        return Ok(());
    }
    print_message(&message);
    history.print();
    Ok(())
}

/// Prints a message and what became of each recipient.
fn print_message(message: &MessageJson) {
    say!("Message   {}", message.id);
    say!("State     {}", coloured(&message.state));
    for reason in &message.held_because {
        say!("Held      {}", why_held(*reason));
    }
    say!("From      {}", safe(message.reverse_path.as_deref().unwrap_or("<>"), 400));
    say!("Subject   {}", safe(&message.subject, 256));
    say!("Size      {}", size(message.size));
    let client = message.client.as_deref().map(|client| format!(" from {client}")).unwrap_or_default();
    say!("Received  {} by listener {}{client}", time_and_distance(message.received_at), message.listener);
    if let Some(site) = &message.site {
        say!("Site      {}", safe(site, 100));
    }
    say!("Class     {}", word(&message.class));
    say!("Attempts  {}", message.attempts);
    match message.sent_at {
        Some(sent_at) => say!("Sent      {}", time_and_distance(sent_at)),
        None => print_next(message),
    }
    if let Some(archived) = &message.archived {
        say!("File      {}", safe(archived.wrong.as_ref().unwrap_or(&archived.file), 400));
    }
    for recipient in &message.recipients {
        print_recipient(recipient, &message.recipients);
    }
}

/// When it is attempted next, or what it waits for.
fn print_next(message: &MessageJson) {
    if let Some(upstream) = &message.under_way {
        return say!("Next      it is being sent to {} at this moment", safe(upstream, 100));
    }
    if message.waits_for.is_empty() {
        return say!("Next      {}", message.next_attempt.map_or("-".into(), time_and_distance));
    }
    for WaitsFor { upstream, state, until, error } in &message.waits_for {
        let state = match state {
            Availability::Open => "circuit open",
            Availability::Probing => "one message finds out whether it works again",
            Availability::Limited => "rate limit used up",
            Availability::Busy => "all connections in use",
            Availability::Ok | Availability::Disabled => "",
        };
        let until = until.map(|until| format!(" until {}", time_and_distance(until))).unwrap_or_default();
        let error = error.as_ref().map(|error| format!(": {}", safe(error, 1000))).unwrap_or_default();
        say!("Waits     {}: {state}{until}{error}", safe(upstream, 100));
    }
}

fn print_recipient(recipient: &RecipientJson, all: &[RecipientJson]) {
    let is_redirected = recipient.is_original() && recipient.mode == Some(Mode::Redirect);
    if is_redirected && recipient.state == RecipientState::Delivered {
        let copies = all.iter().filter(|one| !one.is_original() && one.state == RecipientState::Delivered);
        let copies: Vec<String> = copies.map(|one| safe(&one.address, 400)).collect();
        let who = if copies.is_empty() { String::new() } else { format!("; {} took it", copies.join(", ")) };
        say!("\n  not sent to {}: redirect{who}", safe(&recipient.address, 400));
        return;
    }
    let mut line = format!("{}  {}", safe(&recipient.address, 400), coloured(&word(&recipient.state)));
    if let Some(upstream) = &recipient.upstream {
        line += &format!(" by {upstream}");
    }
    if let Some(mode) = recipient.mode {
        line += &format!(", decided by {}", word(&mode));
    }
    if recipient.role == Role::ReportCopy {
        line += ", report copy in place of the original recipients";
    }
    say!("\n  {line}");
    if let Some(reply) = &recipient.reply {
        say!("    {}", safe(reply, 1000));
    }
    if !recipient.refused_by.is_empty() && recipient.state.is_open() {
        say!("    refused by {}; waits for the other upstreams", recipient.refused_by.join(", "));
    }
}

fn why_held(reason: HoldReason) -> &'static str {
    match reason {
        HoldReason::Operator => "by an operator",
        HoldReason::ModeEnded => {
            "a mode applied to it and none does any more: released, it goes to the people it is addressed to"
        }
        HoldReason::NobodyToReportTo => "redirect is on and no report address is enabled",
        HoldReason::SiteGone => "its site is not configured any more",
    }
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
                std::io::copy(&mut archived::content(global, &archived::find(&queue, id)?)?, &mut out)?;
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
