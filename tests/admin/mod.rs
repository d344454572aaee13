//! The admin listener, as clients see it over TCP: raw requests, curl, TLS. docs/admin.md lists the attacks and the test of each.

mod documents;
mod forgery;
mod hosts;
mod http;
mod limits;
mod login;
mod nginx;
mod rights;

use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, free_address};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const PASSWORD: &str = "open-Sesame/17";

/// A proxy with an admin listener on loopback.
pub struct Admin {
    pub proxy: Proxy,
    pub address: SocketAddr,
}

/// What a request is answered with.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

/// The configuration of a proxy that sends nothing, with these keys of `[admin]`.
pub fn config(address: SocketAddr, keys: &str) -> String {
    format!("[sending]\nenabled = false\n[admin]\nlisten = \"{address}\"\n{keys}\n")
}

pub fn with_password() -> String {
    format!("password = \"{PASSWORD}\"\ntoken = \"{TOKEN}\"")
}

impl Admin {
    /// With these keys of `[admin]`.
    #[track_caller]
    pub fn start(keys: &str) -> Admin {
        let address = free_address();
        Admin { proxy: Proxy::start(&config(address, keys)), address }
    }

    /// Other keys are in force.
    #[track_caller]
    pub fn reload(&self, keys: &str) {
        self.proxy.configure(&config(self.address, keys));
        self.proxy.command(&["reload"]);
    }

    #[track_caller]
    pub fn get(&self, path: &str, headers: &[&str]) -> Answer {
        self.ask("GET", path, headers, "")
    }

    /// A request by itself on a connection. `headers` are whole lines; Host is the address unless it is among them.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|line| line.to_ascii_lowercase().starts_with("host:")) {
            head += &format!("Host: {}\r\n", self.address);
        }
        if !body.is_empty() || method != "GET" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        headers.iter().for_each(|line| head += &format!("{line}\r\n"));
        self.say(format!("{head}\r\n{body}").as_bytes())
    }

    /// A POST of JSON.
    #[track_caller]
    pub fn post(&self, path: &str, headers: &[&str], body: &str) -> Answer {
        self.ask("POST", path, &[headers, &["Content-Type: application/json"]].concat(), body)
    }

    /// These bytes, and all that comes back until the connection is closed.
    #[track_caller]
    pub fn say(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // Whoever is refused early may not hear all of it.
        let _ = stream.write_all(bytes);
        Answer::read(&mut stream)
    }

    #[track_caller]
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the admin listener");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Logs in: the line of the cookie, and that of the CSRF token.
    #[track_caller]
    pub fn log_in(&self) -> (String, String) {
        let answer = self.form("/login", &[], &format!("password={PASSWORD}"));
        assert_eq!(answer.status, 303, "{answer:?}");
        let cookie = format!("Cookie: {}", answer.cookie());
        let session = self.get("/api/v1/session", &[&cookie]);
        (cookie, format!("X-CSRF-Token: {}", session.json()["csrf_token"].as_str().unwrap()))
    }

    /// A form, as a browser sends it.
    #[track_caller]
    pub fn form(&self, path: &str, headers: &[&str], body: &str) -> Answer {
        let kind = "Content-Type: application/x-www-form-urlencoded";
        self.ask("POST", path, &[headers, &[kind]].concat(), body)
    }

    /// Whether redirect is on, which is what requests here try to change.
    #[track_caller]
    pub fn has_redirect(&self) -> bool {
        self.proxy.get("/api/v1/settings").expect("the settings")["redirect"]["enabled"] == true
    }
}

/// Switches redirect on.
pub const CHANGE: &str = r#"{"redirect": {"report_emails": ["qa@a.test"], "enabled": true}}"#;

impl Answer {
    /// What comes until the connection is closed.
    #[track_caller]
    pub fn read(stream: &mut impl Read) -> Answer {
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert!(!answer.is_empty(), "no answer: {error}");
        }
        let end = memchr::memmem::find(&answer, b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&answer)));
        let head = String::from_utf8(answer[..end].to_vec()).expect("a header in text");
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        Answer { status: status.unwrap_or_else(|| panic!("{head}")), head, body: answer[end + 4..].to_vec() }
    }

    /// The value of a header field, where it is there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = values.next();
        assert!(values.next().is_none(), "{name} is there twice: {}", self.head);
        value
    }

    /// `name=value` of the cookie that is set.
    #[track_caller]
    pub fn cookie(&self) -> &str {
        let cookie = self.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {}", self.head));
        cookie.split(';').next().unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// That it is a problem of this status, which says that.
    #[track_caller]
    pub fn is_problem(&self, status: u16, words: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let detail = self.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(words), "{detail}");
    }
}
