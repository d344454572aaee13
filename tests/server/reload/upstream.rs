//! Keys of upstreams: they hold for the next attempt, and idle connections of changed upstreams close.

use super::{messages, refused, reload, send, standing};
use crate::deliver::pickup_folder;
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::scripted::{Act, Identity, Scripted};
use crate::support::token_server::TokenServer;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

/// The upstream `only` with some keys of its own; clear text unless they say otherwise.
fn only(port: u16, keys: &str) -> String {
    let tls = if keys.contains("tls = ") { "" } else { "tls = \"none\"\n" };
    format!("[upstream.only]\nhost = \"127.0.0.1:{port}\"\n{tls}{keys}\n")
}

/// With the first keys nothing is known to fail; with the second ones the server is given up.
#[track_caller]
fn runs_into(server: &Scripted, before: &str, after: &str) {
    let proxy = Proxy::start(&only(server.port(), before));
    reload(&proxy, &only(server.port(), after));
    assert!(send(&proxy).starts_with("250"));
    eventually("the upstream to be at fault", || standing(&proxy)["last_error"].as_str().map(drop));
}

/// Both configurations one after the other, with a message under each: the sessions that they came in.
fn sessions_of(server: &Scripted, before: &str, after: &str, messages: usize) -> Vec<usize> {
    let proxy = Proxy::start(&only(server.port(), before));
    for number in 1..=messages {
        send(&proxy);
        server.wait_for(number);
        idle(&proxy);
    }
    reload(&proxy, &only(server.port(), after));
    for number in messages + 1..=2 * messages {
        send(&proxy);
        server.wait_for(number);
        idle(&proxy);
    }
    server.transactions().iter().map(|message| message.session).collect()
}

/// The connection is back in the pool.
fn idle(proxy: &Proxy) {
    eventually("nothing under way", || {
        (standing(proxy)["in_flight"] == 0 && messages(proxy).is_empty()).then_some(())
    });
}

#[test]
pub fn host() {
    let (first, second) = (Recorder::start(), Recorder::start());
    let proxy = Proxy::start(&first.upstream("only"));
    send(&proxy);
    first.wait(1);
    reload(&proxy, &second.upstream("only"));
    send(&proxy);
    second.wait(1);
}

#[test]
pub fn priority() {
    let (first, second) = (Recorder::start(), Recorder::start());
    let config = |one: &str, other: &str| {
        let key = |priority: &str| format!("priority = \"{priority}\"\n");
        first.upstream("first") + &key(one) + &second.upstream("second") + &key(other)
    };
    let proxy = Proxy::start(&config("high", "low"));
    send(&proxy);
    first.wait(1);
    reload(&proxy, &config("low", "high"));
    send(&proxy);
    second.wait(1);
}

#[test]
pub fn enabled() {
    let (first, second) = (Recorder::start(), Recorder::start());
    let config = |on: bool| {
        first.upstream("first")
            + &format!("priority = \"high\"\nenabled = {on}\n")
            + &second.upstream("second")
    };
    let proxy = Proxy::start(&config(true));
    send(&proxy);
    first.wait(1);
    reload(&proxy, &config(false));
    assert_eq!(standing(&proxy)["state"], "disabled");
    send(&proxy);
    second.wait(1);
    reload(&proxy, &config(true));
    send(&proxy);
    first.wait(2);
}

/// Both say here where they go; what `local` alone means stands in tests/config.
#[test]
pub fn delivery() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&recorder.upstream("only"));
    reload(&proxy, &(recorder.upstream("only") + "delivery = \"local\"\n"));
    let check = proxy.cli(&["check", "--json"]);
    assert_eq!(check["upstream"]["only"]["delivery"], "local");
    refused(&proxy, &(recorder.upstream("only") + "delivery = \"pickup\"\n"), "upstream.only.host");
    recorder.wait(1);
}

/// From a server to a folder, to another folder, and back.
#[test]
pub fn pickup_directory() {
    let (recorder, places) =
        (Recorder::start(), [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
    let proxy = Proxy::start(&recorder.upstream("only"));
    for place in &places {
        reload(&proxy, &pickup_folder::upstream("only", place.path()));
        send(&proxy);
        pickup_folder::files(place.path(), 1);
    }
    reload(&proxy, &recorder.upstream("only"));
    send(&proxy);
    recorder.wait(1);
    assert!(places.iter().all(|place| pickup_folder::names(place.path()).len() == 1));
}

#[test]
pub fn tls() {
    let server = Scripted::start(|s| s.starttls(&Identity::of(&["127.0.0.1"])));
    let anything = "danger_accept_invalid_certificate = true\n";
    let proxy = Proxy::start(&only(server.port(), anything));
    send(&proxy);
    assert!(!server.wait_for(1)[0].tls);
    reload(&proxy, &only(server.port(), &format!("tls = \"starttls\"\n{anything}")));
    send(&proxy);
    assert!(server.wait_for(2)[1].tls);
}

/// Whether mail goes to a server that nobody vouches for, before and after the reload.
#[track_caller]
fn is_trusted_by(keys: impl Fn(&Proxy, &Identity) -> String) {
    let identity = Identity::of(&["127.0.0.1"]);
    let server = Scripted::start(|s| s.starttls(&identity));
    let proxy = Proxy::start(&only(server.port(), "tls = \"starttls\"\n"));
    send(&proxy);
    eventually("the certificate to be refused", || standing(&proxy)["last_error"].as_str().map(drop));
    assert!(server.transactions().is_empty());
    let keys = keys(&proxy, &identity);
    reload(&proxy, &only(server.port(), &format!("tls = \"starttls\"\n{keys}")));
    assert!(server.wait_for(1)[0].tls);
}

#[test]
pub fn tls_ca() {
    is_trusted_by(|proxy, identity| {
        let file = proxy.data_dir().join("ca.pem");
        std::fs::write(&file, identity.pem()).unwrap();
        format!("tls_ca = \"{}\"\n", file.display())
    });
}

#[test]
pub fn danger_accept_invalid_certificate() {
    is_trusted_by(|_, _| "danger_accept_invalid_certificate = true\n".to_owned());
}

/// What the server is told by AUTH PLAIN under each configuration; none is nothing.
fn told(before: &str, after: &str) -> [Option<String>; 2] {
    let server = Scripted::start(|s| s.ehlo(&["AUTH PLAIN"]));
    let proxy = Proxy::start(&only(server.port(), before));
    send(&proxy);
    server.wait_for(1);
    reload(&proxy, &only(server.port(), after));
    send(&proxy);
    server.wait_for(2);
    let auth = |session: usize| {
        let commands = server.sessions()[session].commands.clone();
        commands.into_iter().find_map(|line| line.strip_prefix("AUTH PLAIN ").map(str::to_owned))
    };
    [auth(0), auth(1)]
}

fn basic(username: &str, password: &str) -> String {
    format!("auth = \"basic\"\nusername = \"{username}\"\npassword = \"{password}\"\n")
}

// "\0u\0p", "\0v\0p" and "\0u\0q" in base64.
const U_P: &str = "AHUAcA==";
const V_P: &str = "AHYAcA==";
const U_Q: &str = "AHUAcQ==";

#[test]
pub fn auth() {
    assert_eq!(told("", &basic("u", "p")), [None, Some(U_P.to_owned())]);
}

#[test]
pub fn username() {
    assert_eq!(told(&basic("u", "p"), &basic("v", "p")), [Some(U_P.to_owned()), Some(V_P.to_owned())]);
}

#[test]
pub fn password() {
    assert_eq!(told(&basic("u", "p"), &basic("u", "q")), [Some(U_P.to_owned()), Some(U_Q.to_owned())]);
}

fn shared(username: &str, password: &str) -> String {
    format!(
        "auth = \"default\"\n[credentials.default]\nusername = \"{username}\"\npassword = \"{password}\"\n"
    )
}

#[test]
pub fn shared_username() {
    assert_eq!(told(&shared("u", "p"), &shared("v", "p")), [Some(U_P.to_owned()), Some(V_P.to_owned())]);
}

#[test]
pub fn shared_password() {
    assert_eq!(told(&shared("u", "p"), &shared("u", "q")), [Some(U_P.to_owned()), Some(U_Q.to_owned())]);
}

/// What the authorization server is asked before and after a part of the upstream's keys has changed.
fn asked(tokens: &TokenServer, old: &str, new: &str) -> [String; 2] {
    let server = Scripted::start(|s| s.ehlo(&["AUTH XOAUTH2"]).on("AUTH", "235 2.7.0 welcome"));
    let keys = tokens.keys("first");
    assert!(keys.contains(old), "{old} in {keys}");
    let proxy = Proxy::start(&only(server.port(), &keys));
    send(&proxy);
    server.wait_for(1);
    reload(&proxy, &only(server.port(), &keys.replace(old, new)));
    send(&proxy);
    server.wait_for(2);
    tokens.state().requests.clone().try_into().expect("one request before, and one after")
}

#[track_caller]
fn asks_otherwise(old: &str, new: &str, before: &str, after: &str) {
    let [first, second] = asked(&TokenServer::start(), old, new);
    assert!(first.contains(before) && !first.contains(after), "{first}");
    assert!(second.contains(after), "{second}");
}

#[test]
pub fn oauth2_client_id() {
    asks_otherwise("\"postroom\"", "\"other\"", "client_id=postroom", "client_id=other");
}

#[test]
pub fn oauth2_client_secret() {
    asks_otherwise("\"cl1ent\"", "\"0ther\"", "client_secret=cl1ent", "client_secret=0ther");
}

#[test]
pub fn oauth2_refresh_token() {
    asks_otherwise("\"first\"", "\"second\"", "refresh_token=first", "refresh_token=second");
}

#[test]
pub fn oauth2_scope() {
    asks_otherwise("\"send mail\"", "\"mail\"", "scope=send%20mail", "scope=mail");
}

#[test]
pub fn oauth2_token_url() {
    let (first, second) = (TokenServer::start(), TokenServer::start());
    let server = Scripted::start(|s| s.ehlo(&["AUTH XOAUTH2"]).on("AUTH", "235 2.7.0 welcome"));
    let proxy = Proxy::start(&only(server.port(), &first.keys("t")));
    send(&proxy);
    server.wait_for(1);
    reload(&proxy, &only(server.port(), &second.keys("t")));
    send(&proxy);
    server.wait_for(2);
    assert_eq!((first.state().requests.len(), second.state().requests.len()), (1, 1));
}

/// A challenge of NTLM, and how first and last messages begin, in base64.
const NTLM_CHALLENGE: &str = "TlRMTVNTUAACAAAADAAMADgAAAAzgoriASNFZ4mrze8AAAAAAAAAACQAJABEAAAABgBwFwAAAA9TAGUAcgB2AGUAcgACAAwARABvAG0AYQBpAG4AAQAMAFMAZQByAHYAZQByAAAAAAA=";
const NTLM_FIRST: &str = "TlRMTVNTUAAB";
const NTLM_LAST: &str = "TlRMTVNTUAAD";

#[test]
pub fn domain() {
    let server = Scripted::start(|s| {
        s.ehlo(&["AUTH NTLM"])
            .on("AUTH NTLM", "334 ntlm supported")
            .on(NTLM_FIRST, &*format!("334 {NTLM_CHALLENGE}"))
            .on(NTLM_LAST, "235 2.7.0 welcome")
    });
    let keys = |domain: &str| basic("u", "p").replace("basic", "ntlm") + &format!("domain = \"{domain}\"\n");
    let proxy = Proxy::start(&only(server.port(), &keys("SHOP")));
    send(&proxy);
    server.wait_for(1);
    reload(&proxy, &only(server.port(), &keys("DESK")));
    send(&proxy);
    server.wait_for(2);
    // In UTF-16, at the place of the first field but two (the answers to the challenge) of the last message.
    for (session, domain) in ["S\0H\0O\0P\0u\0", "D\0E\0S\0K\0u\0"].iter().enumerate() {
        let commands = server.sessions()[session].commands.clone();
        let last = commands.iter().find(|line| line.starts_with(NTLM_LAST)).unwrap();
        let message = BASE64.decode(last).unwrap();
        assert!(message.windows(domain.len()).any(|window| window == domain.as_bytes()), "{domain}");
    }
}

/// Nobody is asked: it is disabled, but for being checked.
#[test]
pub fn danger_allow_plaintext_auth() {
    let config = |danger: &str| {
        let auth = basic("u", "p");
        format!(
            "[upstream.far]\nhost = \"mail.example.test\"\nenabled = false\ntls = \"none\"\n{auth}{danger}\n"
        )
    };
    let proxy = Proxy::start("");
    refused(&proxy, &config(""), "clear text");
    reload(&proxy, &config("danger_allow_plaintext_auth = true"));
    refused(&proxy, &config("danger_allow_plaintext_auth = false"), "clear text");
}

#[test]
pub fn connection_limit() {
    let recorder = Recorder::start();
    let config = |limit: usize| recorder.upstream("only") + &format!("connection_limit = {limit}\n");
    let proxy = Proxy::start(&config(1));
    let held = recorder.hold_final_replies();
    (0..4).for_each(|_| drop(send(&proxy)));
    recorder.wait(1);
    assert_eq!(standing(&proxy)["in_flight"], 1);
    reload(&proxy, &config(3));
    recorder.wait(3);
    let standing = standing(&proxy);
    assert_eq!((&standing["in_flight"], &standing["connection_limit"]), (&3.into(), &3.into()));
    drop(held);
    recorder.wait(4);
}

#[test]
pub fn connect_timeout() {
    let server = Scripted::start(|s| s.greeting(Act::Hang));
    runs_into(&server, "connect_timeout = \"1h\"", "connect_timeout = \"300ms\"");
}

#[test]
pub fn command_timeout() {
    let server = Scripted::start(|s| s.on("MAIL", Act::Hang));
    runs_into(&server, "command_timeout = \"1h\"", "command_timeout = \"300ms\"");
}

/// More than the buffers of both sockets hold.
#[test]
pub fn data_timeout() {
    let server = Scripted::start(|s| s.in_content(1, Act::Hang));
    let proxy = Proxy::start(&only(server.port(), "data_timeout = \"1h\""));
    reload(&proxy, &only(server.port(), "data_timeout = \"300ms\""));
    let mut talk = crate::support::talk::Talk::hello(proxy.address());
    assert!(talk.mail("b@b.test", 20 << 20).starts_with("250"));
    eventually("the upstream to be at fault", || standing(&proxy)["last_error"].as_str().map(drop));
}

#[test]
pub fn final_timeout() {
    let server = Scripted::start(|s| s.at_dot(Act::Hang));
    runs_into(&server, "final_timeout = \"1h\"", "final_timeout = \"300ms\"");
}

#[test]
pub fn max_idle_time() {
    let server = Scripted::start(|s| s);
    let proxy = Proxy::start(&only(server.port(), "max_idle_time = \"1h\""));
    let send_another = |number: usize| {
        send(&proxy);
        server.wait_for(number);
        idle(&proxy);
        server.transactions()[number - 1].session
    };
    assert_eq!((send_another(1), send_another(2)), (0, 0));
    reload(&proxy, &only(server.port(), "max_idle_time = \"100ms\""));
    assert_eq!(send_another(3), 1, "the reload has closed the first");
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(send_another(4), 2, "it has been idle for too long");
}

#[test]
pub fn messages_per_connection() {
    let server = Scripted::start(|s| s);
    let sessions = sessions_of(&server, "messages_per_connection = 50", "messages_per_connection = 1", 2);
    assert_eq!(sessions, [0, 0, 1, 2]);
}

#[test]
pub fn rate_limit() {
    let recorder = Recorder::start();
    let config = |rate: &str| recorder.upstream("only") + &format!("rate_limit = \"{rate}\"\n");
    let proxy = Proxy::start(&config(""));
    (0..2).for_each(|_| drop(send(&proxy)));
    recorder.wait(2);
    reload(&proxy, &config("1/1h"));
    (0..2).for_each(|_| drop(send(&proxy)));
    recorder.wait(3);
    eventually("the limit", || (standing(&proxy)["state"] == "limited").then_some(()));
    assert_eq!(messages(&proxy).len(), 1);
    reload(&proxy, &config(""));
    recorder.wait(4);
}

#[test]
pub fn source_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxy = Proxy::start(&only(port, ""));
    send(&proxy);
    let from = || listener.accept().unwrap().1.ip();
    assert_eq!(from(), IpAddr::from([127, 0, 0, 1]));
    reload(&proxy, &only(port, "source_address = \"127.0.0.2\""));
    assert!(std::iter::repeat_with(from).take(3).any(|from| from == IpAddr::from([127, 0, 0, 2])));
}
