//! The facts of a header, learned while its content is received.

use super::super::message::{Class, HeaderFacts};
use super::class::{ClassField, ClassFields};
use super::line::{NAME_LIMIT, is_bcc};
use super::reader::{FieldReader, Part};
use memchr::memmem;

/// The field whose value is being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    Received,
    Subject,
    Class,
    Other,
}

/// Learns [`HeaderFacts`] from a content that comes in pieces.
#[derive(Debug)]
pub struct HeaderScan {
    pub(super) reader: FieldReader,
    pub(super) learned: Learned,
}

/// What was learned so far.
#[derive(Debug)]
pub(super) struct Learned {
    facts: HeaderFacts,
    reading: Reading,
    pub(super) subject: Option<Vec<u8>>,
    class: ClassFields,
    instance: Vec<u8>,
    instance_seen: bool,
    /// The last bytes of a Received value, for an instance id that is cut in two.
    pub(super) tail: Vec<u8>,
}

impl HeaderScan {
    /// `instance` is this installation's own name: found in a `Received:` field, the message has been here before.
    pub fn new(instance: &str) -> HeaderScan {
        let learned = Learned {
            facts: HeaderFacts::default(),
            reading: Reading::Other,
            subject: None,
            class: ClassFields::default(),
            instance: instance.as_bytes().to_vec(),
            instance_seen: false,
            tail: Vec::new(),
        };
        HeaderScan { reader: FieldReader::default(), learned }
    }

    /// The next bytes of the content.
    pub fn push(&mut self, bytes: &[u8]) {
        let HeaderScan { reader, learned } = self;
        learned.facts.has_eight_bit = learned.facts.has_eight_bit || !bytes.is_ascii();
        reader.push(bytes, |part| match part {
            Part::Name(name) => learned.begin_field(name),
            Part::Value(value) => learned.read_value(value),
        });
    }

    /// Whether the header is over.
    pub fn is_at_body(&self) -> bool {
        self.reader.is_at_body()
    }

    /// Whether our own instance id stood in a `Received:` field: the message goes round in circles.
    pub fn own_instance_seen(&self) -> bool {
        self.learned.instance_seen
    }

    /// What was learned so far.
    pub fn facts(&self) -> HeaderFacts {
        HeaderFacts {
            starts_well: self.reader.starts_well(),
            subject: self.learned.subject.as_deref().map(readable),
            ..self.learned.facts.clone()
        }
    }

    /// The class that the header asks for so far.
    pub fn class(&self) -> Class {
        self.learned.class.class()
    }
}

impl Learned {
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
        } else if is_bcc(name) {
            self.facts.has_bcc = true;
        } else if let Some(field) = ClassField::named(name)
            && self.class.begin(field)
        {
            self.reading = Reading::Class;
        }
    }

    fn read_value(&mut self, value: &[u8]) {
        match self.reading {
            Reading::Received => self.look_for_instance(value),
            Reading::Class => self.class.push(value),
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
