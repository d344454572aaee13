//! The Debian packages, installed, upgraded, removed and purged in a Debian of their own: what `./scripts/setup` has debootstrap
//! make below target/, with a layer above it that is gone with the test.

use super::container::text;
use super::{packed_by, succeed, with_a_network_of_its_own};
use crate::support::clients::succeeded;
use crate::support::proxy::BINARY;
use crate::support::recorder::Recorder;
use crate::support::{Ended, eventually, foreign, free_address, spawn};
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A fresh Debian. What is written to it is in memory.
struct Debian {
    folder: tempfile::TempDir,
}

impl Debian {
    fn fresh(base: &Path) -> Debian {
        let folder = tempfile::tempdir().unwrap();
        succeed(&["mount", "-t", "tmpfs", "tmpfs", text(folder.path())]);
        for name in ["upper", "work", "root"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let at = folder.path().display();
        let layers = format!("lowerdir={},upperdir={at}/upper,workdir={at}/work", base.display());
        let debian = Debian { folder };
        succeed(&["mount", "-t", "overlay", "overlay", "-o", &layers, text(&debian.path("/"))]);
        succeed(&["mount", "-t", "proc", "proc", text(&debian.path("/proc"))]);
        debian
    }

    /// A path of it, from outside.
    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.path("/")).args(words).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs a program in it and returns what it said.
    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        String::from_utf8(succeeded(&mut self.command(words), b"").stdout).unwrap()
    }

    #[track_caller]
    fn install(&self, packages: &[&PathBuf]) {
        let mut words = vec!["dpkg", "--install"];
        let names: Vec<String> = packages
            .iter()
            .map(|package| {
                let name = format!("/tmp/{}", package.file_name().unwrap().display());
                std::fs::copy(package, self.path(&name)).unwrap();
                name
            })
            .collect();
        words.extend(names.iter().map(String::as_str));
        self.run(&words);
        for name in &names {
            std::fs::remove_file(self.path(name)).unwrap();
        }
    }

    /// The service, as the unit starts it.
    fn service(&self) -> Ended {
        let user = self.run(&["id", "-u", "postroom"]);
        let group = self.run(&["id", "-g", "postroom"]);
        let data = self.path("/var/lib/postroom");
        if !data.exists() {
            // StateDirectory=
            std::fs::create_dir(&data).unwrap();
            std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
            let number = |text: &str| Some(text.trim().parse().unwrap());
            std::os::unix::fs::chown(&data, number(&user), number(&group)).unwrap();
        }
        let unit = std::fs::read_to_string(self.path("/usr/lib/systemd/system/postroom.service")).unwrap();
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let mut command = Command::new("unshare");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.arg(format!("--root={}", self.path("/").display()));
        command.arg(format!("--setgid={}", group.trim())).arg(format!("--setuid={}", user.trim()));
        let log = self.folder.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        command.args(start.split(' ')).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let mut service = Ended(spawn(&mut command));
        eventually("the service", || {
            let ended = service.0.try_wait().unwrap();
            assert!(ended.is_none(), "it ended ({ended:?}):\n{}", std::fs::read_to_string(&log).unwrap());
            self.command(&["postroom", "ready"]).output().unwrap().status.success().then_some(())
        });
        service
    }

    /// Everything in it but what dpkg keeps for itself.
    fn files(&self) -> BTreeSet<String> {
        let not_ours =
            ["/proc", "/run", "/var/lib/dpkg", "/var/lib/logrotate", "/var/cache", "/var/log", "/tmp"];
        let mut find = vec!["find", "/"];
        for path in not_ours {
            find.extend(["-path", path, "-prune", "-o"]);
        }
        find.push("-print");
        // Copies that the tools of passwd keep.
        self.run(&find).lines().filter(|path| !path.ends_with('-')).map(str::to_owned).collect()
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        for path in [self.path("/"), self.folder.path().to_owned()] {
            let _ = Command::new("umount").args(["-l", "-R"]).arg(path).status();
        }
    }
}

struct Packages {
    _folder: tempfile::TempDir,
    postroom: PathBuf,
    mta: PathBuf,
}

/// Of that version, made by `scripts/deb`.
#[track_caller]
fn packages(version: &str) -> Packages {
    let folder = tempfile::tempdir().unwrap();
    let mut script = packed_by("deb");
    let said = succeeded(script.arg("--version").arg(version).arg("--out").arg(folder.path()), b"").stdout;
    println!("{}", String::from_utf8_lossy(&said));
    let find = |package: &str| {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let start = format!("{package}_{version}-1_");
        names
            .into_iter()
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&start))
            .unwrap()
    };
    Packages { postroom: find("postroom"), mta: find("postroom-mta"), _folder: folder }
}

/// The Debian that `./scripts/setup` has made; None, and said so, where it has not.
#[track_caller]
fn base() -> Option<PathBuf> {
    let base = foreign::folder().join("debian");
    foreign::have(&["dpkg-deb", "dpkg-shlibdeps", text(&base)]).then_some(base)
}

const MAIL: &[u8] = b"To: ann@example.com\nSubject: t\n\nx\n";

// Mail that waits is there after an upgrade and after a removal; purge leaves nothing.
#[test]
fn it_installs_upgrades_with_its_mail_is_removed_and_purged() {
    with_a_network_of_its_own(|| {
        let Some(base) = base() else { return };
        std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "25").unwrap();
        let (old, new) = (packages("0.0.9"), packages("0.1.0"));
        let debian = Debian::fresh(&base);
        let before = debian.files();
        debian.install(&[&old.postroom]);

        let config = debian.path("/etc/postroom/postroom.toml");
        let group: u32 = debian.run(&["id", "-g", "postroom"]).trim().parse().unwrap();
        let facts = config.metadata().unwrap();
        assert_eq!((facts.mode() & 0o777, facts.uid(), facts.gid()), (0o640, 0, group));
        for name in ["/usr/sbin/sendmail", "/usr/bin/mailq", "/usr/bin/newaliases"] {
            assert_eq!(debian.run(&["readlink", "-f", name]).trim(), "/usr/bin/postroom", "{name}");
        }
        let enabled = debian.path("/etc/systemd/system/multi-user.target.wants/postroom.service");
        assert!(enabled.is_symlink());
        debian.run(&["postroom", "check"]);

        // The owner names an upstream, which is down.
        let upstream = free_address();
        let as_installed = std::fs::read_to_string(&config).unwrap();
        let text = format!(
            "hostname = \"debian.test\"\n{as_installed}\n[upstream.one]\nhost = \"{upstream}\"\ntls = \"none\"\n\
             [log_emails]\nenabled = true\n[user.app1]\npassword = \"secret\"\n"
        );
        std::fs::write(&config, &text).unwrap();
        let checked = succeeded(&mut debian.command(&["postroom", "check"]), b"").stderr;
        assert!(!String::from_utf8_lossy(&checked).contains("others may read it"), "{checked:?}");
        let mut service = debian.service();
        let mut sendmail =
            debian.command(&["/usr/sbin/sendmail", "-i", "-f", "shop@example.com", "ann@example.com"]);
        succeeded(&mut sendmail, MAIL);
        let queued = || -> serde_json::Value {
            serde_json::from_str(&debian.run(&["postroom", "queue", "list", "--json"])).unwrap()
        };
        let id = queued()[0]["id"].clone();
        assert!(id.is_string());

        // What the service's user keeps, nobody else reads.
        let data = debian.path("/var/lib/postroom");
        assert_eq!(data.metadata().unwrap().mode() & 0o777, 0o700);
        stop(&mut service);
        debian.install(&[&new.postroom]);
        // Once more changes nothing.
        debian.install(&[&new.postroom]);
        assert_eq!(
            debian.run(&["dpkg-query", "-W", "-f", "${Version} ${Status}", "postroom"]),
            "0.1.0-1 install ok installed"
        );
        assert_eq!(std::fs::read_to_string(&config).unwrap(), text);
        assert_eq!(config.metadata().unwrap().mode() & 0o777, 0o640);
        assert!(enabled.is_symlink());
        assert_eq!(queued()[0]["id"], id);

        debian.run(&["dpkg", "--remove", "postroom"]);
        for name in ["/usr/bin/postroom", "/usr/sbin/sendmail", "/usr/bin/mailq"] {
            assert!(!debian.path(name).is_symlink() && !debian.path(name).exists(), "{name}");
        }
        assert!(data.join("queue.redb").exists() && config.exists());

        // Back again, it sends what has waited for its upstream.
        debian.install(&[&new.postroom]);
        let recorder = Recorder::start_at(upstream);
        let mut service = debian.service();
        debian.run(&["postroom", "queue", "retry", "--all", "--yes"]);
        assert_eq!(recorder.wait(1)[0].rcpt, ["<ann@example.com>"]);

        // logrotate, by the package's file: records go on in a new one.
        let records = data.join("logemails.log");
        let first =
            eventually("a record", || std::fs::read_to_string(&records).ok().filter(|text| !text.is_empty()));
        debian.run(&["logrotate", "--force", "/etc/logrotate.d/postroom"]);
        let mut sendmail =
            debian.command(&["/usr/sbin/sendmail", "-i", "-f", "shop@example.com", "bob@example.com"]);
        succeeded(&mut sendmail, MAIL);
        recorder.wait(2);
        assert_eq!(std::fs::read_to_string(data.join("logemails.log.1")).unwrap(), first);
        assert!(std::fs::read_to_string(&records).unwrap().starts_with("Timestamp: "));
        stop(&mut service);

        debian.run(&["dpkg", "--purge", "postroom"]);
        let after = debian.files();
        assert_eq!(after.symmetric_difference(&before).collect::<Vec<_>>(), [&""; 0]);
        let users = std::fs::read_to_string(debian.path("/etc/passwd")).unwrap();
        let groups = std::fs::read_to_string(debian.path("/etc/group")).unwrap();
        assert!(!users.contains("postroom") && !groups.contains("postroom"), "{users}{groups}");
    });
}

#[track_caller]
fn stop(service: &mut Ended) {
    let pid = rustix::process::Pid::from_child(&service.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = eventually("the service's end", || service.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn another_sendmail_stays_and_postroom_mta_takes_its_place() {
    with_a_network_of_its_own(|| {
        let Some(base) = base() else { return };
        let packages = packages("0.1.0");
        let debian = Debian::fresh(&base);
        let sendmail = debian.path("/usr/sbin/sendmail");
        std::fs::write(&sendmail, "Postfix's").unwrap();
        debian.install(&[&packages.postroom]);
        assert_eq!(std::fs::read_to_string(&sendmail).unwrap(), "Postfix's");
        debian.run(&["dpkg", "--purge", "postroom"]);
        assert_eq!(std::fs::read_to_string(&sendmail).unwrap(), "Postfix's");
        std::fs::remove_file(&sendmail).unwrap();

        debian.install(&[&packages.postroom, &packages.mta]);
        let provides = debian.run(&["dpkg-query", "-W", "-f", "${Provides}", "postroom-mta"]);
        assert_eq!(provides, "mail-transport-agent");
        assert_eq!(debian.run(&["readlink", "-f", "/usr/sbin/sendmail"]).trim(), "/usr/bin/postroom");
        debian.run(&["dpkg", "--purge", "postroom-mta", "postroom"]);
    });
}

#[test]
fn lintian_and_systemd_find_nothing_wrong() {
    if !foreign::have(&["lintian", "systemd-analyze", "dpkg-deb", "dpkg-shlibdeps"]) {
        return;
    }
    let packages = packages("0.1.0");
    for package in [&packages.postroom, &packages.mta] {
        let mut lintian = Command::new("lintian");
        lintian.args(["--fail-on", "error,warning", "--allow-root"]).arg(package);
        succeeded(&mut lintian, b"");
    }
    let folder = tempfile::tempdir().unwrap();
    succeed(&["dpkg-deb", "-x", text(&packages.postroom), text(folder.path())]);
    let units = folder.path().join("usr/lib/systemd/system");
    let service = units.join("postroom.service");
    let unit = std::fs::read_to_string(&service).unwrap();
    assert!(unit.contains("\nUser=postroom\n") && !unit.contains("DynamicUser"), "{unit}");
    std::fs::write(&service, unit.replace("/usr/bin/postroom", BINARY)).unwrap();
    // The user is made by the installation, not here.
    let verified = succeeded(
        Command::new("systemd-analyze")
            .args(["verify", "--man=no", "./postroom.service", "./postroom.socket"])
            .current_dir(&units),
        b"",
    );
    assert!(!String::from_utf8_lossy(&verified.stderr).contains("postroom."), "{verified:?}");
    let analyzed = succeeded(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold=20", "./postroom.service"])
            .current_dir(&units),
        b"",
    );
    let said = String::from_utf8_lossy(&analyzed.stdout).into_owned();
    println!("{}", said.lines().rfind(|line| line.contains("exposure level")).unwrap_or(&said));
}
