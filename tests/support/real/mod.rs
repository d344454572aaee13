//! Mail servers of other people's as upstreams: Postfix, Exim, OpenSMTPD, Dovecot, aiosmtpd, each with folders and a configuration of its
//! own on a free port of loopback.
//!
//! Postfix, Exim and OpenSMTPD are unpacked by `./scripts/setup`, not installed: their packages exclude one another, and a test
//! must not depend on, nor disturb, the mail server of the machine. They pass on what they took to a [`Recorder`], whose
//! messages therefore show what the server made of it: its own `Received:` in front, the rest as it came.
//!
//! [`Recorder`]: super::recorder::Recorder

mod aiosmtpd;
mod dovecot;
mod exim;
mod opensmtpd;
mod postfix;

pub use aiosmtpd::Aiosmtpd;
pub use dovecot::Dovecot;
pub use exim::Exim;
pub use opensmtpd::OpenSmtpd;
pub use postfix::Postfix;

use super::clients::succeeded;
use super::{eventually, spawn};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server and its children. They are a process group of their own, which is ended with its owner.
struct Group(Child);

/// Ends the group when the server ends, and when its standard input does, which the test holds: a test that is killed
/// leaves no server behind. (The kernel's own way, a signal at the parent's death, is lost when a server changes users.)
const ENDING_WITH_US: &str = r#"("$@"; kill -KILL 0) & read -r line; kill -KILL 0"#;

impl Group {
    /// The program, to be given arguments and started with [`Group::spawn`].
    fn command(program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", ENDING_WITH_US, "sh"]).arg(program);
        command
    }

    #[track_caller]
    fn spawn(command: &mut Command) -> Group {
        Group(spawn(command.process_group(0).stdin(Stdio::piped())))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Waits until somebody listens there. No answer where the server ended instead, as it does when the port was taken
/// meanwhile.
#[track_caller]
fn listening(address: SocketAddr, group: &mut Group) -> Option<()> {
    eventually("the server to listen", || {
        if group.0.try_wait().expect("a child of ours").is_some() {
            return Some(None);
        }
        TcpStream::connect(address).is_ok().then_some(Some(()))
    })
}

/// Waits until a server's log has that: Postfix and Dovecot write theirs by processes of their own, a while later.
#[track_caller]
pub fn wait_for_log(log: impl Fn() -> String, what: &str) {
    eventually(&format!("{what:?} in the log"), || log().contains(what).then_some(()));
}

/// Settings as `key = value` lines, the defaults first and each overridden by the caller's.
fn lines(defaults: &[(&str, String)], settings: &[(&str, &str)]) -> String {
    let mut merged: BTreeMap<&str, &str> =
        defaults.iter().map(|(key, value)| (*key, value.as_str())).collect();
    merged.extend(settings.iter().copied());
    merged.into_iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

/// A temporary folder that the server's own user can get into.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    set_mode(folder.path(), 0o755);
    folder
}

/// Its permissions, as chmod sets them.
pub fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a path of our own");
}

/// A certificate and its key as people make them: with `openssl req -x509`, signed by itself.
pub struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    /// For 127.0.0.1, valid for a day.
    #[track_caller]
    pub fn self_signed() -> Certificate {
        let folder = open_folder();
        let certificate = Certificate { folder };
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]);
        command.args(["-subj", "/CN=mail.upstream.test", "-addext", "subjectAltName=IP:127.0.0.1"]);
        command.arg("-keyout").arg(certificate.key()).arg("-out").arg(certificate.chain());
        succeeded(&mut command, b"");
        // It lives for one test, and the servers read it as users of their own.
        set_mode(&certificate.key(), 0o644);
        certificate
    }

    /// The certificate, PEM: for the server, and for `tls_ca`.
    pub fn chain(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Its key, PEM.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}
