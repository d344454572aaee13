//! The clients. Those that send what they are given get a message of each kind ([`letters`]); the libraries that make
//! messages are asked for each kind as applications ask (tests/clients).

use super::everywhere::arrives_everywhere;
use super::letters::{Letter, letters};
use crate::support::clients::{Envelope, smtplib, succeeded, swaks};
use crate::support::foreign::{compiled, have, source};
use lettre::Transport;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// Runs a client that takes host, port, sender and recipients, and the message on standard input.
#[track_caller]
fn run(mut command: Command, letter: &Letter) {
    succeeded(command.arg(letter.from).args(letter.to), &letter.content);
}

/// Adds host and port.
pub fn at(mut command: Command, server: SocketAddr) -> Command {
    command.args([server.ip().to_string(), server.port().to_string()]);
    command
}

/// As `at`, for a script of tests/clients.
pub fn script(interpreter: &str, name: &str, server: SocketAddr) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(source(name));
    at(command, server)
}

#[track_caller]
pub fn go_program(name: &str) -> PathBuf {
    compiled(name, |source, product| {
        let mut command = Command::new("go");
        command.args(["build", "-o"]).args([product, source]);
        command.env("CGO_ENABLED", "0").env("GO111MODULE", "off");
        command
    })
}

#[track_caller]
pub fn mono_program(name: &str) -> PathBuf {
    compiled(name, |source, product| {
        let mut command = Command::new("mcs");
        // The class is marked as obsolete, which is one more reason why so many programs use it.
        command.args(["-nowarn:618", "-r:System.dll"]).arg(format!("-out:{}", product.display())).arg(source);
        command
    })
}

pub const JAVA_MAIL: &str = "/usr/share/java/javax.mail.jar";
const JAVA_ACTIVATION: &str = "/usr/share/java/javax.activation.jar";
pub const JAVA_CLASS_PATH: &str = "/usr/share/java/javax.mail.jar:/usr/share/java/javax.activation.jar";

/// None where there is no JavaMail.
#[track_caller]
pub fn java_classes(name: &str) -> Option<PathBuf> {
    have(&["javac", "java", JAVA_MAIL, JAVA_ACTIVATION]).then(|| {
        compiled(name, |source, product| {
            let mut command = Command::new("javac");
            command.args(["-cp", JAVA_CLASS_PATH, "-d"]).args([product, source]);
            command
        })
    })
}

// CASES B39, B40
// Go says `BODY=8BITMIME SMTPUTF8` on every MAIL when both are offered. At an upstream without SMTPUTF8
// its plain ASCII mail failed for good.
#[test]
fn go_net_smtp() {
    if !have(&["go"]) {
        return;
    }
    let program = go_program("main.go");
    arrives_everywhere(letters().len(), |server| {
        for letter in letters() {
            let mut command = Command::new(&program);
            command.arg(server.to_string());
            run(command, &letter);
        }
    });
}

#[test]
fn perl_net_smtp() {
    if !have(&["perl"]) {
        return;
    }
    arrives_everywhere(letters().len(), |server| {
        for letter in letters() {
            run(script("perl", "send.pl", server), &letter);
        }
    });
}

#[test]
fn msmtp() {
    if !have(&["msmtp"]) {
        return;
    }
    arrives_everywhere(letters().len(), |server| {
        for letter in letters() {
            let from = if letter.from.is_empty() { "<>" } else { letter.from };
            let mut command = Command::new("msmtp");
            command.args(["--file=/dev/null", "--tls=off", "--auth=off", "--domain=client.test"]);
            command.arg(format!("--host={}", server.ip())).arg(format!("--port={}", server.port()));
            command.arg(format!("--from={from}")).arg("--").args(letter.to);
            succeeded(&mut command, &letter.content);
        }
    });
}

#[test]
fn lettre() {
    arrives_everywhere(letters().len(), |server| {
        let transport = lettre::SmtpTransport::builder_dangerous(server.ip().to_string());
        let transport = transport.port(server.port()).build();
        for letter in letters() {
            let address = |text: &str| text.parse().expect("an address");
            let from = Some(letter.from).filter(|from| !from.is_empty()).map(address);
            let to = letter.to.iter().map(|to| address(to)).collect();
            let envelope = lettre::address::Envelope::new(from, to).expect("some recipients");
            transport.send_raw(&envelope, &letter.content).expect("the proxy takes it");
        }
    });
}

#[test]
fn python_smtplib() {
    arrives_everywhere(letters().len(), |server| {
        for Letter { from, to, content } in letters() {
            smtplib(server, &Envelope { from, to }, &content, &[]);
        }
    });
}

#[test]
fn swaks_with_pipelining() {
    arrives_everywhere(letters().len(), |server| {
        for Letter { from, to, content } in letters() {
            swaks(server, &Envelope { from, to }, &content, &["--pipeline"]);
        }
    });
}

#[test]
fn phpmailer() {
    if !have(&["php", "/usr/share/php/libphp-phpmailer/autoload.php"]) {
        return;
    }
    arrives_everywhere(6, |server| {
        succeeded(&mut script("php", "send.php", server), b"");
    });
}

#[test]
fn nodemailer() {
    if !have(&["node", "/usr/share/nodejs/nodemailer"]) {
        return;
    }
    arrives_everywhere(8, |server| {
        // Debian's own node looks there anyway.
        succeeded(script("node", "send.js", server).env("NODE_PATH", "/usr/share/nodejs"), b"");
    });
}

#[test]
fn javamail() {
    let Some(classes) = java_classes("Send.java") else { return };
    arrives_everywhere(8, |server| {
        let mut command = Command::new("java");
        command.args(["-cp", &format!("{JAVA_CLASS_PATH}:{}", classes.display()), "Send"]);
        succeeded(&mut at(command, server), b"");
    });
}

/// Mono's implementation of System.Net.Mail, which is not Microsoft's but speaks as it does.
#[test]
fn dotnet_system_net_mail() {
    if !have(&["mcs", "mono"]) {
        return;
    }
    let program = mono_program("send.cs");
    arrives_everywhere(6, |server| {
        let mut command = Command::new("mono");
        command.arg(&program);
        succeeded(&mut at(command, server), b"");
    });
}
