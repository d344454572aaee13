//! `postroom reload`: the running proxy loads its configuration again; a wrong one changes nothing and says why (78).

use super::client::Client;
use super::{Failure, Global, small_runtime};
use crate::admin::safe_json::to_json;
use crate::mail::printable;
use serde_json::Value;

/// Runs the verb.
pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let socket = global.control_socket()?;
    let answer: Value = small_runtime()?.block_on(async {
        Client::must_connect(&socket).await?.named("reload").post("/api/v1/reload", &Value::Null).await
    })?;
    if global.json {
        say!("{}", to_json(&answer)?);
        return Ok(());
    }
    let changes: Vec<&str> =
        answer["changes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match changes.is_empty() {
        true => say!("Loaded again; nothing has changed."),
        false => say!("Loaded again: {}.", printable(&changes.join("; "))),
    }
    Ok(())
}
