//! `postroom queue list`, page by page, so that memory does not follow the length of the queue.

use super::client::{Client, query_value};
use super::expression;
use super::listing::{self, Listing};
use super::modes;
use super::queue::open_file;
use super::table::{self, Column};
use super::{Failure, Global};
use crate::admin::json::{MessageJson, MessagesJson};
use crate::admin::query;
use crate::policy::notices;
use clap::Args;
use std::path::Path;

/// Messages on a page of a listing.
const PAGE: usize = 1000;

#[derive(Args, Debug, Default)]
pub(super) struct ListArgs {
    /// Only these states: queued, deferred, held, failed; several with commas
    #[arg(long)]
    state: Option<String>,
    /// Only those that the filter means (see below)
    #[arg(short = 'q', long, value_name = "EXPR", allow_hyphen_values = true)]
    filter: Option<String>,
    /// At most that many [default: all]
    #[arg(long)]
    limit: Option<usize>,
}

/// Runs the verb.
pub(super) async fn list(global: &Global, socket: &Path, args: &ListArgs) -> Result<(), Failure> {
    let states = query::states(args.state.as_deref()).map_err(|error| Failure::Usage(error.0))?;
    let filter = states.and(expression::parse(args.filter.as_deref().unwrap_or_default())?);
    let mut listing = Listing::new(global.json, COLUMNS, row);
    let left = |shown: usize| args.limit.map_or(PAGE, |limit| limit.saturating_sub(shown).min(PAGE));
    if let Some(mut client) = Client::connect(socket).await? {
        modes::ask(&mut client).await;
        let mut cursor = String::new();
        while left(listing.shown) > 0 {
            let mut path = format!("/api/v1/messages?limit={}", left(listing.shown));
            for (key, value) in [("state", args.state.as_deref()), ("q", args.filter.as_deref())] {
                if let Some(value) = value {
                    path += &format!("&{key}={}", query_value(value));
                }
            }
            let page: MessagesJson = client.get(&(path + &cursor)).await?;
            listing.page(&page.messages, page.next_cursor.is_some())?;
            let Some(next) = page.next_cursor else { break };
            cursor = format!("&cursor={next}");
        }
    } else {
        let queue = open_file(global)?;
        modes::print(notices::notices(&global.load()?.settings));
        let mut cursor = None;
        while left(listing.shown) > 0 {
            let page = queue.list(&filter, cursor, left(listing.shown))?;
            let shown = MessagesJson::of(&page, |site, due| queue.wall_of(site, due));
            listing.page(&shown.messages, shown.next_cursor.is_some())?;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    if listing.shown == 0 {
        expression::warn_of_unknown_names(global, &filter);
    }
    listing.end()
}

/// On a narrow terminal those with the highest rank are left out first.
const COLUMNS: &[Column] = &[
    Column::fixed("ID", 26),
    Column::fixed("STATE", 8).coloured(table::state_colour),
    Column::fixed("RECEIVED", 12).rank(1),
    Column::fixed("SIZE", 6).rank(4),
    Column::fixed("TRIES", 5).rank(5),
    Column::text("FROM").rank(3),
    Column::text("TO"),
    Column::text("SUBJECT").rank(2),
];

fn row(message: &MessageJson) -> Vec<String> {
    vec![
        message.id.clone(),
        message.state.clone(),
        table::time(message.received_at),
        table::size(message.size),
        message.attempts.to_string(),
        message.reverse_path.clone().unwrap_or_else(|| "<>".to_owned()),
        listing::recipients(message),
        message.subject.clone(),
    ]
}
