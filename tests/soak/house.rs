//! The proxy as its operator has it: started, killed, stopped, started again, its configuration changed under it.

use super::event_log::{EventLog, KEPT};
use super::ledger::{End, Ledger};
use super::upstream::Upstream;
use super::webhook::EventReceiver;
use crate::support::proxy::postroom_at;
use crate::support::spawn;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time after which the event log is due to be read: a stop that is waited for.
const EVENT_LOG_DUE: Duration = Duration::from_secs(90);
/// How long a start or a stop may take at most, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(120);

/// One installation: folder, configuration, process.
pub struct House<'a> {
    /// Everything is in here; `data` below may be a file system of its own.
    pub folder: PathBuf,
    /// Where it takes mail.
    pub address: SocketAddr,
    /// The built binary.
    pub binary: PathBuf,
    /// What is noted.
    pub ledger: &'a Ledger,
    /// Where mail goes.
    pub upstreams: [Arc<Upstream>; 2],
    /// Who is told of events.
    pub receiver: EventReceiver,
    /// While it runs.
    pub process: Option<Child>,
    /// Read at stops.
    pub event_log: EventLog,
    /// When that was last.
    pub event_log_read: Instant,
}

/// What becomes of a start.
#[derive(PartialEq, Eq, Debug)]
pub enum Start {
    /// It takes connections.
    Up,
    /// It ended before it did: right where the disk is full.
    Ended(ExitStatus),
}

impl House<'_> {
    /// The folder of the queue file.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Writes a configuration; what may change while it runs depends on `dice`. `modes`: what is said of sites, sending,
    /// redirect, debug and simulate.
    pub fn configure(&self, dice: &mut fastrand::Rng, modes: &str) {
        let retry = ["[\"1s\"]", "[\"1s\", \"2s\"]", "[\"500ms\", \"1s\", \"3s\"]"][dice.usize(0..3)];
        let mut text = format!(
            "hostname = \"proxy.test\"\ndata_dir = \"{}\"\n\
             [listener.test]\naddress = \"{}\"\n\
             [limits]\nmessage_size = \"{}MiB\"\nconnections = {}\n\
             [queue]\nretry = {retry}\nmax_messages = {}\nbatch_size = {}\nmin_free_space = \"256KiB\"\n\
             [events]\nkeep = {KEPT}\n[log]\nlevel = \"warn\"\n",
            self.data_dir().display(),
            self.address,
            dice.u32(10..30),
            dice.u32(50..1000),
            dice.u32(2_000..8_000),
            dice.u32(20..100),
        );
        for (upstream, priority) in self.upstreams.iter().zip(["high", "normal"]) {
            text.push_str(&format!(
                "[upstream.{}]\nhost = \"{}\"\ntls = \"none\"\npriority = \"{priority}\"\nconnection_limit = {}\n\
                 connect_timeout = \"2s\"\ncommand_timeout = \"3s\"\ndata_timeout = \"10s\"\nfinal_timeout = \"10s\"\n",
                upstream.name,
                upstream.address,
                dice.u32(4..12)
            ));
        }
        text.push_str(&self.receiver.config(dice));
        text.push_str(modes);
        // Whoever reads it meanwhile finds the old one or the new one.
        let new = self.folder.join("postroom.toml.new");
        std::fs::write(&new, text).expect("a folder of our own");
        std::fs::rename(new, self.config_file()).expect("a folder of our own");
    }

    fn config_file(&self) -> PathBuf {
        self.folder.join("postroom.toml")
    }

    /// What it says, of all its lives.
    pub fn log_file(&self) -> PathBuf {
        self.folder.join("postroom.log")
    }

    /// Starts the process, without waiting for anything.
    pub fn spawn(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_file());
        let log = log.expect("a folder of our own");
        let mut command = postroom_at(&self.binary);
        command.arg("serve").arg("--config").arg(self.config_file()).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.process = Some(spawn(&mut command));
    }

    /// Waits until the process takes connections, or ends.
    pub fn wait_until_up(&mut self) -> Start {
        let start = Instant::now();
        loop {
            let process = self.process.as_mut().expect("it was started");
            if let Some(status) = process.try_wait().expect("a child of ours") {
                self.process = None;
                return Start::Ended(status);
            }
            if TcpStream::connect(self.address).is_ok() {
                return Start::Up;
            }
            assert!(start.elapsed() < PATIENCE, "postroom serve does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL. Not noted where it had ended by itself, which is wrong and noted as that.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        if let Some(status) = process.try_wait().expect("a child of ours") {
            return self.ledger.wrong(format!("postroom serve ended by itself: {status}"));
        }
        process.kill().expect("a child of ours");
        process.wait().expect("a child of ours");
        self.ledger.end(End::Kill);
    }

    /// SIGTERM, and SIGKILL where it has not ended by then. True: it ended by itself, and well.
    pub fn stop(&mut self, patience: Duration) -> bool {
        self.signal(Signal::TERM);
        let start = Instant::now();
        while let Some(process) = self.process.as_mut() {
            if let Some(status) = process.try_wait().expect("a child of ours") {
                self.process = None;
                self.ledger.end(End::Stop);
                if !status.success() {
                    self.ledger.wrong(format!("stopped by SIGTERM, postroom serve ended with {status}"));
                }
                self.event_log.read(&self.data_dir().join("queue.redb"), self.ledger);
                self.event_log_read = Instant::now();
                return status.success();
            }
            if start.elapsed() > patience {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        false
    }

    /// It is time for a stop that is waited for.
    pub fn event_log_is_due(&self) -> bool {
        self.event_log_read.elapsed() > EVENT_LOG_DUE
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            kill_process(Pid::from_child(process), signal).expect("a child of ours that was not waited for");
        }
    }

    /// An operator releases all that is held. Nobody may be there to do so.
    pub fn release_all(&self) {
        for body in
            [r#"{"action":"release","all":true,"confirm":true}"#, r#"{"action":"release","all":true}"#]
        {
            if self.act(body) {
                return;
            }
        }
    }

    /// An operator deletes what failed: its sender is told.
    pub fn delete_failed(&self) {
        self.act(r#"{"action":"delete","filter":"state:failed","confirm":true}"#);
    }

    /// Whether the proxy has done it.
    fn act(&self, body: &str) -> bool {
        let head = "POST /api/v1/messages/bulk HTTP/1.1\r\nContent-Type: application/json";
        let request =
            format!("{head}\r\nContent-Length: {}\r\nHost: x\r\nConnection: close\r\n\r\n{body}", body.len());
        let socket = self.data_dir().join("control.sock");
        exchange(&socket, &request).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// `GET /api/v1/stats`: messages that wait, and damaged ones; none while it cannot say.
    pub fn stats(&self) -> Option<(u64, u64)> {
        let text = ask(&self.data_dir().join("control.sock"), "/api/v1/stats").ok()?;
        let json: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
        let of = |name: &str| json[name].as_u64();
        Some((of("queued")? + of("deferred")? + of("held")? + of("in_flight")?, of("damaged")?))
    }
}

impl Drop for House<'_> {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn ask(socket: &Path, path: &str) -> std::io::Result<String> {
    exchange(socket, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

fn exchange(socket: &Path, request: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
