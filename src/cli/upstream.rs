//! `postroom upstream list`: how the upstreams of the running proxy fare.

use super::client::Client;
use super::modes;
use super::table::{self, Column, Table};
use super::{Failure, Global, small_runtime};
use crate::admin::json::UpstreamJson;
use crate::admin::safe_json::to_json;
use crate::mail::attempt::TlsFacts;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;

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
            let error = upstream.last_error.clone().unwrap_or_else(|| "-".to_owned());
            let at = upstream.last_error_at.map_or_else(|| "-".to_owned(), table::time);
            let state = match upstream.rate_limit_free_at {
                Some(at) => format!("{} until {}", upstream.state, table::time(at)),
                None => upstream.state.to_string(),
            };
            let token = match (&upstream.token_expires_at, &upstream.token_error) {
                (_, Some(_)) => "none".to_owned(),
                (Some(at), None) => format!("until {}", table::time(*at)),
                (None, None) => "-".to_owned(),
            };
            let tls = upstream.tls.as_ref().map_or_else(|| "-".to_owned(), tls_cell);
            let UpstreamJson { name, priority, .. } = upstream;
            let mut row = vec![name.clone(), priority.clone(), state, connections, tls, at, error];
            if has_tokens {
                row.insert(TOKEN_COLUMN, token);
            }
            row
        })
        .collect();
    let columns = if has_tokens { WITH_TOKENS } else { COLUMNS };
    Ok(Table::new(columns).rows(&mut std::io::stdout().lock(), &rows)?)
}

/// The version, and the day on which the server's certificate ends.
fn tls_cell(tls: &TlsFacts) -> String {
    let version = tls.version.trim_start_matches("TLSv");
    let day = |end: Timestamp| end.to_zoned(TimeZone::system()).strftime("%Y-%m-%d").to_string();
    tls.certificate_expires.map_or_else(|| version.to_owned(), |end| format!("{version} until {}", day(end)))
}

/// On a narrow terminal those with the highest rank are left out first.
const COLUMNS: &[Column] = &[NAME, PRIORITY, STATE, IN_USE, TLS, ERROR_AT, LAST_ERROR];
/// Where some upstream logs in with a token.
const WITH_TOKENS: &[Column] = &[NAME, PRIORITY, STATE, IN_USE, TOKEN, TLS, ERROR_AT, LAST_ERROR];
const NAME: Column = Column::text("NAME");
const PRIORITY: Column = Column::fixed("PRIORITY", 8).rank(3);
const STATE: Column = Column::fixed("STATE", 26).coloured(table::state_colour);
const IN_USE: Column = Column::fixed("IN USE", 10).rank(1);
const ERROR_AT: Column = Column::fixed("ERROR AT", 12).rank(2);
const TOKEN: Column = Column::fixed("TOKEN", 18).rank(4);
const TLS: Column = Column::fixed("TLS", 20).rank(5);
const LAST_ERROR: Column = Column::text("LAST ERROR");
