//! A receiver of webhooks that Python's http.server is (`receiver.py`).

use crate::support::{Ended, PATIENCE, spawn};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

/// What events are signed with.
pub const SECRET: &str = "a secret of our own";

/// It ends with its owner.
pub struct Receiver {
    scheme: &'static str,
    port: u16,
    came: Arc<Came>,
    answers: ChildStdin,
    _process: Ended,
}

#[derive(Default)]
struct Came {
    lines: Mutex<Vec<Value>>,
    more: Condvar,
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webhook").join(name)
}

impl Receiver {
    /// Answers 200.
    pub fn start() -> Receiver {
        Receiver::start_with("http", &[])
    }

    /// The same in TLS, as `localhost`.
    pub fn start_tls(certificate: &Path, key: &Path) -> Receiver {
        Receiver::start_with("https", &[certificate, key])
    }

    fn start_with(scheme: &'static str, files: &[&Path]) -> Receiver {
        let mut command = Command::new("python3");
        command.arg(here("receiver.py")).arg(SECRET).args(files);
        let mut process = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let answers = process.stdin.take().unwrap();
        let came = Arc::<Came>::default();
        let shared = came.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.lines.lock().unwrap().push(serde_json::from_str(&line).unwrap());
                shared.more.notify_all();
            }
        });
        let process = Ended(process);
        let port = came.wait(|lines| lines.first().and_then(Value::as_u64), "the receiver's port");
        Receiver { scheme, port: u16::try_from(port).unwrap(), came, answers, _process: process }
    }

    pub fn url(&self) -> String {
        format!("{}://localhost:{}/hook?key=s3cret", self.scheme, self.port)
    }

    /// The table of a webhook that sends there, signed.
    pub fn webhook(&self, name: &str, on: &str) -> String {
        let url = self.url();
        format!("[webhook.{name}]\nurl = \"{url}\"\non = [{on}]\nsecret = \"{SECRET}\"\n")
    }

    /// From now on it answers so, in this order; those that hang are answered, too.
    #[track_caller]
    pub fn answer(&mut self, answers: &str) {
        let obeyed = |lines: &[Value]| lines.iter().filter(|line| line.get("answers").is_some()).count();
        let before = obeyed(&self.came.lines.lock().unwrap());
        writeln!(self.answers, "{answers}").unwrap();
        self.answers.flush().unwrap();
        self.came.wait(|lines| (obeyed(lines) > before).then_some(()), "the receiver to obey");
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Value> {
        requests(&self.came.lines.lock().unwrap())
    }

    /// The requests, once there are so many.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Value> {
        self.wait_until("requests", |requests| requests.len() >= count)
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        self.came.wait(|lines| Some(requests(lines)).filter(|requests| enough(requests)), what)
    }
}

impl Came {
    #[track_caller]
    fn wait<T>(&self, mut ready: impl FnMut(&[Value]) -> Option<T>, what: &str) -> T {
        let mut answer = None;
        let lines = self.lines.lock().unwrap();
        let waiting = self.more.wait_timeout_while(lines, PATIENCE, |lines| {
            answer = ready(lines);
            answer.is_none()
        });
        let count = waiting.unwrap().0.len();
        answer.unwrap_or_else(|| panic!("waited {PATIENCE:?} for {what}; there were {count} lines"))
    }
}

/// Those lines that are requests.
fn requests(lines: &[Value]) -> Vec<Value> {
    lines.iter().filter(|line| line.get("body").is_some()).cloned().collect()
}
