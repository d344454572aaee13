//! Dovecot's submission service as an upstream: it takes mail from those who log in alone.

use super::{Group, listening, open_folder, set_mode};
use crate::support::foreign::have;
use crate::support::recorder::{Recorded, Recorder};
use crate::support::{free_address, not_proved_here, plain_upstream};
use std::net::SocketAddr;
use std::path::Path;

const PROGRAM: &str = "/usr/sbin/dovecot";

/// `doveadm pw -s SHA512-CRYPT -p s3cret`.
const HASH: &str = "{SHA512-CRYPT}$6$utXdyv9HIubr0HPN$S8GalE091XRZvRYu/vxBfgY992PDzBlYqJyjPDqomYQh7kwaIFpA7VTf0qO2q1ka3ldKX3rrZjXPI0TraannF1";

/// A running Dovecot that passes on what it takes.
pub struct Dovecot {
    address: SocketAddr,
    folder: tempfile::TempDir,
    recorder: Recorder,
    _master: Group,
}

impl Dovecot {
    /// Knows the user `app` with the password `s3cret`. `mechanisms`: those that it offers. `introspection`: where it asks
    /// whether a token is good (RFC 7662). None, after saying so, where Dovecot cannot be had: it starts as root only.
    #[track_caller]
    pub fn start(mechanisms: &str, introspection: Option<&str>) -> Option<Dovecot> {
        if !have(&[PROGRAM, "/usr/lib/dovecot/submission-login"]) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            let caller = std::panic::Location::caller();
            not_proved_here(&format!("{}:{}", caller.file(), caller.line()), "Dovecot starts as root only");
            return None;
        }
        let recorder = Recorder::start();
        for _ in 0..5 {
            let (folder, address) = (open_folder(), free_address());
            let file = configuration(folder.path(), address, recorder.address(), mechanisms, introspection);
            let mut command = Group::command(Path::new(PROGRAM));
            command.args(["-F", "-c"]).arg(file);
            let mut master = Group::spawn(&mut command);
            if listening(address, &mut master).is_some() {
                return Some(Dovecot { address, folder, recorder, _master: master });
            }
            eprintln!("Dovecot did not start:\n{}", log(folder.path()));
        }
        panic!("Dovecot ended five times instead of listening");
    }

    /// The configuration of an upstream that is this server, in clear text.
    pub fn upstream(&self, name: &str) -> String {
        plain_upstream(name, self.address)
    }

    /// Where other servers ask it whether a login is right, as Postfix does.
    pub fn auth_socket(&self) -> String {
        self.folder.path().join("auth").display().to_string()
    }

    /// What it took and passed on, once there are that many.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Recorded> {
        self.recorder.wait(count)
    }

    /// From now on it has only a hash of the password, of which no SCRAM secret can be made.
    pub fn keep_password_as_hash(&self) {
        let file = self.folder.path().join("users");
        std::fs::write(file, format!("app:{HASH}\n")).expect("a folder of our own");
    }

    /// Its log, with a line for each login.
    pub fn log(&self) -> String {
        log(self.folder.path())
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Dovecot said:\n{}", self.log());
        }
    }
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn configuration(
    folder: &Path,
    address: SocketAddr,
    next: SocketAddr,
    mechanisms: &str,
    introspection: Option<&str>,
) -> std::path::PathBuf {
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).expect("a folder of our own");
        set_mode(&file, 0o644);
        file
    };
    let home = folder.join("home");
    std::fs::create_dir(&home).expect("a folder of our own");
    set_mode(&home, 0o777);
    write("users", "app:{PLAIN}s3cret\n");
    let mut passwords = PASSWORDS.to_owned();
    if let Some(url) = introspection {
        write("oauth2", &format!("introspection_mode = post\nintrospection_url = {url}\n{OAUTH2}"));
        passwords = TOKENS.to_owned() + &passwords;
    }
    let text = CONFIGURATION
        .replace("@PASSWORDS@", &passwords)
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@MECHANISMS@", mechanisms)
        .replace("@PORT@", &address.port().to_string())
        .replace("@NEXT@", &next.port().to_string());
    write("dovecot.conf", &text)
}

const CONFIGURATION: &str = "\
base_dir = @FOLDER@/run
state_dir = @FOLDER@/state
log_path = @FOLDER@/log
auth_verbose = yes
protocols = submission
ssl = no
disable_plaintext_auth = no
auth_mechanisms = @MECHANISMS@
auth_failure_delay = 0
@PASSWORDS@
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=@FOLDER@/home
}
mail_location = maildir:~/mail
submission_relay_host = 127.0.0.1
submission_relay_port = @NEXT@
# It would let wrong logins wait, ever longer.
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service auth {
  unix_listener @FOLDER@/auth {
    mode = 0666
  }
}
service submission-login {
  inet_listener submission {
    address = 127.0.0.1
    port = @PORT@
  }
}
";

const PASSWORDS: &str = "\
passdb {
  driver = passwd-file
  mechanisms = plain login scram-sha-256
  args = username_format=%u @FOLDER@/users
}
";

const TOKENS: &str = "\
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = @FOLDER@/oauth2
}
";

const OAUTH2: &str = "\
username_attribute = username
active_attribute = active
active_value = true
";
