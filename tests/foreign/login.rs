//! Logins at servers of other people's, one for each mechanism that they have.

use super::faults::logins_by;
use super::letters::{Letter, letters};
use super::upstreams::{borrowed, exim_tls, postfix_tls, with_starttls};
use crate::support::clients::{Envelope, smtplib};
use crate::support::eventually;
use crate::support::foreign::{have, missing};
use crate::support::proxy::Proxy;
use crate::support::real::{Aiosmtpd, Certificate, Dovecot, Exim, Postfix, set_mode, wait_for_log};
use crate::support::token_server::TokenServer;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Sends one small message.
pub fn send_one(proxy: &Proxy) {
    let Letter { from, to, content } = letters().remove(0);
    smtplib(proxy.address(), &Envelope { from, to }, &content, &[]);
}

/// The keys of that login.
pub fn with(auth: &str, username: &str, password: &str) -> String {
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
        wait_for_log(|| dovecot.log(), &format!("method={strongest}"));
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
    wait_for_log(|| dovecot.log(), "method=PLAIN");
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
    wait_for_log(|| postfix.log(), "sasl_method=NTLM");
    proxy.configure(&(postfix.upstream("upstream") + &with("ntlm", "app", "wrong")));
    proxy.command(&["reload"]);
    send_one(&proxy);
    let error = last_error(&proxy);
    assert!(error.contains("AUTH NTLM refused: 535"), "{error}");
}

/// Each mechanism that has a password goes through Postfix to Dovecot, within TLS.
#[test]
fn postfix_with_dovecot_takes_each_mechanism_that_has_a_password() {
    let certificate = Certificate::self_signed();
    for mechanism in ["plain", "login", "scram-sha-256", "plain login scram-sha-256"] {
        let Some(dovecot) = Dovecot::start(mechanism, None) else { return };
        let mut settings = postfix_tls(&certificate, "encrypt");
        settings.extend(logins_by(&dovecot));
        settings.push(("smtpd_tls_auth_only", "yes".to_owned()));
        let Some(postfix) = Postfix::start(&borrowed(&settings)) else { return };
        let upstream = with_starttls("upstream", postfix.address(), &certificate);
        let proxy = Proxy::start(&(upstream + &with("basic", "app", "s3cret")));
        send_one(&proxy);
        postfix.wait(1);
        let strongest = mechanism.rsplit(' ').next().unwrap().to_uppercase();
        wait_for_log(|| postfix.log(), &format!("sasl_method={strongest}, sasl_username=app"));
        wait_for_log(|| postfix.log(), "TLS connection established");
    }
}

#[test]
fn exim_takes_plain_and_login_within_tls() {
    let certificate = Certificate::self_signed();
    for (offered, used) in [("plain", "plain"), ("login", "login"), ("plain login", "plain")] {
        let mut settings = exim_tls(&certificate);
        settings
            .extend([("AUTH_OFFERED", offered.to_owned()), ("hostlist relay_from", "192.0.2.1".to_owned())]);
        let Some(exim) = Exim::start(&borrowed(&settings)) else { return };
        let upstream = with_starttls("upstream", exim.address(), &certificate);
        let proxy = Proxy::start(&(upstream.clone() + &with("basic", "app", "s3cret")));
        send_one(&proxy);
        exim.wait(1);
        assert!(
            exim.log().contains(&format!("A={used}:app")) && exim.log().contains("X=TLS"),
            "{}",
            exim.log()
        );
        proxy.configure(&(upstream + &with("basic", "app", "wrong")));
        proxy.command(&["reload"]);
        send_one(&proxy);
        let error = last_error(&proxy);
        assert!(error.contains(&format!("AUTH {} refused: 535", used.to_uppercase())), "{error}");
    }
}

/// The second server of NTLM: it checks the integrity code, too.
#[test]
fn aiosmtpd_with_pyspnego_takes_ntlm() {
    let Some(aiosmtpd) = Aiosmtpd::start_with_ntlm() else { return };
    let upstream = aiosmtpd.upstream("upstream");
    let keys = with("ntlm", "app", "s3cret") + "domain = \"DOMAIN\"\n";
    let proxy = Proxy::start(&(upstream.clone() + &keys));
    send_one(&proxy);
    aiosmtpd.wait(1);
    for wrong in [keys.replace("s3cret", "wrong"), keys.replace("DOMAIN", "OTHER")] {
        let proxy = Proxy::start(&(upstream.clone() + &wrong));
        send_one(&proxy);
        let error = last_error(&proxy);
        assert!(error.contains("AUTH NTLM refused: 535"), "{error}");
    }
}

// CASES F15
#[test]
fn dovecot_takes_tokens() {
    for mechanism in ["xoauth2", "oauthbearer"] {
        let tokens = TokenServer::start();
        let Some(dovecot) = Dovecot::start(mechanism, Some(&tokens.introspection())) else { return };
        let keys = tokens.keys("first") + "messages_per_connection = 1\n";
        let proxy = Proxy::start(&(dovecot.upstream("upstream") + &keys));
        send_one(&proxy);
        dovecot.wait(1);
        wait_for_log(|| dovecot.log(), &format!("method={}", mechanism.to_uppercase()));
        // It is withdrawn: the server refuses it, and takes the next one on the same connection.
        tokens.state().valid.clear();
        send_one(&proxy);
        dovecot.wait(2);
        assert_eq!(tokens.state().requests.len(), 2, "{mechanism}");
    }
}

/// Tokens that expire, refresh tokens that are replaced, and an authorization server that says no in the end: no password is tried.
#[test]
fn dovecot_takes_tokens_that_expire_and_are_replaced_and_gets_no_password_when_there_are_none() {
    let tokens = TokenServer::start();
    tokens.state().life = 0;
    tokens.state().replaces = true;
    tokens.state().refresh_token = "first".to_owned();
    let Some(dovecot) = Dovecot::start("plain xoauth2", Some(&tokens.introspection())) else { return };
    let keys = tokens.keys("first") + "messages_per_connection = 1\npassword = \"s3cret\"\n";
    let proxy = Proxy::start(&(dovecot.upstream("upstream") + &keys));
    for count in 1..=3 {
        send_one(&proxy);
        dovecot.wait(count);
        // What was good before is no longer: each message needs a token of its own.
        tokens.state().valid.clear();
    }
    let given = |request: &String| {
        request.split("refresh_token=").nth(1).unwrap().split('&').next().unwrap().to_owned()
    };
    let requests: Vec<String> = tokens.state().requests.iter().map(given).collect();
    assert_eq!(requests, ["first", "refresh-1", "refresh-2"]);
    tokens.state().refuses = Some("invalid_grant");
    send_one(&proxy);
    let error = last_error(&proxy);
    assert!(error.contains("invalid_grant") && error.contains("get a new one"), "{error}");
    assert!(!dovecot.log().contains("method=PLAIN"), "{}", dovecot.log());
}
