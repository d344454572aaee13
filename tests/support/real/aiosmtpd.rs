//! aiosmtpd as an upstream: a script of tests/servers around the library.

use super::Group;
use crate::support::foreign::{folder, have, missing};
use crate::support::recorder::Recorded;
use crate::support::{PATIENCE, plain_upstream};
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

/// Debian's own, which finds the packages of Debian.
const PYTHON: &str = "/usr/bin/python3";

/// A running server that keeps what it takes.
pub struct Aiosmtpd {
    address: SocketAddr,
    kept: Arc<Kept>,
    _server: Group,
}

#[derive(Default)]
struct Kept {
    messages: Mutex<Vec<Recorded>>,
    more: Condvar,
}

impl Aiosmtpd {
    /// With these arguments of tests/servers/aiosmtpd_upstream.py. None, after saying so, where aiosmtpd cannot be had.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Option<Aiosmtpd> {
        Aiosmtpd::launch(arguments, Path::new(""))
    }

    /// Takes mail behind AUTH NTLM alone, as `app` of the domain `DOMAIN` with the password `s3cret`: pyspnego checks that.
    #[track_caller]
    pub fn start_with_ntlm() -> Option<Aiosmtpd> {
        let modules = folder().join("pyspnego");
        if !have(&[modules.join("spnego").to_str()?]) {
            return None;
        }
        Aiosmtpd::launch(&["--ntlm", "DOMAIN:app:s3cret"], &modules)
    }

    #[track_caller]
    fn launch(arguments: &[&str], modules: &Path) -> Option<Aiosmtpd> {
        if !have(&[PYTHON]) {
            return None;
        }
        let found = Command::new(PYTHON).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            missing("Python's aiosmtpd is not there; ./scripts/setup installs it");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/aiosmtpd_upstream.py");
        let mut command = Group::command(Path::new(PYTHON));
        command.arg(script).args(arguments).env("PYTHONPATH", modules).stdout(Stdio::piped());
        let mut server = Group::spawn(&mut command);
        let mut lines = BufReader::new(server.0.stdout.take().expect("it was piped")).lines();
        let first = lines.next().expect("aiosmtpd says where it listens").expect("text");
        let port = first.strip_prefix("listening ").and_then(|port| port.parse().ok()).expect("a port");
        let kept = Arc::new(Kept::default());
        let keeps = Arc::clone(&kept);
        std::thread::spawn(move || keep(lines, &keeps));
        Some(Aiosmtpd { address: SocketAddr::from(([127, 0, 0, 1], port)), kept, _server: server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The configuration of an upstream that is this server, in clear text.
    pub fn upstream(&self, name: &str) -> String {
        plain_upstream(name, self.address)
    }

    /// What it took so far.
    pub fn messages(&self) -> Vec<Recorded> {
        self.kept.messages.lock().expect("the reader does not panic").clone()
    }

    /// The same, once there are that many.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Recorded> {
        let messages = self.kept.messages.lock().expect("the reader does not panic");
        let waiting =
            self.kept.more.wait_timeout_while(messages, PATIENCE, |messages| messages.len() < count);
        let (messages, timeout) = waiting.expect("the reader does not panic");
        assert!(!timeout.timed_out(), "waited {PATIENCE:?} for {count} messages, {} came", messages.len());
        messages.clone()
    }
}

/// Reads what the script prints until it ends.
fn keep(lines: Lines<BufReader<ChildStdout>>, kept: &Kept) {
    for line in lines.map_while(Result::ok) {
        let Some(message) = recorded(&line) else { break };
        kept.messages.lock().expect("only this appends").push(message);
        kept.more.notify_all();
    }
}

fn recorded(line: &str) -> Option<Recorded> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let hex = message["content"].as_str()?;
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    Some(Recorded {
        mail: text(&message["mail"])?,
        rcpt: message["rcpt"].as_array()?.iter().filter_map(text).collect(),
        content: (0..hex.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?,
    })
}
