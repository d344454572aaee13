//! OpenSMTPD as an upstream. Its folders are compiled in, so that it runs in a mount namespace of its own, where they are empty.
//!
//! In clear text alone: the keys of its TLS are kept by an engine of OpenSSL, which OpenSSL 3 of Debian 12 no longer lets it have
//! (every handshake ends with `SSL routines::EVP lib`), and it offers AUTH within TLS only.

use super::{Group, listening, open_folder, set_mode};
use crate::support::foreign::{folder, have};
use crate::support::recorder::{Recorded, Recorder};
use crate::support::{free_address, not_proved_here, plain_upstream};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// A running OpenSMTPD that passes on what it takes.
pub struct OpenSmtpd {
    address: SocketAddr,
    folder: tempfile::TempDir,
    recorder: Recorder,
    _daemon: Group,
}

/// Makes what its package would have made, then becomes it.
const START: &str = "for folder in /run /var/spool /var/lib; do mount -t tmpfs tmpfs $folder || exit 1; done
mkdir -p -m 711 /var/lib/opensmtpd/empty /var/spool/smtpd || exit 1
exec \"$0\" -d -f \"$1\" 2>\"$2\"";

impl OpenSmtpd {
    /// Takes mail of this machine for everybody. None, after saying so, where it cannot be had: it starts as root only, and where
    /// mounting is allowed.
    #[track_caller]
    pub fn start() -> Option<OpenSmtpd> {
        let program = folder().join("opensmtpd/usr/sbin/smtpd");
        if !have(&[program.to_str()?]) {
            return None;
        }
        let mut mounting = Command::new("unshare");
        mounting.args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/run"]).stderr(Stdio::null());
        if !rustix::process::geteuid().is_root() || !mounting.status().is_ok_and(|status| status.success()) {
            let caller = std::panic::Location::caller();
            let why = "OpenSMTPD starts as root only, where mounting is allowed";
            not_proved_here(&format!("{}:{}", caller.file(), caller.line()), why);
            return None;
        }
        let recorder = Recorder::start();
        for _ in 0..5 {
            let (folder, address) = (open_folder(), free_address());
            let file = folder.path().join("smtpd.conf");
            std::fs::write(&file, configuration(address, recorder.address())).expect("a folder of our own");
            set_mode(&file, 0o644);
            let mut command = Group::command(Path::new("unshare"));
            command.args(["-m", "sh", "-c", START]).arg(&program).arg(file).arg(folder.path().join("log"));
            let mut daemon = Group::spawn(&mut command);
            if listening(address, &mut daemon).is_some() {
                return Some(OpenSmtpd { address, folder, recorder, _daemon: daemon });
            }
            eprintln!("OpenSMTPD did not start:\n{}", log(folder.path()));
        }
        panic!("OpenSMTPD ended five times instead of listening");
    }

    /// The configuration of an upstream that is this server, in clear text.
    pub fn upstream(&self, name: &str) -> String {
        plain_upstream(name, self.address)
    }

    /// What it took and passed on, once there are that many.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Recorded> {
        self.recorder.wait(count)
    }
}

impl Drop for OpenSmtpd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("OpenSMTPD said:\n{}", log(self.folder.path()));
        }
    }
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn configuration(address: SocketAddr, next: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "listen on {ip} port {port} hostname opensmtpd.test\n\
         action \"next\" relay host smtp+notls://{next}\n\
         match from src {ip} for any action \"next\"\n"
    )
}
