//! HTTP itself: paths, methods, ends of requests, headers of answers.

use super::{Admin, Answer, TOKEN, with_password};
use crate::support::talk::Talk;
use std::io::{Read, Write};

#[test]
fn every_answer_says_what_browsers_may_do_with_it() {
    let admin = Admin::start(&with_password());
    let token = format!("Authorization: Bearer {TOKEN}");
    for path in ["/livez", "/login", "/", "/api/v1/stats", "/api/v1/messages/x", "/nonsense"] {
        for headers in [&[][..], &[token.as_str()]] {
            let answer = admin.get(path, headers);
            let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
            assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(header("x-frame-options"), "DENY", "{path}");
            assert_eq!(header("referrer-policy"), "same-origin", "{path}");
            assert_eq!(header("cache-control"), "no-store", "{path}");
            assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{path}");
            let policy = header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
            assert!(
                policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
                "{path}: {policy}"
            );
            assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
        }
    }
}

#[test]
fn a_message_is_no_document_of_ours() {
    let admin = Admin::start("");
    Talk::hello(admin.proxy.address()).mail("b@b.test", 100);
    let id = admin.get("/api/v1/messages", &[]).json()["messages"][0]["id"].as_str().unwrap().to_owned();
    let raw = admin.get(&format!("/api/v1/messages/{id}/raw"), &[]);
    assert_eq!(raw.header("content-type"), Some("message/rfc822"));
    assert_eq!(raw.header("content-security-policy"), Some("sandbox; default-src 'none'"));
    assert_eq!(raw.header("content-disposition"), Some(&*format!("attachment; filename=\"{id}.eml\"")));
    assert_eq!(raw.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn tricks_with_paths_find_no_way_around() {
    let admin = Admin::start(&with_password());
    let open = Admin::start("");
    let tricks = [
        "/livez/../api/v1/messages",
        "/livez/%2e%2e/api/v1/messages",
        "/login/../api/v1/settings",
        "//api/v1/messages",
        "/api//v1/messages",
        "/api/v1/messages/",
        "/API/v1/messages",
        "/api/v1/../v1/messages",
        "/api/v1/%2e%2e/v1/messages",
        "/api%2fv1%2fmessages",
        "/api/v1/messages;/livez",
        "/api/v1/messages%00/livez",
        "/api/v1/messages%3f/livez",
        "/.//livez",
        "/livez%2f..%2fapi/v1/messages",
        "/api/v1/messages/..%2f..%2flivez/raw",
        "/login%2f..",
    ];
    for path in tricks {
        let answer = admin.get(path, &[]);
        assert_eq!(answer.status, 401, "{path}: {answer:?}");
        for method in ["PATCH", "POST", "DELETE"] {
            let answer = admin.ask(method, path, &[], "{}");
            assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
        }
        let answer = open.get(path, &[]);
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
    }
    // Where no path leads around, no other writing of one does.
    for path in [
        "/api/v1/settings",
        "/api/v1//settings",
        "/api/v1/./settings",
        "/api/v1/%73ettings",
        "/api/v1/settings/",
    ] {
        let answer = open.ask("PATCH", path, &["Content-Type: application/json"], super::CHANGE);
        assert!([403, 404].contains(&answer.status), "{path}: {answer:?}");
    }
    assert!(!open.has_redirect());
}

#[test]
fn nothing_that_is_said_becomes_a_header_of_ours() {
    let admin = Admin::start("");
    for path in [
        "/api/v1/messages/%0d%0aX-Evil:%201",
        "/api/v1/upstreams/%0d%0aX-Evil:%201",
        "/login?token=%0d%0aX-Evil:%201",
        "/api/v1/messages?q=%0d%0aX-Evil:%201",
        "/%0d%0aX-Evil:%201",
    ] {
        let answer = admin.get(path, &[]);
        assert_eq!(answer.header("x-evil"), None, "{path}");
    }
    let bare =
        admin.say(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\rX-Evil: 1\r\nConnection: close\r\n\r\n");
    assert_eq!((bare.status, bare.header("x-evil")), (400, None));
}

#[test]
fn a_request_has_one_end() {
    let admin = Admin::start("");
    let smuggled = "GET /api/v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let post = "POST /api/v1/messages/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let say =
        |headers: &str, body: &str| admin.say(format!("{post}{headers}\r\n{body}{smuggled}").as_bytes());
    for headers in [
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 0, 5\r\n",
        "Content-Length: +0\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x0\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Content-Length: 0\r\n",
    ] {
        let answer = say(headers, "");
        assert_eq!(answer.status, 400, "{headers}: {answer:?}");
        assert!(
            !answer.text().contains("HTTP/1.1"),
            "{headers}: something behind it was answered: {answer:?}"
        );
    }
    for headers in [
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        for body in
            ["0\r\n\r\n", "1;x=y\r\nx\r\n0\r\n\r\n", "zz\r\n", "ffffffffffffffffff\r\n", "1\nx\n0\n\n"]
        {
            let answer = say(headers, body);
            assert!(answer.status >= 400, "{headers}{body}: {answer:?}");
            assert!(!answer.text().contains("HTTP/1.1"), "{headers}{body}: {answer:?}");
        }
    }
    // Requests one behind the other that are sound are all answered.
    let mut stream = admin.connect();
    stream
        .write_all(
            format!("{smuggled}{}", smuggled.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).as_bytes(),
        )
        .unwrap();
    let mut both = String::new();
    stream.read_to_string(&mut both).unwrap();
    assert_eq!(both.matches("HTTP/1.1 200 OK").count(), 2, "{both}");
}

#[test]
fn methods_that_are_not_meant_are_refused() {
    let admin = Admin::start("");
    let head = admin.ask("HEAD", "/api/v1/stats", &[], "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    for (method, path) in [
        ("TRACE", "/api/v1/stats"),
        ("OPTIONS", "/api/v1/stats"),
        ("OPTIONS", "*"),
        ("CONNECT", "localhost:25"),
        ("PUT", "/api/v1/stats"),
        ("POST", "/livez"),
        ("GET", "/logout"),
        ("GET", "/api/v1/reload"),
        ("get", "/api/v1/stats"),
        ("BREW", "/api/v1/stats"),
    ] {
        let answer: Answer = admin.ask(method, path, &["X-Secret: not to be repeated"], "");
        assert!((400..500).contains(&answer.status), "{method} {path}: {answer:?}");
        assert!(!answer.text().contains("repeated"), "{method} {path}: {answer:?}");
    }
    let mut http2 = admin.connect();
    http2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = http2.read_to_end(&mut said);
    assert!(!said.windows(5).any(|part| part == b" 200 "));
}
