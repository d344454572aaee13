//! What the tests share: servers, clients, folders.
//!
//! Nothing here is skipped: a test that needs a tool fails without it and says what installs it ([`not_proved_here`] is
//! the exception). Every process that is started is ended by its own id when its owner is dropped.

#![allow(dead_code, reason = "each room of tests uses its part")]

pub mod certificate;
pub mod clients;
pub mod foreign;
pub mod lax;
pub mod namespaces;
pub mod proxy;
pub mod real;
pub mod recorder;
pub mod samples;
pub mod scripted;
pub mod smtp_sink;
#[cfg(test)]
mod stage;
pub mod talk;
pub mod tap;
pub mod token_server;

use socket2::{Domain, Socket, Type};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Long, because a busy machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An address on loopback that nobody listens on, and that nobody else gets while this process lives: it stays bound, and
/// whoever is told of it may listen there (with SO_REUSEADDR, as servers do).
pub fn free_address() -> SocketAddr {
    let bind = || -> std::io::Result<SocketAddr> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let address = socket.local_addr()?.as_socket().expect("an address of loopback");
        std::mem::forget(socket);
        Ok(address)
    };
    bind().expect("a free port on loopback")
}

/// An address of this machine that is not loopback; nothing is sent to find it.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Asks `ready` again and again until it has an answer. Panics with `what` when [`PATIENCE`] is over.
#[track_caller]
pub fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ready() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts the command, or says how its program is installed.
#[track_caller]
pub fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| {
        let program = command.get_program();
        panic!("{program:?} cannot be started ({error}): ./scripts/setup installs what the tests need")
    })
}

/// The path of a program of Postfix's, which stand where an ordinary user's PATH does not look.
pub fn postfix_tool(name: &str) -> String {
    let in_sbin = format!("/usr/sbin/{name}");
    if std::path::Path::new(&in_sbin).exists() { in_sbin } else { name.to_owned() }
}

/// A process that ends with its owner.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says that something was not tested, where people see it.
pub fn not_proved_here(test: &str, why: &str) {
    eprintln!("NOT PROVED HERE: {test}: {why}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/not-proved-here.txt");
    std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("target/ can be made");
    let file = std::fs::File::options().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(format!("NOT PROVED HERE: {test}: {why}\n").as_bytes()))
        .expect("target/ can be written");
}

/// The configuration of an upstream in clear text.
pub fn plain_upstream(name: &str, address: SocketAddr) -> String {
    format!("[upstream.{name}]\nhost = \"{address}\"\ntls = \"none\"\n")
}
