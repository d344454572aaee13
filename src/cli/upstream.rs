//! `postroom upstream list`: how the upstreams of the running proxy fare.

use super::client::Client;
use super::modes;
use super::table::{self, safe};
use super::{Failure, Global, small_runtime};
use crate::admin::json::UpstreamJson;
use crate::admin::safe_json::to_json;
use clap::{Args, Subcommand};

/// `postroom upstream`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  postroom upstream list")]
pub(super) struct UpstreamArgs {
    #[command(subcommand)]
    verb: UpstreamVerb,
}

#[derive(Subcommand, Debug)]
enum UpstreamVerb {
    /// List upstreams with their state
    List,
}

/// Where the token of OAuth 2 is shown, once some upstream has asked for one.
const TOKEN_COLUMN: usize = 4;

/// Runs the verb.
pub(super) fn run(global: &Global, args: &UpstreamArgs) -> Result<(), Failure> {
    let UpstreamVerb::List = args.verb;
    let socket = global.control_socket()?;
    let upstreams: Vec<UpstreamJson> = small_runtime()?.block_on(async {
        let mut client = Client::must_connect(&socket).await?;
        modes::ask(&mut client).await;
        client.get("/api/v1/upstreams").await
    })?;
    if global.json {
        say!("{}", to_json(&upstreams)?);
        return Ok(());
    }
    let has_token = |one: &UpstreamJson| one.token_expires_at.is_some() || one.token_error.is_some();
    let has_tokens = upstreams.iter().any(has_token);
    let rows: Vec<Vec<String>> = upstreams
        .iter()
        .map(|upstream| {
            let UpstreamJson { in_flight, connection_limit, effective_limit, .. } = upstream;
            let connections = match effective_limit < connection_limit {
                // The server allows fewer connections than are configured.
                true => format!("{in_flight}/{effective_limit} of {connection_limit}"),
                false => format!("{in_flight}/{connection_limit}"),
            };
            let error = safe(upstream.last_error.as_deref().unwrap_or("-"), 80);
            let at = upstream.last_error_at.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"));
            let state = match upstream.rate_limit_free_at {
                Some(at) => format!("{} until {at:.0}", upstream.state),
                None => upstream.state.to_string(),
            };
            let token = match (&upstream.token_expires_at, &upstream.token_error) {
                (_, Some(_)) => "none".to_owned(),
                (Some(at), None) => format!("until {at:.0}"),
                (None, None) => "-".to_owned(),
            };
            let mut row =
                vec![upstream.name.clone(), upstream.priority.clone(), state, connections, at, error];
            if has_tokens {
                row.insert(TOKEN_COLUMN, token);
            }
            row
        })
        .collect();
    let mut heading = vec!["NAME", "PRIORITY", "STATE", "IN USE", "ERROR AT", "LAST ERROR"];
    if has_tokens {
        heading.insert(TOKEN_COLUMN, "TOKEN");
    }
    table::print(&heading, &rows)?;
    Ok(())
}
