//! The header block of a content, read piece by piece (RFC 5322 section 2.2).
//!
//! All readers take the content in order, cut anywhere, and keep at most 998 bytes of a line: memory does not follow
//! the header. The block ends at the first empty line, or at the first line that is neither field nor
//! continuation (careless applications send bodies without any header).
//!
//! Limit: a line whose colon is not among its first 998 bytes is no field.

mod class;
mod fields;
mod filter;
mod line;
mod reader;
mod scan;
mod sender;

pub use fields::{fields, recipient_fields, sender_field};
pub use filter::{FieldFilter, Rename};
pub use scan::HeaderScan;
pub use sender::{SenderFacts, SenderScan};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::HeaderFacts;
    use proptest::prelude::*;

    fn facts(content: &[u8]) -> HeaderFacts {
        let mut scan = HeaderScan::new("own");
        scan.push(content);
        scan.facts()
    }

    fn filtered(content: &[u8], cut: usize) -> Vec<u8> {
        let (mut filter, mut out) = (FieldFilter::default(), Vec::new());
        let (front, back) = content.split_at(cut);
        filter.push(front, |bytes| out.extend_from_slice(bytes));
        filter.push(back, |bytes| out.extend_from_slice(bytes));
        filter.finish(|bytes| out.extend_from_slice(bytes));
        out
    }

    /// The header block line by line, as one would write it with the whole content at hand.
    fn reference(content: &[u8]) -> (Vec<(String, Vec<u8>)>, usize) {
        let (mut fields, mut at) = (Vec::<(String, Vec<u8>)>::new(), 0);
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            let colon = line.iter().position(|byte| *byte == b':');
            let name = colon.map(|colon| String::from_utf8_lossy(&line[..colon]).into_owned());
            let name = name.map(|name| name.trim_end_matches([' ', '\t']).to_ascii_lowercase());
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                let Some(field) = fields.last_mut() else { break };
                field.1.extend_from_slice(line);
            } else if let Some(name) = name
                && !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_graphic())
            {
                fields.push((name, line.to_vec()));
            } else {
                break;
            }
            at += line.len();
        }
        (fields, at)
    }

    fn content() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("\r\n"),
            Just("Bcc: a@x\r\n"),
            Just("bcC \t: b\r\n"),
            Just("Resent-Bcc: c@x\r\n"),
            Just("RESENT-bcc : d\r\n"),
            Just("Resent-Bccc: no\r\n"),
            Just(" more\r\n"),
            Just("\t\r\n"),
            Just("Bccc: no\r\n"),
            Just("Subject: hi\r\n"),
            Just("Received: by own.test (Postroom own)\r\n"),
            Just("From : x\r\n"),
            Just("Date:\r\n"),
            Just("Message-ID: <own>\r\n"),
            Just("no field\r\n"),
            Just(": nameless\r\n"),
            Just("Bcc\r\n"),
            Just("ü: x\r\n"),
            Just("x"),
            Just("B"),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn every_cut_gives_what_the_plain_reference_gives(content in content()) {
            let (fields, body) = reference(&content);
            let has = |name: &str| fields.iter().any(|field| field.0 == name);
            let kept: Vec<u8> = fields.iter().filter(|field| !matches!(&*field.0, "bcc" | "resent-bcc")).flat_map(|field| field.1.clone())
                .chain(content[body..].iter().copied()).collect();
            for cut in 0..=content.len() {
                let mut scan = HeaderScan::new("own");
                scan.push(&content[..cut]);
                scan.push(&content[cut..]);
                let facts = scan.facts();
                prop_assert_eq!(facts.has_bcc, has("bcc") || has("resent-bcc"));
                prop_assert_eq!(facts.has_from, has("from"));
                prop_assert_eq!(facts.has_date, has("date"));
                prop_assert_eq!(facts.has_message_id, has("message-id"));
                prop_assert_eq!(facts.subject.is_some(), has("subject"));
                prop_assert_eq!(facts.received_hops as usize, fields.iter().filter(|field| field.0 == "received").count());
                prop_assert_eq!(scan.own_instance_seen(), has("received"));
                prop_assert_eq!(facts.has_eight_bit, !content.is_ascii());
                prop_assert_eq!(facts.starts_well, !fields.is_empty() || content.starts_with(b"\r\n"));
                prop_assert_eq!(filtered(&content, cut), kept.clone(), "cut at {}", cut);
            }
        }

        #[test]
        fn byte_by_byte_is_as_good_as_in_one_piece(content in content()) {
            let mut scan = HeaderScan::new("own");
            let (mut filter, mut out) = (FieldFilter::default(), Vec::new());
            for byte in &content {
                scan.push(std::slice::from_ref(byte));
                filter.push(std::slice::from_ref(byte), |bytes| out.extend_from_slice(bytes));
            }
            filter.finish(|bytes| out.extend_from_slice(bytes));
            prop_assert_eq!(scan.facts(), facts(&content));
            prop_assert_eq!(out, filtered(&content, 0));
        }
    }

    #[test]
    fn a_body_without_a_header_is_no_header() {
        assert!(!facts(b"Hello,\r\nFrom: me\r\n").starts_well);
        assert!(!facts(b"Hello,\r\nFrom: me\r\n").has_from);
        assert!(!facts(b" From: me\r\n").starts_well);
        assert!(!facts(b"").starts_well);
        assert!(facts(b"\r\nFrom: me\r\n").starts_well);
        assert!(!facts(b"\r\nFrom: me\r\n").has_from);
    }

    #[test]
    fn the_own_instance_counts_only_in_received_fields() {
        for (content, seen) in [
            (&b"Received: by x (Postroom own)\r\n"[..], true),
            (b"RECEIVED: by x\r\n (Postroom own)\r\n", true),
            (b"Subject: own\r\n\r\n", false),
            (b"Received: ow\r\nReceived: n\r\n\r\n", false),
            (b"Subject: x\r\n\r\nReceived: by x (Postroom own)\r\n", false),
        ] {
            for cut in 0..content.len() {
                let mut scan = HeaderScan::new("own");
                scan.push(&content[..cut]);
                scan.push(&content[cut..]);
                assert_eq!(scan.own_instance_seen(), seen, "{} at {cut}", String::from_utf8_lossy(content));
            }
        }
    }

    #[test]
    fn the_first_subject_is_unfolded_and_bounded() {
        let subject = |content: &str| facts(content.as_bytes()).subject;
        assert_eq!(subject("Subject:  two\r\n lines \r\nSubject: other\r\n"), Some("two lines".to_owned()));
        assert_eq!(subject("Subject:\r\n"), Some(String::new()));
        assert_eq!(subject("To: x\r\n\r\nSubject: x\r\n"), None);
        let long = subject(&format!("Subject: x{}\r\n", "ü".repeat(2_000))).unwrap();
        assert!(long.len() <= 998 && long.ends_with('ü'));
    }

    #[test]
    fn memory_follows_neither_the_header_nor_a_line() {
        let (mut scan, mut filter) = (HeaderScan::new("own"), FieldFilter::default());
        let mut passed = 0;
        for start in ["Subject: ", "Received: ", "X", "Bcc"] {
            let mut push = |bytes: &[u8]| {
                scan.push(bytes);
                filter.push(bytes, |bytes| passed += bytes.len());
                let kept = scan.reader.partial.0.capacity() + scan.learned.tail.capacity();
                assert!(kept + filter.partial.0.capacity() < 8_192);
                assert!(scan.learned.subject.as_ref().is_none_or(|subject| subject.capacity() < 8_192));
            };
            push(start.as_bytes());
            for _ in 0..1_000 {
                push(&[b' '; 997]);
            }
            push(b"\r\n");
        }
        assert!(passed > 3_000_000);
    }
}
