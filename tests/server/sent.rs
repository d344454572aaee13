//! What an upstream got beside what a client sent: `sent` of an attempt, laid over the message, is what came, byte for byte.

use crate::support::clients::{Envelope, smtplib};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use postroom::mail::attempt::SentChanges;
use postroom::policy::sent::sent_header;

const WHOLE: &str = "From: Ann <ann@site.test>\r\nTo: c@customer.test\r\nBcc: d@customer.test,\r\n e@customer.test\r\n\
                     Subject: s\r\nReturn-Receipt-To: ann@site.test\r\nResent-Bcc: f@customer.test\r\n\
                     Date: Fri, 20 Nov 2026 14:03:02 +0000\r\nMessage-ID: <a@site.test>\r\n\r\nBcc: body\r\n.x\r\n";
const PLAIN: &str = "From: ann@site.test\r\nTo: c@customer.test\r\nSubject: s\r\n\r\nbody\r\n";
const BARE: &str = "no header at all\r\n";

const REDIRECT: &str =
    "[redirect]\nenabled = true\nreport_emails = [\"qa@report.test\"]\n[queue]\narchive_days = 1\n";
const SENDER: &str =
    "[sender]\nrewrite = \"always\"\naddress = \"The Shop <shop@own.test>\"\n[queue]\narchive_days = 1\n";
const NOTHING: &str = "[queue]\narchive_days = 1\n";

/// `sent` of the attempt, and what came there, both as they were without changes.
fn sent(config: &str, content: &str) -> (SentChanges, String, String) {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&format!("{config}{}", recorder.upstream("only")));
    let envelope = Envelope { from: "app@site.test", to: &["c@customer.test", "d@customer.test"] };
    smtplib(proxy.address(), &envelope, content.as_bytes(), &[]);
    let got = recorder.wait(1).remove(0);
    let id = eventually("sent mail", || {
        Some(proxy.cli(&["sent", "list", "--json"])[0]["id"].as_str()?.to_owned())
    });
    let attempts = proxy.get(&format!("/api/v1/messages/{id}/attempts")).unwrap();
    let sent: SentChanges = serde_json::from_value(attempts[0]["sent"].clone()).expect("it is told");
    let message = proxy.get(&format!("/api/v1/messages/{id}")).unwrap();
    let original =
        std::fs::read(proxy.data_dir().join(message["archived"]["file"].as_str().unwrap())).unwrap();
    assert_eq!(String::from_utf8_lossy(&original), content, "the original stays as it is");
    let left = String::from_utf8(got.content).unwrap();
    assert_eq!(String::from_utf8(sent_header(&original, &sent)).unwrap(), left);
    let path = got.mail.split(['<', '>']).nth(1).unwrap().to_owned();
    assert_eq!(sent.reverse_path.as_deref().unwrap_or_default(), path);
    assert!(!sent.added_is_cut && sent.added.starts_with("Received: "), "{sent:?}");
    (sent, path, left)
}

#[test]
fn what_was_added_renamed_and_left_out_is_told_as_it_left() {
    for content in [WHOLE, PLAIN, BARE] {
        let (plain, path, left) = sent(NOTHING, content);
        assert_eq!((path.as_str(), plain.renamed.len()), ("app@site.test", 0));
        assert!(!left.contains("Bcc: d@") && !left.contains("Resent-Bcc"), "{left}");

        let (redirected, path, left) = sent(REDIRECT, content);
        assert_eq!(path, "qa@report.test");
        assert!(redirected.added.contains("\r\nX-Original-To: d@customer.test\r\n"), "{redirected:?}");
        assert!(!left.contains("\r\nReturn-Receipt-To"), "{left}");

        let (rewritten, path, left) = sent(SENDER, content);
        assert_eq!(path, "shop@own.test");
        assert!(left.contains("\r\nFrom: \"The Shop\" <shop@own.test>\r\n"), "{left}");
        assert_eq!(
            (rewritten.renamed[0].old.as_str(), rewritten.renamed[0].new.as_str()),
            ("From", "X-Original-From")
        );
        assert_eq!(left.contains("\r\nX-Original-From: "), content != BARE, "{left}");
    }
}
