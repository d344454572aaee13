//! TLS and AUTH at listeners, with real clients and with hostile ones.

use crate::support::certificate::CertificateFiles;
use crate::support::clients::{Envelope, succeeded, swaks};
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use serde_json::Value;
use std::process::Command;

const PASSWORD: &str = "open-Sesame/17";
const CONTENT: &[u8] = b"Subject: t\r\n\r\nx\r\n";

/// A listener with this `tls` and `auth`, and the user `shop`.
fn config(files: &CertificateFiles, tls: &str, auth: &str) -> String {
    format!(
        "[listener.test]\naddress = \"@LISTEN@\"\ntls = \"{tls}\"\nauth = \"{auth}\"\n{}[user.shop]\npassword = \"{PASSWORD}\"\n",
        files.config()
    )
}

fn messages(proxy: &Proxy) -> Vec<Value> {
    proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().clone()
}

/// Runs a script of Python's with the port and further arguments.
#[track_caller]
fn python(proxy: &Proxy, script: &str, arguments: &[&str]) {
    let port = proxy.address().port().to_string();
    succeeded(Command::new("python3").args(["-c", script, &port]).args(arguments), b"");
}

/// Every client of these can TLS and AUTH; each sends one message.
fn clients(proxy: &Proxy, files: &CertificateFiles, implicit: bool) -> usize {
    let (address, chain) = (proxy.address(), files.chain().display().to_string());
    let envelope = Envelope { from: "a@x.test", to: &["b@y.test"] };
    let tls = if implicit { "--tls-on-connect" } else { "--tls" };
    for mechanism in ["PLAIN", "LOGIN"] {
        swaks(address, &envelope, CONTENT, &[tls, "--auth", mechanism, "-au", "shop", "-ap", PASSWORD]);
    }
    python(
        proxy,
        "\
import smtplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
if sys.argv[4] == 'true':
    client = smtplib.SMTP_SSL('localhost', int(sys.argv[1]), context=context, timeout=60)
else:
    client = smtplib.SMTP('localhost', int(sys.argv[1]), timeout=60)
    client.starttls(context=context)
client.login('shop', sys.argv[3])
client.sendmail('a@x.test', ['b@y.test'], b'Subject: t\\r\\n\\r\\nx\\r\\n')
client.quit()
",
        &[&chain, PASSWORD, if implicit { "true" } else { "false" }],
    );
    let scheme = if implicit { "smtps" } else { "smtp" };
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "60", "--ssl-reqd", "--cacert", &chain]);
    curl.args(["--user", &format!("shop:{PASSWORD}"), "--mail-from", "a@x.test", "--mail-rcpt", "b@y.test"]);
    curl.args(["--upload-file", "-"]).arg(format!("{scheme}://{address}/client.test"));
    succeeded(&mut curl, CONTENT);
    let mut msmtp = Command::new("msmtp");
    msmtp.args(["--file=/dev/null", "--tls=on", "--auth=on", "--user=shop", "--domain=client.test"]);
    msmtp.arg(format!("--tls-starttls={}", if implicit { "off" } else { "on" }));
    msmtp.arg(format!("--tls-trust-file={chain}")).arg(format!("--passwordeval=echo '{PASSWORD}'"));
    msmtp.args(["--host=localhost", "--from=a@x.test"]).arg(format!("--port={}", address.port()));
    succeeded(msmtp.args(["--", "b@y.test"]), CONTENT);
    5
}

// CASES C14
#[test]
fn real_clients_authenticate_within_tls() {
    for (tls, implicit) in [("starttls", false), ("opportunistic", false), ("implicit", true)] {
        let (files, recorder) = (CertificateFiles::new(), Recorder::start());
        let proxy = Proxy::start(&(config(&files, tls, "required") + &recorder.upstream("only")));
        let count = clients(&proxy, &files, implicit);
        for message in recorder.wait(count) {
            let content = String::from_utf8_lossy(&message.content).into_owned();
            assert!(content.contains("with ESMTPSA id"), "{tls}: {content}");
        }
        if tls == "starttls" {
            Talk::hello(proxy.address()).say("MAIL FROM:<a@x.test>", "530 5.7.0");
        }
    }
}

#[test]
fn any_name_will_do_where_the_listener_says_so_and_the_user_is_told() {
    let proxy =
        Proxy::start("[listener.test]\naddress = \"@LISTEN@\"\nauth = \"any\"\n[sending]\nenabled = false\n");
    let envelope = Envelope { from: "a@x.test", to: &["b@y.test"] };
    let login = ["--auth", "LOGIN", "-au", "whoever", "-ap", "whatever"];
    swaks(proxy.address(), &envelope, CONTENT, &login);
    swaks(proxy.address(), &envelope, CONTENT, &[]);
    let mut users: Vec<Value> = messages(&proxy).iter().map(|message| message["user"].clone()).collect();
    users.sort_by_key(Value::is_null);
    assert_eq!(users, [Value::from("whoever"), Value::Null]);
    assert!(proxy.said().contains("user=\"whoever\""), "{}", proxy.said());
}

#[test]
fn a_user_decides_about_site_class_and_senders() {
    let hash = String::from_utf8(hashed(PASSWORD)).unwrap();
    let proxy = Proxy::start(&format!(
        "[listener.test]\naddress = \"@LISTEN@\"\nauth = \"optional\"\nsite = \"b\"\nclass = \"bulk\"\n[site.a]\n[site.b]\n\
         [sending]\nenabled = false\n[user.shop]\npassword_hash = \"{}\"\nsite = \"a\"\nclass = \"urgent\"\nsenders = [\"@x.test\"]\n",
        hash.trim()
    ));
    let envelope = Envelope { from: "a@x.test", to: &["b@y.test"] };
    swaks(proxy.address(), &envelope, CONTENT, &["--auth", "PLAIN", "-au", "shop", "-ap", PASSWORD]);
    swaks(proxy.address(), &envelope, CONTENT, &[]);
    let mut seen: Vec<String> = messages(&proxy)
        .iter()
        .map(|message| format!("{} {} {}", message["user"], message["site"], message["class"]))
        .collect();
    seen.sort();
    assert_eq!(seen, [r#""shop" "a" "urgent""#, r#"null "b" "bulk""#]);
    let mut talk = Talk::hello(proxy.address());
    talk.say("AUTH LOGIN c2hvcA==", "334");
    talk.say("b3Blbi1TZXNhbWUvMTc=", "235 2.7.0");
    talk.say("MAIL FROM:<a@x.test.example>", "553 5.7.1");
    talk.say("MAIL FROM:<>", "250");
}

// CASES C1, C3
#[test]
fn nothing_that_came_in_clear_text_counts_within_tls() {
    let files = CertificateFiles::new();
    let proxy = Proxy::start(&config(&files, "starttls", "none"));
    python(
        &proxy,
        "\
import socket, ssl, sys
raw = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 60)
def hear(stream, code):
    text = b''
    while True:
        byte = stream.recv(1)
        assert byte, text
        text += byte
        if text.endswith(b'\\r\\n'):
            line = text.splitlines()[-1]
            if line[3:4] == b' ':
                assert line.startswith(code), text
                return text
hear(raw, b'220')
raw.sendall(b'EHLO c.test\\r\\n'); assert b'STARTTLS' in hear(raw, b'250')
raw.sendall(b'STARTTLS\\r\\nMAIL FROM:<evil@x>\\r\\n')
hear(raw, b'220')
tls = ssl.create_default_context(cafile=sys.argv[2]).wrap_socket(raw, server_hostname='localhost')
tls.sendall(b'RCPT TO:<b@y.test>\\r\\n'); hear(tls, b'503')
tls.sendall(b'MAIL FROM:<a@x.test>\\r\\n'); hear(tls, b'503')
tls.sendall(b'EHLO c.test\\r\\n'); assert b'STARTTLS' not in hear(tls, b'250')
tls.sendall(b'STARTTLS\\r\\n'); hear(tls, b'503')
tls.sendall(b'MAIL FROM:<a@x.test>\\r\\n'); hear(tls, b'250')
",
        &[&files.chain().display().to_string()],
    );
    assert!(!proxy.said().contains("evil"));
}

// CASES B25
#[test]
fn with_implicit_tls_who_speaks_behind_the_handshake_before_the_greeting_is_refused() {
    let files = CertificateFiles::new();
    let proxy = Proxy::start(&config(&files, "implicit", "none"));
    // The last record of the handshake and the first of the client's own leave in one segment.
    python(
        &proxy,
        "\
import socket, ssl, sys
raw = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 60)
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = ssl.create_default_context(cafile=sys.argv[2]).wrap_bio(incoming, outgoing, server_hostname='localhost')
while True:
    try:
        tls.do_handshake()
        break
    except ssl.SSLWantReadError:
        raw.sendall(outgoing.read())
        incoming.write(raw.recv(65536))
tls.write(b'EHLO c.test\\r\\n')
raw.sendall(outgoing.read())
text = b''
while b'\\r\\n' not in text:
    try:
        text += tls.read(65536)
    except ssl.SSLWantReadError:
        more = raw.recv(65536)
        assert more, text
        incoming.write(more)
assert text.startswith(b'554 5.5.1'), text
",
        &[&files.chain().display().to_string()],
    );
}

// CASES C5
#[test]
fn a_handshake_that_never_comes_gives_its_place_back() {
    let files = CertificateFiles::new();
    let limits = "[limits]\nconnections = 1\ncommand_timeout = \"4s\"\n";
    let proxy = Proxy::start(&(config(&files, "opportunistic", "none") + limits));
    let connected = || {
        // The place of the session before may be given back a moment after its client was let go.
        crate::support::eventually("a free place", || {
            let mut talk = Talk::connect_only(proxy.address());
            talk.reply().starts_with("220").then_some(talk)
        })
    };
    for sent in [&b""[..], b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x40\x00"] {
        let mut talk = connected();
        talk.say("STARTTLS", "220");
        talk.send(sent);
        talk.closed();
    }
    let mut last = connected();
    last.say("NOOP", "250");
}

// CASES C5
#[test]
fn a_handshake_that_fails_is_told_with_what_to_change() {
    let told = |tls: &str, words: &str, client: &dyn Fn(&Proxy)| {
        let files = CertificateFiles::new();
        let proxy = Proxy::start(&config(&files, tls, "none"));
        client(&proxy);
        crate::support::eventually(words, || {
            let events = proxy.cli(&["events", "--limit", "1000", "--json"]).to_string();
            events.contains(&format!("the TLS handshake failed: {words}")).then_some(())
        });
    };
    told("opportunistic", "what the client sent is no TLS", &|proxy| {
        let mut talk = Talk::connect(proxy.address());
        talk.say("STARTTLS", "220");
        talk.send(b"GARBAGE\r\n\r\n");
        talk.closed();
    });
    // At once: the deadline of a handshake would be told as such.
    told("implicit", "what the client sent is no TLS", &|proxy| {
        let mut talk = Talk::connect_only(proxy.address());
        talk.send("EHLO c.test\r\n");
        talk.closed();
    });
    told("implicit", "the client closed the connection", &|proxy| drop(Talk::connect_only(proxy.address())));
    let s_client = |proxy: &Proxy, arguments: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &proxy.address().to_string()]).args(arguments);
        let output = openssl.stdin(std::process::Stdio::null()).output().unwrap();
        assert!(!output.status.success(), "{output:?}");
    };
    told("implicit", "the client offers TLS 1.1 or older", &|proxy| {
        s_client(proxy, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    });
    told("implicit", "the client does not trust the certificate", &|proxy| {
        s_client(proxy, &["-verify_return_error"]);
    });
}

// CASES C5
#[test]
fn who_speaks_tls_where_there_is_none_or_none_where_there_is_is_answered_at_once() {
    let files = CertificateFiles::new();
    let proxy = Proxy::start("");
    let mut talk = Talk::connect(proxy.address());
    talk.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    talk.hear("554 5.5.1");
    talk.closed();
    let proxy = Proxy::start(&config(&files, "implicit", "none"));
    let mut talk = Talk::connect_only(proxy.address());
    talk.send("EHLO c.test\r\n");
    talk.closed();
}

// CASES C10
#[test]
fn wrong_passwords_are_events_that_name_the_user_where_there_is_one() {
    let files = CertificateFiles::new();
    let proxy = Proxy::start(&config(&files, "none", "optional"));
    let mut talk = Talk::hello(proxy.address());
    talk.say("AUTH PLAIN AHNob3AAbm9wZQ==", "535 5.7.8 wrong user name or password");
    let refused = proxy.cli(&["events", "--limit", "1000", "--json"]).to_string();
    assert!(refused.contains("wrong user name or password (user shop)"), "{refused}");
}

// CASES C17
#[test]
fn no_password_of_a_client_is_in_any_log() {
    let files = CertificateFiles::new();
    let config = config(&files, "opportunistic", "required");
    let proxy = Proxy::start_in(&[("RUST_LOG", "trace")], &config);
    clients(&proxy, &files, false);
    let mut talk = Talk::hello(proxy.address());
    talk.say("AUTH LOGIN c2hvcA==", "334");
    talk.say("d3Jvbmctd29yZC1vZi1taW5l", "535");
    talk.say("AUTH PLAIN AHNob3AAd3Jvbmctd29yZC1vZi1taW5l", "535");
    let said = proxy.said() + &proxy.cli(&["events", "--limit", "1000", "--json"]).to_string();
    assert!(said.contains("shop"), "something was logged");
    for secret in
        [PASSWORD, "b3Blbi1TZXNhbWUvMTc", "AHNob3AA", "wrong-word-of-mine", "d3Jvbmctd29yZC1vZi1taW5l"]
    {
        assert!(!said.contains(secret), "{secret}");
    }
}

// TLS below 1.2 is not spoken.
#[test]
fn old_versions_of_tls_are_refused() {
    let files = CertificateFiles::new();
    let proxy = Proxy::start(&config(&files, "implicit", "none"));
    for (version, spoken) in [("-tls1", false), ("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-cipher", "ALL:@SECLEVEL=0", version]);
        let output =
            openssl.arg("-connect").arg(proxy.address().to_string()).stdin(std::process::Stdio::null());
        assert_eq!(output.output().unwrap().status.success(), spoken, "{version}");
    }
}

/// What `postroom hash` prints for a password on standard input.
fn hashed(password: &str) -> Vec<u8> {
    succeeded(crate::support::proxy::postroom().arg("hash"), format!("{password}\n").as_bytes()).stdout
}

#[test]
fn a_terminal_shows_nothing_of_the_password_that_is_hashed() {
    const SCRIPT: &str = "\
import os, pty, sys
said = b''
def read(fd):
    global said
    data = os.read(fd, 1024)
    said += data
    return data
child, fd = pty.fork()
if child == 0:
    os.execv(sys.argv[1], [sys.argv[1], 'hash'])
for prompt in (b'Password: ', b'Again: '):
    while prompt not in said:
        read(fd)
    os.write(fd, b'open-Sesame/17\\n')
try:
    while read(fd):
        pass
except OSError:
    pass
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, said
assert b'Sesame' not in said and b'$argon2id$' in said, said
";
    let mut python = Command::new("python3");
    succeeded(python.args(["-c", SCRIPT, crate::support::proxy::BINARY]), b"");
    let mut empty = crate::support::proxy::postroom();
    let empty = empty.arg("hash").stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(empty.status.code(), Some(1));
}
