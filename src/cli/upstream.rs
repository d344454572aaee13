//! `postroom upstream`: how the upstreams of the running proxy fare, and changes of them, which are kept in `admin.toml`.

use super::change;
use super::client::Client;
use super::modes;
use super::table::{self, Column, Table};
use super::upstream_keys::{KeyArgs, values};
use super::{Failure, Global, small_runtime};
use crate::admin::json::UpstreamJson;
use crate::admin::safe_json::to_json;
use crate::config::{Change, NewValues};
use crate::mail::attempt::TlsFacts;
use crate::policy::notices::notices;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `postroom upstream`.
#[derive(Args, Debug)]
pub(super) struct UpstreamArgs {
    #[command(subcommand)]
    verb: UpstreamVerb,
}

const EXAMPLES: &str = "Examples:
  postroom upstream list
  postroom upstream disable primary
  postroom upstream add backup --host smtp.example.net:587 --priority low
  postroom upstream edit primary connection_limit=5 rate_limit=30/1m
  postroom upstream reset primary

What these verbs change is kept in <data_dir>/admin.toml. It holds at once and after a
restart, until postroom.toml says something else there or it is taken back. Without a
running proxy the next start reads it.";

#[derive(Subcommand, Debug)]
#[command(after_help = EXAMPLES)]
enum UpstreamVerb {
    /// List upstreams with their state; without a running proxy, as they are configured
    #[command(after_help = "Example:\n  postroom upstream list --json")]
    List,
    /// Let one have mail
    #[command(after_help = "Example:\n  postroom upstream enable primary")]
    Enable {
        /// Its name
        name: String,
    },
    /// Keep mail from one
    #[command(after_help = "Example:\n  postroom upstream disable primary")]
    Disable {
        /// Its name
        name: String,
    },
    /// Add one that is in no file
    #[command(
        after_help = "Examples:\n  postroom upstream add backup --host smtp.example.net:587 --priority low\n  \
                      postroom upstream add office --host smtp.office365.com:587 \\\n      \
                      --auth basic --username shop@example.com --password-stdin\n  \
                      postroom upstream add gmail --host smtp.gmail.com:587 \\\n      \
                      --auth oauth2 --username shop@example.com \\\n      \
                      oauth2.token_url=https://oauth2.googleapis.com/token \\\n      \
                      oauth2.client_id=123 oauth2.client_secret_file=secret.txt \\\n      \
                      --stdin oauth2.refresh_token < token.txt\n\n\
                      The proxy reads a file of a secret at each start and reload."
    )]
    Add(KeyArgs),
    /// Change one, be it of the file or added
    #[command(
        after_help = "Examples:\n  postroom upstream edit primary --priority high connection_limit=5\n  \
                      postroom upstream edit primary --password-stdin < password.txt\n\n\
                      `postroom reset upstream.primary.priority` takes one key back."
    )]
    Edit(KeyArgs),
    /// Delete one that was added; one of the file can only be disabled
    #[command(after_help = "Example:\n  postroom upstream delete backup")]
    Delete {
        /// Its name
        name: String,
    },
    /// Take all changes of one back: what the file says holds again
    #[command(after_help = "Example:\n  postroom upstream reset primary")]
    Reset {
        /// Its name
        name: String,
    },
}

/// Where the token of OAuth 2 is shown, once some upstream has asked for one.
const TOKEN_COLUMN: usize = 4;

/// Runs the verb.
pub(super) fn run(global: &Global, args: UpstreamArgs) -> Result<(), Failure> {
    let switch = |name, on: bool| Change::EditUpstream {
        name,
        keys: NewValues::from_iter([("enabled".to_owned(), on.into())]),
    };
    let (verb, wanted) = match args.verb {
        UpstreamVerb::List => return list(global),
        UpstreamVerb::Enable { name } => ("upstream enable", switch(name, true)),
        UpstreamVerb::Disable { name } => ("upstream disable", switch(name, false)),
        UpstreamVerb::Add(args) => {
            let keys = values(&args)?;
            ("upstream add", Change::AddUpstream { name: args.name, keys })
        }
        UpstreamVerb::Edit(args) => {
            let keys = values(&args)?;
            if keys.is_empty() {
                return Err(Failure::Usage(
                    "name what is to change: --priority high, connection_limit=5".to_owned(),
                ));
            }
            ("upstream edit", Change::EditUpstream { name: args.name, keys })
        }
        UpstreamVerb::Delete { name } => ("upstream delete", Change::DeleteUpstream(name)),
        UpstreamVerb::Reset { name } => ("upstream reset", Change::ResetUpstream(name)),
    };
    change::run(global, verb, wanted)
}

fn list(global: &Global) -> Result<(), Failure> {
    let socket = global.control_socket()?;
    let upstreams: Vec<UpstreamJson> = small_runtime()?.block_on(async {
        match Client::connect(&socket).await? {
            Some(mut client) => {
                modes::ask(&mut client).await;
                client.get("/api/v1/upstreams").await
            }
            None => as_configured(global),
        }
    })?;
    if global.json {
        say!("{}", to_json(&upstreams)?);
        return Ok(());
    }
    if upstreams.is_empty() {
        modes::print([
            "no upstream is configured: mail waits until there is one (`postroom upstream add`)".to_owned()
        ]);
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
                None => upstream.state.clone(),
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

/// What is configured, where no proxy runs that knows how they fare.
fn as_configured(global: &Global) -> Result<Vec<UpstreamJson>, Failure> {
    let loaded = global.load()?;
    modes::print(notices(&loaded.settings).into_iter().chain(["no proxy is running".to_owned()]));
    let upstreams = loaded.settings.upstreams.iter();
    Ok(upstreams.map(|upstream| UpstreamJson::as_configured(upstream, &loaded.in_force)).collect())
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
