//! What a sink does, as options.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a sink does.
#[derive(Clone)]
pub struct SinkOptions {
    /// Where it listens; port 0 = any free one.
    pub listen: SocketAddr,
    /// Share of recipients answered 451.
    pub refuse: f64,
    /// Share of recipients answered 550.
    pub reject: f64,
    /// Recipients with one of these local parts are always answered 452.
    pub refuse_to: Vec<String>,
    /// Recipients with one of these local parts are always answered 550.
    pub reject_to: Vec<String>,
    /// Before the answer to the end of a message.
    pub delay: Duration,
    /// Of the refusals; 0 = random.
    pub seed: u64,
    /// Where each message is written as `<number>.eml`, exactly as it came, dot-unstuffed.
    pub dump: Option<PathBuf>,
    pub name: String,
    /// Told of each message and each refusal, in one printable line.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Default for SinkOptions {
    fn default() -> SinkOptions {
        SinkOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            refuse: 0.0,
            reject: 0.0,
            refuse_to: Vec::new(),
            reject_to: Vec::new(),
            delay: Duration::ZERO,
            seed: 0,
            dump: None,
            name: "sink.localhost".to_owned(),
            say: Arc::new(|_| {}),
        }
    }
}
