//! `admin.toml` is the old one or the new one, wherever the process that writes it is killed; and a folder that cannot be
//! written is told as such.

use super::disk::{SmallDisk, where_mounting_is_allowed};
use super::process::{Failing, can_trace};
use crate::support::proxy::{BINARY, Launch, Proxy};
use std::process::{Command, Stdio};

const UPSTREAM: &str = "[upstream.a]\nhost = \"127.0.0.1:9\"\n[queue]\nmin_free_space = \"0\"\n";

fn limit(proxy: &Proxy) -> u64 {
    proxy.cli(&["check", "--json"])["upstream"]["a"]["connection_limit"].as_u64().unwrap()
}

#[test]
fn a_verb_that_is_killed_while_it_writes_leaves_the_old_file_or_the_new_one() {
    if !can_trace("faults::admin_file") {
        return;
    }
    let mut proxy = Proxy::start(UPSTREAM);
    proxy.terminate();
    proxy.command(&["upstream", "edit", "a", "connection_limit=7"]);
    let staged = proxy.data_dir().join("admin.toml.new");
    for (number, call) in ["openat", "write", "fsync", "rename"].into_iter().enumerate() {
        let wanted = 8 + number as u64;
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(&staged);
        strace
            .args(["-e", &format!("inject={call}:signal=KILL")])
            .arg(BINARY)
            .arg("--config")
            .arg(proxy.config_file());
        strace.args(["upstream", "edit", "a", &format!("connection_limit={wanted}")]);
        let killed = strace.stdin(Stdio::null()).output().unwrap();
        assert!(!killed.status.success(), "{call} was not made: {}", String::from_utf8_lossy(&killed.stderr));
        let now = limit(&proxy);
        assert!(now == 7 || call == "rename" && now == wanted, "{now} after {call}");
        // What it has left is in nobody's way.
        for limit in ["connection_limit=6", "connection_limit=7"] {
            proxy.command(&["upstream", "edit", "a", limit]);
        }
        assert_eq!(limit(&proxy), 7);
        assert!(!staged.exists());
    }
    proxy.start_again();
    assert_eq!(proxy.get("/api/v1/upstreams").unwrap()[0]["connection_limit"], 7);
}

#[test]
fn a_proxy_that_is_killed_while_it_writes_has_the_old_file_or_the_new_one() {
    if !can_trace("faults::admin_file") {
        return;
    }
    let mut proxy = Proxy::start(UPSTREAM);
    proxy.command(&["upstream", "edit", "a", "connection_limit=7"]);
    for (number, call) in ["write", "fsync", "rename"].into_iter().enumerate() {
        let wanted = 8 + number as u64;
        let staged = proxy.data_dir().join("admin.toml.new");
        let killing = Failing::on(proxy.pid(), &staged, &[&format!("{call}:signal=KILL")]);
        let verb = proxy.try_command(&["upstream", "edit", "a", &format!("connection_limit={wanted}")]);
        assert!(!verb.status.success());
        proxy.wait();
        drop(killing);
        proxy.start_again();
        let now = proxy.get("/api/v1/upstreams").unwrap()[0]["connection_limit"].as_u64().unwrap();
        assert!(now == 7 || call == "rename" && now == wanted, "{now} after {call}");
        proxy.command(&["upstream", "edit", "a", "connection_limit=7"]);
    }
}

#[test]
fn what_cannot_be_written_is_told_and_changes_nothing() {
    where_mounting_is_allowed(|| {
        let disk = SmallDisk::of(16 * 1024);
        let folder = disk.path().join("data");
        let mut proxy = Proxy::start_with(UPSTREAM, Launch::default().data_dir(&folder));
        proxy.terminate();
        assert!(disk.read_only(true));
        let verb = proxy.try_command(&["upstream", "disable", "a"]);
        let said = String::from_utf8_lossy(&verb.stderr).into_owned();
        assert_eq!(verb.status.code(), Some(1), "{said}");
        let path = folder.join("admin.toml");
        assert!(
            said.contains(&format!("{} cannot be written: Read-only file system", path.display())),
            "{said}"
        );
        assert!(disk.read_only(false));
        // The running proxy is in the same case where something stands in the way.
        proxy.start_again();
        std::fs::create_dir(folder.join("admin.toml.new")).unwrap();
        let verb = proxy.try_command(&["upstream", "disable", "a"]);
        let said = String::from_utf8_lossy(&verb.stderr).into_owned();
        assert_eq!(verb.status.code(), Some(1), "{said}");
        assert!(said.contains("admin.toml cannot be written"), "{said}");
        assert_eq!(proxy.get("/api/v1/upstreams").unwrap()[0]["enabled"], true);
        assert!(!path.exists());
    });
}
