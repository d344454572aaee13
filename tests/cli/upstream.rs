//! What `postroom upstream list` says of the upstreams of the running proxy.

use crate::support::clients::smtp_source;
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::scripted::{Act, Scripted};

// CASES H4
#[test]
fn the_limit_that_works_is_shown_beside_the_one_that_is_configured() {
    let refusal = Act::last("421 4.7.0 Error: too many connections from 127.0.0.1");
    let only = Scripted::start(|script| script.ehlo(&["PIPELINING"]).sessions(1, refusal));
    let port = only.port();
    let proxy = Proxy::start(&format!(
        "[upstream.only]\nhost = \"127.0.0.1:{port}\"\ntls = \"none\"\nconnection_limit = 5\n"
    ));
    let mut sent = 0;
    let shown = eventually("the limit to be found", || {
        smtp_source(proxy.address(), &["-s", "10", "-m", "100", "-l", "1000"]);
        sent += 100;
        only.wait_for(sent);
        let shown = proxy.cli(&["upstream", "list", "--json"])[0].clone();
        (shown["effective_limit"] == 1).then_some(shown)
    });
    assert_eq!(shown["connection_limit"], 5, "{shown}");
    assert!(shown["last_error"].as_str().unwrap().contains("too many connections"), "{shown}");
    eventually("all to be settled", || {
        let output = proxy.command(&["upstream", "list"]).stdout;
        String::from_utf8(output).unwrap().contains("0/1 of 5").then_some(())
    });
    assert!(!proxy.said().contains("is left alone"), "the circuit has opened");
}
