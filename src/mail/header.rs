//! The header block of a content, read while it goes by (RFC 5322 section 2.2).
//!
//! Both readers take the content in order, cut anywhere, and keep at most 998 bytes of a line: memory does not follow
//! the header. The block ends at the first empty line, or at the first line that is neither field nor
//! continuation (careless applications send bodies without any header).
//!
//! Limit: a line whose colon is not among its first 998 bytes is no field.

use super::message::HeaderFacts;
use memchr::{memchr, memchr2, memmem};

/// RFC 5322 section 2.1.1: longest line. A field's name and colon must lie within.
const NAME_LIMIT: usize = 998;

/// What a line of the header block is, as far as its beginning tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    /// Cannot be told from these bytes.
    Unclear,
    /// A field: its name has `name` bytes, its value begins at `value`.
    Field { name: usize, value: usize },
    /// Belongs to the field before it.
    Continuation,
    /// The empty line that ends the header.
    Empty,
    /// Something else: the body begins here.
    Foreign,
}

fn classify(line: &[u8]) -> Line {
    match line {
        [] | [b'\r'] => return Line::Unclear,
        [b' ' | b'\t', ..] => return Line::Continuation,
        [b'\n', ..] | [b'\r', b'\n', ..] => return Line::Empty,
        _ => {}
    }
    let line = &line[..line.len().min(NAME_LIMIT)];
    let name = line.iter().take_while(|byte| byte.is_ascii_graphic() && **byte != b':').count();
    let colon = name + line[name..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match line.get(colon) {
        Some(b':') if name > 0 => Line::Field { name, value: colon + 1 },
        None if line.len() < NAME_LIMIT => Line::Unclear,
        _ => Line::Foreign,
    }
}

/// The beginning of a line that was cut before it was clear what it is.
#[derive(Debug, Default)]
struct Held(Vec<u8>);

impl Held {
    /// Adds the least of `bytes` that may make it clear what the line is; says how many that were and what it is now.
    fn add(&mut self, bytes: &[u8]) -> (usize, Line) {
        let clear = memchr2(b':', b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let taken = clear.min(NAME_LIMIT - self.0.len().min(NAME_LIMIT));
        self.0.extend_from_slice(&bytes[..taken]);
        (taken, classify(&self.0))
    }
}

/// Which field the value that goes by belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    Received,
    Subject,
    Other,
}

/// Where a reader is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    LineStart,
    Value,
    Body,
}

/// Learns [`HeaderFacts`] while the content goes by.
#[derive(Debug)]
pub struct HeaderScan {
    facts: HeaderFacts,
    place: Place,
    reading: Reading,
    first_line: bool,
    held: Held,
    subject: Option<Vec<u8>>,
    instance: Vec<u8>,
    instance_seen: bool,
    /// The last bytes of a Received value, for an instance id that is cut in two.
    tail: Vec<u8>,
}

impl HeaderScan {
    /// `instance` is this installation's own name: found in a `Received:` field, the message has been here before.
    pub fn new(instance: &str) -> HeaderScan {
        HeaderScan {
            facts: HeaderFacts::default(),
            place: Place::LineStart,
            reading: Reading::Other,
            first_line: true,
            held: Held::default(),
            subject: None,
            instance: instance.as_bytes().to_vec(),
            instance_seen: false,
            tail: Vec::new(),
        }
    }

    /// The next bytes of the content.
    pub fn push(&mut self, bytes: &[u8]) {
        self.facts.has_eight_bit = self.facts.has_eight_bit || !bytes.is_ascii();
        let mut rest = bytes;
        while !rest.is_empty() && self.place != Place::Body {
            rest = match self.place {
                Place::LineStart => self.begin_line(rest),
                _ => self.read_value(rest),
            };
        }
    }

    /// Whether our own instance id stood in a `Received:` field: the message goes round in circles.
    pub fn own_instance_seen(&self) -> bool {
        self.instance_seen
    }

    /// What was learned so far.
    pub fn facts(&self) -> HeaderFacts {
        HeaderFacts { subject: self.subject.as_deref().map(readable), ..self.facts.clone() }
    }

    /// Reads the beginning of a line, up to its colon or its first white space. Returns what is left.
    fn begin_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (line, rest) = if self.held.0.is_empty() {
            match classify(bytes) {
                Line::Unclear => {
                    self.held.0.extend_from_slice(bytes);
                    return &[];
                }
                Line::Field { name, value } => {
                    self.begin_field(&bytes[..name]);
                    (Line::Field { name, value }, &bytes[value..])
                }
                line => (line, bytes),
            }
        } else {
            let (taken, line) = self.held.add(bytes);
            if line == Line::Unclear {
                return &bytes[taken..];
            }
            let held = std::mem::take(&mut self.held.0);
            if let Line::Field { name, .. } = line {
                self.begin_field(&held[..name]);
            }
            (line, &bytes[taken..])
        };
        self.place = match line {
            Line::Field { .. } => Place::Value,
            Line::Continuation if !self.first_line => Place::Value,
            _ => Place::Body,
        };
        if self.first_line {
            self.facts.starts_well = matches!(line, Line::Field { .. } | Line::Empty);
            self.first_line = false;
        }
        rest
    }

    fn begin_field(&mut self, name: &[u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        self.reading = Reading::Other;
        if is("Received") {
            self.facts.received_hops = self.facts.received_hops.saturating_add(1);
            self.reading = Reading::Received;
            self.tail.clear();
        } else if is("Subject") {
            if self.subject.is_none() {
                self.subject = Some(Vec::new());
                self.reading = Reading::Subject;
            }
        } else if is("Date") {
            self.facts.has_date = true;
        } else if is("Message-ID") {
            self.facts.has_message_id = true;
        } else if is("From") {
            self.facts.has_from = true;
        } else if is("Bcc") {
            self.facts.has_bcc = true;
        }
    }

    /// Reads a value to the end of its line. Returns what is left.
    fn read_value<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let (value, rest) = bytes.split_at(end);
        match self.reading {
            Reading::Received => self.look_for_instance(value),
            Reading::Subject => {
                if let Some(subject) = &mut self.subject {
                    let (leading, room) = (subject.is_empty(), NAME_LIMIT - subject.len());
                    let text = value.iter().filter(|byte| !matches!(byte, b'\r' | b'\n'));
                    // Leading white space must not count against the limit.
                    let text = text.skip_while(|byte| leading && matches!(byte, b' ' | b'\t'));
                    subject.extend(text.take(room));
                }
            }
            Reading::Other => {}
        }
        if value.last() == Some(&b'\n') {
            self.place = Place::LineStart;
        }
        rest
    }

    fn look_for_instance(&mut self, value: &[u8]) {
        if self.instance.is_empty() || self.instance_seen {
            return;
        }
        let overlap = self.instance.len() - 1;
        self.tail.extend_from_slice(&value[..value.len().min(overlap)]);
        self.instance_seen = memmem::find(value, &self.instance).is_some()
            || memmem::find(&self.tail, &self.instance).is_some();
        if value.len() >= overlap {
            self.tail.clear();
            self.tail.extend_from_slice(&value[value.len() - overlap..]);
        } else {
            let surplus = self.tail.len().saturating_sub(overlap);
            self.tail.drain(..surplus);
        }
    }
}

/// Text of a subject: no white space at its end, no half character where it was cut off.
fn readable(subject: &[u8]) -> String {
    let whole = match std::str::from_utf8(subject) {
        Err(error) if error.error_len().is_none() => &subject[..error.valid_up_to()],
        _ => subject,
    };
    String::from_utf8_lossy(whole).trim_end().to_owned()
}

/// Lets a content pass but for its `Bcc:` fields: they must not be relayed (RFC 5322 section 3.6.3).
#[derive(Debug)]
pub struct FieldFilter {
    place: Place,
    first_line: bool,
    dropping: bool,
    held: Held,
}

impl Default for FieldFilter {
    fn default() -> FieldFilter {
        FieldFilter { place: Place::LineStart, first_line: true, dropping: false, held: Held::default() }
    }
}

impl FieldFilter {
    /// The next bytes of the content; `pass` gets those that stay, in order, most of them as slices of `bytes`.
    pub fn push(&mut self, bytes: &[u8], mut pass: impl FnMut(&[u8])) {
        // Everything before `passed` is dealt with; what lies between it and `at` stays.
        let (mut passed, mut at) = (0, 0);
        while at < bytes.len() && self.place != Place::Body {
            if self.place == Place::Value {
                let end = memchr(b'\n', &bytes[at..]);
                at = end.map_or(bytes.len(), |end| at + end + 1);
                if end.is_some() {
                    self.place = Place::LineStart;
                }
                if self.dropping {
                    passed = at;
                }
                continue;
            }
            let line_start = at;
            let line = if self.held.0.is_empty() {
                let line = classify(&bytes[at..]);
                if line == Line::Unclear {
                    pass_some(&bytes[passed..at], &mut pass);
                    self.held.0.extend_from_slice(&bytes[at..]);
                    return;
                }
                self.enter(line, &bytes[at..]);
                line
            } else {
                let (taken, line) = self.held.add(&bytes[at..]);
                (at, passed) = (at + taken, at + taken);
                if line == Line::Unclear {
                    continue;
                }
                let held = std::mem::take(&mut self.held.0);
                self.enter(line, &held);
                if !self.dropping {
                    pass(&held);
                }
                continue;
            };
            if self.dropping {
                pass_some(&bytes[passed..line_start], &mut pass);
                passed = line_start;
            }
            if let Line::Field { value, .. } = line {
                at += value;
            }
        }
        if !self.dropping {
            pass_some(&bytes[passed..], &mut pass);
        }
    }

    /// The content is over: lets pass what was held back of a last line that has no end.
    pub fn finish(&mut self, mut pass: impl FnMut(&[u8])) {
        pass_some(&std::mem::take(&mut self.held.0), &mut pass);
    }

    fn enter(&mut self, line: Line, bytes: &[u8]) {
        match line {
            Line::Field { name, .. } => {
                self.dropping = bytes[..name].eq_ignore_ascii_case(b"Bcc");
                self.place = Place::Value;
            }
            Line::Continuation if !self.first_line => self.place = Place::Value,
            _ => {
                self.dropping = false;
                self.place = Place::Body;
            }
        }
        self.first_line = false;
    }
}

fn pass_some(bytes: &[u8], pass: &mut impl FnMut(&[u8])) {
    if !bytes.is_empty() {
        pass(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let kept: Vec<u8> = fields.iter().filter(|field| field.0 != "bcc").flat_map(|field| field.1.clone())
                .chain(content[body..].iter().copied()).collect();
            for cut in 0..=content.len() {
                let mut scan = HeaderScan::new("own");
                scan.push(&content[..cut]);
                scan.push(&content[cut..]);
                let facts = scan.facts();
                prop_assert_eq!(facts.has_bcc, has("bcc"));
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
                assert!(scan.held.0.capacity() + scan.tail.capacity() + filter.held.0.capacity() < 8_192);
                assert!(scan.subject.as_ref().is_none_or(|subject| subject.capacity() < 8_192));
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
