//! A receiver of webhooks that often fails: whatever the proxy tells it has to stand in the event log in the same words, since it
//! is told of what is committed and of nothing else.

use super::event_log::EventLog;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// What is asked for, one of these at a time: a reload changes it.
const ON: &[&str] = &[
    "\"failed\", \"bounced\", \"deferred\", \"held\", \"circuit\", \"mode\"",
    "\"delivered\"",
    "\"failed\", \"expired\", \"held\"",
];

/// Listens until the test ends.
pub struct EventReceiver {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
}

/// What came.
#[derive(Default)]
pub struct Told {
    /// By id, a hash of the body.
    events: HashMap<u64, u64>,
    /// Requests, repeated ones too.
    pub requests: u64,
    /// Told twice, and not the same.
    wrong: Vec<String>,
}

impl EventReceiver {
    /// Fails as `dice` say.
    pub fn start(listener: TcpListener, mut dice: fastrand::Rng) -> EventReceiver {
        let address = listener.local_addr().expect("the address just bound");
        let told = Arc::<Mutex<Told>>::default();
        let shared = told.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (told, dice) = (shared.clone(), dice.fork());
                std::thread::spawn(move || drop(serve(&stream, &told, dice)));
            }
        });
        EventReceiver { address, told }
    }

    /// A webhook that tells of some events.
    pub fn config(&self, dice: &mut fastrand::Rng) -> String {
        format!(
            "[webhook.soak]\nurl = \"http://{}/\"\non = [{}]\n",
            self.address,
            ON[dice.usize(0..ON.len())]
        )
    }

    /// What was told, and what is wrong with it: how many requests, how many events, and everything that the event log does not
    /// say.
    pub fn judge(&self, log: &EventLog) -> (u64, usize, Vec<String>) {
        let told = self.told.lock().expect("no session panics");
        let mut wrong = told.wrong.clone();
        let strange = told.events.iter().filter(|(id, hash)| log.hash_of(**id) != Some(**hash));
        wrong.extend(
            strange.map(|(id, _)| {
                format!("a webhook was told of event {id} in other words than the event log's")
            }),
        );
        (told.requests, told.events.len(), wrong)
    }
}

/// As many requests as the client sends on one connection.
fn serve(stream: &TcpStream, told: &Mutex<Told>, mut dice: fastrand::Rng) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        told.lock().expect("no session panics").note(&body);
        let status = match dice.u8(0..100) {
            0 => return Ok(()),
            1..4 => "503 Service Unavailable",
            4 => "404 Not Found",
            5 => {
                std::thread::sleep(Duration::from_millis(dice.u64(10..500)));
                "200 OK"
            }
            _ => "200 OK",
        };
        let mut writer = stream;
        write!(writer, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
    }
}

impl Told {
    fn note(&mut self, body: &[u8]) {
        self.requests += 1;
        let event: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(id) = event["id"].as_u64() else {
            return self.wrong.push(format!("a webhook was told {}", String::from_utf8_lossy(body)));
        };
        let hash = xxh3_64(body);
        if self.events.insert(id, hash).is_some_and(|before| before != hash) {
            self.wrong.push(format!("a webhook was told of event {id} in two ways"));
        }
    }
}
