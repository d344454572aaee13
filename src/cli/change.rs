//! A change of the configuration: by the running proxy, or in `admin.toml` for the next start.

use super::client::{Client, query_value};
use super::confirm::confirm;
use super::{Failure, Global, small_runtime};
use crate::admin::json::ChangedJson;
use crate::admin::safe_json::to_json;
use crate::config::{Change, ChangeError};
use crate::mail::printable;
use crate::{server, unix};
use anyhow::anyhow;
use hyper::Method;
use serde_json::{Value, json};
use std::path::Path;

/// A reset would end these modes, and nobody has said that this is meant.
#[derive(Debug, thiserror::Error)]
#[error("this ends {}: mail goes to its addressees then; what waits and was touched by it is held", printable(.0))]
pub(super) struct EndsModes(pub(super) String);

/// `verb`: its name, for events. Where a reset ends a mode and was not confirmed, it is asked for.
pub(super) fn run(global: &Global, verb: &str, change: Change) -> Result<(), Failure> {
    let done = match make(global, verb, &change) {
        Err(Failure::Failed(error)) if error.is::<EndsModes>() => {
            confirm(&format!("{error}. Reset?"))?;
            make(global, verb, &change.confirm())?
        }
        done => done?,
    };
    if global.json {
        say!("{}", to_json(&done)?);
        return Ok(());
    }
    for one in &done.warnings {
        eprintln!("warning: {}", printable(one));
    }
    for one in &done.under_way {
        eprintln!("note: {}", printable(one));
    }
    for one in &done.changes {
        say!("{}", printable(&one.to_string()));
    }
    if done.changes.is_empty() {
        say!("Nothing has changed: it is so already.");
    }
    Ok(())
}

fn make(global: &Global, verb: &str, change: &Change) -> Result<ChangedJson, Failure> {
    let socket = global.control_socket()?;
    small_runtime()?.block_on(async {
        if let Some(done) = by_proxy(&socket, verb, change).await? {
            return Ok(done);
        }
        let by = format!(
            "postroom {verb}, user {}, without a running proxy",
            unix::name_of_user(unix::own_user())
        );
        match server::change_without_proxy(&global.sources()?, change, &by).await {
            Ok(Some(done)) => {
                let folder = socket.parent().unwrap_or(&socket).display().to_string();
                eprintln!(
                    "note: no proxy is running in {}; the next start there reads it",
                    printable(&folder)
                );
                Ok(ChangedJson::from(done))
            }
            // It has started meanwhile.
            Ok(None) => {
                let gone = || anyhow!("the proxy has ended again; try again");
                Ok(by_proxy(&socket, verb, change).await?.ok_or_else(gone)?)
            }
            Err(ChangeError::Wrong(errors)) => Err(Failure::Config(errors)),
            Err(ChangeError::Unconfirmed(what)) => Err(EndsModes(what).into()),
            Err(error) => Err(anyhow!(error).into()),
        }
    })
}

/// None: no proxy runs.
async fn by_proxy(socket: &Path, verb: &str, change: &Change) -> Result<Option<ChangedJson>, Failure> {
    let Some(client) = Client::connect(socket).await? else { return Ok(None) };
    let (method, path, body) = request(change);
    Ok(Some(client.named(verb).ask(method, &path, &body).await?))
}

/// The route that does it.
fn request(change: &Change) -> (Method, String, Value) {
    let upstream = |name: &str| format!("/api/v1/upstreams/{}", query_value(name));
    let reset = || "/api/v1/settings/reset".to_owned();
    match change {
        Change::Settings(keys) => (Method::PATCH, "/api/v1/settings".to_owned(), json!(keys)),
        Change::AddUpstream { name, keys } => {
            let mut body = keys.clone();
            body.insert("name".to_owned(), name.clone().into());
            (Method::POST, "/api/v1/upstreams".to_owned(), json!(body))
        }
        Change::EditUpstream { name, keys } => (Method::PATCH, upstream(name), json!(keys)),
        Change::DeleteUpstream(name) => (Method::DELETE, upstream(name), Value::Null),
        Change::ResetUpstream(name) => (Method::POST, upstream(name) + "/reset", Value::Null),
        Change::Reset { keys, confirmed } => {
            (Method::POST, reset(), json!({ "keys": keys, "confirm": confirmed }))
        }
        Change::ResetAll { confirmed } => {
            (Method::POST, reset(), json!({ "all": true, "confirm": confirmed }))
        }
    }
}
