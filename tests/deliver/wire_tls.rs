//! TLS towards upstreams (CASES F8 to F11).

use super::{PATIENCE, open, send, short, upstream_at};
use crate::support::scripted::{Act, Identity, Scripted};
use postroom::config::settings::{Auth, TlsMode, Upstream};
use postroom::deliver::session_error::SessionErrorKind;
use postroom::deliver::transact::transact;
use std::io::Write;
use std::sync::Arc;

fn upstream(server: &Scripted, tls: TlsMode, trusted: Option<&Identity>) -> Arc<Upstream> {
    let file = trusted.map(|identity| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(identity.pem().as_bytes()).unwrap();
        file.into_temp_path().keep().unwrap()
    });
    upstream_at(server.port(), |upstream| {
        upstream.tls = tls;
        upstream.tls_ca = file;
    })
}

async fn error_kind(upstream: &Arc<Upstream>) -> SessionErrorKind {
    open(upstream).await.err().unwrap().kind
}

#[tokio::test]
async fn mail_travels_encrypted_where_it_should() {
    let identity = Identity::of(&["127.0.0.1"]);
    for tls in [TlsMode::Opportunistic, TlsMode::StartTls] {
        let server = Scripted::start(|script| script.ehlo(&["PIPELINING"]).starttls(&identity));
        let mut connection = open(&upstream(&server, tls, Some(&identity))).await.unwrap();
        assert!(connection.is_encrypted());
        assert_eq!(short(&send(&mut connection, &["a@y"]).await), ["ok"]);
        assert!(server.wait_for(1)[0].tls);
        let commands = &server.sessions()[0].commands;
        assert_eq!(commands[..3], ["EHLO mail.test", "STARTTLS", "EHLO mail.test"]);
    }
    let server = Scripted::start(|script| script.implicit_tls(&identity));
    let mut connection = open(&upstream(&server, TlsMode::Implicit, Some(&identity))).await.unwrap();
    assert_eq!(short(&send(&mut connection, &["a@y"]).await), ["ok"]);
    let content = "x".repeat(99_998) + "\r\n";
    let mut large = postroom::deliver::outgoing::Outgoing::memory("", content.clone(), false);
    transact(&mut connection, &super::envelope(&["a@y"]), &mut large).await;
    assert_eq!(server.wait_for(2)[1].content, content.as_bytes());
    connection.quit().await;
    assert_eq!(server.wait_for_ends(1)[0].commands.last().unwrap(), "QUIT");
}

/// X25519MLKEM768 first, which no quantum computer breaks; what the server knows where it does not know that.
#[tokio::test]
async fn the_key_exchange_is_post_quantum_where_the_server_can() {
    use rustls::NamedGroup::{X25519, X25519MLKEM768, secp256r1, secp384r1};
    let knows: [(&[_], _); 5] = [
        (&[X25519, secp256r1, X25519MLKEM768], X25519MLKEM768),
        (&[X25519MLKEM768], X25519MLKEM768),
        (&[X25519, secp256r1], X25519),
        (&[secp256r1], secp256r1),
        (&[secp384r1], secp384r1),
    ];
    for (known, agreed) in knows {
        let identity = Identity::of(&["127.0.0.1"]).with_key_exchanges(known);
        let server = Scripted::start(|script| script.starttls(&identity));
        let mut connection = open(&upstream(&server, TlsMode::StartTls, Some(&identity))).await.unwrap();
        assert_eq!(short(&send(&mut connection, &["a@y"]).await), ["ok"]);
        server.wait_for(1);
        assert_eq!(server.sessions()[0].key_exchange, Some(format!("{agreed:?}")), "{known:?}");
    }
}

// CASES F10
#[tokio::test]
async fn certificates_are_verified_where_tls_is_required() {
    let good = Identity::of(&["127.0.0.1"]);
    let (other, expired) = (Identity::of(&["elsewhere.test"]), Identity::expired(&["127.0.0.1"]));
    for (identity, trusted) in [(&good, None), (&other, Some(&other)), (&expired, Some(&expired))] {
        for tls in [TlsMode::StartTls, TlsMode::Implicit] {
            let server = Scripted::start(|script| match tls {
                TlsMode::Implicit => script.implicit_tls(identity),
                _ => script.starttls(identity),
            });
            let strict = upstream(&server, tls, trusted);
            assert_eq!(error_kind(&strict).await, SessionErrorKind::Tls);
            let mut lax = Upstream::clone(&strict);
            lax.danger_accept_invalid_certificate = true;
            assert!(open(&Arc::new(lax)).await.is_ok());
        }
        let server = Scripted::start(|script| script.starttls(identity));
        assert!(open(&upstream(&server, TlsMode::Opportunistic, None)).await.unwrap().is_encrypted());
    }
}

// CASES F8, F9
#[tokio::test]
async fn where_tls_is_required_nothing_leaves_without_it() {
    let identity = Identity::of(&["127.0.0.1"]);
    let stripped = Scripted::start(|script| script.ehlo(&["AUTH PLAIN"]));
    let refused = Scripted::start(|script| script.starttls(&identity).on("STARTTLS", "454 4.7.0 not now"));
    let unknown = Scripted::start(|script| script.starttls(&identity).on("STARTTLS", "502 5.5.1 what?"));
    let closed = Scripted::start(|script| script.starttls(&identity).on("STARTTLS", Act::Close));
    let stalled = Scripted::start(|script| script.starttls(&identity).on("STARTTLS", "220 go\r\n"));
    for server in [stripped, refused, unknown, closed, stalled] {
        let mut required = Upstream::clone(&upstream(&server, TlsMode::StartTls, Some(&identity)));
        required.auth = Auth::Basic { username: "app".to_owned(), password: "s3cret".to_owned().into() };
        required.danger_allow_plaintext_auth = true;
        required.connect_timeout = PATIENCE;
        assert_eq!(error_kind(&Arc::new(required)).await, SessionErrorKind::Tls);
        for session in server.wait_for_ends(1) {
            let harmless = |line: &String| line.starts_with("EHLO") || line.starts_with("STARTTLS");
            assert!(session.commands.iter().take(2).all(harmless), "{:?}", session.commands);
            assert!(!String::from_utf8_lossy(&session.raw).contains("AUTH"));
        }
    }
}

// CASES F8
#[tokio::test]
async fn opportunistic_tls_falls_back_to_clear_text_on_a_new_connection() {
    let identity = Identity::of(&["127.0.0.1"]);
    for act in ["454 4.7.0 not now".into(), Act::Close, Act::last("220 go"), Act::Hang] {
        let server = Scripted::start(|script| script.starttls(&identity).on("STARTTLS", act.clone()));
        let mut upstream = Upstream::clone(&upstream(&server, TlsMode::Opportunistic, None));
        upstream.connect_timeout = PATIENCE;
        let mut connection = open(&Arc::new(upstream)).await.unwrap();
        assert_eq!(short(&send(&mut connection, &["a@y"]).await), ["ok"]);
        assert_eq!((server.wait_for(1)[0].session, server.transactions()[0].tls), (1, false));
    }
}

// CASES F11
#[tokio::test]
async fn what_was_said_in_clear_text_behind_220_is_forgotten() {
    let identity = Identity::of(&["127.0.0.1"]);
    let injected = Act::StartTls(b"220 go\r\n250-SMTPUTF8 X\r\n250 PIPELINING\r\n".to_vec());
    let server = Scripted::start(|script| script.starttls(&identity).on("STARTTLS", injected));
    let mut connection = open(&upstream(&server, TlsMode::StartTls, Some(&identity))).await.unwrap();
    assert!(!connection.capabilities().smtp_utf8 && !connection.capabilities().pipelining);
    assert_eq!(short(&send(&mut connection, &["a@y"]).await), ["ok"]);
}

#[tokio::test]
async fn a_file_of_roots_that_cannot_be_read_is_named() {
    let identity = Identity::of(&["127.0.0.1"]);
    let server = Scripted::start(|script| script.implicit_tls(&identity));
    let mut upstream = Upstream::clone(&upstream(&server, TlsMode::Implicit, None));
    upstream.tls_ca = Some("/no/such/roots.pem".into());
    let error = open(&Arc::new(upstream)).await.err().unwrap();
    assert!(error.kind == SessionErrorKind::Tls && error.text.contains("/no/such/roots.pem"), "{error}");
}
