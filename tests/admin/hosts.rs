//! By which names it answers: against DNS rebinding.

use super::Admin;
use crate::support::not_proved_here;
use crate::support::own_address;

#[test]
fn a_name_that_is_not_ours_is_refused() {
    let admin = Admin::start("hosts = [\"postroom.example.com\", \"192.0.2.7\"]");
    let port = admin.address.port();
    for host in [
        format!("127.0.0.1:{port}"),
        "localhost".to_owned(),
        format!("localhost:{port}"),
        "[::1]:1".to_owned(),
        "postroom.example.com".to_owned(),
        "POSTROOM.example.com.:443".to_owned(),
        "192.0.2.7".to_owned(),
    ] {
        let answer = admin.get("/api/v1/stats", &[&format!("Host: {host}")]);
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
    }
    for host in [
        "evil.test",
        "evil.test:8025",
        "x.postroom.example.com",
        "localhost.evil.test",
        "192.0.2.8",
        "",
        "a b",
    ] {
        let refused = admin.get("/api/v1/stats", &[&format!("Host: {host}")]);
        assert_ne!(refused.status, 200, "{host}");
        if host.starts_with("evil") {
            refused.is_problem(421, "hosts in [admin]");
        }
        assert_ne!(admin.get("/login", &[&format!("Host: {host}")]).status, 200, "{host}");
    }
}

#[test]
fn health_is_told_to_whoever_asks_by_whatever_name() {
    let admin = Admin::start("password = \"x\"");
    for path in ["/livez", "/readyz"] {
        assert_eq!(admin.get(path, &["Host: 10.1.2.3:8025"]).status, 200);
        assert_eq!(admin.say(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).status, 200);
    }
}

/// How things are is for who may read, and not for a page whose name leads here.
#[test]
fn health_says_more_to_who_may_read() {
    let named = |admin: &Admin, headers: &[&str]| {
        let ready = admin.get("/readyz", headers);
        assert_eq!(ready.status, 200);
        ready.json()["modes"].as_array().unwrap().len()
    };
    let open = Admin::start("");
    assert!(named(&open, &[]) > 0);
    for foreign in [&["Host: evil.test"][..], &["Sec-Fetch-Site: cross-site"]] {
        assert_eq!(named(&open, foreign), 0, "{foreign:?}");
    }
    let closed = Admin::start(&super::with_password());
    assert_eq!(named(&closed, &[]), 0);
    assert!(named(&closed, &[&format!("Authorization: Bearer {}", super::TOKEN)]) > 0);
}

#[test]
fn a_request_without_a_name_or_with_two_is_refused() {
    let admin = Admin::start("");
    let say = |head: &str| admin.say(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes());
    say("GET /api/v1/stats HTTP/1.1").is_problem(400, "no Host");
    say("GET /api/v1/stats HTTP/1.1\r\nHost: localhost\r\nHost: evil.test").is_problem(400, "several Host");
    say("GET http://evil.test/api/v1/stats HTTP/1.1\r\nHost: localhost").is_problem(421, "evil.test");
    say("GET http://localhost/api/v1/stats HTTP/1.1\r\nHost: evil.test").is_problem(421, "evil.test");
    assert_eq!(say("GET http://localhost/api/v1/stats HTTP/1.1\r\nHost: localhost").status, 200);
}

#[test]
fn other_machines_reach_it_by_its_address() {
    let Some(own) = own_address() else {
        return not_proved_here("admin::hosts", "this machine has no address but loopback");
    };
    let admin = Admin::start("");
    let address = std::net::SocketAddr::new([0, 0, 0, 0].into(), admin.address.port());
    let off = super::config(address, "");
    admin.proxy.configure(&off);
    let refused = admin.proxy.try_command(&["reload"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no password"));
    assert_eq!(admin.get("/api/v1/stats", &[]).status, 200, "nothing has changed");
    let address = std::net::SocketAddr::new([0, 0, 0, 0].into(), crate::support::free_address().port());
    admin.proxy.configure(&super::config(address, &super::with_password()));
    admin.proxy.command(&["reload"]);
    let there = Admin { address: (own, address.port()).into(), ..admin };
    there.get("/api/v1/stats", &[]).is_problem(401, "log in");
    there.proxy.wait_until_said("may be read by others");
}
