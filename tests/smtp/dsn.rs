//! What RCPT says of notices (RFC 3461), and what is kept of it.

use super::test_server::settings;
use postroom::config::{self, Sources};
use postroom::mail::Notify;
use postroom::smtp::SessionContext;
use postroom::smtp::command::RcptCommand;
use postroom::smtp::dialogue::{Dialogue, SessionAction};
use std::sync::Arc;
use std::time::Duration;

/// What is kept of these recipients.
fn kept(rcpts: &[&str]) -> Vec<RcptCommand> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("postroom.toml");
    let config =
        "hostname = \"mail.test\"\n[aliases]\nroot = \"ops@own.test\"\n[upstream.u]\nhost = \"u.test\"\n";
    std::fs::write(&file, config).unwrap();
    let sources = Sources { file: Some(file), working_dir: folder.path().to_owned(), ..Sources::default() };
    let loaded = config::load(&sources).map_err(|errors| errors.to_string()).unwrap().settings;
    let mut listener = settings().listeners.remove(0);
    listener.allow = vec!["0.0.0.0/0".parse().unwrap()];
    let context = SessionContext::new(Arc::new(loaded), Arc::new(listener), "127.0.0.1".parse().unwrap());
    let mut dialogue = Dialogue::new(context);
    let begin = ["EHLO c.test".to_owned(), "MAIL FROM:<a@x.test> SMTPUTF8".to_owned()];
    for line in begin.into_iter().chain(rcpts.iter().map(|rcpt| format!("RCPT TO:{rcpt}"))) {
        let action = dialogue.execute_line(format!("{line}\r\n").as_bytes(), Duration::ZERO, |_| Ok(()));
        assert!(matches!(&action, SessionAction::Reply(reply) if reply.code == 250), "{line}: {action:?}");
    }
    dialogue.envelope().unwrap().recipients.clone()
}

#[test]
fn a_recipient_that_is_named_twice_has_all_that_was_asked_for() {
    let of = |success, failure, delay| Notify::Of { success, failure, delay };
    for (first, second, both) in [
        ("", "", Notify::Unsaid),
        (" NOTIFY=NEVER", " NOTIFY=NEVER", Notify::Never),
        (" NOTIFY=NEVER", "", Notify::Unsaid),
        (" NOTIFY=NEVER", " NOTIFY=SUCCESS", of(true, false, false)),
        (" NOTIFY=DELAY", " NOTIFY=SUCCESS", of(true, false, true)),
        ("", " NOTIFY=SUCCESS", of(true, true, false)),
    ] {
        for (first, second) in [(first, second), (second, first)] {
            let kept = kept(&[&format!("<root>{first}"), &format!("<ops@own.test>{second}")]);
            assert_eq!((kept.len(), kept[0].dsn.notify), (1, both), "{first} {second}");
        }
    }
}

#[test]
fn whom_an_alias_stands_for_is_known_by_the_name_that_the_client_knows() {
    let named = |rcpt: &str| kept(&[rcpt]).remove(0).before_alias;
    assert_eq!(named("<root>").unwrap(), "rfc822;root@mail.test");
    for plain in ["<ops@own.test>", "<nobody>"] {
        assert_eq!(named(plain), None, "{plain}");
    }
}

#[test]
fn an_orcpt_that_is_too_long_in_ascii_is_dropped_and_its_recipient_is_not() {
    let long = format!("<b@y.test> NOTIFY=DELAY ORCPT=utf-8;{}@y", "\u{fc}".repeat(240));
    let kept = kept(&[&long]).remove(0).dsn;
    assert_eq!(kept.original_recipient, None);
    assert_eq!(kept.notify, Notify::Of { success: false, failure: false, delay: true });
}
