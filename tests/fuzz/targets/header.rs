//! The header block of a content: what is learned of it, what of it is relayed, what is put in front of it, and what
//! is shown of it, against a plain reader of RFC 5322 that has the whole content at hand.
//!
//! An input: flags, [`super::Cuts`], length of a client's name, the name, content. Flags: 1 SMTPUTF8, 2 the null
//! reverse-path, 8 the content comes 64 times.

use super::{Cuts, Tape};
use postroom::clock::Moment;
use postroom::event::{encoded_words, logemails};
use postroom::mail::printable::is_printable;
use postroom::mail::{BodyType, FieldFilter, HeaderFacts, HeaderScan, Message, Origin, QueueId, ReversePath};
use postroom::policy::added::added;
use postroom::policy::changes::HeaderChanges;

const INSTANCE: &str = "00c0ffee00c0ffee";
const HOST: &str = "mail.test";
/// A field's colon lies among the first bytes of its line.
const NAME_LIMIT: usize = 998;

pub fn run(data: &[u8]) {
    let mut tape = Tape(data);
    let flags = tape.byte();
    let cuts = tape.cuts();
    let name = usize::from(tape.byte());
    let name = String::from_utf8_lossy(tape.take(name));
    let content = if flags & 8 == 0 { tape.0.to_vec() } else { tape.0.repeat(64) };

    let header = Header::of(&content);
    for cuts in [Cuts(&[]), cuts, Cuts(&[1])] {
        let (facts, own) = scanned(&content, cuts);
        header.agrees(&facts, own, &content);
        assert_eq!(filtered(&content, cuts), header.relayed(&content));
    }
    is_whole_when_relayed(&content, flags, &name);
    is_shown_on_its_own_lines(&content);
}

fn scanned(content: &[u8], cuts: Cuts<'_>) -> (HeaderFacts, bool) {
    let mut scan = HeaderScan::new(INSTANCE);
    cuts.of(content).for_each(|piece| scan.push(piece));
    (scan.facts(), scan.own_instance_seen())
}

fn filtered(content: &[u8], cuts: Cuts<'_>) -> Vec<u8> {
    let (mut filter, mut out) = (FieldFilter::default(), Vec::new());
    cuts.of(content).for_each(|piece| filter.push(piece, |bytes| out.extend_from_slice(bytes)));
    filter.finish(|bytes| out.extend_from_slice(bytes));
    out
}

/// A header block cut into its fields: name in lower case, where it begins, where its value does, where it ends.
pub(super) struct Header {
    pub(super) fields: Vec<(Vec<u8>, usize, usize, usize)>,
    starts_empty: bool,
}

impl Header {
    pub(super) fn of(content: &[u8]) -> Header {
        let (mut fields, mut at) = (Vec::<(Vec<u8>, usize, usize, usize)>::new(), 0);
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            let end = at + line.len();
            match line {
                [b' ' | b'\t', ..] => match fields.last_mut() {
                    Some(field) => field.3 = end,
                    None => break,
                },
                _ => match name_and_value(line) {
                    Some((name, value)) => fields.push((name, at, at + value, end)),
                    None => break,
                },
            }
            at = end;
        }
        Header { fields, starts_empty: content.starts_with(b"\r\n") || content.starts_with(b"\n") }
    }

    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &(Vec<u8>, usize, usize, usize)> {
        self.fields.iter().filter(move |field| field.0 == name.as_bytes())
    }

    fn agrees(&self, facts: &HeaderFacts, own_instance_seen: bool, content: &[u8]) {
        let has = |name| self.named(name).next().is_some();
        assert_eq!(facts.starts_well, self.starts_empty || !self.fields.is_empty());
        assert_eq!(facts.has_date, has("date"));
        assert_eq!(facts.has_message_id, has("message-id"));
        assert_eq!(facts.has_from, has("from"));
        assert_eq!(facts.has_bcc, self.blind().next().is_some());
        assert_eq!(facts.has_eight_bit, !content.is_ascii());
        assert_eq!(facts.received_hops as usize, self.named("received").count());
        let instance = |value: &[u8]| value.windows(INSTANCE.len()).any(|part| part == INSTANCE.as_bytes());
        let seen = self.named("received").any(|field| instance(&content[field.2..field.3]));
        assert_eq!(own_instance_seen, seen);
        let subject = self.named("subject").next().map(|field| subject(&content[field.2..field.3]));
        assert_eq!(facts.subject, subject);
    }

    pub(super) fn blind(&self) -> impl Iterator<Item = &(Vec<u8>, usize, usize, usize)> {
        self.fields.iter().filter(|field| field.0 == b"bcc" || field.0 == b"resent-bcc")
    }

    /// Everything but the Bcc and Resent-Bcc fields.
    fn relayed(&self, content: &[u8]) -> Vec<u8> {
        let (mut relayed, mut at) = (Vec::new(), 0);
        for field in self.blind() {
            relayed.extend_from_slice(&content[at..field.1]);
            at = field.3;
        }
        relayed.extend_from_slice(&content[at..]);
        relayed
    }
}

/// The name in lower case, and where the value begins.
fn name_and_value(line: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = &line[..line.len().min(NAME_LIMIT)];
    let colon = line.iter().position(|byte| *byte == b':')?;
    let blanks = line[..colon].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let name = &line[..colon - blanks];
    let sound = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    sound.then(|| (name.to_ascii_lowercase(), colon + 1))
}

/// Unfolded, without white space around, at most 998 bytes.
fn subject(value: &[u8]) -> String {
    let mut text: Vec<u8> = value.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let leading = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    text.drain(..leading);
    text.truncate(NAME_LIMIT);
    let cut_character = (1..4).find(|cut| {
        let whole = text.len().saturating_sub(*cut);
        std::str::from_utf8(&text[..whole]).is_ok()
            && std::str::from_utf8(&text).is_err_and(|error| error.error_len().is_none())
    });
    text.truncate(text.len() - cut_character.unwrap_or(0));
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

/// What the upstream gets, read as the next server would read it: nothing is missing, nothing is there twice, the fields
/// that were there stay as they were.
fn is_whole_when_relayed(content: &[u8], flags: u8, name: &str) {
    let complete: Vec<u8> = match content {
        [] | [.., b'\r', b'\n'] => content.to_vec(),
        // As content is stored.
        _ => [content, b"\r\n"].concat(),
    };
    let (facts, _) = scanned(&complete, Cuts(&[]));
    let message = message(facts.clone(), flags, name);
    let prefix = added(&message, &HeaderChanges::default(), HOST, INSTANCE, message.smtp_utf8);
    for line in prefix.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap();
        assert!(text.len() <= NAME_LIMIT && !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        assert!(message.smtp_utf8 || text.is_ascii());
    }
    let relayed = [prefix.clone(), filtered(&complete, Cuts(&[]))].concat();
    let (seen, own) = scanned(&relayed, Cuts(&[]));
    assert!(
        own && seen.starts_well && seen.has_date && seen.has_message_id && seen.has_from && !seen.has_bcc
    );
    let before = Header::of(&complete);
    let after = Header::of(&relayed);
    assert_eq!(seen.received_hops, facts.received_hops + 1);
    assert_eq!(seen.subject, facts.subject);
    let missing = [facts.has_date, facts.has_message_id, facts.has_from].iter().filter(|has| !**has).count();
    let kept = before.fields.len() - before.blind().count();
    assert_eq!(after.fields.len(), 1 + missing + kept);
    assert!(relayed.ends_with(&before.relayed(&complete)));
}

fn message(header: HeaderFacts, flags: u8, name: &str) -> Message {
    let address = if flags & 1 == 0 { "a@x.test" } else { "\u{fc}@x.test" };
    let now = Moment(0);
    Message {
        id: QueueId::from_number(1 << 80),
        reverse_path: match flags & 2 {
            0 => ReversePath::Address(address.parse().unwrap()),
            _ => ReversePath::Null,
        },
        recipients: Vec::new(),
        body: BodyType::SevenBit,
        smtp_utf8: flags & 1 != 0,
        size: 0,
        chunks: 0,
        header,
        origin: Origin {
            listener: "local".to_owned(),
            client: Some([192, 0, 2, 1].into()),
            user: None,
            helo: name.to_owned(),
            protocol: "ESMTP".to_owned(),
        },
        received_at: jiff::Timestamp::UNIX_EPOCH,
        reception_ms: 0,
        due: Some(now),
        life_start: now,
        ..Message::new(QueueId::from_number(0), ReversePath::Null)
    }
}

/// No header forges a line of a record or of a listing.
fn is_shown_on_its_own_lines(content: &[u8]) {
    let time = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
    let record = logemails::render(&time, &["b@y.test", "c@y.test"], content);
    assert!(record.ends_with("\n\n") && record.trim_end_matches('\n').len() + 2 == record.len());
    let lines: Vec<&str> = record.trim_end_matches('\n').split('\n').collect();
    let starting = |name: &str| lines.iter().filter(|line| line.starts_with(name)).count();
    for name in ["Timestamp: ", "Rcpt: ", "From: ", "Subject: ", "HeadersEncoding: "] {
        assert_eq!(starting(name), 1, "{name}");
    }
    for name in ["Cc: ", "Bcc: ", "Headers:"] {
        assert!(starting(name) <= 1, "{name}");
    }
    for line in &lines {
        assert!(line.starts_with("    ") || line.split(": ").next().is_some_and(|name| KEYS.contains(&name)));
        is_one_line(line);
    }
    let raw = String::from_utf8_lossy(content);
    let shown = encoded_words::decode_words(&raw);
    assert!(shown.chars().count() <= encoded_words::MAX_CHARS);
    is_one_line(&shown);
}

const KEYS: [&str; 8] = ["Timestamp", "Rcpt", "Cc", "Bcc", "From", "Subject", "Headers:", "HeadersEncoding"];

fn is_one_line(text: &str) {
    assert!(text.chars().all(is_printable), "{text:?}");
}
