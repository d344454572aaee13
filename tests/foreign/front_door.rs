//! The libraries that applications send with log in within TLS: STARTTLS, and TLS from the first byte where they know it.
//! swaks, smtplib, curl and msmtp do so in tests/server/front_door.rs.

use super::clients::{JAVA_CLASS_PATH, at, go_program, java_classes, mono_program, script};
use crate::support::certificate::CertificateFiles;
use crate::support::clients::succeeded;
use crate::support::eventually;
use crate::support::foreign::have;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use std::path::Path;
use std::process::Command;

const USER: &str = "shop";
const PASSWORD: &str = "open-Sesame/17 ü";

/// Has `client` send `count` messages to a listener with this `tls` that takes them from the user alone. It is given the
/// proxy and the certificate to trust.
#[track_caller]
fn logs_in(tls: &str, count: usize, client: impl Fn(&Proxy, &Path) -> Command) {
    let (files, recorder) = (CertificateFiles::new(), Recorder::start());
    let hash = postroom::config::password::hash(PASSWORD).unwrap();
    let proxy = Proxy::start(&format!(
        "[listener.test]\naddress = \"@LISTEN@\"\ntls = \"{tls}\"\nauth = \"required\"\n{}[user.{USER}]\n\
         password_hash = \"{hash}\"\n{}",
        files.config(),
        recorder.upstream("recorder")
    ));
    succeeded(&mut client(&proxy, &files.chain()), b"");
    for message in recorder.wait(count) {
        let content = String::from_utf8_lossy(&message.content).into_owned();
        let protocol = if tls == "none" { "SMTPA id" } else { "SMTPSA id" };
        assert!(content.contains(protocol), "{tls}: {content}");
    }
    assert_eq!(recorder.messages().len(), count);
    assert!(!proxy.said().contains("open-Sesame"), "{}", proxy.said());
}

#[test]
fn go_net_smtp() {
    if !have(&["go"]) {
        return;
    }
    let program = go_program("login.go");
    for tls in ["starttls", "implicit"] {
        logs_in(tls, 1, |proxy, certificate| {
            let mut command = at(Command::new(&program), proxy.address());
            command.args([tls, USER, PASSWORD]).env("SSL_CERT_FILE", certificate);
            command
        });
    }
}

/// Debian's own node looks there anyway.
const NODE_PATH: &str = "/usr/share/nodejs";

#[test]
fn nodemailer() {
    if !have(&["node", "/usr/share/nodejs/nodemailer"]) {
        return;
    }
    for tls in ["starttls", "implicit"] {
        logs_in(tls, 2, |proxy, certificate| {
            let mut command = script("node", "login.js", proxy.address());
            command.args([tls, USER, PASSWORD]).arg(certificate).env("NODE_PATH", NODE_PATH);
            command
        });
    }
}

#[test]
fn phpmailer() {
    if !have(&["php", "/usr/share/php/libphp-phpmailer/autoload.php"]) {
        return;
    }
    for tls in ["starttls", "implicit"] {
        logs_in(tls, 2, |proxy, certificate| {
            let mut command = script("php", "login.php", proxy.address());
            command.args([tls, USER, PASSWORD]).arg(certificate);
            command
        });
    }
}

#[test]
fn javamail() {
    let Some(classes) = java_classes("Login.java") else { return };
    for tls in ["starttls", "implicit"] {
        logs_in(tls, 2, |proxy, _| {
            let mut command = Command::new("java");
            command.args(["-cp", &format!("{JAVA_CLASS_PATH}:{}", classes.display()), "Login"]);
            let mut command = at(command, proxy.address());
            command.args([tls, USER, PASSWORD]);
            command
        });
    }
}

/// Mono's implementation. It asks for TLS 1.0 whatever it is told, where Microsoft's takes what Windows has: so it logs in on
/// this machine without TLS, and the operator hears why it cannot with it.
#[test]
fn dotnet_system_net_mail() {
    if !have(&["mcs", "mono"]) {
        return;
    }
    let program = mono_program("login.cs");
    let client = |proxy: &Proxy, tls: &str| {
        let mut command = Command::new("mono");
        command.arg(&program);
        let mut command = at(command, proxy.address());
        command.args([tls, USER, PASSWORD]);
        command
    };
    logs_in("none", 1, |proxy, _| client(proxy, "none"));
    let files = CertificateFiles::new();
    let keys = "[listener.test]\naddress = \"@LISTEN@\"\ntls = \"starttls\"\n";
    let proxy = Proxy::start(&format!("{keys}{}", files.config()));
    assert!(!client(&proxy, "starttls").output().unwrap().status.success());
    eventually("the event", || {
        let events = proxy.cli(&["events", "--code", "REFUSED", "--limit", "1000", "--json"]);
        events.to_string().contains("the client offers TLS 1.1 or older, and TLS 1.2 is needed").then_some(())
    });
}
