//! A small disk for the queue file, and the ballast that fills it.

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A tmpfs. Unmounted when dropped, whoever still uses it.
pub struct Disk {
    mount: PathBuf,
}

impl Disk {
    /// Mounts one; none where this machine does not let us.
    pub fn mount(at: &Path, mebibytes: u32) -> Option<Disk> {
        std::fs::create_dir_all(at).expect("a folder of our own");
        let options = format!("size={mebibytes}m,mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
        let status = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success()).then(|| Disk { mount: at.to_owned() })
    }

    /// Takes all room but the last `rest` bytes.
    pub fn fill(&self, rest: u64) {
        let path = self.mount.join("ballast");
        let Ok(mut ballast) = std::fs::File::create(&path) else { return };
        // Most of it at once; the rest in small pieces, while the proxy writes too.
        if let Ok(room) = statvfs(&self.mount) {
            let most = (room.f_bavail * room.f_frsize).saturating_sub(8 << 20);
            let _ = fallocate(&ballast, FallocateFlags::empty(), 0, most.max(1));
        }
        let _ = ballast.seek(SeekFrom::End(0));
        while ballast.write_all(&[0; 4096]).is_ok() {}
        if rest > 0 {
            let length = ballast.metadata().map_or(0, |data| data.len());
            let _ = ballast.set_len(length.saturating_sub(rest));
        }
    }

    /// Gives the room back.
    pub fn empty(&self) {
        let _ = std::fs::remove_file(self.mount.join("ballast"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).stderr(Stdio::null()).status();
    }
}

/// Where only root may mount: runs this one test again in a user namespace in which we are root. True: that is done,
/// and went well.
pub fn reborn(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    let ours = Command::new("unshare").args(["-Urm", "true"]).stderr(Stdio::null()).status();
    if !ours.is_ok_and(|status| status.success()) {
        return false;
    }
    let mut again = Command::new("unshare");
    again.arg("-Urm").arg(std::env::current_exe().expect("this program")).args([
        test,
        "--exact",
        "--nocapture",
    ]);
    let status = again.status().expect("unshare, which worked a moment ago");
    assert!(status.success(), "the run in a namespace of its own failed");
    true
}
