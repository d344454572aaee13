//! Login, sessions, logout.

use super::{Admin, Answer, CHANGE, PASSWORD, with_password};
use crate::support::certificate::CertificateFiles;
use crate::support::proxy::postroom;
use crate::support::{Ended, eventually, spawn};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

#[test]
fn the_password_logs_in_by_a_cookie_that_neither_scripts_nor_other_sites_get() {
    let hash = postroom::config::password::hash(PASSWORD).unwrap();
    for keys in [with_password(), format!("password_hash = \"{hash}\"")] {
        let admin = Admin::start(&keys);
        let wrong = admin.form("/login", &[], "password=open-Sesame");
        assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
        assert!(wrong.text().contains("not the password") && !wrong.text().contains("Sesame"));
        assert_eq!(admin.form("/login", &[], "").status, 401);
        let right = admin.form("/login", &[], "password=open-Sesame%2F17");
        assert_eq!((right.status, right.header("location")), (303, Some("/")));
        let cookie = right.header("set-cookie").unwrap();
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
        let cookie = format!("Cookie: other=1; {}", right.cookie());
        let home = admin.get("/", &[&cookie]);
        assert!(home.status == 200 && home.text().contains("Log out"), "{home:?}");
        assert_eq!(admin.get("/api/v1/messages", &[&cookie]).status, 200);
        assert_eq!(admin.get("/api/v1/session", &[&cookie]).json()["identity"], "session");
    }
}

#[test]
fn a_wrong_password_is_an_event_that_says_who_and_not_what() {
    let admin = Admin::start(&with_password());
    let token = format!("Authorization: Bearer {}", super::TOKEN);
    let refused = || {
        let events = admin.get("/api/v1/events?code=REFUSED", &[&token]).json();
        events["events"].as_array().unwrap().clone()
    };
    let _session = admin.log_in();
    assert_eq!(refused(), [0; 0], "the right one is none");
    assert_eq!(admin.form("/login", &[], "password=open-Sesame").status, 401);
    // Whoever guesses on is in the log alone.
    assert_eq!(admin.form("/login", &[], "password=open-Sesam").status, 401);
    let events = eventually("the event", || Some(refused()).filter(|events| !events.is_empty()));
    assert_eq!((events.len(), &events[0]["type"]), (1, &"Warning".into()), "{events:?}");
    let text = events[0]["message"].as_str().unwrap();
    assert!(
        text.contains("127.0.0.1") && text.contains("admin listener") && !text.contains("Sesame"),
        "{text}"
    );
}

#[test]
fn within_tls_a_page_in_clear_text_is_of_another_origin() {
    let files = CertificateFiles::new();
    let admin = Admin::start(&(with_password() + "\n" + &files.config()));
    let url = format!("localhost:{}", admin.address.port());
    for (scheme, status) in [("http", "403"), ("https", "303")] {
        for header in ["Origin", "Referer"] {
            let mut curl = std::process::Command::new("curl");
            curl.args(["--silent", "--include", "--cacert"]).arg(files.chain());
            curl.args(["--header", &format!("{header}: {scheme}://{url}"), "--data"]);
            curl.args([&format!("password={PASSWORD}"), &format!("https://{url}/login")]);
            let said = String::from_utf8(curl.output().unwrap().stdout).unwrap();
            assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{header}: {scheme}: {said}");
        }
    }
}

#[test]
fn within_tls_the_cookie_is_secure() {
    let files = CertificateFiles::new();
    let admin = Admin::start(&(with_password() + "\n" + &files.config()));
    let curl = |arguments: &[&str]| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--include", "--cacert"]).arg(files.chain()).args(arguments);
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    let url = |path: &str| format!("https://localhost:{}{path}", admin.address.port());
    let said = curl(&["--data", &format!("password={PASSWORD}"), &url("/login")]);
    assert!(said.starts_with("HTTP/1.1 303"), "{said}");
    assert!(said.contains("HttpOnly; SameSite=Lax; Secure"), "{said}");
    assert!(curl(&[&url("/api/v1/stats")]).starts_with("HTTP/1.1 401"));
    let token = format!("Authorization: Bearer {}", super::TOKEN);
    assert!(curl(&["--header", &token, &url("/api/v1/stats")]).starts_with("HTTP/1.1 200"));
    let plain = admin.get("/livez", &[]);
    assert_eq!((plain.status, &*plain.text()), (400, "this is HTTPS: https://\n"));
}

#[test]
fn behind_a_proxy_that_does_tls_the_cookie_is_secure() {
    let admin = Admin::start(&with_password());
    let answer = admin.form("/login", &["X-Forwarded-Proto: https"], &format!("password={PASSWORD}"));
    assert!(answer.header("set-cookie").unwrap().ends_with("; Secure"));
}

#[test]
fn logging_out_ends_the_session() {
    let admin = Admin::start(&with_password());
    let (cookie, csrf) = admin.log_in();
    let token = csrf.strip_prefix("X-CSRF-Token: ").unwrap();
    admin.form("/logout", &[&cookie], "").is_problem(403, "csrf_token");
    let out = admin.form("/logout", &[&cookie], &format!("csrf_token={token}"));
    assert_eq!((out.status, out.header("location")), (303, Some("/login")));
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    admin.get("/api/v1/messages", &[&cookie]).is_problem(401, "log in");
}

#[test]
fn forged_and_foreign_cookies_are_nobodys() {
    let (admin, other) = (Admin::start(&with_password()), Admin::start(&with_password()));
    let (cookie, _) = admin.log_in();
    let (foreign, _) = other.log_in();
    for forged in [
        foreign.clone(),
        cookie[..cookie.len() - 1].to_owned(),
        format!("{cookie}A"),
        "Cookie: postroom_session=".to_owned(),
        "Cookie: postroom_session".to_owned(),
        format!("Cookie: postroom_session={}", "A".repeat(43)),
        format!("Cookie: postroom_session={}", "x".repeat(8000)),
        "Cookie: \u{fffd}=\u{fffd}".to_owned(),
    ] {
        admin.get("/api/v1/messages", &[&forged]).is_problem(401, "log in");
    }
    assert_eq!(admin.get("/api/v1/messages", &[&cookie]).status, 200);
    let beside = cookie.replace("Cookie: ", "Cookie: postroom_session=planted; ");
    assert_eq!(admin.get("/api/v1/messages", &[&beside]).status, 200, "a planted cookie locks nobody out");
    let (again, _) = admin.log_in();
    assert_ne!(cookie, again, "each login has an id of its own: there is nothing to fixate");
}

#[test]
fn another_password_ends_sessions_and_the_streams_in_them() {
    let admin = Admin::start(&with_password());
    let (cookie, _) = admin.log_in();
    let mut stream = admin.connect();
    let request = format!(
        "GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{cookie}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 15];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    admin.reload(&format!("{}\nhosts = [\"a.test\"]", with_password()));
    assert_eq!(admin.get("/api/v1/messages", &[&cookie]).status, 200, "another key ends nothing");
    admin.reload(&with_password().replace(PASSWORD, "another"));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the stream ends");
    admin.get("/api/v1/messages", &[&cookie]).is_problem(401, "log in");
    admin.reload(&with_password());
    admin.get("/api/v1/messages", &[&cookie]).is_problem(401, "log in");
}

#[test]
fn who_tries_too_many_passwords_has_to_wait() {
    let admin = Admin::start(&with_password());
    let (cookie, _) = admin.log_in();
    let refused: Vec<Answer> = (0..200)
        .map(|_| admin.form("/login", &[], "password=wrong"))
        .take_while(|answer| answer.status == 401)
        .collect();
    assert!((10..200).contains(&refused.len()), "{}", refused.len());
    let right = admin.form("/login", &[], &format!("password={PASSWORD}"));
    // A try comes back every half minute: on a machine that was busy so long it is looked at.
    if right.status != 303 {
        assert_eq!(right.status, 429);
        assert!((1..=30).contains(&right.header("retry-after").unwrap().parse::<u32>().unwrap()));
        assert_eq!(right.header("set-cookie"), None);
    }
    assert_eq!(admin.get("/api/v1/messages", &[&cookie]).status, 200, "who is logged in goes on");
    let token = format!("Authorization: Bearer {}", super::TOKEN);
    assert_eq!(admin.get("/api/v1/messages", &[&token]).status, 200);
}

#[test]
fn the_link_of_the_demo_logs_in_once() {
    let mut command = postroom();
    command
        .args(["demo", "--no-mail", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdout(Stdio::piped());
    let mut child = spawn(&mut command);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.expect("text"));
    let _demo = Ended(child);
    let first = lines.next().unwrap();
    let (address, rest) =
        first.strip_prefix("Web admin: http://").unwrap().split_once("/login?token=").unwrap();
    let (address, link) = (address.parse().unwrap(), rest.split_whitespace().next().unwrap());
    let demo = Demo { address };
    let wrong = demo.get("/login?token=AAAA", "");
    assert_eq!(wrong.status, 401, "{wrong:?}");
    assert_eq!(demo.change("").status, 403, "nobody changes the configuration");
    let answer = demo.get(&format!("/login?token={link}"), "");
    assert_eq!(answer.status, 303, "{answer:?}");
    let cookie = format!("Cookie: {}\r\n", answer.cookie());
    let csrf = demo.get("/api/v1/session", &cookie).json()["csrf_token"].as_str().unwrap().to_owned();
    let changed = demo.change(&format!("{cookie}X-CSRF-Token: {csrf}\r\n"));
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(demo.get(&format!("/login?token={link}"), "").status, 401, "once");
}

/// A running demo.
struct Demo {
    address: std::net::SocketAddr,
}

impl Demo {
    fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"))
    }

    fn change(&self, headers: &str) -> Answer {
        self.ask(&format!(
            "PATCH /api/v1/settings HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}\r\n{CHANGE}",
            CHANGE.len()
        ))
    }

    fn ask(&self, request: &str) -> Answer {
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream)
    }
}
