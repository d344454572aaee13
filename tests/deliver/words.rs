//! What people read of an upstream that is set up wrongly: whose fault it is, and what to change.

use super::{SHORT, open, upstream_at};
use crate::support::scripted::{Identity, Script, Scripted};
use postroom::config::settings::{Auth, TlsMode, Upstream};
use std::io::Write;
use std::sync::Arc;

/// What is said of that server when the upstream is set up so.
async fn said(script: impl FnOnce(Script) -> Script, change: impl FnOnce(&mut Upstream)) -> String {
    let server = Scripted::start(script);
    let upstream: Arc<Upstream> = upstream_at(server.port(), change);
    open(&upstream).await.err().unwrap().text
}

fn tls(mode: TlsMode) -> impl FnOnce(&mut Upstream) {
    move |upstream| upstream.tls = mode
}

fn trusting<'a>(
    identity: &Identity,
    file: &'a mut tempfile::NamedTempFile,
) -> impl FnOnce(&mut Upstream) + 'a {
    file.write_all(identity.pem().as_bytes()).unwrap();
    |upstream| {
        upstream.tls = TlsMode::Implicit;
        upstream.tls_ca = Some(file.path().to_owned());
    }
}

fn basic(upstream: &mut Upstream) {
    upstream.auth = Auth::Basic { username: "app".to_owned(), password: "s3cret".to_owned().into() };
    upstream.danger_allow_plaintext_auth = true;
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_refused_is_told_with_the_reason_and_the_remedy() {
    let (right, other) = (Identity::of(&["127.0.0.1"]), Identity::of(&["elsewhere.test", "10.0.0.1"]));
    let file = || tempfile::NamedTempFile::new().unwrap();
    let text = said(|s| s.implicit_tls(&right), tls(TlsMode::Implicit)).await;
    has(&text, &["authority that this machine does not know", "`tls_ca`"]);
    let text = said(|s| s.implicit_tls(&right), trusting(&other, &mut file())).await;
    has(&text, &["neither this machine nor tls_ca /", "knows"]);
    let text = said(|s| s.implicit_tls(&other), trusting(&other, &mut file())).await;
    has(&text, &["is for elsewhere.test, 10.0.0.1 and not for 127.0.0.1", "`host`"]);
    let expired = Identity::expired(&["127.0.0.1"]);
    let text = said(|s| s.implicit_tls(&expired), trusting(&expired, &mut file())).await;
    has(&text, &["has expired on 2000-01-01T00:00:00Z"]);
}

#[tokio::test]
async fn tls_that_begins_at_the_wrong_time_is_told_with_the_setting_that_would_be_right() {
    let text = said(|s| s, tls(TlsMode::Implicit)).await;
    has(&text, &["does not begin with TLS", "tls = \"starttls\""]);
    let identity = Identity::of(&["127.0.0.1"]);
    for mode in [TlsMode::StartTls, TlsMode::None] {
        let wait = |upstream: &mut Upstream| {
            upstream.tls = mode;
            upstream.connect_timeout = SHORT;
        };
        has(&said(|s| s.implicit_tls(&identity), wait).await, &["nothing came", "tls = \"implicit\""]);
    }
    let text = said(|s| s, tls(TlsMode::StartTls)).await;
    has(&text, &["does not offer STARTTLS, which tls = \"starttls\" requires"]);
}

#[tokio::test]
async fn where_auth_is_not_offered_it_is_told_what_is() {
    has(&said(|s| s, basic).await, &["offers no AUTH on a connection without TLS"]);
    let text = said(|s| s.ehlo(&["AUTH GSSAPI NTLM", "AUTH=NTLM bad\u{202e}"]), basic).await;
    has(
        &text,
        &["offers AUTH GSSAPI, NTLM", "but neither SCRAM-SHA-256 nor PLAIN nor LOGIN", "auth = \"ntlm\""],
    );
    assert!(!text.contains('\u{202e}'), "{text}");
    has(&said(|s| s.ehlo(&["STARTTLS"]), basic).await, &["no AUTH", "set tls = \"starttls\""]);
    let identity = Identity::of(&["127.0.0.1"]);
    let both = |upstream: &mut Upstream| {
        basic(upstream);
        upstream.tls = TlsMode::StartTls;
        upstream.danger_accept_invalid_certificate = true;
    };
    has(&said(|s| s.starttls(&identity), both).await, &["offers no AUTH; ", "auth = \"anonymous\""]);
    let text = said(
        |s| s.ehlo(&["AUTH PLAIN"]),
        |upstream| {
            basic(upstream);
            upstream.danger_allow_plaintext_auth = false;
        },
    );
    has(&text.await, &["the password was not sent", "tls = \"starttls\""]);
}
