//! Folders as a way in, through the running binary.

mod bad;
mod crash;
mod envelope;
pub mod folders;
mod kept;
mod many;

use crate::support::eventually;
use crate::support::proxy::Proxy;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;

const OFF: &str = "[sending]\nenabled = false\n";

/// A pickup that is this folder.
pub fn pickup(name: &str, folder: &Path) -> String {
    format!("[pickup.{name}]\ndirectory = \"{}\"\n", folder.display())
}

/// A file with its envelope, as .NET writes it.
fn file(recipients: &[&str], message: &str) -> String {
    let receivers: String = recipients.iter().map(|one| format!("X-Receiver: {one}\r\n")).collect();
    format!("X-Sender: shop@a.test\r\n{receivers}{message}")
}

fn messages(proxy: &Proxy) -> Vec<Value> {
    proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().clone()
}

/// What waits in the queue, once there are that many.
#[track_caller]
fn queued(proxy: &Proxy, count: usize) -> Vec<Value> {
    eventually("mail in the queue", || Some(messages(proxy)).filter(|all| all.len() >= count))
}

/// Events of that code.
fn events(proxy: &Proxy, code: &str) -> Vec<String> {
    let events = proxy.cli(&["events", "--json", "--code", code]);
    events.as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn wait_until_gone(path: &Path) {
    eventually("the file to be removed", || path.symlink_metadata().is_err().then_some(()));
}

/// Writes it elsewhere first, so that it comes with its name.
fn rename_in(folder: &Path, name: impl AsRef<OsStr>, content: &[u8]) {
    let beside = tempfile::NamedTempFile::new_in(folder.parent().unwrap()).unwrap();
    std::fs::write(beside.path(), content).unwrap();
    beside.persist(folder.join(name.as_ref())).unwrap();
}
