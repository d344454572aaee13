//! Standard output that nobody reads, or that cannot be written.

use crate::support::proxy::BINARY;
use std::fs::File;
use std::process::{Command, Stdio};

/// `postroom check | head` ended in a panic with a backtrace.
#[test]
fn an_output_that_cannot_be_written_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.arg("check").current_dir(folder.path()).env("RUST_BACKTRACE", "1");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("standard output cannot be written") && !said.contains("panicked"), "{said}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("panicked"), "{said}");
}
