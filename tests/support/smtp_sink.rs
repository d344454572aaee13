//! Postfix's smtp-sink as an upstream.

use super::{Ended, eventually, free_address, postfix_tool, spawn};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A running smtp-sink. Ends with its owner.
pub struct SmtpSink {
    address: SocketAddr,
    folder: tempfile::TempDir,
    _process: Ended,
}

impl SmtpSink {
    /// Takes everything, fast. `flags` are smtp-sink's own, for faults: `["-r", "rcpt"]` refuses each RCPT softly,
    /// `["-f", "."]` each message for good, `["-w", "3"]` is slow.
    pub fn start(flags: &[&str]) -> SmtpSink {
        SmtpSink::start_with(flags, false)
    }

    /// As [`SmtpSink::start`], and keeps each message as a file.
    pub fn keeping(flags: &[&str]) -> SmtpSink {
        SmtpSink::start_with(flags, true)
    }

    fn start_with(flags: &[&str], keep: bool) -> SmtpSink {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = free_address();
        let mut command = Command::new(postfix_tool("smtp-sink"));
        command.args(flags).current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        // As root it insists on knowing whom to become.
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "root"]);
        }
        if keep {
            command.args(["-d", "%Y%m%d%H%M%S."]);
        }
        command.args([&address.to_string(), "1000"]);
        let process = Ended(spawn(&mut command));
        eventually("smtp-sink to listen", || TcpStream::connect(address).ok());
        SmtpSink { address, folder, _process: process }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The configuration of an upstream that is this server.
    pub fn upstream(&self, name: &str) -> String {
        format!("[upstream.{name}]\nhost = \"{}\"\ntls = \"none\"\n", self.address)
    }

    /// The kept messages: `X-Mail-Args:`, `X-Rcpt-Args:` and the like in front, line ends made LF by smtp-sink.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let mut files: Vec<PathBuf> = files(self.folder.path());
        files.sort();
        files.iter().map(|file| std::fs::read(file).expect("a file of smtp-sink's")).collect()
    }

    /// The kept messages, once there are that many whole ones.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Vec<u8>> {
        eventually(&format!("{count} messages in smtp-sink"), || {
            let messages = self.messages();
            // smtp-sink ends each file with an empty line, when it has seen the final dot.
            (messages.len() >= count && messages.iter().all(|message| message.ends_with(b"\n\n")))
                .then_some(messages)
        })
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("smtp-sink's folder").flatten().map(|entry| entry.path()).collect()
}
