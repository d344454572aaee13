//! What redirect and `sender` change in a header, against a plain reader of RFC 5322 that has the whole content at hand.
//!
//! An input: flags, [`super::Cuts`], length of a display name, the name, content. Flags: 1 SMTPUTF8, 2 the null
//! reverse-path, 4 a report copy, 8 the upstream has a sender, 16 `always`, 32 `missing`, 64 the content comes 64 times.

use super::header::Header;
use super::{Cuts, Tape};
use postroom::config::default_upstream;
use postroom::config::handling::{Handling, Mailbox, RewriteWhen, SenderRewrite};
use postroom::config::settings::Upstream;
use postroom::mail::address_list::mailboxes;
use postroom::mail::{
    Address, FieldFilter, HeaderScan, Message, QueueId, Rename, ReversePath, SenderFacts, SenderScan,
};
use postroom::policy::added::added;
use postroom::policy::changes::{Changes, RENAMES};
use postroom::policy::plan::{EnvelopeKind, PlannedEnvelope};

const OURS: [&str; 6] = ["received", "x-original-to", "date", "message-id", "from", "reply-to"];

pub fn run(data: &[u8]) {
    let mut tape = Tape(data);
    let flags = tape.byte();
    let cuts = tape.cuts();
    let name = usize::from(tape.byte());
    let name = String::from_utf8_lossy(tape.take(name)).into_owned();
    let content = if flags & 64 == 0 { tape.0.to_vec() } else { tape.0.repeat(64) };
    // As content is stored.
    let content = if content.is_empty() || content.ends_with(b"\r\n") {
        content
    } else {
        [&content, &b"\r\n"[..]].concat()
    };

    let (utf8, null, report) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
    let message = message(&content, null);
    let planned = planned(&message, flags, name);
    let facts = [Cuts(&[]), cuts, Cuts(&[1])].map(|cuts| facts(&content, cuts));
    assert!(facts[1..].iter().all(|other| *other == facts[0]));
    let changes = planned.header(&facts[0], utf8);
    assert!(planned.needs_header() || changes == Default::default());

    let header = Header::of(&content);
    let expected = header.renamed(&content, &changes.renames);
    for cuts in [Cuts(&[]), cuts, Cuts(&[1])] {
        let (mut filter, mut out) = (FieldFilter::renaming(changes.renames.clone()), Vec::new());
        cuts.of(&content).for_each(|piece| filter.push(piece, |bytes| out.extend_from_slice(bytes)));
        filter.finish(|bytes| out.extend_from_slice(bytes));
        assert_eq!(out, expected);
    }
    let dropped: usize = header.blind().map(|field| field.3 - field.1).sum();
    assert_eq!((expected.len() + dropped) as u64, content.len() as u64 + changes.growth);

    // Our own fields and no others, whatever strangers are called.
    let prefix = added(&message, &changes, "mail.test", "own", utf8);
    assert!(utf8 || prefix.is_ascii());
    for line in prefix.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap();
        assert!(text.len() <= 998 && !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    }
    let ours = Header::of(&prefix);
    let left = Header::of(&expected);
    assert!(ours.fields.iter().all(|field| OURS.iter().any(|name| field.0 == name.as_bytes())));
    assert_eq!(ours.named("x-original-to").count(), if report { 2 } else { 0 });
    let count = |name| ours.named(name).count() + left.named(name).count();
    let froms = header.named("from").count();
    assert_eq!(count("from"), if changes.from.is_some() { 1 } else { froms.max(1) });
    assert_eq!(count("sender"), header.named("sender").count());
    assert!(ours.named("reply-to").count() <= 1);
    assert!(ours.named("reply-to").next().is_none() || left.named("reply-to").next().is_none());
    assert!(!report || count("disposition-notification-to") + count("return-receipt-to") == 0);
    if changes.from.is_some() {
        let value = ours.named("from").map(|field| &prefix[field.2..field.3]).next().unwrap();
        let address = if flags & 8 == 0 { "shop@own.test" } else { "account@up.test" };
        assert_eq!(mailboxes(&String::from_utf8_lossy(value)), [address]);
    }
    for field in ours.named("reply-to") {
        let authors = mailboxes(std::str::from_utf8(&prefix[field.2..field.3]).unwrap());
        assert!(!authors.is_empty() && authors.iter().all(|one| one.parse::<Address>().is_ok()));
    }
    assert_eq!(planned.reverse_path == ReversePath::Null, null);
}

fn message(content: &[u8], null: bool) -> Message {
    let mut scan = HeaderScan::new("");
    scan.push(content);
    let reverse_path = match null {
        true => ReversePath::Null,
        false => ReversePath::Address("app@site.test".parse().unwrap()),
    };
    Message { header: scan.facts(), ..Message::new(QueueId::from_number(1 << 80), reverse_path) }
}

fn planned(message: &Message, flags: u8, name: String) -> Changes {
    let at = |text: &str| text.parse::<Address>().unwrap();
    let when = match flags & 48 {
        0 => RewriteWhen::Never,
        16 => RewriteWhen::Always,
        _ => RewriteWhen::Missing,
    };
    let address = Some(Mailbox { name, address: at("shop@own.test") });
    let handling = Handling { sender: SenderRewrite { when, address }, ..Handling::default() };
    let kind = match flags & 4 {
        0 => EnvelopeKind::Direct,
        _ => EnvelopeKind::ReportCopy(vec![at("c@customer.test"), at("\u{fc}@customer.test")]),
    };
    let envelope = PlannedEnvelope { kind, recipients: vec![at("qa@report.test")] };
    let upstream = Upstream {
        sender: (flags & 8 != 0).then(|| at("account@up.test")),
        ..default_upstream("up", "up.test", 25)
    };
    Changes::new(&envelope, message, &handling, &upstream)
}

fn facts(content: &[u8], cuts: Cuts<'_>) -> SenderFacts {
    let mut scan = SenderScan::new(&RENAMES);
    for piece in cuts.of(content) {
        if !scan.push(piece) {
            break;
        }
    }
    scan.facts().clone()
}

impl Header {
    /// Everything but the Bcc and Resent-Bcc fields, with those names in place of others.
    fn renamed(&self, content: &[u8], renames: &[Rename]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        for field in &self.fields {
            let rename = renames.iter().find(|rename| field.0 == rename.old.to_ascii_lowercase().as_bytes());
            if field.0 == b"bcc" || field.0 == b"resent-bcc" {
                out.extend_from_slice(&content[at..field.1]);
                at = field.3;
            } else if let Some(rename) = rename {
                out.extend_from_slice(&content[at..field.1]);
                out.extend_from_slice(rename.new.as_bytes());
                at = field.1 + rename.old.len();
            }
        }
        out.extend_from_slice(&content[at..]);
        out
    }
}
