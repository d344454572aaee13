//! Keys of TLS and AUTH at listeners, and of users: they hold for new sessions.

use super::{messages, refused, reload};
use crate::support::certificate::CertificateFiles;
use crate::support::clients::{Envelope, swaks};
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;

/// `\0app\0one`, and `\0app\0two`.
const ONE: &str = "AUTH PLAIN AGFwcABvbmU=";
const TWO: &str = "AUTH PLAIN AGFwcAB0d28=";

fn listener(more: &str) -> String {
    format!("[sending]\nenabled = false\n[listener.test]\naddress = \"@LISTEN@\"\n{more}\n")
}

/// A listener that asks for AUTH, and the user `app`.
fn user(more: &str) -> String {
    listener("auth = \"required\"") + &format!("[user.app]\n{more}\n")
}

fn ehlo(proxy: &Proxy) -> String {
    Talk::connect(proxy.address()).say("EHLO c.test", "250")
}

#[test]
pub fn tls() {
    let files = CertificateFiles::new();
    let config = |tls: &str| listener(&format!("tls = \"{tls}\"\n{}", files.config()));
    let proxy = Proxy::start(&config("none"));
    let mut before = Talk::hello(proxy.address());
    reload(&proxy, &config("opportunistic"));
    assert!(ehlo(&proxy).contains("STARTTLS"));
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    reload(&proxy, &config("starttls"));
    Talk::hello(proxy.address()).say("MAIL FROM:<a@a.test>", "530 5.7.0");
    reload(&proxy, &config("implicit"));
    let envelope = Envelope { from: "a@a.test", to: &["b@b.test"] };
    swaks(proxy.address(), &envelope, b"Subject: t\r\n\r\nx\r\n", &["--tls-on-connect"]);
    assert!(before.mail("b@b.test", 100).starts_with("250"), "a session finishes under the old one");
    before.say("STARTTLS", "502");
    reload(&proxy, &config("none"));
    assert!(!ehlo(&proxy).contains("STARTTLS"));
}

#[test]
pub fn certificate() {
    let (files, other) = (CertificateFiles::new(), CertificateFiles::new());
    let config = |files: &str| listener(&format!("tls = \"opportunistic\"\n{files}"));
    let proxy = Proxy::start(&config(&files.config()));
    let mixed =
        files.config().replace(&files.chain().display().to_string(), &other.chain().display().to_string());
    refused(&proxy, &config(&mixed), "key.pem is the key of another certificate");
    reload(&proxy, &config(&other.config()));
    assert!(ehlo(&proxy).contains("STARTTLS"));
}

#[test]
pub fn private_key() {
    let files = CertificateFiles::new();
    let proxy = Proxy::start(&listener(&format!("tls = \"opportunistic\"\n{}", files.config())));
    let without = files.config().replace("private_key", "# private_key");
    refused(&proxy, &listener(&format!("tls = \"opportunistic\"\n{without}")), "private_key: is missing");
    files.renew(100);
    reload(&proxy, &listener(&format!("tls = \"opportunistic\"\n{}", files.config())));
    assert!(ehlo(&proxy).contains("STARTTLS"));
}

#[test]
pub fn auth() {
    let config = |auth: &str| listener(&format!("auth = \"{auth}\"")) + "[user.app]\npassword = \"one\"\n";
    let proxy = Proxy::start(&config("none"));
    let mut before = Talk::hello(proxy.address());
    before.say(ONE, "502");
    reload(&proxy, &config("optional"));
    assert!(ehlo(&proxy).contains("AUTH PLAIN LOGIN"));
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    Talk::hello(proxy.address()).say(TWO, "535");
    reload(&proxy, &config("required"));
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("530"));
    Talk::hello(proxy.address()).say(ONE, "235");
    reload(&proxy, &config("any"));
    Talk::hello(proxy.address()).say(TWO, "235");
    before.say(ONE, "502");
}

/// What it does is seen on another machine alone: tests/smtp/auth.rs.
#[test]
pub fn danger_allow_plaintext_auth() {
    let proxy = Proxy::start(&user("password = \"one\""));
    let dared = listener("auth = \"required\"\ndanger_allow_plaintext_auth = true");
    reload(&proxy, &(dared + "[user.app]\npassword = \"one\"\n"));
    proxy.wait_until_said("listener.test.danger_allow_plaintext_auth is on");
    Talk::hello(proxy.address()).say(ONE, "235");
}

#[test]
pub fn password() {
    let proxy = Proxy::start(&user("password = \"one\""));
    let mut before = Talk::hello(proxy.address());
    reload(&proxy, &user("password = \"two\""));
    Talk::hello(proxy.address()).say(ONE, "535");
    Talk::hello(proxy.address()).say(TWO, "235");
    before.say(ONE, "235");
}

#[test]
pub fn password_hash() {
    let proxy = Proxy::start(&user("password = \"one\""));
    let hash = postroom::config::password::hash("two").unwrap();
    reload(&proxy, &user(&format!("password_hash = \"{hash}\"")));
    Talk::hello(proxy.address()).say(ONE, "535");
    Talk::hello(proxy.address()).say(TWO, "235");
}

/// The last message, sent by the user.
fn sent(proxy: &Proxy) -> serde_json::Value {
    let mut talk = Talk::hello(proxy.address());
    talk.say(ONE, "235");
    assert!(talk.mail("b@b.test", 100).starts_with("250"));
    messages(proxy).into_iter().max_by_key(|message| message["id"].to_string()).unwrap()
}

#[test]
pub fn site() {
    let config = |site: &str| user(&format!("password = \"one\"\nsite = \"{site}\"\n[site.a]\n[site.b]"));
    let proxy = Proxy::start(&config("a"));
    assert_eq!(sent(&proxy)["site"], "a");
    reload(&proxy, &config("b"));
    assert_eq!(sent(&proxy)["site"], "b");
}

#[test]
pub fn class() {
    let config = |class: &str| user(&format!("password = \"one\"\nclass = \"{class}\""));
    let proxy = Proxy::start(&config("bulk"));
    assert_eq!(sent(&proxy)["class"], "bulk");
    reload(&proxy, &config("urgent"));
    assert_eq!(sent(&proxy)["class"], "urgent");
}

#[test]
pub fn senders() {
    let config = |senders: &str| user(&format!("password = \"one\"\nsenders = [{senders}]"));
    let proxy = Proxy::start(&config(""));
    sent(&proxy);
    reload(&proxy, &config("\"@elsewhere.test\""));
    let mut talk = Talk::hello(proxy.address());
    talk.say(ONE, "235");
    talk.say("MAIL FROM:<shop@a.test>", "553 5.7.1");
    reload(&proxy, &config("\"shop@a.test\""));
    sent(&proxy);
}
