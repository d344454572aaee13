//! The container image and the Debian packages, made by `scripts/image` and `scripts/deb` and used as their users use them: in
//! a root of their own, with a network of their own. Whoever is not root cannot make those: the tests say so.
//!
//! They hold the build of the tests, or the one that `PACKAGED_BINARY` names, as `scripts/test` has it: the release build.

mod container;
mod debian;
mod image;
mod manifests;
mod name_server;

use crate::support::proxy::BINARY;
use crate::support::{clients, namespaces, not_proved_here};
use std::path::Path;
use std::process::Command;

/// Runs `test`, as root, with a network of its own, in which loopback is up and every port free.
#[track_caller]
fn with_a_network_of_its_own<F: FnOnce()>(test: F) {
    if !rustix::process::geteuid().is_root() {
        return not_proved_here(std::any::type_name::<F>(), "roots of their own take root to make");
    }
    if namespaces::are_ours() {
        succeed(&["ip", "link", "set", "lo", "up"]);
    }
    namespaces::inside(&[&["-m", "-n"]], test);
}

/// One of our scripts, given the build to pack.
fn packed_by(script: &str) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script));
    command.arg("--binary").arg(std::env::var_os("PACKAGED_BINARY").unwrap_or_else(|| BINARY.into()));
    // Quickly: nobody downloads it.
    command.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    command
}

/// Runs a program and returns what it wrote to standard output; panics with all that it wrote unless it ends with 0.
#[track_caller]
fn succeed(words: &[&str]) -> String {
    let output = clients::succeeded(Command::new(words[0]).args(&words[1..]), b"");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
