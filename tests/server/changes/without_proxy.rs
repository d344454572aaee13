//! The verbs, while no proxy runs.

use super::*;

#[test]
fn without_a_proxy_the_next_start_reads_it() {
    let mut proxy = Proxy::start(TWO);
    proxy.terminate();
    let said = proxy.command(&["upstream", "disable", "a"]);
    assert!(stderr(&said).contains("no proxy is running"), "{}", stderr(&said));
    refused(&proxy, &["upstream", "edit", "a", "connection_limit=0"], 78, "0 is too small");
    proxy.start_again();
    assert_eq!(upstream(&proxy, "a")["enabled"], false);
    let events = events(&proxy, "CHANGED");
    assert!(
        matches!(&events[..], [one] if one.starts_with("upstream.a.enabled: true -> false (by postroom upstream disable, user ")
            && one.ends_with(", without a running proxy)")),
        "{events:?}"
    );
}

#[test]
fn without_a_proxy_the_list_is_what_is_configured() {
    let mut proxy = Proxy::start(TWO);
    proxy.terminate();
    proxy.command(&["upstream", "disable", "a"]);
    let said = proxy.command(&["upstream", "list", "--json"]);
    assert!(stderr(&said).contains("no proxy is running"));
    assert_eq!(
        (&upstream(&proxy, "a")["state"], &upstream(&proxy, "a")["changed"]),
        (&json!("disabled"), &json!(["enabled"]))
    );
    assert_eq!(
        (&upstream(&proxy, "b")["state"], &upstream(&proxy, "b")["connection_limit"]),
        (&json!("unknown"), &json!(2))
    );
}

#[test]
fn verbs_at_once_without_a_proxy_miss_neither_each_other_nor_a_start() {
    let mut proxy = Proxy::start(TWO);
    proxy.terminate();
    let keys = ["connection_limit=7", "max_idle_time=5s", "priority=low", "rate_limit=9/1m"];
    std::thread::scope(|scope| {
        for key in keys {
            let proxy = &proxy;
            scope.spawn(|| proxy.command(&["upstream", "edit", "a", key]));
        }
    });
    let mut verb = verb(&proxy, &["upstream", "disable", "b"]);
    let mut verb = verb.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    proxy.launch_again();
    assert!(verb.wait().unwrap().success());
    eventually("the proxy to be ready", || (proxy.http_status("/readyz") == Some(200)).then_some(()));
    assert_eq!(upstream(&proxy, "a")["changed"].as_array().unwrap().len(), keys.len());
    assert_eq!(upstream(&proxy, "b")["enabled"], false);
    assert_eq!(events(&proxy, "CHANGED").len(), keys.len() + 1);
}

/// As with `sudo postroom upstream add` on a service that runs as a user of its own.
#[test]
fn what_root_writes_belongs_to_the_owner_of_the_folder() {
    use std::os::unix::fs::{MetadataExt, chown};
    let mut proxy = Proxy::start(TWO);
    proxy.terminate();
    if let Err(why) = chown(proxy.data_dir(), Some(12_345), Some(12_345)) {
        return not_proved_here("server::changes", &format!("this user gives no folder away: {why}"));
    }
    std::fs::remove_file(proxy.data_dir().join("queue.redb")).unwrap();
    proxy.command(&["upstream", "disable", "a"]);
    for name in ["admin.toml", "queue.redb"] {
        let owner = proxy.data_dir().join(name).metadata().unwrap();
        assert_eq!((owner.uid(), owner.gid()), (12_345, 12_345), "{name}");
    }
}
