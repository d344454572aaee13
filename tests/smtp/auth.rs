//! When AUTH and STARTTLS are offered, by network, TLS and listener.

use super::test_server::settings;
use postroom::config::settings::{InboundAuth, Listener};
use postroom::smtp::SessionContext;
use postroom::smtp::dialogue::{Dialogue, SessionAction};
use std::sync::Arc;
use std::time::Duration;

const AUTH: &[u8] = b"AUTH PLAIN AHVzZXIAcGFzcw==\r\n";

/// A session of a client at that address, greeted.
fn session(client: &str, change: impl FnOnce(&mut Listener)) -> Dialogue {
    let mut listener = settings().listeners.remove(0);
    listener.allow = vec!["0.0.0.0/0".parse().unwrap()];
    change(&mut listener);
    Dialogue::new(SessionContext::new(Arc::new(settings()), Arc::new(listener), client.parse().unwrap()))
}

fn say(dialogue: &mut Dialogue, line: &[u8]) -> SessionAction {
    dialogue.execute_line(line, Duration::ZERO, |_| Ok(()))
}

#[track_caller]
fn reply(dialogue: &mut Dialogue, line: &[u8]) -> (u16, String) {
    match say(dialogue, line) {
        SessionAction::Reply(reply) => (reply.code, reply.text.into_owned()),
        action => panic!("{action:?}"),
    }
}

#[track_caller]
fn is_offered(dialogue: &mut Dialogue) -> bool {
    reply(dialogue, b"EHLO c.test\r\n").1.contains("\nAUTH PLAIN LOGIN")
}

// CASES C6
#[test]
fn no_password_is_taken_in_clear_text_from_another_machine() {
    for auth in [InboundAuth::Optional, InboundAuth::Required, InboundAuth::Any] {
        let mut far = session("192.0.2.1", |listener| listener.auth = auth);
        assert!(!is_offered(&mut far));
        assert_eq!(reply(&mut far, AUTH).0, 538, "{auth:?}");
        assert_eq!(reply(&mut far, b"AUTH LOGIN\r\n").0, 538);
        far.tls_started();
        assert_eq!(reply(&mut far, AUTH).0, 503, "what was said in clear text is forgotten");
        assert!(is_offered(&mut far));
        assert!(matches!(say(&mut far, AUTH), SessionAction::CheckPassword(_)));

        let mut near = session("127.0.0.1", |listener| listener.auth = auth);
        assert!(is_offered(&mut near));
        let mut dared = session("192.0.2.1", |listener| {
            listener.auth = auth;
            listener.danger_allow_plaintext_auth = true;
        });
        assert!(is_offered(&mut dared));
        assert!(matches!(say(&mut dared, AUTH), SessionAction::CheckPassword(_)));
    }
}

#[test]
fn a_listener_without_auth_offers_none_and_one_that_takes_any_does_within_allow_alone() {
    let mut none = session("127.0.0.1", |_| {});
    assert!(!is_offered(&mut none));
    assert_eq!(reply(&mut none, AUTH).0, 502);
    let mut outside = session("127.0.0.1", |listener| {
        (listener.auth, listener.allow) = (InboundAuth::Any, Vec::new());
    });
    assert!(!is_offered(&mut outside));
    assert_eq!(reply(&mut outside, AUTH).0, 502);
    assert_eq!(reply(&mut outside, b"STARTTLS\r\n").0, 502);
}
