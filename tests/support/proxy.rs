//! The built binary, run as its users run it.

use super::clients::succeeded;
use super::{PATIENCE, eventually, free_address, spawn};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};

/// The built binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_postroom");

/// `postroom serve` with a configuration and a folder of its own. Killed when dropped.
pub struct Proxy {
    folder: tempfile::TempDir,
    launch: Launch,
    address: SocketAddr,
    process: Child,
    said: Arc<Said>,
}

/// How it is started, where that is not as usual.
#[derive(Default, Clone)]
pub struct Launch {
    data_dir: Option<PathBuf>,
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Launch {
    /// Queue file and control socket in that folder, which the caller has made, or has not.
    pub fn data_dir(mut self, path: &Path) -> Launch {
        self.data_dir = Some(path.to_owned());
        self
    }

    /// By a program that becomes it in the end, such as `prlimit --nofile=64`.
    pub fn through(mut self, command: &[&str]) -> Launch {
        self.wrapper = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// With a variable in its environment.
    pub fn variable(mut self, name: &str, value: &str) -> Launch {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn data_dir_in(&self, folder: &Path) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| folder.join("data"))
    }
}

/// All that the process wrote, to either stream.
#[derive(Default)]
struct Said {
    text: Mutex<String>,
    more: Condvar,
    /// Streams that are not at their end.
    open: Mutex<u32>,
}

impl Proxy {
    /// Writes the configuration, starts the proxy and waits until it is ready.
    ///
    /// `config` may begin with top-level keys. `hostname` (proxy.test) and `data_dir` stand in front of it; behind it a
    /// listener on a free port of loopback, unless it has one of its own with the address `@LISTEN@`.
    #[track_caller]
    pub fn start(config: &str) -> Proxy {
        Proxy::start_with(config, Launch::default())
    }

    /// As [`Proxy::start`], with these variables in its environment.
    #[track_caller]
    pub fn start_in(environment: &[(&str, &str)], config: &str) -> Proxy {
        let launch =
            environment.iter().fold(Launch::default(), |launch, (name, value)| launch.variable(name, value));
        Proxy::start_with(config, launch)
    }

    /// As [`Proxy::start`], in another way.
    #[track_caller]
    pub fn start_with(config: &str, launch: Launch) -> Proxy {
        for _ in 0..5 {
            let mut proxy = Proxy::spawn_with(config, launch.clone());
            match proxy.become_ready() {
                Ok(()) => return proxy,
                // Between choosing the port and binding it somebody else took it.
                Err(said) if said.contains("in use") => {}
                Err(said) => panic!("postroom serve ended before it was ready:\n{said}"),
            }
        }
        panic!("five ports in a row were taken by somebody else");
    }

    /// As [`Proxy::start`], without waiting: for configurations that are refused.
    pub fn spawn(config: &str) -> Proxy {
        Proxy::spawn_with(config, Launch::default())
    }

    /// As [`Proxy::spawn`], in another way.
    pub fn spawn_with(config: &str, launch: Launch) -> Proxy {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = free_address();
        if launch.data_dir.is_none() {
            std::fs::create_dir_all(launch.data_dir_in(folder.path())).expect("a folder of our own");
        }
        write_config(folder.path(), config, address, &launch);
        let (process, said) = serve(folder.path(), &launch);
        Proxy { folder, launch, address, process, said }
    }

    /// Where it takes mail.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("postroom.toml")
    }

    /// The folder of queue file, log and control socket.
    pub fn data_dir(&self) -> PathBuf {
        self.launch.data_dir_in(self.folder.path())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Writes another configuration, for a reload or a restart; the listener stays where it is.
    pub fn configure(&self, config: &str) {
        write_config(self.folder.path(), config, self.address, &self.launch);
    }

    /// SIGKILL, and the end of the process.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// SIGTERM, and how the process ended.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("postroom serve to end", || self.process.try_wait().expect("a child of ours"))
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("a child of ours").is_some()
    }

    /// Starts it again on the same folder and port, after it has ended, and waits until it is ready.
    #[track_caller]
    pub fn start_again(&mut self) {
        if let Err(said) = self.try_again() {
            panic!("postroom serve ended before it was ready:\n{said}");
        }
    }

    /// As [`Proxy::start_again`]; where it ends instead, what it said.
    #[track_caller]
    pub fn try_again(&mut self) -> Result<(), String> {
        self.launch_again();
        self.become_ready()
    }

    /// As [`Proxy::start_again`], without waiting.
    #[track_caller]
    pub fn launch_again(&mut self) {
        assert!(self.has_ended(), "postroom serve is still running");
        (self.process, self.said) = serve(self.folder.path(), &self.launch);
    }

    /// Waits until it has ended by itself: its exit code, and all that it said.
    #[track_caller]
    pub fn refused(&mut self) -> (Option<i32>, String) {
        let status = self.wait();
        (status.code(), self.said.at_the_end())
    }

    /// The status that the control socket answers a GET with; none where nobody answers.
    pub fn http_status(&self, path: &str) -> Option<u16> {
        ask(&self.data_dir().join("control.sock"), path).map(|(status, _)| status)
    }

    /// What the control socket answers a GET with, where that is a success.
    pub fn get(&self, path: &str) -> Option<serde_json::Value> {
        let (status, body) = ask(&self.data_dir().join("control.sock"), path)?;
        (status == 200).then(|| serde_json::from_slice(&body).ok())?
    }

    /// The bytes that the control socket answers a GET with, whatever its status.
    #[track_caller]
    pub fn raw(&self, path: &str) -> Vec<u8> {
        ask(&self.data_dir().join("control.sock"), path).expect("somebody answers").1
    }

    /// Everything that it wrote since it was started last.
    pub fn said(&self) -> String {
        self.said.text.lock().expect("the reader does not panic").clone()
    }

    /// Waits until it has written that.
    #[track_caller]
    pub fn wait_until_said(&self, what: &str) {
        let text = self.said.text.lock().expect("the reader does not panic");
        let waiting = self.said.more.wait_timeout_while(text, PATIENCE, |text| !text.contains(what));
        let (text, timeout) = waiting.expect("the reader does not panic");
        assert!(!timeout.timed_out(), "waited {PATIENCE:?} for {what:?} in\n{text}");
    }

    /// Runs `postroom <arguments>` with this configuration. Panics unless it succeeds.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> Output {
        succeeded(&mut self.command_line(arguments), b"")
    }

    /// Runs `postroom <arguments>`, whatever comes of it.
    #[track_caller]
    pub fn try_command(&self, arguments: &[&str]) -> Output {
        self.command_line(arguments).stdin(Stdio::null()).output().expect("the built binary")
    }

    /// Runs `postroom <arguments>`, among them `--json`, and returns what it printed.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.command(arguments);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// `postroom <arguments>` with this configuration, to be started.
    pub fn command_line(&self, arguments: &[&str]) -> Command {
        let mut command = postroom();
        command.envs(self.launch.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path()).arg("--config").arg(self.config_file()).args(arguments);
        command
    }

    /// Any signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal)
            .expect("a child of ours that has not been waited for");
    }

    /// Waits until the control socket says so. With what it wrote where it ended first.
    #[track_caller]
    fn become_ready(&mut self) -> Result<(), String> {
        let socket = self.data_dir().join("control.sock");
        let (process, said) = (&mut self.process, &self.said);
        eventually("postroom serve to be ready", || {
            if process.try_wait().expect("a child of ours").is_some() {
                // What it said last may still be on its way through the pipe.
                return Some(Err(said.at_the_end()));
            }
            ask(&socket, "/readyz").is_some_and(|(status, _)| status == 200).then_some(Ok(()))
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("postroom serve said:\n{}", self.said());
        }
    }
}

/// The built binary, without anything in the environment that it would take for configuration.
pub fn postroom() -> Command {
    postroom_at(Path::new(BINARY))
}

/// As [`postroom`], another build of it.
pub fn postroom_at(binary: &Path) -> Command {
    without_configuration(Command::new(binary))
}

fn without_configuration(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("POSTROOM_") || name_text.starts_with("RELAYHOST") || name_text == "RUST_LOG"
        {
            command.env_remove(&name);
        }
    }
    command
}

fn write_config(folder: &Path, config: &str, address: SocketAddr, launch: &Launch) {
    let data_dir = launch.data_dir_in(folder);
    let mut text = format!("hostname = \"proxy.test\"\ndata_dir = \"{}\"\n", data_dir.display());
    text.push_str(&config.replace("@LISTEN@", &address.to_string()));
    if !config.contains("@LISTEN@") {
        text.push_str(&format!("\n[listener.test]\naddress = \"{address}\"\n"));
    }
    std::fs::write(folder.join("postroom.toml"), text).expect("a folder of our own");
}

fn serve(folder: &Path, launch: &Launch) -> (Child, Arc<Said>) {
    let mut command = match launch.wrapper.split_first() {
        Some((program, arguments)) => {
            let mut command = without_configuration(Command::new(program));
            command.args(arguments).arg(BINARY);
            command
        }
        None => postroom(),
    };
    command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
    command.arg("serve").arg("--config").arg(folder.join("postroom.toml")).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(&mut command);
    let said = Arc::new(Said::default());
    said.listen(child.stdout.take().expect("it was piped"));
    said.listen(child.stderr.take().expect("it was piped"));
    (child, said)
}

impl Said {
    fn listen(self: &Arc<Self>, mut stream: impl Read + Send + 'static) {
        let said = Arc::clone(self);
        *said.open.lock().expect("the reader does not panic") += 1;
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                said.text
                    .lock()
                    .expect("only this appends")
                    .push_str(&String::from_utf8_lossy(&buffer[..length]));
                said.more.notify_all();
            }
            *said.open.lock().expect("the reader does not panic") -= 1;
        });
    }

    /// All of it, once both streams are at their end.
    #[track_caller]
    fn at_the_end(&self) -> String {
        eventually("the end of what postroom serve says", || {
            (*self.open.lock().expect("the reader does not panic") == 0).then_some(())
        });
        self.text.lock().expect("the reader does not panic").clone()
    }
}

/// Status and body that a GET on the control socket is answered with; none where nobody answers.
fn ask(socket: &Path, path: &str) -> Option<(u16, Vec<u8>)> {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().ok()?;
    let status = std::str::from_utf8(answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?.parse().ok()?;
    let body = memchr::memmem::find(&answer, b"\r\n\r\n")? + 4;
    Some((status, answer[body..].to_vec()))
}
