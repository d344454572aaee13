//! What a notice returns of its message (rule 9), and what becomes of one that is refused for it.

use super::bounces::{CONTENT, bounces, one_bounce, parsed, refusing, stage, unsaid};
use super::stage::server;
use postroom::event::code;
use postroom::mail::{MessageState, Return};

fn in_full(message: &mut postroom::mail::Message) {
    unsaid(message);
    message.returns = Some(Return::Full);
}

/// The part behind this line of a header.
fn part(content: &[u8], kind: &str) -> String {
    let text = String::from_utf8(content.to_vec()).unwrap();
    let (_, part) = text.split_once(&format!("Content-Type: {kind}\r\n")).unwrap();
    part.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_message_is_returned_where_it_is_asked_for_and_not_too_large() {
    let line = &b"a line of the body, in \xc3\xbc\r\n"[..];
    let medium: &'static [u8] = [CONTENT, &line.repeat(1_500)].concat().leak();
    let large: &'static [u8] = [CONTENT, &line.repeat(14_000)].concat().leak();
    for (content, whole) in [(CONTENT, true), (medium, true), (large, false)] {
        let only = server(refusing);
        let stage = stage(&only, "").await;
        stage
            .put_content(&["b@y.test"], content, |message| {
                in_full(message);
                message.header.has_eight_bit = !content.is_ascii();
            })
            .await;
        let bounce = one_bounce(&stage, &only).await;
        let report = parsed(&bounce.content);
        let kind = if whole { "message/rfc822" } else { "text/rfc822-headers" };
        assert_eq!(report["kind"], kind);
        let expected = String::from_utf8(content.to_vec()).unwrap().replace("Bcc: secret@y.test\r\n", "");
        assert_eq!(part(&bounce.content, kind).starts_with(&expected), whole);
        assert!(bounce.content.len() < 100_000);
        let why = report["text"].as_str().unwrap().contains("is returned: it is too large.");
        assert_eq!(why, !whole, "{}", report["text"]);
        stage.stop().await;
    }
}

/// Once it was refused like the message that it returned, and nobody heard of either.
#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_is_refused_for_what_it_returns_goes_without_it() {
    let spam = "554 5.7.1 this is spam";
    for refused in 1..=3 {
        let only = server(|s| (0..refused).fold(s, |s, _| s.once("<dot>", spam)));
        let stage = stage(&only, "").await;
        let id = stage.put_content(&["b@y.test"], CONTENT, in_full).await;
        stage.when(id, |message| message.state() == MessageState::Failed).await;
        stage
            .until("the notice to be sent or dropped", async || {
                (stage.queue.status().messages() == 1).then_some(())
            })
            .await;
        assert_eq!(stage.count(code::BOUNCED).await, 1);
        let sent = bounces(&only);
        match refused {
            1 => {
                let report = parsed(&sent[0].content);
                assert_eq!(report["kind"], "text/rfc822-headers");
                assert!(report["text"].as_str().unwrap().contains("is returned: it was refused"));
            }
            2 => {
                let text = String::from_utf8(sent[0].content.clone()).unwrap();
                assert_eq!(sent[0].recipients, ["<a@x.test>"]);
                assert!(text.contains("\r\nFinal-Recipient: rfc822; b@y.test\r\n"), "{text}");
                assert!(!text.contains("rfc822-headers") && !text.contains("To: b@y.test"), "{text}");
                assert!(text.ends_with("--\r\n"), "{text}");
            }
            _ => assert!(sent.is_empty(), "nobody takes anything of it"),
        }
        assert_eq!(sent.len(), usize::from(refused < 3));
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_returned_is_a_message_and_no_field_ends_it() {
    let long: &'static [u8] =
        [b"From: a@x.test\r\nX-Long:", &b" 40 kB\r\n".repeat(5_000)[..], b"To: b@y.test\r\n\r\nbody\r\n"]
            .concat()
            .leak();
    let only = server(refusing);
    let stage = stage(&only, "").await;
    stage.put_content(&["b@y.test"], long, unsaid).await;
    let returned = parsed(&one_bounce(&stage, &only).await.content)["returned"].clone();
    assert_eq!(returned, "From: a@x.test\r\nTo: b@y.test\r\n");
    stage
        .put_content(&["b@y.test"], b"no header at all\r\n", |message| {
            in_full(message);
            message.header.starts_well = false;
        })
        .await;
    let second = stage.until("the second", async || bounces(&only).get(1).cloned()).await;
    assert!(part(&second.content, "message/rfc822").starts_with("\r\nno header at all\r\n"));
    stage.stop().await;
}
