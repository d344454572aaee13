//! What leaves is what was stored, byte for byte (rule 8; CASES A11, A12, A14, B5, B19).

use super::{connected, envelope, open, short, upstream};
use crate::support::scripted::{Received, Scripted};
use postroom::deliver::outgoing::Outgoing;
use postroom::deliver::transact::transact;
use postroom::mail::{BodyType, ReversePath};
use proptest::prelude::*;

async fn relayed(prefix: &str, content: &[u8], drop_bcc: bool) -> Received {
    let server = Scripted::start(|script| script.ehlo(&["PIPELINING"]));
    let mut connection = connected(&server).await;
    let mut outgoing = Outgoing::memory(prefix.to_owned(), content.to_vec(), drop_bcc);
    let transaction = transact(&mut connection, &envelope(&["b@y.test"]), &mut outgoing).await;
    assert_eq!(short(&transaction), ["ok"]);
    assert!(connection.is_reusable());
    server.wait_for(1).remove(0)
}

// CASES A12
#[tokio::test]
async fn the_final_dot_follows_the_last_line_at_once() {
    assert_eq!(relayed("", b"a\r\n", false).await.raw, b"a\r\n.\r\n");
    assert_eq!(relayed("", b"", false).await.raw, b".\r\n");
    assert_eq!(relayed("", b"\r\n", false).await.raw, b"\r\n.\r\n");
    assert_eq!(relayed("Received: x\r\n", b"", false).await.raw, b"Received: x\r\n.\r\n");
}

// CASES A11
#[tokio::test]
async fn dots_are_doubled_on_the_way_and_nowhere_else() {
    let content = b".x\r\n.\r\n..\r\na.\r\n\r\n.\r\n.b";
    assert_eq!(relayed("", content, false).await.raw, b"..x\r\n..\r\n...\r\na.\r\n\r\n..\r\n..b\r\n.\r\n");
}

// CASES B5
#[tokio::test]
async fn long_lines_stay_whole() {
    let content =
        format!("Subject: t\r\n\r\n{}\r\n.{}\r\n", "x".repeat(100_000), "y".repeat(200_000)).into_bytes();
    assert_eq!(relayed("", &content, false).await.content, content);
}

#[tokio::test]
async fn twenty_mebibytes_arrive_as_they_are() {
    let line = b"All work and no play makes Jack a dull boy, and so it goes on.\r\n.\r\n..dots\r\n";
    let content = line.repeat(20 * 1024 * 1024 / line.len());
    let received = relayed("Received: x\r\n", &content, false).await;
    assert!(received.content == [&b"Received: x\r\n"[..], &content].concat());
}

#[tokio::test]
async fn bcc_stays_here_and_nothing_else_does() {
    let content = b"To: b\r\nBCC: c\r\n\td\r\nSubject: t\r\n\r\nBcc: body\r\n";
    assert_eq!(relayed("", content, true).await.content, b"To: b\r\nSubject: t\r\n\r\nBcc: body\r\n");
    assert_eq!(relayed("", content, false).await.content, content);
}

// CASES B19
#[tokio::test]
async fn addresses_are_sent_byte_for_byte() {
    let server = Scripted::start(|script| script.ehlo(&["PIPELINING", "SMTPUTF8", "8BITMIME", "SIZE"]));
    let mut connection = open(&upstream(&server)).await.unwrap();
    let addresses = [
        r#""f@evil> ORCPT=x@y"@ok.test"#,
        r#""a \"b\\ c"@y.test"#,
        "a..b@docomo.test",
        "ü@bücher.test",
        "u@[192.0.2.1]",
    ];
    let mut envelope = envelope(&addresses);
    (envelope.smtp_utf8, envelope.body, envelope.size) = (true, BodyType::EightBitMime, 4711);
    let transaction = transact(&mut connection, &envelope, &mut super::small()).await;
    assert_eq!(short(&transaction), ["ok"; 5]);
    let received = server.wait_for(1).remove(0);
    assert_eq!(received.mail, "<a@x.test> SIZE=4711 BODY=8BITMIME SMTPUTF8");
    assert_eq!(received.recipients, addresses.map(|address| format!("<{address}>")));
    envelope.reverse_path = ReversePath::Null;
    transact(&mut connection, &envelope, &mut super::small()).await;
    assert_eq!(server.wait_for(2)[1].mail, "<> SIZE=4711 BODY=8BITMIME SMTPUTF8");
}

/// As the laxest server of all reads: an end of data is a dot between any two line ends, of whatever kind.
fn lax_ends(raw: &[u8]) -> usize {
    let text: Vec<u8> =
        [b"\n", raw].concat().iter().map(|byte| if *byte == b'\r' { b'\n' } else { *byte }).collect();
    text.windows(3).filter(|window| window == b"\n.\n").count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    // CASES A14
    #[test]
    fn no_content_makes_two_messages_even_at_a_lax_upstream(
        pieces in proptest::collection::vec(prop_oneof![
            Just("\r\n"), Just("\n"), Just("\r"), Just("."), Just("\0"), Just("MAIL FROM:<evil@x>"), Just("\r\n.\r"),
            Just("\n.\n"), Just("\r.\r"), Just("\r\n.\r\n"),
        ], 0..12)
    ) {
        let content = pieces.concat().into_bytes();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let received = runtime.block_on(relayed("", &content, false));
        prop_assert_eq!(lax_ends(&received.raw), 1);
        prop_assert!(received.raw.ends_with(b".\r\n") && !received.raw.contains(&0));
    }
}
