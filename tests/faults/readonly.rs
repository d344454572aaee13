//! A file system that goes read-only under the running proxy, and folders that cannot be written.
//!
//! Modes are no hindrance to root, and tests run as root: the folders here are below a file or on a read-only mount.

use super::disk::{SmallDisk, where_mounting_is_allowed};
use super::process::{Failing, can_trace};
use crate::support::eventually;
use crate::support::proxy::{Launch, Proxy};
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;

/// The disks here are smaller than the floor that is usual.
const NO_FLOOR: &str = "[queue]\nmin_free_space = \"0\"\n";

/// The system mounts nothing read-only while somebody has a file open for writing, unless the file system itself
/// has failed. So that failure is played first: while every write and every opening fails, the proxy has closed the
/// file; then the mount is read-only for real.
// CASES E4
#[test]
fn on_a_read_only_file_system_it_refuses_mail_stays_alive_and_recovers_when_it_is_writable_again() {
    if !can_trace("faults::readonly") {
        return;
    }
    where_mounting_is_allowed(|| {
        let disk = SmallDisk::of(16 * 1024);
        let recorder = Recorder::start();
        let mut proxy = Proxy::start_with(NO_FLOOR, Launch::default().data_dir(&disk.path().join("data")));
        let mut client = Talk::hello(proxy.address());
        assert!(client.mail("r0@b.test", 500).starts_with("250"));

        let faults = ["pwrite64:error=EROFS", "openat:error=EROFS"];
        let failing = Failing::on(proxy.pid(), &proxy.data_dir().join("queue.redb"), &faults);
        let reply = client.mail("r1@b.test", 500);
        assert!(reply.starts_with("451 4.3.0 "), "{reply}");
        eventually("the file to be closed", || disk.read_only(true).then_some(()));
        drop(failing);

        for size in [500, 400_000] {
            let reply = client.mail("r1@b.test", size);
            assert!(reply.starts_with("451 4.3.0 "), "{reply}");
        }
        assert_eq!(proxy.http_status("/livez"), Some(200));
        assert_eq!(proxy.http_status("/readyz"), Some(503));
        eventually("the queue to be listed", || {
            let output = proxy.try_command(&["queue", "list", "--json"]);
            let list: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
            (list.as_array()?.len() == 1).then_some(())
        });
        // There is somebody to send to, but what becomes of it could not be recorded.
        proxy.configure(&format!("{NO_FLOOR}{}", recorder.upstream("only")));
        proxy.command(&["reload"]);
        assert!(client.mail("r1@b.test", 500).starts_with("451"));
        assert!(recorder.wait(0).is_empty());

        assert!(disk.read_only(false));
        eventually("the proxy to be ready again", || {
            (proxy.http_status("/readyz") == Some(200)).then_some(())
        });
        assert!(client.mail("r2@b.test", 500).starts_with("250"));
        let mut arrived: Vec<String> = recorder.wait(2).iter().map(|message| message.rcpt.concat()).collect();
        arrived.sort();
        assert_eq!(arrived, ["<r0@b.test>", "<r2@b.test>"]);
        assert!(proxy.terminate().success());
        assert_eq!(recorder.wait(0).len(), 2);
    });
}

/// Started there, it does not start, and says why.
// CASES E4, G10
#[test]
fn on_a_read_only_file_system_it_does_not_start() {
    where_mounting_is_allowed(|| {
        let disk = SmallDisk::of(16 * 1024);
        let mut proxy = Proxy::start_with(NO_FLOOR, Launch::default().data_dir(&disk.path().join("data")));
        assert!(Talk::hello(proxy.address()).mail("r0@b.test", 500).starts_with("250"));
        proxy.kill();
        let file = proxy.data_dir().join("queue.redb");
        let before = std::fs::read(&file).unwrap();
        eventually("the mount to be free", || disk.read_only(true).then_some(()));
        let said = proxy.try_again().unwrap_err();
        assert_eq!(proxy.wait().code(), Some(1), "{said}");
        assert!(said.contains("data_dir") && said.contains("Read-only file system"), "{said}");
        assert!(std::fs::read(&file).unwrap() == before);
        // Looking needs no right to write.
        assert_eq!(proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().len(), 1);

        let nowhere = disk.path().join("new");
        let mut other = Proxy::spawn_with("", Launch::default().data_dir(&nowhere));
        let (code, said) = other.refused();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("data_dir") && said.contains("Read-only file system"), "{said}");

        disk.read_only(false);
        proxy.start_again();
        assert_eq!(proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().len(), 1);
    });
}

// CASES G10
#[test]
fn a_data_dir_that_cannot_be_a_folder_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    for path in [file.clone(), file.join("below")] {
        let mut proxy = Proxy::spawn_with("", Launch::default().data_dir(&path));
        let (code, said) = proxy.refused();
        assert_eq!(code, Some(1), "{said}");
        let named = format!("data_dir {}", path.display());
        assert!(said.contains(&named) && said.contains("cannot be used"), "{said}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"not a folder");
}

// CASES G10
#[test]
fn a_data_dir_that_is_missing_is_made_with_its_parents_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/c");
    let _proxy = Proxy::start_with("", Launch::default().data_dir(&path));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}
