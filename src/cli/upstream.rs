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
            let state = upstream.state.to_string();
            vec![upstream.name.clone(), upstream.priority.clone(), state, connections, at, error]
        })
        .collect();
    table::print(&["NAME", "PRIORITY", "STATE", "IN USE", "ERROR AT", "LAST ERROR"], &rows)?;
    Ok(())
}
