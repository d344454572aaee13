//! Exim as an upstream.

use super::{Group, lines, listening, open_folder, set_mode};
use crate::support::foreign::{folder, have};
use crate::support::recorder::{Recorded, Recorder};
use crate::support::{free_address, plain_upstream};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// A running Exim that passes on what it takes.
pub struct Exim {
    address: SocketAddr,
    folder: tempfile::TempDir,
    recorder: Recorder,
    _daemon: Group,
}

impl Exim {
    /// With these main options, macros and lists over ours: `REQUIRE_TLS` (`yes`: 530 at MAIL without it), `AUTH_OFFERED`
    /// (`plain`, `login` or both, within TLS, for `app` with the password `s3cret`), `CONNECT_DELAY`, `RCPT_DELAY` and `DATA_DELAY`
    /// (how long it takes to greet, and to answer RCPT and the final dot), `hostlist relay_from`, and whatever Exim knows. None, after saying so, where Exim cannot be had.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Option<Exim> {
        let packed = folder().join("exim/usr/sbin/exim4");
        if !have(&[packed.to_str()?]) {
            return None;
        }
        let recorder = Recorder::start();
        for _ in 0..5 {
            let (folder, address) = (open_folder(), free_address());
            // Its receiving processes give their rights up before they start it anew to deliver: it has to lie where
            // its own user may go.
            let program = folder.path().join("exim");
            std::fs::copy(&packed, &program).expect("a folder of our own");
            set_mode(&program, 0o755);
            let text = configuration(folder.path(), address, recorder.address(), settings);
            let file = folder.path().join("exim.conf");
            std::fs::write(&file, text).expect("a folder of our own");
            set_mode(&file, 0o644);
            let mut command = Group::command(&program);
            command.arg("-C").arg(file).args(["-bdf", "-q1m"]);
            let mut daemon = Group::spawn(&mut command);
            if listening(address, &mut daemon).is_some() {
                return Some(Exim { address, folder, recorder, _daemon: daemon });
            }
            eprintln!("Exim did not start:\n{}", log(folder.path()));
        }
        panic!("Exim ended five times instead of listening");
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

    /// Its main and panic logs.
    pub fn log(&self) -> String {
        log(self.folder.path())
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Exim said:\n{}", self.log());
        }
    }
}

fn log(folder: &Path) -> String {
    let read = |name| std::fs::read_to_string(folder.join("data/log").join(name)).unwrap_or_default();
    ["mainlog", "paniclog"].map(read).concat()
}

fn configuration(folder: &Path, address: SocketAddr, next: SocketAddr, settings: &[(&str, &str)]) -> String {
    let data = folder.join("data");
    std::fs::create_dir_all(data.join("log")).expect("a folder of our own");
    let mut owner = Vec::new();
    if rustix::process::geteuid().is_root() {
        // Compiled in by Debian.
        let output = Command::new("chown").args(["-R", "Debian-exim"]).arg(&data).output();
        assert!(output.is_ok_and(|output| output.status.success()), "no user Debian-exim: ./scripts/setup");
    } else {
        let name = |flag: &str| {
            let output = Command::new("id").arg(flag).arg("-n").output().expect("id of coreutils");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        owner = vec![("exim_user", name("-u")), ("exim_group", name("-g"))];
    }
    let mut defaults = vec![
        ("REQUIRE_TLS", "no".to_owned()),
        ("AUTH_OFFERED", "none".to_owned()),
        ("CONNECT_DELAY", "0s".to_owned()),
        ("RCPT_DELAY", "0s".to_owned()),
        ("DATA_DELAY", "0s".to_owned()),
        ("hostlist relay_from", "127.0.0.1".to_owned()),
        ("primary_hostname", "exim.test".to_owned()),
        ("exim_path", folder.join("exim").display().to_string()),
        ("spool_directory", data.join("spool").display().to_string()),
        ("log_file_path", data.join("log/%slog").display().to_string()),
        ("pid_file_path", data.join("exim.pid").display().to_string()),
        ("local_interfaces", format!("<; [{}]:{}", address.ip(), address.port())),
        ("disable_ipv6", "true".to_owned()),
        ("host_lookup", String::new()),
        // One line for each refusal, in the main log.
        ("write_rejectlog", "false".to_owned()),
        ("rfc1413_hosts", String::new()),
        ("smtputf8_advertise_hosts", "*".to_owned()),
        ("tls_advertise_hosts", String::new()),
        // Not set-uid here: what delivers is what received.
        ("deliver_drop_privilege", "true".to_owned()),
        ("acl_smtp_mail", "acl_mail".to_owned()),
        ("acl_smtp_rcpt", "acl_rcpt".to_owned()),
        ("acl_smtp_connect", "acl_connect".to_owned()),
        ("acl_smtp_data", "acl_data".to_owned()),
        ("keep_environment", String::new()),
    ];
    defaults.extend(owner);
    let (macros, options): (Vec<String>, Vec<String>) = lines(&defaults, settings)
        .lines()
        .map(|line| format!("{line}\n"))
        .partition(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    format!(
        "{}{}{}",
        macros.concat(),
        options.concat(),
        REST.replace("@NEXT@", &format!("{}::{}", next.ip(), next.port()))
    )
}

const REST: &str = "\
begin acl
acl_connect:
  accept delay = CONNECT_DELAY
acl_data:
  accept delay = DATA_DELAY
acl_mail:
  deny condition = REQUIRE_TLS
       !encrypted = *
       message = 530 5.7.0 Must issue a STARTTLS command first
  accept
acl_rcpt:
  warn delay = RCPT_DELAY
  accept hosts = +relay_from
  accept authenticated = *
  deny message = relay not permitted
begin routers
next:
  driver = manualroute
  route_list = * @NEXT@
  self = send
  transport = next
begin transports
next:
  driver = smtp
  allow_localhost
  hosts_avoid_tls = *
begin retry
* * F,1h,1m
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_advertise_condition = ${if and{{def:tls_in_cipher}{match{AUTH_OFFERED}{plain}}}}
  server_condition = ${if and{{eq{$auth2}{app}}{eq{$auth3}{s3cret}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_advertise_condition = ${if and{{def:tls_in_cipher}{match{AUTH_OFFERED}{login}}}}
  server_prompts = <| Username: | Password:
  server_condition = ${if and{{eq{$auth1}{app}}{eq{$auth2}{s3cret}}}}
  server_set_id = $auth1
";
