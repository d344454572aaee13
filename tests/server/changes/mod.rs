//! What verbs and routes change: kept in `admin.toml`, in force at once, undone by the file that its owner edits.

mod dropped;
mod routes;
mod verbs;
mod without_proxy;

use crate::support::clients::succeeded;
use crate::support::proxy::{Proxy, postroom};
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use crate::support::{PATIENCE, eventually, not_proved_here};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

/// Status and JSON body of a request to the control socket.
pub fn ask(proxy: &Proxy, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(proxy.data_dir().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: test\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
}

fn send(proxy: &Proxy) {
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
}

fn events(proxy: &Proxy, code: &str) -> Vec<String> {
    let events = proxy.cli(&["events", "--json", "--limit", "1000", "--code", code]);
    events.as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

fn admin_toml(proxy: &Proxy) -> String {
    std::fs::read_to_string(proxy.data_dir().join("admin.toml")).unwrap_or_default()
}

fn in_force(proxy: &Proxy) -> Value {
    proxy.cli(&["check", "--json"])
}

fn upstream(proxy: &Proxy, name: &str) -> Value {
    let list = proxy.cli(&["upstream", "list", "--json"]);
    list.as_array().unwrap().iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn refused(proxy: &Proxy, arguments: &[&str], code: i32, words: &str) {
    let before = admin_toml(proxy);
    let output = proxy.try_command(arguments);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    assert!(stderr(&output).contains(words), "{words} is not in {}", stderr(&output));
    assert_eq!(admin_toml(proxy), before, "nothing is written");
}

const TWO: &str = "[upstream.a]\nhost = \"127.0.0.1:9\"\n[upstream.b]\nhost = \"127.0.0.1:10\"\n";

/// `postroom <arguments>` with the proxy's configuration.
fn verb(proxy: &Proxy, arguments: &[&str]) -> Command {
    let mut verb = postroom();
    verb.current_dir(proxy.data_dir()).arg("--config").arg(proxy.config_file()).args(arguments);
    verb
}
