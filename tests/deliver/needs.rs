//! What a message needs of an upstream, and what it only says or is said of it.

use super::stage::{Stage, server, upstream};

/// The first version's records call `Resent-Bcc:` no reason to filter: what is stored of a header is not asked any more.
#[tokio::test(flavor = "multi_thread")]
async fn blind_recipients_stay_here_whatever_the_record_says_of_the_header() {
    let only = server(|s| s);
    let stage = Stage::start(&upstream("only", &only, "")).await;
    let content =
        b"Subject: t\r\nResent-Bcc: secret@x.test,\r\n secret@y.test\r\nBcc: secret@x.test\r\n\r\nhello\r\n";
    let facts = |message: &mut postroom::mail::Message| assert!(!message.header.has_bcc);
    let id = stage.put_content(&["b@y.test"], content, facts).await;
    stage.delivered(id).await;
    let arrived = String::from_utf8(only.wait_for(1).remove(0).content).unwrap();
    assert!(arrived.contains("Subject: t\r\n\r\nhello\r\n") && !arrived.contains("secret"), "{arrived}");
    stage.stop().await;
}
