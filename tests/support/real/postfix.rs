//! Postfix as an upstream: the daemons of its package, on their own.

use super::{Group, lines, listening, open_folder, set_mode};
use crate::support::foreign::{folder, have, missing};
use crate::support::recorder::{Recorded, Recorder};
use crate::support::{free_address, not_proved_here, plain_upstream};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running Postfix that passes on what it takes.
pub struct Postfix {
    address: SocketAddr,
    folder: tempfile::TempDir,
    recorder: Recorder,
    _master: Group,
}

impl Postfix {
    /// With these lines of main.cf over ours. None, after saying so, where Postfix cannot be had: it starts as root only.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Option<Postfix> {
        Postfix::start_with(settings, &[])
    }

    /// The same, with these files beside main.cf.
    #[track_caller]
    pub fn start_with(settings: &[(&str, &str)], files: &[(&str, &str)]) -> Option<Postfix> {
        let package = folder().join("postfix");
        if !have(&[package.join("usr/lib/postfix/sbin/master").to_str()?]) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            let caller = std::panic::Location::caller();
            not_proved_here(&format!("{}:{}", caller.file(), caller.line()), "Postfix starts as root only");
            return None;
        }
        let Some(owner) = Owner::known() else {
            missing("there is no user postfix or no group postdrop; ./scripts/setup sees to that");
            return None;
        };
        let recorder = Recorder::start();
        for _ in 0..5 {
            let (folder, address) = (open_folder(), free_address());
            let main = main_cf(folder.path(), &package, recorder.address(), settings);
            make_folders(folder.path(), &owner);
            std::fs::write(folder.path().join("etc/main.cf"), main).expect("a folder of our own");
            std::fs::write(folder.path().join("etc/master.cf"), master_cf(address))
                .expect("a folder of our own");
            let etc = folder.path().join("etc");
            for (name, text) in files {
                let file = etc.join(name);
                std::fs::create_dir_all(file.parent().expect("it is in etc")).expect("a folder of our own");
                std::fs::write(file, text).expect("a folder of our own");
            }
            let libraries = package.join("usr/lib/postfix");
            let mut command = Group::command(&package.join("usr/lib/postfix/sbin/master"));
            command.args(["-d", "-c"]).arg(etc).env("LD_LIBRARY_PATH", libraries);
            let mut master = Group::spawn(&mut command);
            if listening(address, &mut master).is_some() {
                return Some(Postfix { address, folder, recorder, _master: master });
            }
            eprintln!("Postfix did not start:\n{}", log(folder.path()));
        }
        panic!("Postfix ended five times instead of listening");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The configuration of an upstream that is this server, in clear text.
    pub fn upstream(&self, name: &str) -> String {
        plain_upstream(name, self.address)
    }

    /// What it took and passed on so far.
    pub fn messages(&self) -> Vec<Recorded> {
        self.recorder.messages()
    }

    /// The same, once there are that many.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Recorded> {
        self.recorder.wait(count)
    }

    /// Its log.
    pub fn log(&self) -> String {
        log(self.folder.path())
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Postfix said:\n{}", self.log());
        }
    }
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("mail.log")).unwrap_or_default()
}

fn main_cf(folder: &Path, package: &Path, next: SocketAddr, settings: &[(&str, &str)]) -> String {
    let below = |path: &str| folder.join(path).display().to_string();
    let packed = |path: &str| package.join(path).display().to_string();
    let defaults = [
        ("compatibility_level", "3.6".to_owned()),
        ("myhostname", "postfix.test".to_owned()),
        ("queue_directory", below("spool")),
        ("data_directory", below("data")),
        ("command_directory", packed("usr/sbin")),
        ("daemon_directory", packed("usr/lib/postfix/sbin")),
        ("shlib_directory", packed("usr/lib/postfix")),
        // Its daemons get a clean environment but for these.
        ("import_environment", "MAIL_CONFIG TZ LANG LD_LIBRARY_PATH".to_owned()),
        ("maillog_file", below("mail.log")),
        ("maillog_file_prefixes", "/".to_owned()),
        ("mydestination", String::new()),
        ("alias_maps", String::new()),
        ("alias_database", String::new()),
        ("inet_interfaces", "127.0.0.1".to_owned()),
        ("inet_protocols", "ipv4".to_owned()),
        ("mynetworks", "127.0.0.0/8".to_owned()),
        // Stock Postfix says 454 to strangers, "defer_unauth_destination"; most of its guides make that a 554.
        ("smtpd_relay_restrictions", "permit_mynetworks, reject_unauth_destination".to_owned()),
        ("relayhost", format!("[{}]:{}", next.ip(), next.port())),
        ("smtp_tls_security_level", "none".to_owned()),
        ("smtp_host_lookup", "native".to_owned()),
        ("smtputf8_enable", "yes".to_owned()),
    ];
    lines(&defaults, settings)
}

/// The services that reception and relaying need, none of them in a chroot.
fn master_cf(address: SocketAddr) -> String {
    format!(
        "{address} inet n - n - - smtpd\n\
         postlog unix-dgram n - n - 1 postlogd\n\
         cleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\n\
         rewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\n\
         flush unix n - n 1000? 0 flush\n\
         proxymap unix - - n - - proxymap\n\
         smtp unix - - n - - smtp\n\
         relay unix - - n - - smtp\n\
         error unix - - n - - error\n\
         retry unix - - n - - error\n\
         anvil unix - - n - 1 anvil\n\
         scache unix - - n - 1 scache\n\
         tlsmgr unix - - n 1000? 1 tlsmgr\n"
    )
}

/// The numbers of the user postfix and of the group postdrop.
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    fn known() -> Option<Owner> {
        Some(Owner { user: number("passwd", "postfix")?, group: number("group", "postdrop")? })
    }
}

fn number(database: &str, name: &str) -> Option<u32> {
    let output = Command::new("getent").args([database, name]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).split(':').nth(2)?.trim().parse().ok()
}

/// The folders that `postfix check` would make, with their owners.
fn make_folders(folder: &Path, owner: &Owner) {
    let make = |path: &str, user: u32, group: Option<u32>, mode: u32| {
        let path: PathBuf = folder.join(path);
        std::fs::create_dir_all(&path).expect("a folder of our own");
        std::os::unix::fs::chown(&path, Some(user), group).expect("we are root");
        set_mode(&path, mode);
    };
    for root in ["etc", "spool", "spool/pid"] {
        make(root, 0, None, 0o755);
    }
    make("data", owner.user, None, 0o700);
    for queue in ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"] {
        make(&format!("spool/{queue}"), owner.user, None, 0o700);
    }
    for more in ["private", "saved", "trace"] {
        make(&format!("spool/{more}"), owner.user, None, 0o700);
    }
    make("spool/public", owner.user, Some(owner.group), 0o2710);
    make("spool/maildrop", owner.user, Some(owner.group), 0o1730);
}
