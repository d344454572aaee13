//! The content of one transaction on its way out: what is added, then what is stored, made fit for DATA (RFC 5321
//! section 4.5.2).
//!
//! Promise: what is written is the content byte for byte, with a dot before every line that begins with one and a line
//! end behind the last line. Stored content is normalized already; should a bare CR, a bare LF or a NUL stand there
//! all the same, it does not leave: LF becomes CRLF, the others a space. So nobody, however lax, can find an end of
//! data in it (CASES A14).
//!
//! In a file the dots stay as they are.
//!
//! Memory does not follow message size: one chunk is held at a time.

use crate::mail::{FieldFilter, Message, QueueId, SenderFacts, SenderScan};
use crate::policy::changes::{HeaderChanges, RENAMES};
use crate::queue::{MailStore, QueueError};
use bytes::Bytes;
use memchr::memchr3;
use std::sync::Arc;

/// Bytes of content that are made fit in one go: keeps the buffer of a connection small.
const SLICE: usize = 32 * 1024;

/// A content to be sent; may be sent any number of times, one after the other.
pub struct Outgoing {
    prefix: Bytes,
    source: ContentSource,
    size: u64,
    /// What the header goes through, as it is before the first byte.
    filter: Option<FieldFilter>,
    progress: Progress,
}

/// Where the stored part is.
enum ContentSource {
    Memory(Bytes),
    Queue { queue: Arc<dyn MailStore>, id: QueueId, chunks: u32 },
}

/// How far it has been sent.
#[derive(Default)]
struct Progress {
    started: bool,
    next_chunk: u32,
    current: Bytes,
    encoder: ContentEncoder,
}

/// Makes content fit for DATA while it goes by.
#[derive(Default)]
pub(super) struct ContentEncoder {
    /// What its header goes through.
    filter: Option<FieldFilter>,
    stuffer: Stuffer,
}

impl ContentEncoder {
    /// Whose header goes through `filter`.
    pub(super) fn filtering(filter: FieldFilter) -> ContentEncoder {
        ContentEncoder { filter: Some(filter), stuffer: Stuffer::default() }
    }

    /// What goes in front of the content.
    pub(super) fn prefix(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.stuffer.push(bytes, out);
    }

    /// More of the content.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let ContentEncoder { filter, stuffer } = self;
        match filter {
            Some(filter) => filter.push(bytes, |bytes| stuffer.push(bytes, out)),
            None => stuffer.push(bytes, out),
        }
    }

    /// The content is at its end.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let ContentEncoder { filter, stuffer } = self;
        if let Some(filter) = filter {
            filter.finish(|bytes| stuffer.push(bytes, out));
        }
        stuffer.finish(out);
    }
}

impl Outgoing {
    /// What `queue` has stored as `message`, behind `prefix` (see [`crate::policy::added`], which wants to know of the same
    /// `changes`), without its `Bcc:` and `Resent-Bcc:`, and with those fields renamed that `changes` name.
    pub fn stored(
        prefix: impl Into<Bytes>,
        queue: Arc<dyn MailStore>,
        message: &Message,
        changes: HeaderChanges,
    ) -> Outgoing {
        let source = ContentSource::Queue { queue, id: message.id, chunks: message.chunks };
        let filter = FieldFilter::renaming(changes.renames);
        Outgoing::new(prefix.into(), source, message.size + changes.growth, Some(filter))
    }

    /// A content at hand, behind `prefix`; `drop_bcc`: without its `Bcc:` and `Resent-Bcc:`, as relayed mail goes.
    pub fn memory(prefix: impl Into<Bytes>, content: impl Into<Bytes>, drop_bcc: bool) -> Outgoing {
        let content = content.into();
        let size = content.len() as u64;
        Outgoing::new(
            prefix.into(),
            ContentSource::Memory(content),
            size,
            drop_bcc.then(FieldFilter::default),
        )
    }

    fn new(prefix: Bytes, source: ContentSource, stored_size: u64, filter: Option<FieldFilter>) -> Outgoing {
        let size = prefix.len() as u64 + stored_size;
        let mut outgoing = Outgoing { prefix, source, size, filter, progress: Progress::default() };
        outgoing.rewind();
        outgoing
    }

    /// Bytes of content, dots that are added on the way not counted (RFC 1870 section 5): exact, or a little too
    /// large where `Bcc:` is dropped.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// From the start again.
    pub(crate) fn rewind(&mut self) {
        let encoder = ContentEncoder { filter: self.filter.clone(), stuffer: Stuffer::default() };
        self.progress = Progress { encoder, ..Progress::default() };
    }

    /// As [`Outgoing::rewind`], for a file, in which no dots are doubled.
    pub(super) fn rewind_for_file(&mut self) {
        self.rewind();
        self.progress.encoder.stuffer.leaves_dots = true;
    }

    /// Appends content to `out` until that holds at least `enough` bytes or the content is at its end, and says
    /// whether it is. The final dot is not part of it.
    pub(crate) async fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> Result<bool, QueueError> {
        if !std::mem::replace(&mut self.progress.started, true) {
            self.progress.encoder.prefix(&self.prefix, out);
        }
        while out.len() < enough {
            if self.progress.current.is_empty() && !self.next_chunk().await? {
                self.progress.encoder.finish(out);
                return Ok(true);
            }
            let Progress { current, encoder, .. } = &mut self.progress;
            let slice = current.split_to(current.len().min(SLICE));
            encoder.push(&slice, out);
        }
        Ok(false)
    }

    /// Gets hold of the next chunk that is not empty; false when there is none.
    async fn next_chunk(&mut self) -> Result<bool, QueueError> {
        let chunks = match self.source {
            ContentSource::Memory(_) => 1,
            ContentSource::Queue { chunks, .. } => chunks,
        };
        while self.progress.current.is_empty() && self.progress.next_chunk < chunks {
            self.progress.current = match &self.source {
                ContentSource::Memory(content) => content.clone(),
                ContentSource::Queue { queue, id, .. } => queue.chunk(*id, self.progress.next_chunk).await?,
            };
            self.progress.next_chunk += 1;
        }
        Ok(!self.progress.current.is_empty())
    }
}

/// Reads the header of a stored message as far as [`crate::policy::changes`] must know it; the body is not read.
///
/// # Errors
/// The queue's.
pub async fn sender_facts(queue: &dyn MailStore, message: &Message) -> Result<SenderFacts, QueueError> {
    let mut scan = SenderScan::new(&RENAMES);
    for chunk in 0..message.chunks {
        if !scan.push(&queue.chunk(message.id, chunk).await?) {
            break;
        }
    }
    Ok(scan.facts().clone())
}

/// Makes lines fit for DATA. Knows nothing but how the line before ended, so it may be given any pieces.
#[derive(Debug)]
struct Stuffer {
    line_start: bool,
    /// A CR came last and was not written yet: only a LF makes it one that may leave.
    held_cr: bool,
    /// It goes where a dot ends nothing.
    leaves_dots: bool,
}

impl Default for Stuffer {
    fn default() -> Stuffer {
        Stuffer { line_start: true, held_cr: false, leaves_dots: false }
    }
}

impl Stuffer {
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.held_cr) && first != b'\n' {
                out.push(b' ');
                self.line_start = false;
            }
            if self.line_start && first == b'.' && !self.leaves_dots {
                out.push(b'.');
            }
            let end = memchr3(b'\r', b'\n', b'\0', bytes).unwrap_or(bytes.len());
            out.extend_from_slice(&bytes[..end]);
            self.line_start &= end == 0;
            match bytes[end..] {
                [] => return,
                [b'\n', ..] | [b'\r', b'\n', ..] => {
                    out.extend_from_slice(b"\r\n");
                    self.line_start = true;
                }
                [b'\r', ..] => self.held_cr = true,
                _ => {
                    out.push(b' ');
                    self.line_start = false;
                }
            }
            bytes = &bytes[end + if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 }..];
        }
    }

    /// Ends the last line where it has no end.
    fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held_cr) {
            out.push(b' ');
            self.line_start = false;
        }
        if !self.line_start {
            out.extend_from_slice(b"\r\n");
            self.line_start = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut out) = (Stuffer::default(), Vec::new());
        for piece in pieces {
            stuffer.push(piece, &mut out);
        }
        stuffer.finish(&mut out);
        out
    }

    /// The same, slowly: normalize the whole, then look at each line.
    fn reference(content: &[u8]) -> Vec<u8> {
        let mut normal = Vec::new();
        for (at, byte) in content.iter().enumerate() {
            match byte {
                b'\r' if content.get(at + 1) == Some(&b'\n') => {}
                b'\r' | b'\0' => normal.push(b' '),
                byte => normal.push(*byte),
            }
        }
        let mut out = Vec::new();
        for line in normal.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                out.push(b'.');
            }
            out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    #[test]
    fn dots_are_doubled_and_nothing_else_changes() {
        assert_eq!(stuffed(&[b"a\r\n"]), b"a\r\n");
        assert_eq!(stuffed(&[b".\r\n..\r\na.\r\n.b\r\n"]), b"..\r\n...\r\na.\r\n..b\r\n");
        assert_eq!(stuffed(&[b"a\r", b"\n", b".", b"b"]), b"a\r\n..b\r\n");
        assert_eq!(stuffed(&[]), b"");
        assert_eq!(stuffed(&[b"\r\n"]), b"\r\n");
    }

    proptest! {
        #[test]
        fn every_cut_gives_what_the_plain_reference_gives(
            pieces in proptest::collection::vec(prop_oneof![
                Just("\r\n"), Just("."), Just("\r"), Just("\n"), Just("\0"), Just("x"), Just(".\r\n"), Just("\r\n.\r\n"),
            ], 0..16)
        ) {
            let content = pieces.concat().into_bytes();
            let expected = reference(&content);
            for cut in 0..=content.len() {
                prop_assert_eq!(stuffed(&[&content[..cut], &content[cut..]]), expected.clone());
            }
            let single: Vec<&[u8]> = content.chunks(1).collect();
            prop_assert_eq!(stuffed(&single), expected);
        }
    }

    #[tokio::test]
    async fn prefix_content_and_dropped_fields_come_out_the_same_however_small_the_pieces() {
        let content = "To: x\r\nBcc: secret\r\n more\r\nSubject: s\r\n\r\nBcc: stays\r\n.\r\n".repeat(1_000);
        let mut outgoing = Outgoing::memory("Received: here\r\n", content.clone(), true);
        assert_eq!(outgoing.size(), 16 + content.len() as u64);
        let mut seen = Vec::new();
        for enough in [1, 10, 1_000_000] {
            let mut whole = Vec::new();
            outgoing.rewind();
            loop {
                let mut out = Vec::new();
                let end = outgoing.fill(&mut out, enough).await.unwrap();
                whole.extend(out);
                if end {
                    break;
                }
            }
            seen.push(whole);
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
        let start =
            "Received: here\r\nTo: x\r\nSubject: s\r\n\r\nBcc: stays\r\n..\r\nTo: x\r\nBcc: secret\r\n";
        assert!(seen[0].starts_with(start.as_bytes()), "{}", String::from_utf8_lossy(&seen[0][..200]));
    }
}
