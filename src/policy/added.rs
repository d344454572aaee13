//! What is put in front of the stored content (rule 8): one `Received:` field, `Date:`, `Message-ID:` and `From:` where the
//! message has none, and the fields that redirect and `sender` bring. The content itself is not changed here.
//!
//! Nothing that a client said can end the field it stands in or begin another one.

use super::changes::HeaderChanges;
use crate::mail::{HeaderFacts, Message};
use jiff::Timestamp;
use std::net::IpAddr;

/// Longest name of a client that is written down (RFC 5321 section 4.5.3.1.2: longest domain).
const HELO_LIMIT: usize = 255;

/// The bytes that go in front of the content of `message`: whole header lines, and an empty one where the content
/// starts with neither field nor empty line.
///
/// `hostname` is what we call ourselves, `instance` this installation's own name for loop detection, `utf8` whether the
/// transaction that carries it says SMTPUTF8: only then text that is not ASCII may stand in a header (RFC 6532), whatever
/// the client declared. `changes` are what redirect and `sender` want of the header.
pub fn added(
    message: &Message,
    changes: &HeaderChanges,
    hostname: &str,
    instance: &str,
    utf8: bool,
) -> Vec<u8> {
    let Message { id, header, .. } = message;
    let HeaderFacts { has_date, has_message_id, has_from, starts_well, .. } = *header;
    let date = date(message.received_at);
    let mut fields = received(message, hostname, instance, &date, utf8);
    fields.push_str(&changes.original_to);
    if !has_date {
        fields.push_str(&format!("Date: {date}\r\n"));
    }
    if !has_message_id {
        fields.push_str(&format!("Message-ID: <{id}@{hostname}>\r\n"));
    }
    if let Some(from) = &changes.from {
        fields.push_str(from);
    } else if !has_from {
        let sender = message.reverse_path.address().filter(|address| utf8 || address.is_ascii());
        match sender {
            Some(address) => fields.push_str(&format!("From: {address}\r\n")),
            None => fields.push_str(&format!("From: MAILER-DAEMON@{hostname}\r\n")),
        }
    }
    if !starts_well {
        fields.push_str("\r\n");
    }
    fields.into_bytes()
}

/// RFC 5321 section 4.4. Every part has a line of its own, so that the usual name fits in 78 columns.
fn received(message: &Message, hostname: &str, instance: &str, date: &str, utf8: bool) -> String {
    let Message { id, origin, .. } = message;
    let helo = harmless(&origin.helo, utf8);
    let from = match origin.client {
        Some(IpAddr::V4(client)) => format!("from {helo} ([{client}])\r\n\t"),
        Some(IpAddr::V6(client)) => format!("from {helo} ([IPv6:{client}])\r\n\t"),
        None if origin.helo.is_empty() => String::new(),
        None => format!("from {helo}\r\n\t"),
    };
    // How it came to us, which the way out does not change (RFC 5321 section 4.4, RFC 6531 section 4.3).
    let protocol = harmless(&origin.protocol, false);
    // Our own notices came by no protocol.
    let with = if origin.protocol.is_empty() { String::new() } else { format!("with {protocol} ") };
    format!("Received: {from}by {hostname} (Postroom {instance})\r\n\t{with}id {id};\r\n\t{date}\r\n")
}

/// What a client called itself, as a word that cannot break the field, open a comment or hide the address behind it.
fn harmless(name: &str, utf8: bool) -> String {
    let letter = |character: char| {
        let kept = character.is_ascii_alphanumeric()
            || ".-_:[]+".contains(character)
            || (utf8 && !character.is_ascii() && character.is_alphanumeric());
        if kept { character } else { '?' }
    };
    let mut word: String = name.chars().map(letter).collect();
    word.truncate(word.floor_char_boundary(HELO_LIMIT));
    if word.is_empty() { "unknown".to_owned() } else { word }
}

/// RFC 5322 section 3.3, in UTC.
pub(super) fn date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::mail::{BodyType, Origin, QueueId, ReversePath};
    use proptest::prelude::*;

    fn message() -> Message {
        Message {
            id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse::<QueueId>().unwrap(),
            reverse_path: ReversePath::Address("a@x.test".parse().unwrap()),
            recipients: Vec::new(),
            body: BodyType::SevenBit,
            smtp_utf8: false,
            size: 0,
            chunks: 0,
            header: HeaderFacts { starts_well: true, ..HeaderFacts::default() },
            origin: Origin {
                listener: "local".to_owned(),
                client: Some(IpAddr::from([192, 0, 2, 1])),
                user: None,
                helo: "c.test".to_owned(),
                protocol: "ESMTP".to_owned(),
            },
            received_at: "2026-11-20T14:03:02Z".parse().unwrap(),
            reception_ms: 0,
            due: None,
            life_start: Moment(0),
            ..Message::new(QueueId::from_number(0), ReversePath::Null)
        }
    }

    fn text(message: &Message) -> String {
        with(message, false)
    }

    fn with(message: &Message, utf8: bool) -> String {
        String::from_utf8(added(message, &HeaderChanges::default(), "mail.test", "own", utf8)).unwrap()
    }

    const RECEIVED: &str = "Received: from c.test ([192.0.2.1])\r\n\tby mail.test (Postroom own)\r\n\twith ESMTP id \
                            01ARZ3NDEKTSV4RRFFQ69G5FAV;\r\n\tFri, 20 Nov 2026 14:03:02 +0000\r\n";

    #[test]
    fn a_message_that_has_everything_gets_one_received() {
        let mut message = message();
        (message.header.has_date, message.header.has_from, message.header.has_message_id) =
            (true, true, true);
        assert_eq!(text(&message), RECEIVED);
    }

    #[test]
    fn a_bare_body_gets_a_whole_header() {
        let mut message = message();
        message.header.starts_well = false;
        let rest = "Date: Fri, 20 Nov 2026 14:03:02 +0000\r\nMessage-ID: \
                    <01ARZ3NDEKTSV4RRFFQ69G5FAV@mail.test>\r\nFrom: a@x.test\r\n\r\n";
        assert_eq!(text(&message), format!("{RECEIVED}{rest}"));
    }

    #[test]
    fn from_is_mailer_daemon_where_the_reverse_path_cannot_stand_there() {
        let mut message = message();
        message.reverse_path = ReversePath::Null;
        assert!(text(&message).contains("\r\nFrom: MAILER-DAEMON@mail.test\r\n"));
        message.reverse_path = ReversePath::Address("ü@x.test".parse().unwrap());
        assert!(text(&message).contains("\r\nFrom: MAILER-DAEMON@mail.test\r\n"));
        message.smtp_utf8 = true;
        assert!(text(&message).is_ascii(), "what the client declared is not what this transaction says");
        assert!(with(&message, true).contains("\r\nFrom: ü@x.test\r\n"));
    }

    #[test]
    fn a_client_without_address_or_name_is_not_made_up() {
        let mut message = message();
        message.origin.client = Some("2001:db8::1".parse().unwrap());
        assert!(text(&message).starts_with("Received: from c.test ([IPv6:2001:db8::1])\r\n"));
        message.origin.client = None;
        assert!(text(&message).starts_with("Received: from c.test\r\n\tby"));
        message.origin.helo.clear();
        assert!(text(&message).starts_with("Received: by mail.test (Postroom own)\r\n"));
    }

    proptest! {
        #[test]
        fn no_name_of_a_client_breaks_the_field(helo in ".{0,2000}|[a(\r\n);<>: \\\\\"]{0,20}", utf8: bool) {
            let mut message = message();
            (message.origin.helo, message.smtp_utf8) = (helo, !utf8);
            let text = with(&message, utf8);
            prop_assert_eq!(text.lines().count(), 7);
            prop_assert_eq!(text.matches(['(', ')', ';']).count(), 5);
            prop_assert!(text.split("\r\n").all(|line| line.len() < 998 && !line.contains(['\r', '\n'])));
            prop_assert!(utf8 || text.is_ascii());
        }
    }
}
