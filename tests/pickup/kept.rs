//! Files that are stored and still lie there: that they are messages already is forgotten only when they are gone for certain.

use super::{OFF, events, file, messages, pickup, queued};
use crate::deliver::pickup_folder::names;
use crate::faults::disk::{SmallDisk, where_mounting_is_allowed};
use crate::faults::process::{Failing, can_trace};
use crate::support::eventually;
use crate::support::proxy::Proxy;

/// What is wrong with the pickup, once it is that.
#[track_caller]
fn trouble(proxy: &Proxy, words: &str) {
    eventually("the trouble", || {
        let ready = proxy.get("/readyz")?;
        ready["pickups"]["web1"].as_str()?.contains(words).then_some(())
    });
}

#[track_caller]
fn no_trouble(proxy: &Proxy) {
    eventually("the end of the trouble", || {
        (proxy.get("/readyz")?["pickups"] == serde_json::json!({})).then_some(())
    });
}

/// The folder lets nobody search it, or its disk fails: what cannot be seen now may be there all the same.
#[test]
fn a_folder_that_cannot_be_read_whole_forgets_no_file() {
    if !can_trace("pickup::kept") {
        return;
    }
    where_mounting_is_allowed(|| {
        for (call, words) in
            [("newfstatat:error=EACCES", "Permission denied"), ("getdents64:error=EIO", "Input/output error")]
        {
            let disk = SmallDisk::of(256);
            std::fs::write(disk.path().join("a.eml"), file(&["ann@b.test"], "\r\nx\r\n")).unwrap();
            assert!(disk.read_only(true));
            let proxy = Proxy::start(&(pickup("web1", disk.path()) + OFF));
            queued(&proxy, 1);
            eventually("it to be told", || events(&proxy, "STORAGE").pop());
            let tracer = Failing::on(proxy.pid(), disk.path(), &[call]);
            trouble(&proxy, words);
            drop(tracer);
            no_trouble(&proxy);
            assert!(disk.read_only(false));
            eventually("the folder to be empty", || names(disk.path()).is_empty().then_some(()));
            assert_eq!(messages(&proxy).len(), 1, "{call}");
        }
    });
}

/// Somebody has removed it, and nobody knows whether that survives a power cut: it may come back.
#[test]
fn a_file_that_is_gone_is_forgotten_when_that_is_on_the_disk() {
    if !can_trace("pickup::kept") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (folder, aside) = (place.path().join("in"), place.path().join("aside"));
    std::fs::create_dir(&folder).unwrap();
    let proxy = Proxy::start(&(pickup("web1", &folder) + OFF));
    let tracer = Failing::on(proxy.pid(), &folder, &["unlinkat:error=EACCES", "fsync:error=EIO"]);
    std::fs::write(folder.join("a.eml"), file(&["ann@b.test"], "\r\nx\r\n")).unwrap();
    queued(&proxy, 1);
    eventually("it to be told", || events(&proxy, "STORAGE").pop());
    std::fs::rename(folder.join("a.eml"), &aside).unwrap();
    trouble(&proxy, "cannot be synced");
    std::fs::rename(&aside, folder.join("a.eml")).unwrap();
    drop(tracer);
    eventually("the folder to be empty", || names(&folder).is_empty().then_some(()));
    assert_eq!(messages(&proxy).len(), 1);
    no_trouble(&proxy);
}
