//! Run by systemd: the units are sound and lock the service in, and a socket that systemd has opened is taken.

use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use crate::support::{Ended, eventually, not_proved_here, spawn};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_postroom");

/// The units of conf/systemd in a folder of their own, with the built binary in them.
fn units() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["postroom.service", "postroom.socket"] {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/systemd").join(name);
        let text = std::fs::read_to_string(unit).unwrap().replace("/usr/local/bin/postroom", BINARY);
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// What systemd-analyze says. Where there is none, says that `test` proves nothing here.
fn analyze(test: &str, arguments: &[&str]) -> Option<Output> {
    let folder = units();
    match Command::new("systemd-analyze").args(arguments).current_dir(folder.path()).output() {
        Ok(output) => Some(output),
        Err(error) => {
            not_proved_here(test, &format!("systemd-analyze cannot be started: {error}"));
            None
        }
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let Some(output) = analyze("the units are sound", &["verify", "./postroom.service", "./postroom.socket"])
    else {
        return;
    };
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("postroom."), "{said}");
}

/// Of systemd's scale from 0 (locked in) to 10, a web server as usually packaged has 9.2.
#[test]
fn the_service_is_locked_in() {
    let Some(output) = analyze(
        "the service is locked in",
        &["security", "--offline=true", "--no-pager", "--threshold=20", "./postroom.service"],
    ) else {
        return;
    };
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let level = said.lines().rfind(|line| line.contains("exposure level")).unwrap_or(&said);
    println!("{level}");
    assert!(output.status.success(), "{said}");
    assert!(level.contains(" OK "), "{level}");
}

/// Opens a port as systemd does and becomes postroom: of root's a port that takes a right to bind, and then it is root
/// no more. `@PORT@` in the configuration becomes the port.
const OPEN_AND_BECOME: &str = r#"
import os, socket, sys
binary, template, config = sys.argv[1:4]
listener = socket.socket()
root = os.geteuid() == 0
for port in range(1023, 600, -1) if root else [0]:
    try:
        listener.bind(("127.0.0.1", port))
        break
    except OSError:
        pass
listener.listen(64)
port = listener.getsockname()[1]
with open(template) as file, open(config + ".new", "w") as out:
    out.write(file.read().replace("@PORT@", str(port)))
os.rename(config + ".new", config)
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
if root:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
os.environ["LISTEN_FDS"] = "1"
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(binary, [binary, "serve", "--config", config])
"#;

/// The running proxy and its port. Ends with its owner.
fn activated(folder: &Path, config: &str) -> (Ended, u16) {
    let (template, file) = (folder.join("template.toml"), folder.join("postroom.toml"));
    std::fs::write(&template, config).unwrap();
    // Who is nobody must get there.
    let binary = folder.join("postroom");
    std::fs::copy(BINARY, &binary).unwrap();
    for (path, mode) in [(folder, 0o777), (&binary, 0o755)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let mut command = Command::new("python3");
    command.args(["-c", OPEN_AND_BECOME]).args([&binary, &template, &file]).current_dir(folder);
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let process = Ended(spawn(&mut command));
    let text = eventually("the port", || std::fs::read_to_string(&file).ok());
    let port = text.lines().find_map(|line| line.strip_prefix("# port ")).unwrap().parse().unwrap();
    (process, port)
}

// CASES G6
#[test]
fn a_socket_that_systemd_opened_is_taken_and_needs_no_right_of_our_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = "# port @PORT@\nhostname = \"proxy.test\"\ndata_dir = \"data\"\n[listener.smtp]\naddress = \"127.0.0.1:@PORT@\"\n";
    let (mut process, port) = activated(folder.path(), config);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    if rustix::process::geteuid().is_root() {
        assert!(port < 1024, "a port that takes a right to bind");
    }
    // The client's connection waits in the backlog until the service is up.
    let mut client = Talk::hello(address);
    assert!(client.transact(b"Subject: t\r\n\r\nx\r\n.\r\n").starts_with("250 2.0.0 queued as "));
    assert!(process.0.try_wait().unwrap().is_none());
}

#[test]
fn a_socket_that_no_listener_is_for_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = "# port @PORT@\nhostname = \"proxy.test\"\ndata_dir = \"data\"\n[listener.smtp]\naddress = \"127.0.0.1:0\"\n";
    let (mut process, port) = activated(folder.path(), config);
    let mut stderr = process.0.stderr.take().unwrap();
    eventually("a running proxy", || folder.path().join("data/control.sock").exists().then_some(()));
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&process.0),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.contains(&format!("hands over a socket on 127.0.0.1:{port}")), "{said}");
}

/// What systemd is told next that has this line.
#[track_caller]
fn told(systemd: &UnixDatagram, line: &str) -> String {
    let mut buffer = [0; 4096];
    loop {
        let length = systemd.recv(&mut buffer).unwrap_or_else(|error| panic!("waiting for {line}: {error}"));
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.lines().any(|one| one == line) {
            return text;
        }
    }
}

#[test]
fn systemd_is_told_of_ready_reload_life_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let mut proxy = Proxy::start_in(&environment, "[sending]\nenabled = false\n");
    assert!(told(&systemd, "READY=1").contains("STATUS=0 queued, 0 deferred, 0 held, 0 failed"));
    Talk::hello(proxy.address()).mail("b@b.test", 100);
    while !told(&systemd, "WATCHDOG=1").contains("STATUS=1 queued,") {}
    proxy.hang_up();
    assert!(told(&systemd, "RELOADING=1").contains("MONOTONIC_USEC="));
    told(&systemd, "READY=1");
    // A wrong configuration is loaded in vain, and the service is ready all the same.
    proxy.configure("nonsense");
    proxy.hang_up();
    told(&systemd, "RELOADING=1");
    told(&systemd, "READY=1");
    assert!(proxy.terminate().success());
    told(&systemd, "STOPPING=1");
}
