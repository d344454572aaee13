//! Secrets stay secret: whatever happens with an upstream's password, and however much is logged, neither it nor anything
//! that it can be read from is in any output, record or answer.

use crate::support::clients::{Envelope, smtplib};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::scripted::{Identity, Script, Scripted};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

const USER: &str = "relay-user";
const PASSWORD: &str = "correct horse/battery+staple";
const TRACE: &[(&str, &str)] = &[("RUST_LOG", "trace")];

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize] as char;
            text.push(if place <= group.len() { letter } else { '=' });
        }
    }
    text
}

/// The password, and what it becomes in base64 wherever it begins in a longer text.
fn forms() -> Vec<String> {
    let mut forms = vec![PASSWORD.to_owned(), base64(format!("\0{USER}\0{PASSWORD}").as_bytes())];
    for offset in 0..3 {
        let text = base64(&[&vec![0; offset], PASSWORD.as_bytes()].concat());
        // The letters that nothing but the password decides.
        forms.push(text[(offset * 8).div_ceil(6)..(offset + PASSWORD.len()) * 8 / 6].to_owned());
    }
    forms
}

#[track_caller]
fn assert_silent(where_: &str, bytes: &[u8]) {
    for form in forms() {
        let found = memchr::memmem::find(bytes, form.as_bytes());
        let around =
            |at: usize| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..(at + 60).min(bytes.len())]);
        assert!(found.is_none(), "the password, as {form:?}, is in {where_}: {:?}", found.map(around));
    }
}

fn ask(proxy: &Proxy, route: &str) -> Vec<u8> {
    let mut stream = UnixStream::connect(proxy.data_dir().join("control.sock")).expect("the control socket");
    let request = format!("GET {route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    answer
}

/// Everything that the proxy and its verbs say or keep.
#[track_caller]
fn assert_silent_everywhere(proxy: &mut Proxy) {
    for route in [
        "/livez",
        "/readyz",
        "/api/v1/messages",
        "/api/v1/upstreams",
        "/api/v1/events",
        "/api/v1/stats",
        "/nonsense",
    ] {
        assert_silent(route, &ask(proxy, route));
    }
    for verb in [
        &["check"][..],
        &["check", "--json"],
        &["queue", "list"],
        &["queue", "list", "--json"],
        &["upstream", "list"],
        &["upstream", "list", "--json"],
        &["events", "--limit", "1000"],
        &["events", "--json", "--limit", "1000"],
    ] {
        let output = proxy.try_command(verb);
        assert!(output.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_silent(&verb.join(" "), &[output.stdout, output.stderr].concat());
    }
    // A reload of something wrong is told in an event, in the log and to whoever asked.
    let right = std::fs::read_to_string(proxy.config_file()).unwrap();
    std::fs::write(proxy.config_file(), right.replace("password = ", "pasword = ")).unwrap();
    let refused = proxy.try_command(&["reload"]);
    assert_eq!(refused.status.code(), Some(78));
    assert_silent("reload", &[refused.stdout, refused.stderr].concat());
    assert_silent("check of what is wrong", &proxy.try_command(&["check"]).stderr);
    std::fs::write(proxy.config_file(), right).unwrap();
    assert!(proxy.terminate().success());
    assert_silent("the log", proxy.said().as_bytes());
    for file in ["queue.redb", "logemails.log"] {
        assert_silent(file, &std::fs::read(proxy.data_dir().join(file)).unwrap());
    }
}

fn config(server: &Scripted, more: &str) -> String {
    format!(
        "[log_emails]\nenabled = true\n[upstream.relay]\nhost = \"127.0.0.1:{}\"\nauth = \"basic\"\nusername = \"{USER}\"\n\
         password = \"{PASSWORD}\"\n{more}\n",
        server.port()
    )
}

fn send(proxy: &Proxy) {
    let envelope = Envelope { from: "a@a.test", to: &["b@b.test"] };
    smtplib(proxy.address(), &envelope, b"Subject: t\r\n\r\nx\r\n", &[]);
}

fn login(script: Script) -> Script {
    script
        .ehlo(&["AUTH LOGIN"])
        .on("AUTH LOGIN", "334 VXNlcm5hbWU6")
        .on(&base64(USER.as_bytes()), "334 UGFzc3dvcmQ6")
        .on(&base64(PASSWORD.as_bytes()), "235 2.7.0 welcome")
}

// CASES C17
#[test]
fn a_password_that_is_taken_leaves_no_trace() {
    let identity = Identity::of(&["127.0.0.1"]);
    let plain = |s: Script| s.ehlo(&["AUTH PLAIN"]);
    for format in ["text", "json"] {
        let lax = "tls = \"starttls\"\ndanger_accept_invalid_certificate = true";
        for (tls, server) in [
            ("tls = \"none\"", Scripted::start(plain)),
            ("tls = \"none\"", Scripted::start(login)),
            (lax, Scripted::start(|s| plain(s).starttls(&identity))),
            (lax, Scripted::start(|s| login(s).starttls(&identity))),
        ] {
            let text = config(&server, tls) + &format!("[log]\nlevel = \"trace\"\nformat = \"{format}\"\n");
            let mut proxy = Proxy::start_in(TRACE, &text);
            send(&proxy);
            server.wait_for(1);
            let commands: Vec<String> = server.sessions().into_iter().flat_map(|one| one.commands).collect();
            let secret = base64(format!("\0{USER}\0{PASSWORD}").as_bytes());
            let sent = [format!("AUTH PLAIN {secret}"), base64(PASSWORD.as_bytes())];
            assert!(
                commands.iter().any(|command| sent.contains(command)),
                "the password was sent: {commands:?}"
            );
            // The log is as loud as it can be.
            proxy.wait_until_said("DEBUG");
            assert_silent_everywhere(&mut proxy);
        }
    }
}

// CASES C17, F14
#[test]
fn a_password_that_is_refused_leaves_no_trace_even_if_the_server_repeats_it() {
    let secret = base64(format!("\0{USER}\0{PASSWORD}").as_bytes());
    let replies = [
        "535 5.7.8 wrong".to_owned(),
        format!("535 5.7.8 {PASSWORD} is wrong"),
        format!("501 5.5.4 what is AUTH PLAIN {secret}?"),
        format!("421 4.7.0 not with {}", base64(PASSWORD.as_bytes())),
        format!("{PASSWORD} is no reply"),
        format!("5x5 {secret}"),
    ];
    for reply in replies {
        for mechanism in ["PLAIN", "LOGIN"] {
            let server = Scripted::start(|s| match mechanism {
                "PLAIN" => s.ehlo(&["AUTH PLAIN"]).on("AUTH", &*reply),
                _ => login(s.on(&base64(PASSWORD.as_bytes()), &*reply)),
            });
            let text = config(&server, "tls = \"none\"") + "[log]\nlevel = \"trace\"\n";
            let mut proxy = Proxy::start_in(TRACE, &text);
            send(&proxy);
            eventually("the upstream's last error", || {
                let listed = proxy.cli(&["upstream", "list", "--json"]);
                listed[0]["last_error"].as_str().map(str::to_owned)
            });
            assert_silent_everywhere(&mut proxy);
        }
    }
}

#[test]
fn a_file_with_a_secret_that_others_may_read_draws_a_warning_from_serve_and_check() {
    let server = Scripted::start(|s| s.ehlo(&["AUTH PLAIN"]));
    let mut proxy = Proxy::start(&config(&server, "tls = \"none\""));
    let modes = [(0o644, true), (0o640, true), (0o604, true), (0o600, false), (0o400, false)];
    // Root may give it to the group of a service.
    let is_root = rustix::process::geteuid().is_root();
    let given =
        [(0o640, false), (0o440, false), (0o644, true)].map(|(mode, warns)| (mode, warns, Some(65532)));
    let given = given.into_iter().filter(|_| is_root);
    for (mode, warns, group) in modes.map(|(mode, warns)| (mode, warns, None)).into_iter().chain(given) {
        std::os::unix::fs::chown(proxy.config_file(), None, group).unwrap();
        std::fs::set_permissions(proxy.config_file(), PermissionsExt::from_mode(mode)).unwrap();
        let checked = String::from_utf8(proxy.command(&["check"]).stderr).unwrap();
        proxy.terminate();
        proxy.start_again();
        send(&proxy);
        proxy.wait_until_said("status=\"delivered\"");
        for said in [&checked, &proxy.said()] {
            let warning = said.lines().find(|line| line.contains("others may read it"));
            assert_eq!(warning.is_some(), warns, "{mode:o}: {said}");
            if let Some(warning) = warning {
                assert!(warning.contains("postroom.toml") && warning.contains("chmod 600"), "{warning}");
            }
        }
    }
}

#[test]
fn base64_is_what_it_should_be() {
    for (text, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
    {
        assert_eq!(base64(text.as_bytes()), encoded);
    }
}
