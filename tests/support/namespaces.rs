//! Tests that mount, or want a network of their own: each runs itself again in namespaces, and whatever it did there is gone
//! with them.

use super::not_proved_here;
use std::process::{Command, Stdio};

/// In the environment of a test that runs in its own namespaces.
const INSIDE: &str = "POSTROOM_TEST_MOUNTS";

/// Runs `test` in the namespaces that `unshare` makes with the first of these choices of options that the system allows; a
/// mount namespace has to be among them. Where it allows none the test says so on standard error and in
/// `target/not-proved-here.txt`, which `scripts/test` prints at its end. The test is found again by the name of the function
/// that holds it, so that has to be a test.
#[track_caller]
pub fn inside<F: FnOnce()>(choices: &[&[&str]], test: F) {
    if are_ours() {
        return test();
    }
    let name = std::any::type_name::<F>();
    let name = name.trim_end_matches("::{{closure}}").split_once("::").map_or(name, |(_crate, name)| name);
    let Some(unshare) = choices.iter().find(|options| can_mount(options)) else {
        return not_proved_here(
            name,
            &format!("no namespaces to mount in (unshare with any of {choices:?})"),
        );
    };
    let mut command = Command::new("unshare");
    command.args(*unshare).arg(std::env::current_exe().expect("this program"));
    command.args([name, "--exact", "--nocapture"]).env(INSIDE, "1");
    let output = command.output().expect("unshare, which worked a moment ago");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "in a namespace of its own:\n{said}");
    print!("{said}");
}

/// Whether this process is the one inside.
pub fn are_ours() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn can_mount(unshare: &[&str]) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new("unshare");
    command.args(unshare).args(["mount", "-t", "tmpfs", "tmpfs"]).arg(folder.path());
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
