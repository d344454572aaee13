//! What redirect and `sender` change in a stored message while it goes out (rules 6 and 8).

use super::{connected, envelope, short};
use crate::support::scripted::Scripted;
use bytes::Bytes;
use postroom::clock::SystemClock;
use postroom::config::default_upstream;
use postroom::config::handling::{Handling, Mailbox, Redirect, ReportAddress, RewriteWhen, SenderRewrite};
use postroom::deliver::outgoing::{Outgoing, sender_facts};
use postroom::deliver::transact::transact;
use postroom::mail::{Address, HeaderScan, Message, QueueId, ReversePath};
use postroom::policy::added::added;
use postroom::policy::changes::Changes;
use postroom::policy::plan::{EnvelopeKind, PlannedEnvelope};
use postroom::queue::MailStore;
use postroom::queue::redb::{Options, RedbQueue};
use std::sync::Arc;

fn at(text: &str) -> Address {
    text.parse().unwrap()
}

async fn stored(queue: &dyn MailStore, chunks: &[&str]) -> Message {
    let mut scan = HeaderScan::new("");
    scan.push(chunks.concat().as_bytes());
    let message = Message {
        header: scan.facts(),
        size: chunks.concat().len() as u64,
        chunks: chunks.len() as u32,
        ..Message::new(QueueId::fresh(1), ReversePath::Address(at("app@site.test")))
    };
    let (tail, staged) = chunks.split_last().unwrap();
    for (number, chunk) in staged.iter().enumerate() {
        let chunk = Bytes::copy_from_slice(chunk.as_bytes());
        queue.stage(message.id, number as u32, chunk).await.unwrap();
    }
    queue.put(message.clone(), Bytes::copy_from_slice(tail.as_bytes()), Vec::new()).await.unwrap();
    message
}

#[tokio::test]
async fn a_report_copy_with_another_from_arrives_whole() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(Arc::new(SystemClock::default()));
    let queue: Arc<dyn MailStore> =
        Arc::new(RedbQueue::open(&folder.path().join("queue.redb"), options).unwrap());
    // Cut where it hurts.
    let chunks = [
        "To: c@customer.test\r\nBcc: d@customer.test\r\nFr",
        "om: Ann\r\n <ann@site.test>\r",
        "\nReturn-Receipt-To",
        ": ann@site.test\r\n\r\n.From: bo",
        "dy\r\n",
    ];
    let message = stored(&*queue, &chunks).await;
    let mailbox = Mailbox { name: "The Shop".to_owned(), address: at("shop@own.test") };
    let handling = Handling {
        sender: SenderRewrite { when: RewriteWhen::Always, address: Some(mailbox) },
        redirect: Redirect {
            enabled: true,
            report_emails: vec![ReportAddress { email: at("qa@report.test"), enabled: true }],
            allow: Vec::new(),
        },
        ..Handling::default()
    };
    let planned = PlannedEnvelope {
        kind: EnvelopeKind::ReportCopy(vec![at("c@customer.test"), at("d@customer.test")]),
        recipients: vec![at("qa@report.test")],
    };
    let changes = Changes::new(&planned, &message, &handling, &default_upstream("up", "up.test", 25));
    assert_eq!(changes.reverse_path, ReversePath::Address(at("qa@report.test")));
    let header = changes.header(&sender_facts(&*queue, &message).await.unwrap(), false);
    let prefix = added(&message, &header, "mail.test", "own", false);
    let mut outgoing = Outgoing::stored(prefix.clone(), queue, &message, header);

    let server = Scripted::start(|script| script.ehlo(&["PIPELINING"]));
    let mut connection = connected(&server).await;
    // Twice, because the next upstream gets the same.
    for _ in 0..2 {
        let done = transact(&mut connection, &envelope(&["qa@report.test"]), &mut outgoing).await;
        assert_eq!(short(&done), ["ok"]);
    }
    let prefix = String::from_utf8(prefix).unwrap();
    let first = "\r\nX-Original-To: c@customer.test\r\nX-Original-To: d@customer.test\r\nDate: ";
    let last = "\r\nFrom: \"The Shop\" <shop@own.test>\r\nReply-To: Ann\r\n <ann@site.test>\r\n";
    assert!(prefix.contains(first) && prefix.ends_with(last), "{prefix}");
    let rest = "To: c@customer.test\r\nX-Original-From: Ann\r\n <ann@site.test>\r\n\
                X-Original-Return-Receipt-To: ann@site.test\r\n\r\n.From: body\r\n";
    for received in server.wait_for(2) {
        assert_eq!(String::from_utf8(received.content).unwrap(), format!("{prefix}{rest}"));
    }
    // MAIL SIZE=: what is dropped counts still.
    let dropped = "Bcc: d@customer.test\r\n".len();
    assert_eq!(outgoing.size() as usize, prefix.len() + rest.len() + dropped);
}

/// The third chunk cannot be read, and need not be.
#[tokio::test]
async fn the_body_is_not_read_for_it() {
    let (queue, message) = super::broken::queue_with_two_chunks_of_three();
    let facts = sender_facts(&*queue, &message).await.unwrap();
    assert!(facts.from.is_empty() && !facts.is_cut);
}
