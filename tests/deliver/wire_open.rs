//! From the name to a usable session, with servers that make it hard (CASES F1 to F6, F14, F37; C6, C17).

use super::{PATIENCE, open, send, short, upstream, upstream_at};
use crate::support::scripted::{Act, Scripted};
use postroom::config::settings::{Auth, Upstream};
use postroom::deliver::session_error::SessionErrorKind;

fn basic(upstream: &mut Upstream) {
    upstream.auth = Auth::Basic { username: "app".to_owned(), password: "s3cret".to_owned().into() };
    upstream.danger_allow_plaintext_auth = true;
}

// CASES F1, F37
#[tokio::test]
async fn nobody_there_is_a_trouble_with_connecting() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = open(&upstream_at(port, |_| {})).await.err().unwrap();
    assert_eq!(error.kind, SessionErrorKind::Connect);
    assert!(error.text.starts_with(&format!("127.0.0.1:{port}: no connection")), "{error}");
    let nowhere = upstream_at(25, |upstream| upstream.host = "no-such-host.invalid".to_owned());
    assert_eq!(open(&nowhere).await.err().unwrap().kind, SessionErrorKind::Connect);
}

// CASES F2, F3, F4, F14, H9
#[tokio::test]
async fn every_step_up_to_a_usable_session_has_its_own_trouble() {
    for (step, act, kind) in [
        ("<greeting>", Act::Hang, SessionErrorKind::Greeting),
        ("<greeting>", Act::Close, SessionErrorKind::Greeting),
        ("<greeting>", Act::last("554 no"), SessionErrorKind::Greeting),
        ("<greeting>", "421 busy".into(), SessionErrorKind::Greeting),
        ("<greeting>", "bogus".into(), SessionErrorKind::Greeting),
        ("<greeting>", "2200 x".into(), SessionErrorKind::Greeting),
        ("EHLO", Act::Hang, SessionErrorKind::Hello),
        ("EHLO", "421 busy".into(), SessionErrorKind::Hello),
        ("EHLO", "250-x\r\n251 y".into(), SessionErrorKind::Hello),
        ("AUTH", "535 5.7.8 wrong".into(), SessionErrorKind::AuthRefused),
        ("AUTH", "534 5.7.9 weak".into(), SessionErrorKind::AuthRefused),
        ("AUTH", "454 4.7.0 later".into(), SessionErrorKind::AuthRefused),
        ("AUTH", "451 Authentication failed: Maximum credits exceeded".into(), SessionErrorKind::AuthRefused),
        ("AUTH", "421 4.3.2 too busy".into(), SessionErrorKind::Auth),
        ("AUTH", "334 more".into(), SessionErrorKind::Auth),
        ("AUTH", Act::Hang, SessionErrorKind::Auth),
        ("AUTH", Act::Close, SessionErrorKind::Auth),
    ] {
        let server = Scripted::start(|script| script.ehlo(&["AUTH PLAIN"]).on(step, act.clone()));
        let upstream = upstream_at(server.port(), |upstream| {
            basic(upstream);
            if matches!(act, Act::Hang) {
                upstream.connect_timeout = PATIENCE;
            }
        });
        let error = open(&upstream).await.err().unwrap();
        assert_eq!(error.kind, kind, "{step} {act:?}: {error}");
    }
}

// CASES F6
#[tokio::test]
async fn a_server_that_does_not_know_ehlo_is_asked_with_helo() {
    let server = Scripted::start(|script| script.on("EHLO", "500 what?"));
    let mut connection = open(&upstream(&server)).await.unwrap();
    assert_eq!(short(&send(&mut connection, &["a@y"]).await), ["ok"]);
    assert_eq!(server.sessions()[0].commands[..2], ["EHLO mail.test", "HELO mail.test"]);
    assert_eq!(server.wait_for(1)[0].mail, "<a@x.test>");
}

#[tokio::test]
async fn greetings_may_have_many_lines_or_no_text() {
    for greeting in ["220-hello\r\n220-\r\n220 there", "220", "220 \n"] {
        let server = Scripted::start(|script| script.greeting(greeting));
        assert!(open(&upstream(&server)).await.is_ok());
    }
}

#[tokio::test]
async fn plain_goes_before_login_and_login_helps_out() {
    let server = Scripted::start(|script| script.ehlo(&["AUTH LOGIN PLAIN"]));
    assert!(open(&upstream_at(server.port(), basic)).await.is_ok());
    assert_eq!(server.sessions()[0].commands[1], "AUTH PLAIN AGFwcABzM2NyZXQ=");
    let login = |script: crate::support::scripted::Script| {
        script
            .on("AUTH PLAIN", "504 5.5.4 not that one")
            .on("AUTH LOGIN", "334 V2hvIGFyZSB5b3U/")
            .on("YXBw", "334 UGFzc3dvcmQ6")
            .on("czNjcmV0", "235 2.7.0 welcome")
    };
    for offer in ["AUTH LOGIN", "AUTH=LOGIN", "AUTH PLAIN LOGIN"] {
        let server = Scripted::start(|script| login(script.ehlo(&[offer])));
        assert!(open(&upstream_at(server.port(), basic)).await.is_ok(), "{offer}");
    }
}

// CASES F9
#[tokio::test]
async fn the_password_never_leaves_in_clear_text_unless_that_is_allowed() {
    let server = Scripted::start(|script| script.ehlo(&["AUTH PLAIN LOGIN"]));
    let upstream = upstream_at(server.port(), |upstream| {
        basic(upstream);
        upstream.danger_allow_plaintext_auth = false;
    });
    assert_eq!(open(&upstream).await.err().unwrap().kind, SessionErrorKind::Auth);
    assert_eq!(server.wait_for_ends(1)[0].commands, ["EHLO mail.test"]);
}

// CASES C17
#[tokio::test]
async fn no_trouble_tells_the_password_even_if_the_server_does() {
    for reply in ["535 wrong: s3cret", "501 what is AUTH PLAIN AGFwcABzM2NyZXQ=?", "s3cret is no reply"] {
        let server = Scripted::start(|script| script.ehlo(&["AUTH PLAIN"]).on("AUTH", reply));
        let error = open(&upstream_at(server.port(), basic)).await.err().unwrap();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("s3cret") && !text.contains("AGFwcABzM2NyZXQ"), "{text}");
    }
    assert!(!format!("{:?}", upstream_at(25, basic)).contains("s3cret"));
}

#[tokio::test]
async fn the_source_address_is_where_we_come_from() {
    let server = Scripted::start(|script| script);
    let from = |source: &str| {
        let source = source.parse().unwrap();
        upstream_at(server.port(), move |upstream| upstream.source_address = Some(source))
    };
    assert!(open(&from("127.0.0.1")).await.is_ok());
    assert_eq!(open(&from("::1")).await.err().unwrap().kind, SessionErrorKind::Connect);
    assert_eq!(open(&from("192.0.2.1")).await.err().unwrap().kind, SessionErrorKind::Connect);
}
