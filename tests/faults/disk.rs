//! A small file system of its own for the queue: a tmpfs that can be full, empty again, and read-only.
//!
//! Mounting takes rights. Each test that needs them runs itself again in a mount namespace of its own, where whatever it
//! mounts is gone with it: as root (as CI does) with `unshare -m`, else with `unshare -Urm`, in which an ordinary
//! user is root. Where neither is allowed the test says so on standard error and in `target/not-proved-here.txt`, which
//! `scripts/test` prints at its end; the failing disk of `tests/queue` then stands alone.

use crate::support::not_proved_here;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// In the environment of a test that runs in its own namespace.
const INSIDE: &str = "POSTROOM_TEST_MOUNTS";

/// A mounted tmpfs.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

/// Runs `test` where mounting is allowed. It is found again by the name of the function that holds it, so that has to
/// be a test.
#[track_caller]
pub fn where_mounting_is_allowed<F: FnOnce()>(test: F) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let name = std::any::type_name::<F>();
    let name = name.trim_end_matches("::{{closure}}").split_once("::").map_or(name, |(_crate, name)| name);
    let Some(unshare) = [&["-m"][..], &["-U", "-r", "-m"]].into_iter().find(|flags| can_mount(flags)) else {
        return not_proved_here(name, "no file system can be mounted (neither unshare -m nor unshare -Urm)");
    };
    let mut command = Command::new("unshare");
    command.args(unshare).arg(std::env::current_exe().expect("this program"));
    command.args([name, "--exact", "--nocapture"]).env(INSIDE, "1");
    let output = command.output().expect("unshare, which worked a moment ago");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "in a namespace of its own:\n{said}");
    print!("{said}");
}

fn can_mount(unshare: &[&str]) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new("unshare");
    command.args(unshare).args(["mount", "-t", "tmpfs", "tmpfs"]).arg(folder.path());
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl SmallDisk {
    /// Mounts one with room for that many KiB.
    pub fn of(kib: u64) -> SmallDisk {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = format!("size={kib}k,mode=700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()));
        SmallDisk { folder }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves room for that many bytes, rounded down to pages.
    pub fn fill_but(&self, bytes: u64) {
        self.empty();
        let mut ballast = std::fs::File::create(self.ballast()).expect("room for a name");
        let left = self.free().saturating_sub(bytes);
        for _ in 0..left / 4096 {
            if ballast.write_all(&[0; 4096]).is_err() {
                // Somebody else has taken some.
                break;
            }
        }
    }

    /// Gives the room back.
    pub fn empty(&self) {
        let _ = std::fs::remove_file(self.ballast());
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        let space = rustix::fs::statvfs(self.path()).expect("a mounted file system");
        space.f_bavail * space.f_frsize
    }

    /// Mounts it again, read-only or not. Refused by the system while somebody has a file open for writing.
    pub fn read_only(&self, read_only: bool) -> bool {
        let mode = if read_only { "remount,ro" } else { "remount,rw" };
        let mut command = Command::new("mount");
        let status = command.args(["-o", mode]).arg(self.path()).stderr(Stdio::null()).status();
        status.expect("mount").success()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a proxy may still be ending.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let status = command.status().expect("a program of every Linux");
    assert!(status.success(), "{command:?}: {status}");
}
