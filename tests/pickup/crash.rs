//! SIGKILL at each step between a file and its message.

use super::{OFF, file, messages, pickup, queued};
use crate::deliver::pickup_folder::names;
use crate::faults::process::{Failing, can_trace};
use crate::support::eventually;
use crate::support::proxy::Proxy;

/// Before the commit there is the file, after it the message: never neither, never two.
// CASES E18
#[test]
fn killed_at_each_step_a_file_is_one_message() {
    if !can_trace("pickup::crash") {
        return;
    }
    for (step, on_queue, call) in [
        ("it is found", false, "newfstatat"),
        ("its message is written, not committed", true, "fdatasync"),
        ("its message is committed, and it is to be removed", false, "unlinkat"),
        ("it is removed, not synced", false, "fsync"),
    ] {
        for size in [100, 400_000] {
            let folder = tempfile::tempdir().unwrap();
            let mut proxy = Proxy::start(&(pickup("web1", folder.path()) + OFF));
            let inject = format!("{call}:signal=KILL");
            let queue = proxy.data_dir().join("queue.redb");
            let tracer = Failing::on(proxy.pid(), if on_queue { &queue } else { folder.path() }, &[&inject]);
            let content = file(&["ann@b.test"], &format!("\r\n{}", "0123456789abcde\r\n".repeat(size / 17)));
            std::fs::write(folder.path().join("a.eml"), content).unwrap();
            proxy.wait();
            drop(tracer);
            let before = names(folder.path());
            proxy.start_again();
            queued(&proxy, 1);
            eventually("the folder to be empty", || names(folder.path()).is_empty().then_some(()));
            assert_eq!(messages(&proxy).len(), 1, "{step}, {before:?}");
            // What is removed is forgotten: a file of the same name is another message.
            std::fs::write(folder.path().join("a.eml"), file(&["ann@b.test"], "\r\nx\r\n")).unwrap();
            queued(&proxy, 2);
            println!("{step}, {size} bytes: {before:?}");
        }
    }
}
