//! What a client asks of delivery status notifications, on its way to an upstream (RFC 3461 section 5.2).

use super::stage::{Stage, upstream};
use crate::support::scripted::{Received, Scripted};
use postroom::mail::{Message, Notify, Return};

fn asked(message: &mut Message) {
    message.returns = Some(Return::Headers);
    message.envelope_id = Some("QQ+2B1".to_owned());
    message.recipients[0].notify = Notify::Of { success: true, failure: true, delay: false };
    message.recipients[0].original_recipient = Some("rfc822;Bob@y.test".to_owned());
    message.recipients[2].notify = Notify::Unsaid;
}

async fn sent(extensions: &[&str], mode: &str) -> Received {
    let server = Scripted::start(|s| s.ehlo(extensions));
    let stage = Stage::start(&(upstream("only", &server, "") + mode)).await;
    let id = stage.put_changed(&["bob@y.test", "carol@y.test", "dave@y.test"], asked).await;
    stage.delivered(id).await;
    stage.stop().await;
    server.wait_for(1).remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_offers_dsn_is_told_for_each_recipient() {
    let sent = sent(&["PIPELINING", "DSN"], "").await;
    assert_eq!(sent.mail, "<a@x.test> RET=HDRS ENVID=QQ+2B1");
    let expected = [
        "<bob@y.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@y.test",
        "<carol@y.test> NOTIFY=NEVER",
        "<dave@y.test>",
    ];
    assert_eq!(sent.recipients, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_is_not() {
    let sent = sent(&["PIPELINING"], "").await;
    assert_eq!(sent.mail, "<a@x.test>");
    assert_eq!(sent.recipients, ["<bob@y.test>", "<carol@y.test>", "<dave@y.test>"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_about_report_copies() {
    let redirect = "[redirect]\nenabled = true\nreport_emails = [\"qa@own.test\"]\n";
    let sent = sent(&["PIPELINING", "DSN"], redirect).await;
    assert_eq!((sent.mail.as_str(), sent.recipients), ("<qa@own.test>", vec!["<qa@own.test>".to_owned()]));
}
