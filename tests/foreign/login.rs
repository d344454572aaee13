//! Logins at servers of other people's, one for each mechanism that they have.

use super::letters::{Letter, letters};
use crate::support::clients::{Envelope, smtplib};
use crate::support::eventually;
use crate::support::foreign::{have, missing};
use crate::support::proxy::Proxy;
use crate::support::real::{Dovecot, Postfix, set_mode};
use crate::support::token_server::TokenServer;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Sends one small message.
pub fn send_one(proxy: &Proxy) {
    let Letter { from, to, content } = letters().remove(0);
    smtplib(proxy.address(), &Envelope { from, to }, &content, &[]);
}

fn with(auth: &str, username: &str, password: &str) -> String {
    format!("auth = \"{auth}\"\nusername = \"{username}\"\npassword = \"{password}\"\n")
}

/// What the listing says went wrong last, once something has.
pub fn last_error(proxy: &Proxy) -> String {
    eventually("the upstream to be at fault", || {
        let list = proxy.cli(&["upstream", "list", "--json"]);
        list[0]["last_error"].as_str().map(str::to_owned)
    })
}

#[test]
fn dovecot_takes_each_mechanism_that_has_a_password() {
    for mechanism in ["plain", "login", "scram-sha-256", "plain login scram-sha-256"] {
        let Some(dovecot) = Dovecot::start(mechanism, None) else { return };
        let proxy = Proxy::start(&(dovecot.upstream("upstream") + &with("basic", "app", "s3cret")));
        send_one(&proxy);
        dovecot.wait(1);
        let strongest = mechanism.rsplit(' ').next().unwrap().to_uppercase();
        assert!(dovecot.log().contains(&format!("method={strongest}")), "{mechanism}: {}", dovecot.log());
    }
}

/// The password is kept as the hash of another mechanism: SCRAM cannot work, and PLAIN can.
#[test]
fn an_account_without_a_scram_secret_logs_in_with_plain() {
    let Some(dovecot) = Dovecot::start("plain scram-sha-256", None) else { return };
    dovecot.keep_password_as_hash();
    let proxy = Proxy::start(&(dovecot.upstream("upstream") + &with("basic", "app", "s3cret")));
    send_one(&proxy);
    dovecot.wait(1);
    assert!(dovecot.log().contains("method=PLAIN"), "{}", dovecot.log());
}

#[test]
fn dovecot_refuses_a_wrong_password() {
    let Some(dovecot) = Dovecot::start("plain scram-sha-256", None) else { return };
    let proxy = Proxy::start(&(dovecot.upstream("upstream") + &with("basic", "app", "wrong")));
    send_one(&proxy);
    let error = last_error(&proxy);
    assert!(error.contains("AUTH PLAIN refused: 535"), "{error}");
}

/// Postfix with the NTLM of Cyrus SASL, and the user `app` with the password `s3cret`.
#[track_caller]
fn postfix_with_ntlm(folder: &Path) -> Option<Postfix> {
    const PLUGIN: &str = "/usr/lib/x86_64-linux-gnu/sasl2/libntlm.so";
    if !have(&["/usr/sbin/saslpasswd2"]) {
        return None;
    }
    if !Path::new(PLUGIN).exists() {
        missing("Cyrus SASL's NTLM is not there; ./scripts/setup installs it");
        return None;
    }
    let database = folder.join("sasldb2");
    let mut command = Command::new("/usr/sbin/saslpasswd2");
    command.args(["-c", "-p", "-u", "postfix.test", "-f"]).arg(&database).arg("app");
    let mut child = command.stdin(Stdio::piped()).spawn().expect("saslpasswd2 starts");
    child.stdin.take().expect("it was piped").write_all(b"s3cret\n").expect("it reads");
    assert!(child.wait().expect("it ends").success());
    let text = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\nmech_list: NTLM\n",
        database.display()
    );
    set_mode(&database, 0o644);
    set_mode(folder, 0o755);
    let settings = [
        ("smtpd_sasl_auth_enable", "yes"),
        ("smtpd_sasl_path", "smtpd"),
        ("mynetworks", ""),
        ("smtpd_relay_restrictions", "permit_sasl_authenticated, reject"),
    ];
    Postfix::start_with(&settings, &[("sasl/smtpd.conf", &text)])
}

#[test]
fn postfix_with_cyrus_takes_ntlm() {
    let folder = tempfile::tempdir().unwrap();
    let Some(postfix) = postfix_with_ntlm(folder.path()) else { return };
    let proxy = Proxy::start(&(postfix.upstream("upstream") + &with("ntlm", "app", "s3cret")));
    send_one(&proxy);
    postfix.wait(1);
    assert!(postfix.log().contains("sasl_method=NTLM"), "{}", postfix.log());
    proxy.configure(&(postfix.upstream("upstream") + &with("ntlm", "app", "wrong")));
    proxy.command(&["reload"]);
    send_one(&proxy);
    let error = last_error(&proxy);
    assert!(error.contains("AUTH NTLM refused: 535"), "{error}");
}

#[test]
fn dovecot_takes_tokens() {
    for mechanism in ["xoauth2", "oauthbearer"] {
        let tokens = TokenServer::start();
        let Some(dovecot) = Dovecot::start(mechanism, Some(&tokens.introspection())) else { return };
        let keys = tokens.keys("first") + "messages_per_connection = 1\n";
        let proxy = Proxy::start(&(dovecot.upstream("upstream") + &keys));
        send_one(&proxy);
        dovecot.wait(1);
        assert!(dovecot.log().contains(&format!("method={}", mechanism.to_uppercase())), "{}", dovecot.log());
        // It is withdrawn: the server refuses it, and takes the next one on the same connection.
        tokens.state().valid.clear();
        send_one(&proxy);
        dovecot.wait(2);
        assert_eq!(tokens.state().requests.len(), 2, "{mechanism}");
    }
}
