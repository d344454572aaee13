//! The image, unpacked, and containers of it, made with what a container is made of: a root that cannot be written, a volume,
//! namespaces, a user without rights. No engine is needed for it.

use super::{packed_by, succeed};
use crate::support::clients::succeeded;
use crate::support::{Ended, eventually, not_proved_here, spawn};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

const CONTAINERFILE: &str = include_str!("../../conf/sidecar/Containerfile");

/// The user that it runs as.
pub(super) const USER: u32 = 65532;

/// What it takes mail on.
pub(super) const DOOR: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2525);

pub(super) struct Image {
    folder: tempfile::TempDir,
    /// Configuration of the built image; none where buildah is not there.
    pub(super) config: Option<serde_json::Value>,
}

impl Image {
    /// Has `scripts/image` make it, and unpacks it. Without buildah the layers are put together here, as the Containerfile says.
    #[track_caller]
    pub(super) fn make() -> Image {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (made, root) = (folder.path().join("made"), folder.path().join("root"));
        std::fs::create_dir(&root).expect("a folder of our own");
        let said = succeeded(packed_by("image").arg("--out").arg(&made), b"").stdout;
        println!("{}", String::from_utf8_lossy(&said));
        let config = match made.join("postroom.tar").exists() {
            true => Some(unpack(&made, &root)),
            false => {
                not_proved_here("packages::image", "buildah is not there: the image is put together by hand");
                for part in ["root", "volume"] {
                    succeed(&["cp", "-a", &format!("{}/.", made.join(part).display()), text(&root)]);
                }
                succeed(&["chown", "-R", &format!("{USER}:{USER}"), text(&root.join("data"))]);
                None
            }
        };
        // What a runtime puts there before it closes the root.
        for file in ["etc/resolv.conf", "etc/hosts"] {
            std::fs::write(root.join(file), "nameserver 127.0.0.1\n").expect("a folder of our own");
        }
        std::fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").expect("a folder of our own");
        std::fs::create_dir_all(root.join("run/secrets")).expect("a folder of our own");
        Image { folder, config }
    }

    /// A file in the image.
    pub(super) fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    /// A container with that volume, started.
    #[track_caller]
    pub(super) fn run(&self, volume: &Volume, environment: &[(&str, &str)]) -> Container {
        let mut environment: BTreeMap<String, String> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (name, value) = instruction("ENV").split_once('=').expect("one variable");
        environment.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        let root = tempfile::tempdir_in(self.folder.path()).expect("a temporary folder").keep();
        let all = self.folder.path().join("root");
        succeed(&["mount", "--bind", text(&all), text(&root)]);
        let data = root.join("data");
        succeed(&["mount", "--bind", text(volume.0.path()), text(&data)]);
        if volume.0.path().join(READ_ONLY).exists() {
            succeed(&["mount", "-o", "remount,bind,ro", text(&data)]);
        }
        succeed(&["mount", "-o", "remount,bind,ro", text(&root)]);
        let mut command = inside(&root, &environment);
        command.args(words("ENTRYPOINT")).args(words("CMD")).stdin(Stdio::null());
        let log = root.with_extension("log");
        let file = std::fs::File::create(&log).expect("a folder of our own");
        command.stdout(file.try_clone().expect("a file")).stderr(file);
        Container { process: Ended(spawn(&mut command)), root, environment, log }
    }
}

/// An instruction of the Containerfile, which has each once.
pub(super) fn instruction(name: &str) -> &'static str {
    let line = CONTAINERFILE.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in the Containerfile"))
}

/// The words of an instruction in the form of JSON.
pub(super) fn words(name: &str) -> Vec<String> {
    let text = instruction(name);
    let list = &text[text.find('[').expect("a list")..];
    serde_json::from_str(list).expect("a list of strings")
}

/// As nobody, with no right to get any, in a root and among processes of its own.
fn inside(root: &Path, environment: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "unshare", "--pid", "--fork", "--kill-child"]);
    let (user, group) = instruction("USER").split_once(':').expect("a number for each");
    command.arg(format!("--root={}", root.display()));
    command.arg(format!("--setgid={group}")).arg(format!("--setuid={user}"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(environment);
    command
}

/// Unpacks the layers, as an engine does, and returns the configuration.
fn unpack(made: &Path, root: &Path) -> serde_json::Value {
    let archive = made.join("archive");
    std::fs::create_dir(&archive).expect("a folder of our own");
    succeed(&["tar", "-xf", text(&made.join("postroom.tar")), "-C", text(&archive)]);
    let read = |name: &str| -> serde_json::Value {
        let file = std::fs::read(archive.join(name)).expect("a file of the image");
        serde_json::from_slice(&file).expect("JSON")
    };
    let manifest = read("manifest.json");
    for layer in manifest[0]["Layers"].as_array().expect("its layers") {
        let layer = archive.join(layer.as_str().expect("a path"));
        succeed(&["tar", "--same-owner", "-xpf", text(&layer), "-C", text(root)]);
    }
    read(manifest[0]["Config"].as_str().expect("a path"))["config"].take()
}

/// Marks a volume that is mounted read-only.
const READ_ONLY: &str = ".read-only";

/// A folder that is mounted at /data.
pub(super) struct Volume(tempfile::TempDir);

impl Volume {
    /// A new one of the user's, as an engine makes it from the image.
    pub(super) fn of_the_user() -> Volume {
        Volume::owned_by(USER, USER, 0o700)
    }

    pub(super) fn owned_by(user: u32, group: u32, mode: u32) -> Volume {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).expect("root may");
        succeed(&["chmod", &format!("{mode:o}"), text(folder.path())]);
        Volume(folder)
    }

    pub(super) fn read_only() -> Volume {
        let volume = Volume::of_the_user();
        std::fs::write(volume.0.path().join(READ_ONLY), "").expect("a folder of our own");
        volume
    }
}

/// A running one, or one that has ended.
pub(super) struct Container {
    process: Ended,
    root: PathBuf,
    environment: BTreeMap<String, String>,
    log: PathBuf,
}

impl Container {
    /// Waits until HEALTHCHECK says so.
    #[track_caller]
    pub(super) fn becomes_healthy(&mut self) {
        eventually("a healthy container", || {
            let ended = self.process.0.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "it ended ({ended:?}):\n{}", self.said());
            self.execute(&words("HEALTHCHECK")[..]).status.success().then_some(())
        });
    }

    /// What `exec` of an engine does: another program, with the same around it.
    #[track_caller]
    pub(super) fn execute<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Output {
        inside(&self.root, &self.environment).args(words).output().expect("unshare")
    }

    /// The id of postroom itself, as seen from outside.
    pub(super) fn pid(&self) -> i32 {
        eventually("its process", || self.pid_now())
    }

    fn pid_now(&self) -> Option<i32> {
        let outer = self.process.0.id();
        let children = format!("/proc/{outer}/task/{outer}/children");
        std::fs::read_to_string(children).ok()?.trim().parse().ok()
    }

    /// SIGTERM, as an engine stops it.
    pub(super) fn stop(&self) {
        kill_process(Pid::from_raw(self.pid()).expect("a process"), Signal::TERM).expect("it runs");
    }

    #[track_caller]
    pub(super) fn wait(&mut self) -> ExitStatus {
        eventually("its end", || self.process.0.try_wait().expect("a child of ours"))
    }

    /// Its log.
    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a file of our own")
    }

    /// The exit code and the log of one that does not start.
    #[track_caller]
    pub(super) fn refused(&mut self) -> (Option<i32>, String) {
        let code = self.wait().code();
        (code, self.said())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // unshare's --kill-child is forgotten by the system when the user changes.
        if let Some(pid) = self.pid_now().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = Command::new("umount").args(["-l", "-R"]).arg(&self.root).status();
    }
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of our own")
}
