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
use std::num::NonZeroUsize;
use std::path::Path;

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
    limit: Option<NonZeroUsize>,
}

/// Runs the verb.
pub(super) async fn list(global: &Global, socket: &Path, args: &ListArgs) -> Result<(), Failure> {
    let states = query::states(args.state.as_deref()).map_err(|error| Failure::Usage(error.0))?;
    let filter = states.and(expression::parse(args.filter.as_deref().unwrap_or_default())?);
    let mut listing = Listing::new(global.json, args.limit, COLUMNS, row);
    if let Some(mut client) = Client::connect(socket).await? {
        modes::ask(&mut client).await;
        let part = |(key, value): (&str, Option<&str>)| {
            value.map(|value| format!("&{key}={}", query_value(value))).unwrap_or_default()
        };
        let query: String =
            [("state", args.state.as_deref()), ("q", args.filter.as_deref())].map(part).concat();
        listing.ask(&mut client, "/api/v1/messages", &query).await?;
    } else {
        let queue = open_file(global)?;
        modes::print(notices::notices(&global.load()?.settings));
        listing.read(|cursor, limit| {
            let page = queue.list(&filter, cursor, limit)?;
            Ok((MessagesJson::of(&page, |site, due| queue.wall_of(site, due)), page.next))
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
