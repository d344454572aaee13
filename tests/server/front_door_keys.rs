//! What the keys of `[listener]`, `[user]` and `[limits]` do, as a real client sees it: Python's smtplib, which says what
//! Django, Flask and many scripts say. docs/front-door.md lists which test proves which key.

use crate::support::clients::{smtp_source, succeeded};
use crate::support::proxy::{Proxy, postroom};
use crate::support::{not_proved_here, own_address};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;

const PASSWORD: &str = "open-Sesame/17";

/// What the scripts have in common. `code` is the reply to a command that smtplib makes an exception of.
const PRELUDE: &str = "\
import smtplib, sys
host, port, password = sys.argv[1], int(sys.argv[2]), sys.argv[3]
MAIL = b'Subject: t\\r\\n\\r\\nx\\r\\n'
def connected(source=None):
    source = source and (source, 0)
    client = smtplib.SMTP(host, port, local_hostname='client.test', timeout=60, source_address=source)
    client.ehlo()
    return client
def send(client, sender='a@x.test', to=('b@y.test',), mail=MAIL):
    return client.sendmail(sender, list(to), mail)
def code(call, *arguments, **more):
    try:
        call(*arguments, **more)
    except smtplib.SMTPRecipientsRefused as refused:
        return next(iter(refused.recipients.values()))[0]
    except smtplib.SMTPResponseException as refused:
        return refused.smtp_code
    return 250
";

/// Runs a script; what it asserts has to hold.
#[track_caller]
fn smtplib(address: SocketAddr, script: &str) {
    let mut python = Command::new("python3");
    python.args(["-c", &format!("{PRELUDE}{script}")]);
    python.args([address.ip().to_string(), address.port().to_string(), PASSWORD.to_owned()]);
    succeeded(&mut python, b"");
}

/// A proxy that sends nothing, with these keys of its listener.
#[track_caller]
fn with_listener(keys: &str) -> Proxy {
    Proxy::start(&format!("[sending]\nenabled = false\n[listener.test]\naddress = \"@LISTEN@\"\n{keys}\n"))
}

#[track_caller]
fn with_limit(limit: &str) -> Proxy {
    Proxy::start(&format!("[sending]\nenabled = false\n[limits]\n{limit}\n"))
}

fn messages(proxy: &Proxy) -> Vec<serde_json::Value> {
    proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().clone()
}

/// A port of that address that nobody listens on.
fn port_of(ip: IpAddr) -> Option<SocketAddr> {
    TcpListener::bind((ip, 0)).ok()?.local_addr().ok()
}

/// A listener of further keys at an address of this machine that is not loopback: a client there counts as one from elsewhere.
#[track_caller]
fn with_far_listener(more: &str, test: &str) -> Option<(Proxy, SocketAddr)> {
    let Some(far) = own_address().and_then(port_of) else {
        not_proved_here(test, "the machine has no address but loopback");
        return None;
    };
    let listener = format!("[listener.far]\naddress = \"{far}\"\n{more}\n");
    Some((with_listener(&listener), far))
}

#[test]
fn address() {
    let Some(second) = port_of(IpAddr::from([127, 0, 0, 2])) else { panic!("127.0.0.2 is loopback") };
    let mut listeners = format!("[listener.second]\naddress = \"{second}\"\n");
    let sixth = port_of(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
    match sixth {
        Some(sixth) => listeners += &format!("[listener.sixth]\naddress = \"{sixth}\"\n"),
        None => not_proved_here("a listener on ::1", "the machine has no IPv6"),
    }
    let proxy = with_listener(&listeners);
    let all: Vec<SocketAddr> = [Some(proxy.address()), Some(second), sixth].into_iter().flatten().collect();
    for address in &all {
        smtplib(*address, "send(connected())");
    }
    let mut said: Vec<String> =
        messages(&proxy).iter().map(|one| one["listener"].as_str().unwrap_or_default().to_owned()).collect();
    said.sort();
    assert_eq!(said, ["second", "sixth", "test"][..all.len().min(3)].to_vec());
}

#[test]
fn allow() {
    let proxy = with_listener("allow = [\"127.0.0.1\", \"127.1.0.0/16\"]");
    smtplib(
        proxy.address(),
        "\
for source in ('127.0.0.1', '127.1.2.3'):
    send(connected(source))
assert code(send, connected('127.0.0.2')) == 554
assert code(send, connected('127.2.0.1')) == 554
",
    );
    assert_eq!(messages(&proxy).len(), 2);
}

#[test]
fn allow_private() {
    let Some((_proxy, far)) = with_far_listener("allow = [\"127.0.0.1\"]", "allow, from elsewhere") else {
        return;
    };
    smtplib(far, "assert code(send, connected()) == 554");
    let own = far.ip().to_string();
    let Some((_proxy, far)) = with_far_listener(&format!("allow = [\"{own}/32\"]"), "allow") else { return };
    smtplib(far, "send(connected())");
    if !own.starts_with("10.") && !own.starts_with("192.168.") && !own.starts_with("172.") {
        let Some((_proxy, far)) = with_far_listener("allow = [\"private\"]", "allow") else { return };
        smtplib(far, "assert code(send, connected()) == 554");
    }
    smtplib(with_listener("allow = [\"private\"]").address(), "send(connected())");
}

#[test]
fn danger_open_relay() {
    let test = "danger_open_relay, from elsewhere";
    let Some((_proxy, far)) =
        with_far_listener("allow = [\"0.0.0.0/0\", \"::/0\"]\ndanger_open_relay = true", test)
    else {
        return;
    };
    smtplib(far, "send(connected())");
}

#[test]
fn danger_allow_plaintext_auth() {
    for (danger, script) in [
        (
            "",
            "assert not client.has_extn('auth')\nassert client.docmd('AUTH', 'PLAIN AHNob3AAeA==')[0] == 538",
        ),
        ("danger_allow_plaintext_auth = true", "client.login('shop', password)\nsend(client)"),
    ] {
        let keys = format!("auth = \"required\"\n{danger}\n[user.shop]\npassword = \"{PASSWORD}\"");
        let Some((_proxy, far)) = with_far_listener(&keys, "danger_allow_plaintext_auth, from elsewhere")
        else {
            return;
        };
        smtplib(far, &format!("client = connected()\n{script}\n"));
    }
}

#[test]
fn auth_outranks_allow() {
    let proxy = with_listener(&format!("auth = \"required\"\n[user.shop]\npassword = \"{PASSWORD}\""));
    smtplib(
        proxy.address(),
        "\
assert code(send, connected()) == 530
# A login is two tries, PLAIN and LOGIN; the third wrong one ends the session.
assert code(connected().login, 'shop', 'wrong') == 535
assert code(connected().login, 'nobody', password) == 535
client = connected()
client.login('shop', password)
send(client)
",
    );
}

#[test]
fn passwords_in_each_form() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let hash = succeeded(postroom().arg("hash"), format!("{PASSWORD}\n").as_bytes()).stdout;
    let hash = String::from_utf8(hash).unwrap();
    let proxy = with_listener(&format!(
        "auth = \"required\"\n[user.plain]\npassword = \"{PASSWORD}\"\n[user.hash]\npassword_hash = \"{}\"\n\
         [user.file]\npassword_file = \"{}\"\n",
        hash.trim(),
        file.display()
    ));
    smtplib(
        proxy.address(),
        "\
for user in ('plain', 'hash', 'file'):
    client = connected()
    assert code(client.login, user, password + 'x') == 535, user
    client.login(user, password)
    send(client)
",
    );
}

#[test]
fn senders_of_a_user() {
    let proxy = with_listener(&format!(
        "auth = \"required\"\n[user.shop]\npassword = \"{PASSWORD}\"\nsenders = [\"@x.test\", \"one@z.test\"]"
    ));
    smtplib(
        proxy.address(),
        "\
client = connected()
client.login('shop', password)
for sender in ('a@x.test', 'A@X.TEST', 'one@z.test', ''):
    send(client, sender)
for sender in ('a@sub.x.test', 'two@z.test', 'a@y.test'):
    assert code(send, client, sender) == 553, sender
",
    );
}

#[test]
fn message_size() {
    let proxy = with_limit("message_size = \"64KiB\"");
    smtplib(
        proxy.address(),
        "\
client = connected()
assert client.esmtp_features['size'] == '65536'
send(client, mail=MAIL + b'x\\r\\n' * 20_000)
assert code(send, client, mail=MAIL + b'x\\r\\n' * 30_000) == 552
# Unannounced, as a client of HELO sends it.
client = smtplib.SMTP(host, port, timeout=60)
client.helo()
assert code(send, client, mail=MAIL + b'x\\r\\n' * 30_000) == 552
send(client)
",
    );
}

#[test]
fn recipients() {
    let proxy = with_limit("recipients = 100");
    smtplib(
        proxy.address(),
        "\
refused = send(connected(), to=[f'{number}@y.test' for number in range(101)])
assert list(refused) == ['100@y.test'] and refused['100@y.test'][0] == 452, refused
",
    );
    assert_eq!(messages(&proxy)[0]["recipients"].as_array().map(Vec::len), Some(100));
}

#[test]
fn connections() {
    let proxy = with_limit("connections = 2");
    smtplib(
        proxy.address(),
        "\
first, second = connected(), connected()
assert code(connected) == 421
first.quit()
import time
while code(connected) == 421:
    time.sleep(0.01)
send(second)
",
    );
}

#[test]
fn connections_per_client() {
    let test = "connections_per_client, from elsewhere";
    let Some(own) = own_address() else {
        return not_proved_here(test, "the machine has no address but loopback");
    };
    let keys = format!("allow = [\"{own}\"]\n[limits]\nconnections_per_client = 2");
    let Some((proxy, far)) = with_far_listener(&keys, test) else { return };
    smtplib(far, "both = connected(), connected()\nassert code(connected) == 421\nsend(both[0])");
    smtplib(proxy.address(), "many = [connected() for _ in range(10)]\nsend(many[9])");
}

#[test]
fn command_timeout() {
    let proxy = with_limit("command_timeout = \"500ms\"");
    smtplib(proxy.address(), "assert connected().getreply()[0] == 421");
}

#[test]
fn data_timeout() {
    let proxy = with_limit("data_timeout = \"500ms\"");
    smtplib(
        proxy.address(),
        "\
client = connected()
client.mail('a@x.test'); client.rcpt('b@y.test')
assert client.docmd('DATA')[0] == 354
client.send(b'Subject: t\\r\\n')
assert client.getreply()[0] == 421
",
    );
    assert!(messages(&proxy).is_empty());
}

#[test]
fn received_hops() {
    let proxy = with_limit("received_hops = 3");
    smtplib(
        proxy.address(),
        "\
send(connected(), mail=b'Received: from a by b; x\\r\\n' * 3 + MAIL)
assert code(send, connected(), mail=b'Received: from a by b; x\\r\\n' * 4 + MAIL) == 554
",
    );
}

#[test]
fn errors_per_session() {
    let proxy = with_limit("errors_per_session = 3");
    smtplib(
        proxy.address(),
        "\
client = connected()
codes = [client.docmd('BOGUS')[0] for _ in range(4)]
assert codes == [500, 500, 500, 421], codes
",
    );
}

/// More mail at a time than there is memory for: it waits and is taken.
#[test]
fn content_memory() {
    let proxy = with_limit("content_memory = \"1MiB\"");
    let arguments = ["-s", "12", "-m", "24", "-l", "1000000", "-f", "a@x.test", "-t", "b@y.test"];
    smtp_source(proxy.address(), &arguments);
    assert_eq!(messages(&proxy).len(), 24);
}

#[test]
fn bare_newline() {
    // smtplib repairs what it is given, so the content is sent below it.
    const SCRIPT: &str = "\
client = connected()
client.mail('a@x.test'); client.rcpt('b@y.test'); client.docmd('DATA')
client.send(b'Subject: t\\n\\nx\\n.\\nMAIL FROM:<evil@x.test>\\r\\n.\\r\\n')
said = client.getreply()[0]
";
    let proxy = with_limit("bare_newline = \"normalize\"");
    smtplib(proxy.address(), &format!("{SCRIPT}assert said == 250, said"));
    let proxy = with_limit("bare_newline = \"reject\"");
    smtplib(proxy.address(), &format!("{SCRIPT}assert said == 550, said"));
    assert!(messages(&proxy).is_empty());
}
