//! `postroom sent`: list, show, resend. While no proxy runs, list and show open the queue file themselves.

use super::client::{Client, query_value};
use super::confirm::{confirm, messages};
use super::expression;
use super::listing::{self, Listing};
use super::queue::{self, open_file, parse};
use super::table::{self, Column, safe};
use super::{Failure, Global, small_runtime};
use crate::admin::json::{MessageJson, MessagesJson};
use crate::admin::query::ActQuery;
use crate::admin::safe_json::to_json;
use crate::mail::QueueId;
use anyhow::anyhow;
use clap::{Args, Subcommand};
use std::num::NonZeroUsize;
use std::path::Path;

/// `postroom sent`.
#[derive(Args, Debug)]
pub(super) struct SentArgs {
    #[command(subcommand)]
    verb: SentVerb,
}

#[derive(Subcommand, Debug)]
#[command(after_help = "Mail is archived for [queue] archive_days; what debug took, for a day at least.

Examples:
  postroom sent list --filter ann@example.com
  postroom sent show 01JD3Z5T8E3W6Q9Y0V7N2K4M1B
  postroom sent resend 01JD3Z5T8E3W6Q9Y0V7N2K4M1B")]
enum SentVerb {
    /// List archived messages, those that were received last first; newer: and older: mean when they were received
    List {
        /// Only those that the filter means, as `postroom queue list --help` tells
        #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
        filter: Option<String>,
        /// At most that many [default: all]
        #[arg(long)]
        limit: Option<NonZeroUsize>,
    },
    /// Show one message, what became of each recipient, and where its content is
    Show {
        /// Queue id
        id: String,
        /// Also what was said to each upstream, without secrets and content
        #[arg(long)]
        transcript: bool,
    },
    /// Send messages again, as new ones to all their recipients, under the modes in force
    Resend {
        /// Queue ids
        #[arg(required = true)]
        ids: Vec<String>,
        /// Do not ask before sending what redirect or debug kept from its recipients
        #[arg(long)]
        yes: bool,
    },
}

/// Addresses that a question names.
const NAMED: usize = 5;

/// Runs the verb.
pub(super) fn run(global: &Global, args: SentArgs) -> Result<(), Failure> {
    let socket = global.control_socket()?;
    small_runtime()?.block_on(async {
        match args.verb {
            SentVerb::List { filter, limit } => list(global, &socket, filter.as_deref(), limit).await,
            SentVerb::Show { id, transcript } => queue::show(global, &socket, &id, transcript).await,
            SentVerb::Resend { ids, yes } => resend(global, &socket, &ids, yes).await,
        }
    })
}

/// Page by page, so that memory does not follow the length of the archive.
async fn list(
    global: &Global,
    socket: &Path,
    expression: Option<&str>,
    limit: Option<NonZeroUsize>,
) -> Result<(), Failure> {
    let filter = expression::parse(expression.unwrap_or_default())?;
    let mut listing = Listing::new(global.json, limit, COLUMNS, row);
    if let Some(mut client) = Client::connect(socket).await? {
        let query = expression.map(|text| format!("&q={}", query_value(text))).unwrap_or_default();
        listing.ask(&mut client, "/api/v1/sent", &query).await?;
    } else {
        let queue = open_file(global)?;
        listing.read(|cursor, limit| {
            let page = queue.list_sent(&filter, cursor, limit)?;
            Ok((MessagesJson::of_sent(&page), page.next))
        })?;
    }
    if listing.shown == 0 {
        expression::warn_of_unknown_names(global, &filter);
    }
    listing.end()
}

/// On a narrow terminal those with the highest rank are left out first.
const COLUMNS: &[Column] = &[
    Column::fixed("ID", 26),
    Column::fixed("RECEIVED", 12).rank(6),
    Column::fixed("SENT", 12).rank(1),
    Column::fixed("SIZE", 6).rank(4),
    Column::text("THROUGH").rank(5),
    Column::text("FROM").rank(3),
    Column::text("TO"),
    Column::text("SUBJECT").rank(2),
];

fn row(message: &MessageJson) -> Vec<String> {
    vec![
        message.id.clone(),
        table::time(message.received_at),
        message.sent_at.map(table::time).unwrap_or_default(),
        table::size(message.size),
        through(message),
        message.reverse_path.clone().unwrap_or_else(|| "<>".to_owned()),
        listing::recipients(message),
        message.subject.clone(),
    ]
}

/// The mode that took it, if one did, and the upstreams.
fn through(message: &MessageJson) -> String {
    let mut upstreams: Vec<&str> =
        message.recipients.iter().filter_map(|one| one.upstream.as_deref()).collect();
    upstreams.sort_unstable();
    upstreams.dedup();
    let mode =
        message.recipients.iter().find_map(|one| one.mode).map(|mode| format!("({})", table::word(&mode)));
    let first = upstreams.first().map(|first| match upstreams.len() {
        1 => (*first).to_owned(),
        count => format!("{first} +{}", count - 1),
    });
    mode.into_iter().chain(first).collect::<Vec<_>>().join(" ")
}

/// All of them or, if one cannot be sent again or nobody confirms what has to be, none. What goes wrong after that is told, with
/// what was done before.
async fn resend(global: &Global, socket: &Path, ids: &[String], yes: bool) -> Result<(), Failure> {
    let mut all: Vec<QueueId> = Vec::new();
    for id in ids {
        let id = parse(id)?;
        if !all.contains(&id) {
            all.push(id);
        }
    }
    let mut client = Client::must_connect(socket).await?;
    let mut kept_back = Vec::new();
    for id in &all {
        let message: MessageJson = client.get(&format!("/api/v1/messages/{id}")).await?;
        if let Some(wrong) = message.archived.as_ref().and_then(|archived| archived.wrong.as_ref()) {
            return Err(anyhow!("message {id} cannot be sent again: {wrong}").into());
        }
        if message.recipients.iter().any(|one| one.mode.is_some()) {
            kept_back.push(message);
        }
    }
    if !kept_back.is_empty() && !yes {
        confirm(&question(&kept_back, all.len()))?;
    }
    let query = ActQuery { confirm: !kept_back.is_empty() };
    let mut done: Vec<MessageJson> = Vec::new();
    let mut failed = None;
    for id in &all {
        match client.post::<MessageJson>(&format!("/api/v1/messages/{id}/resend"), &query).await {
            Ok(new) => {
                if !global.json {
                    say!("{id} is sent again as {}", new.id);
                }
                done.push(new);
            }
            Err(error) => {
                failed = Some((id, error));
                break;
            }
        }
    }
    if global.json {
        say!("{}", to_json(&done)?);
    }
    match failed {
        None => Ok(()),
        Some((id, Failure::Failed(error))) => Err(anyhow!(
            "{id} failed: {error:#}; {} before it, {} not tried",
            messages_sent(done.len()),
            all.len() - done.len() - 1
        )
        .into()),
        Some((_, other)) => Err(other),
    }
}

fn messages_sent(count: usize) -> String {
    match count {
        0 => "none was sent again".to_owned(),
        count => format!("{} sent again", messages(count as u64)),
    }
}

/// Who has not had the mail, and who gets it twice.
fn question(kept_back: &[MessageJson], all: usize) -> String {
    let originals =
        || kept_back.iter().flat_map(|message| &message.recipients).filter(|one| one.is_original());
    let mut had_it: Vec<&str> =
        originals().filter(|one| one.mode.is_none()).map(|one| one.address.as_str()).collect();
    had_it.sort_unstable();
    had_it.dedup();
    let mut text = format!(
        "{} of {} did not reach all recipients, because of redirect or debug. Sent again, it goes to all of them, under the \
         modes that are in force now",
        kept_back.len(),
        messages(all as u64)
    );
    if !had_it.is_empty() {
        let named =
            had_it.iter().take(NAMED).map(|address| safe(address, 100)).collect::<Vec<_>>().join(", ");
        let more = had_it.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text += &format!("; a second time to those who have had it: {named}{more}");
    }
    text + ". Send?"
}
