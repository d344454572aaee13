//! The keys of an upstream on the command line of `upstream add` and `upstream edit`.

use super::Failure;
use super::hash;
use crate::config::{NewValues, is_path_key, is_secret_key};
use clap::Args;
use serde_json::Value;
use std::path::PathBuf;

/// What both verbs take.
#[derive(Args, Debug)]
pub(super) struct KeyArgs {
    /// Its name: a-z, 0-9, _ and -
    pub(super) name: String,
    /// Any key of [upstream.NAME]: connection_limit=5, rate_limit=30/1m, oauth2.token_url=https://...
    #[arg(value_name = "KEY=VALUE")]
    keys: Vec<String>,
    /// host, host:port, [v6]:port
    #[arg(long)]
    host: Option<String>,
    /// default, high, normal or low
    #[arg(long)]
    priority: Option<String>,
    /// none, opportunistic, starttls or implicit
    #[arg(long)]
    tls: Option<String>,
    /// anonymous, basic, ntlm, oauth2 or default
    #[arg(long)]
    auth: Option<String>,
    /// As the server knows it
    #[arg(long)]
    username: Option<String>,
    /// A file that holds the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Read the password from standard input; a terminal is asked
    #[arg(long, conflicts_with_all = ["password_file", "stdin"])]
    password_stdin: bool,
    /// Read the value of this key from standard input; a terminal is asked
    #[arg(long, value_name = "KEY")]
    stdin: Option<String>,
}

/// The keys with their values, in tables. Paths are absolute: the proxy has another working folder.
pub(super) fn values(args: &KeyArgs) -> Result<NewValues, Failure> {
    let mut values = NewValues::new();
    for (key, value) in [
        ("host", &args.host),
        ("priority", &args.priority),
        ("tls", &args.tls),
        ("auth", &args.auth),
        ("username", &args.username),
    ] {
        if let Some(value) = value {
            put(&mut values, key, value.clone())?;
        }
    }
    if let Some(path) = &args.password_file {
        put(&mut values, "password_file", path.to_string_lossy().into_owned())?;
    }
    for written in &args.keys {
        let Some((key, value)) = written.split_once('=') else {
            return Err(Failure::Usage(format!(
                "{written} is no key with a value, such as connection_limit=5"
            )));
        };
        let key = key.trim();
        if key.rsplit('.').next().is_some_and(is_secret_key) {
            return Err(Failure::Usage(format!(
                "others can read a command line: give --stdin {key}, or the name of a file with {key}_file=..."
            )));
        }
        put(&mut values, key, value.to_owned())?;
    }
    let from_stdin = args.stdin.as_deref().or(args.password_stdin.then_some("password"));
    if let Some(key) = from_stdin {
        put(&mut values, key, hash::password()?)?;
    }
    Ok(values)
}

fn put(values: &mut NewValues, key: &str, value: String) -> Result<(), Failure> {
    let (tables, last) = key.rsplit_once('.').map_or((None, key), |(tables, last)| (Some(tables), last));
    let value = match is_path_key(last) && !value.is_empty() {
        true => std::path::absolute(&value)?.to_string_lossy().into_owned(),
        false => value,
    };
    let mut table = values;
    for name in tables.into_iter().flat_map(|tables| tables.split('.')) {
        let below = table.entry(name).or_insert_with(|| NewValues::new().into());
        let Value::Object(below) = below else {
            return Err(Failure::Usage(format!("{key} lies in {name}, which is given a value")));
        };
        table = below;
    }
    match table.insert(last.to_owned(), value.into()) {
        None => Ok(()),
        Some(_) => Err(Failure::Usage(format!("{key} is given twice"))),
    }
}
