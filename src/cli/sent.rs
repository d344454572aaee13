//! `postroom sent`: list, show, resend. While no proxy runs, list and show open the queue file themselves.

use super::client::{Client, query_value};
use super::expression;
use super::listing::{self, Listing};
use super::queue::{self, open_file, parse};
use super::table::{self, Column};
use super::{Failure, Global, small_runtime};
use crate::admin::json::{MessageJson, MessagesJson};
use crate::admin::query::ActQuery;
use crate::admin::safe_json::to_json;
use crate::mail::QueueId;
use anyhow::anyhow;
use clap::{Args, Subcommand};
use std::io::IsTerminal;
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
    /// List archived messages, newest first
    List {
        /// Only those that the filter means, as `postroom queue list --help` tells
        #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
        filter: Option<String>,
        /// At most that many [default: all]
        #[arg(long)]
        limit: Option<usize>,
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

/// Messages on a page of a listing.
const PAGE: usize = 1000;

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
    limit: Option<usize>,
) -> Result<(), Failure> {
    let filter = expression::parse(expression.unwrap_or_default())?;
    let mut listing = Listing::new(global.json, COLUMNS, row);
    let left = |shown: usize| limit.map_or(PAGE, |limit| limit.saturating_sub(shown).min(PAGE));
    if let Some(mut client) = Client::connect(socket).await? {
        let query = expression.map(|text| format!("&q={}", query_value(text))).unwrap_or_default();
        let mut cursor = String::new();
        while left(listing.shown) > 0 {
            let path = format!("/api/v1/sent?limit={}{query}{cursor}", left(listing.shown));
            let page: MessagesJson = client.get(&path).await?;
            listing.page(&page.messages, page.next_cursor.is_some())?;
            let Some(next) = page.next_cursor else { break };
            cursor = format!("&cursor={next}");
        }
    } else {
        let (queue, mut cursor) = (open_file(global)?, None);
        while left(listing.shown) > 0 {
            let page = queue.list_sent(&filter, cursor, left(listing.shown))?;
            listing.page(&MessagesJson::of_sent(&page).messages, page.next.is_some())?;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    listing.end()
}

/// On a narrow terminal those with the highest rank are left out first.
const COLUMNS: &[Column] = &[
    Column::fixed("ID", 26),
    Column::fixed("SENT", 12).rank(1),
    Column::fixed("SIZE", 6).rank(4),
    Column::text("THROUGH").rank(5),
    Column::text("FROM").rank(3),
    Column::text("TO"),
    Column::text("SUBJECT").rank(2),
];

fn row(message: &MessageJson) -> Vec<String> {
    let last = message.recipients.iter().rev().find_map(|one| one.upstream.as_deref());
    let debugged = message.recipients.iter().any(|one| one.mode.is_some());
    vec![
        message.id.clone(),
        message.sent_at.map(table::time).unwrap_or_default(),
        table::size(message.size),
        last.unwrap_or(if debugged { "(debug)" } else { "" }).to_owned(),
        message.reverse_path.clone().unwrap_or_else(|| "<>".to_owned()),
        listing::recipients(message),
        message.subject.clone(),
    ]
}

/// All of them or, if one cannot be sent again or nobody confirms what has to be, none.
async fn resend(global: &Global, socket: &Path, ids: &[String], yes: bool) -> Result<(), Failure> {
    let ids = ids.iter().map(|id| parse(id)).collect::<Result<Vec<QueueId>, _>>()?;
    let mut client = Client::must_connect(socket).await?;
    let mut kept_back = 0;
    for id in &ids {
        let message: MessageJson = client.get(&format!("/api/v1/messages/{id}")).await?;
        if let Some(wrong) = message.archived.and_then(|archived| archived.wrong) {
            return Err(anyhow!("message {id} cannot be sent again: {wrong}").into());
        }
        kept_back += usize::from(message.recipients.iter().any(|one| one.mode.is_some()));
    }
    if kept_back > 0 && !yes {
        confirm(kept_back, ids.len())?;
    }
    let mut all: Vec<MessageJson> = Vec::new();
    for id in &ids {
        let path = format!("/api/v1/messages/{id}/resend");
        let new: MessageJson = client.post(&path, &ActQuery { confirm: kept_back > 0 }).await?;
        if !global.json {
            say!("{id} is sent again as {}", new.id);
        }
        all.push(new);
    }
    if global.json {
        say!("{}", to_json(&all)?);
    }
    Ok(())
}

fn confirm(kept_back: usize, all: usize) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        let what = format!(
            "{kept_back} of {all} messages did not reach their recipients, because of redirect or debug; nothing was sent \
             again: say --yes to send them under the modes that are in force now"
        );
        return Err(Failure::Usage(what));
    }
    eprint!(
        "{kept_back} of {all} messages did not reach their recipients, because of redirect or debug. Send them now? [y/N] "
    );
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(anyhow!("nothing was sent again").into()),
    }
}
