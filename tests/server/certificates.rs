//! Certificates of listeners: which are refused, and when they are read again.

use crate::support::certificate::CertificateFiles;
use crate::support::clients::succeeded;
use crate::support::eventually;
use crate::support::proxy::Proxy;
use std::process::Command;

fn config(files: &CertificateFiles) -> String {
    format!("[listener.test]\naddress = \"@LISTEN@\"\ntls = \"implicit\"\n{}", files.config())
}

/// Greeted within TLS by a server that has the certificate of the file.
const CLIENT: &str = "\
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1])), 60), server_hostname='localhost') as tls:
    assert tls.version() in ('TLSv1.2', 'TLSv1.3'), tls.version()
    assert tls.recv(512).startswith(b'220 ')
    tls.sendall(b'NOOP\\r\\n')
    assert tls.recv(512).startswith(b'250 ')
";

/// A client that trusts what is in the file now is served.
#[track_caller]
fn served_with(proxy: &Proxy, files: &CertificateFiles) {
    let port = proxy.address().port().to_string();
    succeeded(Command::new("python3").args(["-c", CLIENT, &port]).arg(files.chain()), b"");
}

#[track_caller]
fn reload_refused(proxy: &Proxy, words: &[&str]) {
    let refused = proxy.try_command(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    words.iter().for_each(|word| assert!(said.contains(word), "{word} in {said}"));
}

#[track_caller]
fn start_refused(config: &str, words: &[&str]) {
    let (code, said) = Proxy::spawn(config).refused();
    assert_eq!(code, Some(78), "{said}");
    words.iter().for_each(|word| assert!(said.contains(word), "{word} in {said}"));
}

// CASES G7
#[test]
fn a_certificate_that_cannot_be_used_refuses_the_start_and_says_why() {
    let (chain, key) = ("listener.test.certificate", "listener.test.private_key");
    let files = CertificateFiles::new();
    let without = "[listener.test]\naddress = \"@LISTEN@\"\ntls = \"starttls\"\n";
    start_refused(without, &[chain, key, "missing"]);
    files.change_key();
    start_refused(&config(&files), &[key, "key.pem is the key of another certificate than", "chain.pem"]);
    files.renew(365);
    files.write("chain.pem", "nonsense");
    start_refused(&config(&files), &[chain, "chain.pem holds no certificate"]);
    std::fs::remove_file(files.chain()).unwrap();
    start_refused(&config(&files), &[chain, "chain.pem cannot be read"]);
    files.renew(365);
    files.write("key.pem", "nonsense");
    start_refused(&config(&files), &[key, "key.pem holds no private key"]);
}

// CASES G7
#[test]
fn a_certificate_is_read_again_and_a_wrong_one_leaves_the_old_one_in_force() {
    let files = CertificateFiles::new();
    let proxy = Proxy::start(&config(&files));
    let in_force = CertificateFiles::new();
    in_force.write("chain.pem", &std::fs::read_to_string(files.chain()).unwrap());
    served_with(&proxy, &in_force);

    files.change_key();
    reload_refused(&proxy, &["key of another certificate", "key.pem"]);
    served_with(&proxy, &in_force);
    files.renew(-3);
    reload_refused(&proxy, &["listener.test.certificate", "chain.pem ends", "still good"]);
    served_with(&proxy, &in_force);

    files.renew(200);
    proxy.command(&["reload"]);
    served_with(&proxy, &files);
}

/// `CERTIFICATE` events.
fn told(proxy: &Proxy) -> Vec<String> {
    let events = proxy.cli(&["events", "--limit", "1000", "--json"]);
    let events = events.as_array().unwrap().iter().filter(|event| event["code"] == "CERTIFICATE");
    events.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

// CASES G7
#[test]
fn an_end_that_comes_near_is_told_once_and_one_that_has_come_is_a_warning_at_the_start() {
    let files = CertificateFiles::that_ends_in(10);
    let proxy = Proxy::start(&config(&files));
    let first = eventually("an event", || told(&proxy).pop());
    assert!(first.contains("listener test") && first.contains("chain.pem ends"), "{first}");
    proxy.command(&["reload"]);
    proxy.command(&["reload"]);
    assert_eq!(told(&proxy).len(), 1);
    files.renew(100);
    proxy.command(&["reload"]);
    assert_eq!(told(&proxy).len(), 1);

    let files = CertificateFiles::that_ends_in(-3);
    let proxy = Proxy::start(&config(&files));
    proxy.wait_until_said("listener.test.certificate");
    assert!(eventually("an event", || told(&proxy).pop()).contains("has ended"));
    proxy.command(&["reload"]);
}
