//! What is known of TLS with upstreams: in attempts, in the listing, and in events about certificates that end soon.

use crate::support::clients::{Envelope, smtplib};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::samples::sample;
use crate::support::scripted::{Identity, Script, Scripted};
use serde_json::{Value, json};
use std::io::Write;
use tempfile::NamedTempFile;

const HOST: &[&str] = &["127.0.0.1"];

/// A server that defers each message.
fn deferring(script: Script) -> Script {
    script.ehlo(&[]).at_dot("451 4.3.0 later")
}

/// An upstream at the server; every message has a connection of its own.
fn upstream(server: &Scripted, more: &str) -> String {
    let port = server.port();
    format!("[upstream.relay]\nhost = \"127.0.0.1:{port}\"\nmessages_per_connection = 1\n{more}\n")
}

/// Certificates to trust.
fn trusted(identities: &[&Identity]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    identities.iter().for_each(|identity| file.write_all(identity.pem().as_bytes()).unwrap());
    file
}

/// Sends a message; its id once it was attempted.
fn attempted(proxy: &Proxy) -> String {
    let known = |list: &Value| list.as_array().unwrap().len();
    let before = known(&proxy.cli(&["queue", "list", "--json"]));
    let envelope = Envelope { from: "ann@client.test", to: &["bob@upstream.test"] };
    smtplib(proxy.address(), &envelope, &sample("dots.eml"), &[]);
    let listed = eventually("attempts", || {
        let listed = proxy.cli(&["queue", "list", "--json"]);
        let all = listed.as_array()?.iter().all(|one| one["attempts"].as_u64() > Some(0));
        (all && known(&listed) > before).then_some(listed)
    });
    listed[0]["id"].as_str().unwrap().to_owned()
}

/// `CERTIFICATE` events, oldest first.
fn told(proxy: &Proxy) -> Vec<String> {
    let events = proxy.cli(&["events", "--limit", "1000", "--code", "CERTIFICATE", "--json"]);
    let told = events.as_array().unwrap().iter().map(|event| {
        assert_eq!((&event["upstream"], &event["type"]), (&json!("relay"), &json!("Warning")), "{event}");
        event["message"].as_str().unwrap().to_owned()
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

#[test]
fn attempts_and_listing_say_what_was_agreed_on_and_when_the_certificate_ends() {
    let identity = Identity::that_ends_in(HOST, 100);
    let ends = json!(identity.ends());
    for tls in ["starttls", "implicit"] {
        let server = Scripted::start(|script| match tls {
            "implicit" => deferring(script).implicit_tls(&identity),
            _ => deferring(script).starttls(&identity),
        });
        let roots = trusted(&[&identity]);
        let keys = format!("tls = \"{tls}\"\ntls_ca = \"{}\"", roots.path().display());
        let proxy = Proxy::start(&upstream(&server, &keys));
        assert_eq!(proxy.cli(&["upstream", "list", "--json"])[0]["tls"], Value::Null);
        let id = attempted(&proxy);
        let facts = json!({
            "version": "TLSv1.3",
            "cipher": "TLS_AES_256_GCM_SHA384",
            "key_exchange": "X25519MLKEM768",
            "certificate_expires": ends,
        });
        let shown = proxy.cli(&["queue", "show", &id, "--json"]);
        assert_eq!(shown["history"][0]["tls"], facts, "{shown}");
        assert_eq!(proxy.cli(&["upstream", "list", "--json"])[0]["tls"], facts);
        let text = |arguments: &[&str]| String::from_utf8(proxy.command(arguments).stdout).unwrap();
        let line = "TLSv1.3, TLS_AES_256_GCM_SHA384, X25519MLKEM768; the certificate ends ";
        let shown = text(&["queue", "show", &id]);
        assert!(shown.contains(&format!("{line}{}", identity.ends())), "{shown}");
        let listed = text(&["upstream", "list"]);
        assert!(listed.contains("1.3 until 20"), "{listed}");
        assert_eq!(told(&proxy), [""; 0], "it is good for a while");
    }
}

#[test]
fn an_upstream_in_clear_text_has_no_tls() {
    let server = Scripted::start(deferring);
    let proxy = Proxy::start(&upstream(&server, "tls = \"none\""));
    let id = attempted(&proxy);
    assert_eq!(proxy.cli(&["queue", "show", &id, "--json"])["history"][0]["tls"], Value::Null);
    assert_eq!(proxy.cli(&["upstream", "list", "--json"])[0]["tls"], Value::Null);
}

#[test]
fn a_certificate_that_ends_soon_is_told_once_and_another_one_again() {
    let (first, second) = (Identity::that_ends_in(HOST, 10), Identity::that_ends_in(HOST, 3));
    let roots = trusted(&[&first, &second]);
    let server = Scripted::start(|script| deferring(script).starttls(&first));
    let keys = format!("tls = \"starttls\"\ntls_ca = \"{}\"", roots.path().display());
    let proxy = Proxy::start(&upstream(&server, &keys));
    attempted(&proxy);
    attempted(&proxy);
    proxy.command(&["reload"]);
    attempted(&proxy);
    assert!(server.sessions().len() >= 3, "each message had a connection of its own");
    let expected = |identity: &Identity| {
        format!(
            "relay: the server's certificate ends {} (ends soon): then no mail goes there until whoever runs it has replaced it",
            identity.ends()
        )
    };
    assert_eq!(told(&proxy), [expected(&first)]);
    server.change(|script| script.starttls(&second));
    attempted(&proxy);
    assert_eq!(told(&proxy), [expected(&second), expected(&first)]);
}

#[test]
fn one_that_has_ended_is_told_where_it_is_taken_all_the_same() {
    for (keys, why) in [
        ("tls = \"starttls\"\ndanger_accept_invalid_certificate = true", "danger_accept_invalid_certificate"),
        ("tls = \"opportunistic\"", "tls = \"opportunistic\""),
    ] {
        let expired = Identity::expired(HOST);
        let server = Scripted::start(|script| deferring(script).starttls(&expired));
        let proxy = Proxy::start(&upstream(&server, keys));
        attempted(&proxy);
        assert_eq!(
            told(&proxy),
            [format!(
                "relay: the server's certificate ends {} (has ended): it is taken all the same ({why})",
                expired.ends()
            )]
        );
    }
}
