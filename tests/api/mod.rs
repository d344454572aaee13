//! The routes of docs/rules.md#routes, asked over the control socket as programs ask them.

mod document;
mod errors;
mod following;
mod history;
mod listing;
mod schemathesis;
mod send;
mod upstreams;

use crate::support::PATIENCE;
use crate::support::proxy::Proxy;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

/// What a request is answered.
struct Answer {
    status: u16,
    /// By their names in lower case.
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    /// The body, which is JSON.
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&self.body)))
    }

    /// That it is an error as all are: its status, and what it says.
    #[track_caller]
    fn problem(&self) -> (u16, String) {
        let problem = self.json();
        assert_eq!(self.headers["content-type"], "application/problem+json", "{problem}");
        assert_eq!(problem["status"], self.status, "{problem}");
        (self.status, problem["detail"].as_str().expect("a sentence").to_owned())
    }
}

/// Asks with these header fields and this body, and reads the whole answer.
#[track_caller]
fn request(proxy: &Proxy, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    let (status, headers, mut rest) = begin(proxy, method, path, fields, body);
    let mut body = Vec::new();
    rest.read_to_end(&mut body).expect("the rest of the answer");
    Answer { status, headers, body }
}

/// As [`request`], without reading the body: an answer may have no end.
#[track_caller]
fn begin(
    proxy: &Proxy,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> (u16, BTreeMap<String, String>, BufReader<UnixStream>) {
    let mut stream = UnixStream::connect(proxy.data_dir().join("control.sock")).expect("the control socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("the request is read");
    // One that is refused because of its length is not read to its end.
    let _ = stream.write_all(body);
    let mut stream = BufReader::new(stream);
    let mut lines = std::iter::from_fn(|| {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a line of the head");
        Some(line.trim_end().to_owned()).filter(|line| !line.is_empty())
    });
    let status = lines.next().expect("an answer")[9..12].parse().expect("a status");
    let fields = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    let headers = fields.collect();
    (status, headers, stream)
}

/// GET.
#[track_caller]
fn get(proxy: &Proxy, path: &str) -> Answer {
    request(proxy, "GET", path, &[], b"")
}

/// Any method, with a body of JSON.
#[track_caller]
fn ask(proxy: &Proxy, method: &str, path: &str, body: &Value) -> Answer {
    request(proxy, method, path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
}
