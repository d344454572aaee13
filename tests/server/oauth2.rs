//! Tokens of OAuth 2 through the built binary: when they are fetched, what is kept, and what is said.

use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::scripted::{Script, Scripted};
use crate::support::talk::Talk;
use crate::support::token_server::TokenServer;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn config(server: &Scripted, more: &str) -> String {
    format!("[upstream.only]\nhost = \"127.0.0.1:{}\"\ntls = \"none\"\n{more}", server.port())
}

fn send(proxy: &Proxy) {
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
}

/// AUTH with that token, as far as it goes with any token of this length.
fn auth(token: &str) -> String {
    format!("AUTH XOAUTH2 {}", BASE64.encode(format!("user=app\x01auth=Bearer {token}\x01\x01")))
}

/// Takes that token alone; of all others it says what Google's servers do (CASES F15).
fn takes(script: Script, token: &str) -> Script {
    script
        .ehlo(&["AUTH XOAUTH2 PLAIN"])
        .on(&auth(token), "235 2.7.0 Accepted")
        .on("AUTH", "334 eyJzdGF0dXMiOiI0MDAifQ==")
        .on("", "535 5.7.8 Username and Password not accepted")
}

fn upstream(proxy: &Proxy) -> serde_json::Value {
    proxy.cli(&["upstream", "list", "--json"])[0].clone()
}

fn codes(proxy: &Proxy) -> Vec<String> {
    let events = proxy.cli(&["events", "--json"]);
    events.as_array().unwrap().iter().map(|event| event["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn many_connections_wait_for_one_token() {
    let tokens = TokenServer::start();
    tokens.state().delay = Duration::from_secs(1);
    let server = Scripted::start(|s| takes(s, "access-1"));
    let proxy = Proxy::start(&config(&server, &(tokens.keys("first") + "connection_limit = 5\n")));
    (0..5).for_each(|_| send(&proxy));
    server.wait_for(5);
    assert!(server.sessions().len() > 1);
    let requests = tokens.state().requests.clone();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(
        requests[0],
        "grant_type=refresh_token&client_id=postroom&client_secret=cl1ent&refresh_token=first&scope=send%20mail"
    );
    let status = upstream(&proxy);
    assert!(status["token_expires_at"].is_string() && status["token_error"].is_null(), "{status}");
}

// CASES F15
#[test]
fn f15_a_token_that_is_refused_is_fetched_anew_before_a_circuit_opens() {
    let tokens = TokenServer::start();
    let server = Scripted::start(|s| takes(s, "access-1"));
    let proxy = Proxy::start(&config(&server, &(tokens.keys("first") + "messages_per_connection = 1\n")));
    send(&proxy);
    server.wait_for(1);
    server.change(|_| takes(Script::default(), "access-2"));
    send(&proxy);
    let session = server.wait_for(2)[1].session;
    let commands = server.sessions()[session].commands.clone();
    let logins: Vec<&str> = commands.iter().map(String::as_str).skip(1).take(3).collect();
    assert_eq!(logins, [&auth("access-1"), "", &auth("access-2")]);
    assert!(!codes(&proxy).contains(&"CIRCUIT_OPEN".to_owned()));
}

#[test]
fn a_new_token_that_is_refused_is_the_end_and_no_password_is_tried() {
    let tokens = TokenServer::start();
    let server = Scripted::start(|s| takes(s, "another"));
    let proxy = Proxy::start(&config(&server, &(tokens.keys("first") + "password = \"s3cret\"\n")));
    send(&proxy);
    eventually("the circuit to open", || codes(&proxy).contains(&"CIRCUIT_OPEN".to_owned()).then_some(()));
    let commands: Vec<String> = server.sessions().iter().flat_map(|one| one.commands.clone()).collect();
    assert_eq!(commands.iter().filter(|line| line.starts_with("AUTH")).count(), 1, "{commands:?}");
    let error = upstream(&proxy)["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("AUTH XOAUTH2 refused: 535") && error.contains("\"status\""), "{error}");
    assert_eq!(tokens.state().requests.len(), 1);
}

#[test]
fn a_token_is_fetched_anew_before_it_expires() {
    let tokens = TokenServer::start();
    tokens.state().life = 0;
    let server = Scripted::start(|s| s.ehlo(&["AUTH XOAUTH2"]).on("AUTH", "235 2.7.0 Accepted"));
    let proxy = Proxy::start(&config(&server, &(tokens.keys("first") + "messages_per_connection = 1\n")));
    send(&proxy);
    server.wait_for(1);
    send(&proxy);
    server.wait_for(2);
    let logins: Vec<String> = server.sessions().iter().map(|one| one.commands[1].clone()).collect();
    assert_eq!(logins, [auth("access-1"), auth("access-2")]);
}

#[test]
fn a_refresh_token_that_was_replaced_is_kept_and_one_that_is_configured_anew_outranks_it() {
    let tokens = TokenServer::start();
    tokens.state().replaces = true;
    tokens.state().refresh_token = "first".to_owned();
    let server = Scripted::start(|s| s.ehlo(&["AUTH XOAUTH2"]).on("AUTH", "235 2.7.0 Accepted"));
    let mut proxy = Proxy::start(&config(&server, &tokens.keys("first")));
    send(&proxy);
    server.wait_for(1);
    let file = proxy.data_dir().join("tokens.json");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("\"first\""));
    assert!(proxy.terminate().success());
    proxy.start_again();
    send(&proxy);
    server.wait_for(2);
    assert!(tokens.state().requests[1].contains("refresh_token=refresh-1&"), "not the configured one");
    tokens.state().refresh_token = "second".to_owned();
    proxy.configure(&config(&server, &tokens.keys("second")));
    proxy.command(&["reload"]);
    send(&proxy);
    server.wait_for(3);
    assert!(tokens.state().requests[2].contains("refresh_token=second&"));
    for secret in ["first", "second", "refresh-1", "access-1", "cl1ent"] {
        assert!(!proxy.said().contains(secret), "{secret}");
        assert!(!proxy.cli(&["check", "--json"]).to_string().contains(secret), "{secret}");
    }
}

#[test]
fn an_authorization_server_that_refuses_is_told_once_and_so_is_its_recovery() {
    let tokens = TokenServer::start();
    tokens.state().refuses = Some("invalid_grant");
    let server = Scripted::start(|s| takes(s, "access-2"));
    let proxy = Proxy::start(&config(&server, &tokens.keys("first")));
    send(&proxy);
    eventually("the event", || codes(&proxy).contains(&"TOKEN".to_owned()).then_some(()));
    let status = upstream(&proxy);
    let error = status["token_error"].as_str().unwrap();
    assert!(error.contains("invalid_grant") && error.contains("get a new one"), "{error}");
    assert!(!error.contains("first"), "the refresh token, which the server repeats: {error}");
    assert!(server.sessions().iter().all(|one| one.commands.len() == 1), "nothing but EHLO was said");
    tokens.state().refuses = None;
    proxy.command(&["queue", "retry", "--all"]);
    server.wait_for(1);
    let tells = || codes(&proxy).iter().filter(|code| *code == "TOKEN").count();
    eventually("the second event", || (tells() == 2).then_some(()));
    assert!(upstream(&proxy)["token_error"].is_null());
}

#[test]
fn a_client_may_ask_in_its_own_name() {
    let tokens = TokenServer::start();
    let server = Scripted::start(|s| takes(s, "access-1"));
    let proxy = Proxy::start(&config(&server, &tokens.keys("")));
    send(&proxy);
    server.wait_for(1);
    assert!(tokens.state().requests[0].starts_with("grant_type=client_credentials&client_id=postroom&"));
    assert!(!tokens.state().requests[0].contains("refresh_token="));
}
