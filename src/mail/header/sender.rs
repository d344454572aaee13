//! Who a message says it is from: read before a message is sent whose header is to be changed, and only then.

use super::filter::Rename;
use super::reader::{FieldReader, Part};

/// Bytes of `From:` values that are kept.
const KEPT_BYTES: usize = 64 * 1024;
/// Broken applications send two `From:` fields.
const KEPT_FIELDS: usize = 16;

/// What a header says of its sender.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SenderFacts {
    /// The values of the `From:` fields as they stand there, from behind the colon to the last line end.
    pub from: Vec<Vec<u8>>,
    /// More of `From:` stands there than is kept.
    pub is_cut: bool,
    /// There is a `Reply-To:` field.
    pub has_reply_to: bool,
    /// How often each of the names that were asked for stands there.
    counts: Vec<(&'static str, u64)>,
}

impl SenderFacts {
    /// How many bytes longer the header becomes by these renames.
    pub fn growth(&self, renames: &[Rename]) -> u64 {
        let counted = |rename: &Rename| self.counts.iter().find(|(name, _)| *name == rename.old);
        let growth = |rename: &Rename| {
            let longer = rename.new.len().saturating_sub(rename.old.len()) as u64;
            counted(rename).map_or(0, |(_, count)| longer * count)
        };
        renames.iter().map(growth).sum()
    }
}

/// Learns [`SenderFacts`] from a content that comes in pieces.
#[derive(Debug)]
pub struct SenderScan {
    reader: FieldReader,
    facts: SenderFacts,
    /// The value being read is that of a `From:` field, and kept.
    in_from: bool,
    room: usize,
}

impl SenderScan {
    /// Counts the fields that these renames may apply to.
    pub fn new(renames: &[Rename]) -> SenderScan {
        let counts = renames.iter().map(|rename| (rename.old, 0)).collect();
        let facts = SenderFacts { counts, ..SenderFacts::default() };
        SenderScan { reader: FieldReader::default(), facts, in_from: false, room: KEPT_BYTES }
    }

    /// The next bytes of the content. Says whether the header goes on: what comes behind it need not be given.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let SenderScan { reader, facts, in_from, room } = self;
        reader.push(bytes, |part| match part {
            Part::Name(name) => *in_from = facts.begin_field(name),
            Part::Value(value) if *in_from => {
                let kept = value.len().min(*room);
                *room -= kept;
                facts.is_cut |= kept < value.len();
                if let Some(from) = facts.from.last_mut() {
                    from.extend_from_slice(&value[..kept]);
                }
            }
            Part::Value(_) => {}
        });
        !reader.is_at_body()
    }

    /// What was learned.
    pub fn facts(&self) -> &SenderFacts {
        &self.facts
    }
}

impl SenderFacts {
    /// Whether the value of the field that begins is kept.
    fn begin_field(&mut self, name: &[u8]) -> bool {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if let Some((_, count)) = self.counts.iter_mut().find(|(counted, _)| is(counted)) {
            *count += 1;
        }
        self.has_reply_to |= is("Reply-To");
        let is_from = is("From");
        let kept = is_from && self.from.len() < KEPT_FIELDS;
        if kept {
            self.from.push(Vec::new());
        }
        self.is_cut |= is_from && !kept;
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENAMES: [Rename; 1] = [Rename { old: "From", new: "X-Original-From" }];

    fn facts(content: &[u8], cut: usize) -> SenderFacts {
        let mut scan = SenderScan::new(&RENAMES);
        content.chunks(cut).for_each(|piece| _ = scan.push(piece));
        scan.facts().clone()
    }

    #[test]
    fn every_from_is_kept_as_it_stands_there() {
        let content =
            b"FROM : Ann\r\n <a@x.test>\r\nSubject: t\r\nFrom:\r\nreply-to: b@x.test\r\n\r\nFrom: body\r\n";
        for cut in 1..=content.len() {
            let facts = facts(content, cut);
            assert_eq!(facts.from, [&b" Ann\r\n <a@x.test>\r\n"[..], b"\r\n"], "in pieces of {cut}");
            assert!(facts.has_reply_to && !facts.is_cut);
            assert_eq!(facts.growth(&RENAMES), 22);
        }
        for content in
            [&b"hello\r\nFrom: a@x.test\r\n"[..], b"", b"\r\nFrom: a@x.test\r\n", b" From: a@x.test\r\n"]
        {
            assert_eq!(facts(content, 4), facts(b"", 1));
        }
    }

    #[test]
    fn the_header_is_over_at_its_empty_line() {
        let mut scan = SenderScan::new(&[]);
        assert!(scan.push(b"From: a@x.test\r\nTo: b@x.test\r\n\r"));
        assert!(!scan.push(b"\nbody"));
    }

    #[test]
    fn memory_follows_neither_a_from_nor_their_number() {
        let long = facts(&[b"From: ".to_vec(), vec![b'x'; 2 * KEPT_BYTES]].concat(), 1_000);
        assert!(long.is_cut && long.from[0].len() == KEPT_BYTES);
        let many = facts(&b"From: a@x.test\r\n".repeat(100_000), 1_000);
        assert!(many.is_cut && many.from.len() == KEPT_FIELDS);
        assert_eq!(many.growth(&RENAMES), 1_100_000);
    }
}
