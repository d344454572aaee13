//! The disk reports an error of fdatasync: whether what was written before is safe nobody can know, and a second
//! fdatasync that succeeds proves nothing. `tests/queue/failing.rs` has every sync of a commit fail in its turn.

use super::process::{Failing, can_trace};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;

// CASES E5
#[test]
fn a_sync_that_failed_acknowledges_nothing_and_the_file_is_opened_again() {
    if !can_trace("faults::sync") {
        return;
    }
    let recorder = Recorder::start();
    let proxy = Proxy::start("");
    let mut client = Talk::hello(proxy.address());
    assert!(client.mail("r0@b.test", 500).starts_with("250"));
    let file = proxy.data_dir().join("queue.redb");
    let failing = Failing::on(proxy.pid(), &file, &["fdatasync:error=EIO", "fsync:error=EIO"]);
    for number in 1..4 {
        let reply = client.mail(&format!("lost{number}@b.test"), if number == 3 { 400_000 } else { 500 });
        assert!(reply.starts_with("451 4.3.0 "), "{reply}");
    }
    assert_eq!(proxy.http_status("/livez"), Some(200));
    assert_eq!(proxy.http_status("/readyz"), Some(503));
    drop(failing);
    // Without a restart.
    eventually("the proxy to be ready again", || (proxy.http_status("/readyz") == Some(200)).then_some(()));
    proxy.wait_until_said("the queue can be written again");
    assert!(client.mail("r1@b.test", 500).starts_with("250"));
    proxy.configure(&recorder.upstream("only"));
    proxy.command(&["reload"]);
    let mut arrived: Vec<String> = recorder.wait(2).iter().map(|message| message.rcpt.concat()).collect();
    arrived.sort();
    assert_eq!(arrived, ["<r0@b.test>", "<r1@b.test>"], "what was refused never leaves");
    eventually("the queue to be empty", || {
        proxy.get("/api/v1/messages")?["messages"].as_array()?.is_empty().then_some(())
    });
    assert_eq!(recorder.wait(0).len(), 2);
}
