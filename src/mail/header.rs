//! The header block of a content, read while it goes by (RFC 5322 section 2.2).

use super::message::HeaderFacts;

/// Reads the header block of a content that is pushed in pieces.
#[derive(Debug)]
pub struct HeaderScan {
    instance: String,
    header: Vec<u8>,
    eight_bit: bool,
}

impl HeaderScan {
    /// `instance` is this installation's own name.
    pub fn new(instance: &str) -> HeaderScan {
        HeaderScan { instance: instance.to_owned(), header: Vec::new(), eight_bit: false }
    }

    /// The next piece of content.
    pub fn push(&mut self, bytes: &[u8]) {
        self.eight_bit |= !bytes.is_ascii();
        let room = 65_536usize.saturating_sub(self.header.len());
        self.header.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// A `Received:` field names this installation.
    pub fn own_instance_seen(&self) -> bool {
        !self.instance.is_empty() && self.fields().any(|line| line.contains(&self.instance))
    }

    /// What is known of the header.
    pub fn facts(&self) -> HeaderFacts {
        HeaderFacts {
            has_eight_bit: self.eight_bit,
            received_hops: u32::try_from(self.fields().count()).unwrap_or(u32::MAX),
            ..HeaderFacts::default()
        }
    }

    fn fields(&self) -> impl Iterator<Item = &str> {
        let header = str::from_utf8(&self.header).unwrap_or_default();
        header.split("\r\n").take_while(|line| !line.is_empty()).filter(|line| line.starts_with("Received:"))
    }
}
