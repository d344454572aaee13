//! A small file system of its own for the queue: a tmpfs that can be full, empty again, and read-only.
//!
//! Mounting takes rights. Each test that needs them runs itself again in a mount namespace of its own
//! (`tests/support/namespaces.rs`): as root (as CI does) with `unshare -m`, else with `unshare -Urm`, in which an ordinary user
//! is root. Where neither is allowed the failing disk of `tests/queue` stands alone.

use crate::support::namespaces;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mounted tmpfs.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

/// Runs `test` where mounting is allowed.
#[track_caller]
pub fn where_mounting_is_allowed<F: FnOnce()>(test: F) {
    namespaces::inside(&[&["-m"], &["-U", "-r", "-m"]], test);
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
