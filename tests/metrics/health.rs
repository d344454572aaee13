//! Health checks: what they answer, and that nobody restarts the proxy for an upstream.

use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;

#[test]
fn an_upstream_that_is_down_is_told_and_makes_nobody_restart_the_proxy() {
    let proxy = Proxy::start(
        "[upstream.down]\nhost = \"127.0.0.1:1\"\ntls = \"none\"\n\
         [upstream.off]\nhost = \"127.0.0.1:1\"\ntls = \"none\"\nenabled = false\n",
    );
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    let ready = eventually("the circuit to open", || {
        let ready = proxy.get("/readyz").expect("200, whatever upstreams do");
        (ready["upstreams"][0]["state"] == "open").then_some(ready)
    });
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["upstreams"][0]["name"], "down");
    assert!(ready["upstreams"][0]["last_error"].as_str().unwrap().contains("127.0.0.1:1"), "{ready}");
    assert_eq!(ready["upstreams"][1]["state"], "disabled");
    assert_eq!(ready["upstreams"][1]["last_error"], serde_json::Value::Null);
    proxy.command(&["ready"]);
}

#[test]
fn a_health_check_and_a_scrape_write_no_line() {
    let proxy = Proxy::start("[upstream.down]\nhost = \"127.0.0.1:1\"\ntls = \"none\"\n");
    let scrapes = |count| {
        for _ in 0..count {
            assert_eq!(proxy.http_status("/livez"), Some(200));
            assert_eq!(proxy.http_status("/readyz"), Some(200));
            assert_eq!(proxy.http_status("/metrics"), Some(200));
        }
    };
    // The last line of a start.
    proxy.wait_until_said("listener test on");
    let before = proxy.said();
    scrapes(50);
    // Had they written a line, it would stand before that of the reload.
    proxy.command(&["reload"]);
    proxy.wait_until_said("configuration loaded again");
    let said = proxy.said();
    let new: Vec<&str> = said.strip_prefix(&before).unwrap().lines().collect();
    let others = new.iter().filter(|line| !line.is_empty() && !line.contains("configuration loaded again"));
    assert_eq!(others.count(), 0, "{new:#?}");
}
