//! No byte string makes two messages of one: whatever a client sends as one content, an upstream that takes every kind of
//! line end for one sees one message, without a bare CR, a bare LF or a NUL.

use super::reference;
use crate::support::lax::LaxUpstream;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use postroom::config::default_upstream;
use postroom::config::settings::{BareNewline, TlsMode};
use postroom::deliver::connection::Connection;
use postroom::deliver::envelope::OutboundEnvelope;
use postroom::deliver::outgoing::Outgoing;
use postroom::deliver::peer_cache::PeerCache;
use postroom::deliver::transact::transact;
use postroom::deliver::transaction_result::RecipientAnswer;
use postroom::mail::{Address, BodyType, DsnRequest, ReversePath};
use postroom::reception::content::ContentReader;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;

/// What follows a false end, as those who look for one send it.
const EVIL: &str = "MAIL FROM:<evil@x.test>\r\nRCPT TO:<evil@y.test>\r\nDATA\r\nevil\r\n";

/// Every pair of line ends around a dot but the right one, in a content (CASES A1 to A6, A9).
fn payloads() -> Vec<Vec<u8>> {
    let ends = ["\r\n", "\n", "\r", "\r\r\n", "\n\r", "\0\r\n", "\r\n\0"];
    let mut payloads = Vec::new();
    for before in ends {
        for after in ends {
            if (before, after) != ("\r\n", "\r\n") {
                payloads.push(format!("Subject: t\r\n\r\nx{before}.{after}{EVIL}").into_bytes());
                payloads.push(format!("x{before}..{after}{EVIL}").into_bytes());
            }
        }
    }
    payloads.push(format!(".\n{EVIL}").into_bytes());
    payloads.push(format!(".\r{EVIL}").into_bytes());
    // NUL, CR, LF in front of a dot is not a bare CR or LF in front of it.
    payloads.retain(|payload| reference::end(payload).is_none());
    payloads
}

/// A proxy in front of the lax upstream, and a client that sends one content after the other.
struct Stage {
    proxy: Proxy,
    upstream: LaxUpstream,
    client: Talk,
    delivered: usize,
}

impl Stage {
    fn start(config: &str) -> Stage {
        let upstream = LaxUpstream::start();
        // One connection, so that messages come one after the other and a smuggled one is where it must be seen.
        let more = "connection_limit = 1\nmessages_per_connection = 100000\n";
        let proxy =
            Proxy::start(&format!("[log]\nlevel = \"warn\"\n{config}{}{more}", upstream.upstream("lax")));
        let client = Talk::hello(proxy.address());
        Stage { proxy, upstream, client, delivered: 0 }
    }

    /// Sends the content in these pieces, then its end, and checks what came of it on the other side.
    fn send(&mut self, pieces: &[&[u8]], reject: bool) {
        let content = pieces.concat();
        self.client.begin_data("<a@x.test>", &["<b@y.test>"]);
        for piece in pieces {
            self.client.send(piece);
        }
        let end: &[u8] =
            if content.is_empty() || content.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" };
        self.client.send(end);
        let whole = [&content, end].concat();
        assert_eq!(reference::end(&whole), Some(whole.len()), "the test sends one content");
        let content = &whole[..whole.len() - 3];
        if content.contains(&0) || (reject && reference::has_bare_newline(content)) {
            self.client.hear("550 5.");
            return;
        }
        self.client.hear("250 2.0.0 queued as ");
        self.delivered += 1;
        let taken = self.upstream.wait_for_exactly(self.delivered);
        assert!(taken.is_clean(), "{:?}", String::from_utf8_lossy(&taken.raw));
        let stored = reference::stored(content);
        let received = taken.content();
        assert!(
            received.starts_with(b"Received: ") && received.ends_with(&stored),
            "{:?} came out as {:?}",
            String::from_utf8_lossy(content),
            String::from_utf8_lossy(&received)
        );
        assert_eq!(
            (taken.mail.starts_with(b"<a@x.test>"), taken.rcpt.as_slice()),
            (true, &[b"<b@y.test>".to_vec()][..])
        );
    }

    /// No command reached the upstream that a plain relay would not send.
    fn end(self) {
        let known: [&[u8]; 6] =
            [b"EHLO proxy.test", b"MAIL FROM:<a@x.test>", b"RCPT TO:<b@y.test>", b"DATA", b"RSET", b"QUIT"];
        for command in self.upstream.commands() {
            assert!(
                known.iter().any(|known| command.starts_with(known)),
                "the upstream was sent {:?}",
                String::from_utf8_lossy(&command)
            );
        }
        self.upstream.wait_for_exactly(self.delivered);
        drop(self.proxy);
    }
}

// CASES A1, A2, A3, A4, A5, A6, A13, A14
#[test]
fn no_false_end_makes_two_messages_of_one() {
    let mut stage = Stage::start("");
    for payload in payloads() {
        stage.send(&[&payload], false);
    }
    stage.end();
}

// CASES A1, A2, A3, A4, A5, A6, A13
#[test]
fn with_reject_a_false_end_is_refused_at_the_real_one() {
    let mut stage = Stage::start("[limits]\nbare_newline = \"reject\"\n");
    for payload in payloads() {
        stage.send(&[&payload], true);
    }
    stage.send(&[b"Subject: t\r\n\r\n..\r\nclean\r\n"], true);
    stage.end();
}

fn any_content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop_oneof![Just("\r\n"), Just("\n"), Just("\r"), Just(".")].prop_map(str::to_owned),
        1 => Just("\0".to_owned()),
        2 => prop_oneof![Just("\r\n.\n"), Just("\n.\r\n"), Just("\r.\r"), Just("\r\n.\r\r\n"), Just("\n.\n")]
            .prop_map(str::to_owned),
        2 => prop_oneof![Just(EVIL), Just("Subject: t\r\n"), Just("X:"), Just(" "), Just("QUIT\r\n")].prop_map(str::to_owned),
        2 => "[a-zA-Z: .]{0,12}",
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat().into_bytes()).prop_map(
        |content| {
            // What follows a real end is commands, and a message of its own.
            let end = reference::end(&[&content, &b"\r\n.\r\n"[..]].concat()).unwrap_or(0) - 3;
            content[..end.min(content.len())].to_vec()
        },
    )
}

// CASES A14
#[test]
fn no_content_at_all_makes_two_messages_of_one() {
    let stage = std::cell::RefCell::new(Stage::start(""));
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let cuts = proptest::collection::vec(any::<prop::sample::Index>(), 0..3);
    let run = TestRunner::new(config).run(&(any_content(), cuts), |(content, cuts)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(content.len() + 1)).collect();
        cuts.sort();
        let mut pieces = Vec::new();
        let mut start = 0;
        for cut in cuts {
            pieces.push(&content[start..cut]);
            start = cut;
        }
        pieces.push(&content[start..]);
        stage.borrow_mut().send(&pieces, false);
        Ok(())
    });
    run.unwrap();
    stage.into_inner().end();
}

/// The same without the network in front, where every cut is really one: reader, then what makes content fit to leave,
/// then a connection to the lax upstream.
// CASES A14
#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_bytes_are_cut_on_their_way_in_one_message_leaves() {
    let lax = LaxUpstream::start();
    let mut upstream = default_upstream("lax", "127.0.0.1", lax.address().port());
    upstream.tls = TlsMode::None;
    let peer_cache = Arc::new(PeerCache::default());
    let mut connection = Connection::open(&Arc::new(upstream), "mail.test", &peer_cache).await.unwrap();
    let mut sent = 0;
    let mut seen: std::collections::HashSet<Vec<u8>> = std::collections::HashSet::new();
    for payload in payloads() {
        let whole = [&payload, &b"\r\n.\r\n"[..]].concat();
        let expected = reference::stored(&whole[..whole.len() - 3]);
        for cut in 0..=whole.len() {
            let mut reader = ContentReader::data(BareNewline::Normalize, u64::MAX);
            let mut stored = Vec::new();
            let (mut read, mut ended) = (0, false);
            for piece in [&whole[..cut], &whole[cut..]] {
                assert!(!ended || piece.is_empty(), "it ended before its end");
                let (used, end) = reader.read(piece, |content| stored.extend_from_slice(content));
                (read, ended) = (read + used, ended || end);
            }
            assert!(ended && read == whole.len());
            if whole.contains(&0) {
                assert!(reader.error().is_some());
                continue;
            }
            assert_eq!(stored, expected, "cut at {cut}");
            // One way out for each different thing that came in is enough.
            if !seen.insert(stored.clone()) {
                continue;
            }
            let envelope = OutboundEnvelope {
                reverse_path: ReversePath::Address("a@x.test".parse().unwrap()),
                recipients: vec!["b@y.test".parse::<Address>().unwrap().into()],
                body: BodyType::SevenBit,
                smtp_utf8: false,
                size: stored.len() as u64,
                dsn: DsnRequest::default(),
            };
            let mut outgoing = Outgoing::memory("", stored.clone(), false);
            let done = transact(&mut connection, &envelope, &mut outgoing).await;
            assert!(matches!(done.answers[..], [RecipientAnswer::Accepted(_)]), "{done:?}");
            sent += 1;
            let taken = lax.wait_for_exactly(sent);
            assert!(taken.is_clean() && taken.content() == stored);
        }
    }
    assert!(sent >= 40, "{sent}");
}
