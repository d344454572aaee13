//! What left otherwise than it came, to be shown: kept with the attempt, and laid over the stored header when somebody asks.

use super::changes::{ENVELOPE_FIELDS, RENAMES};
use crate::mail::attempt::{RenamedField, SentChanges};
use crate::mail::{FieldFilter, Rename, ReversePath};

/// Bytes of added fields that are kept: thirty times what ordinary mail gets, a few hundred recipients under redirect.
const MOST_ADDED: usize = 8 * 1024;

/// What is kept of a transaction by that reverse-path, with `added` in front of the content and these fields renamed.
pub fn sent_changes(reverse_path: &ReversePath, added: &[u8], renames: &[Rename]) -> SentChanges {
    let kept = if added.len() > MOST_ADDED { whole_fields(&added[..MOST_ADDED]) } else { added };
    let renamed = |rename: &Rename| RenamedField { old: rename.old.to_owned(), new: rename.new.to_owned() };
    SentChanges {
        reverse_path: reverse_path.address().map(ToString::to_string),
        added: String::from_utf8_lossy(kept).into_owned(),
        added_is_cut: kept.len() < added.len(),
        renamed: renames.iter().map(renamed).collect(),
    }
}

/// The stored header as the upstream got it. What stands behind the header in `original` is left as it is; the lines that say the
/// envelope in the file of a pickup folder are not in it.
pub fn sent_header(original: &[u8], sent: &SentChanges) -> Vec<u8> {
    let is_meant = |rename: &&Rename| {
        sent.renamed.iter().any(|renamed| renamed.old == rename.old && renamed.new == rename.new)
    };
    let renames = RENAMES.iter().chain(&ENVELOPE_FIELDS).filter(is_meant).copied().collect();
    let mut filter = FieldFilter::renaming(renames);
    let mut header = sent.added.clone().into_bytes();
    filter.push(original, |bytes| header.extend_from_slice(bytes));
    filter.finish(|bytes| header.extend_from_slice(bytes));
    header
}

/// The fields that end in it.
fn whole_fields(fields: &[u8]) -> &[u8] {
    let ends = memchr::memmem::rfind_iter(fields, b"\r\n").map(|at| at + 2);
    let is_end = |end: &usize| fields.get(*end).is_some_and(|next| !matches!(next, b' ' | b'\t'));
    &fields[..ends.into_iter().find(is_end).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_kept_in_whole_fields() {
        let field = format!("X-Original-To: {}\r\n", "a".repeat(60));
        let folded = format!("Received: a\r\n\tby b\r\n{}", field.repeat(200));
        let sent = sent_changes(&ReversePath::Null, folded.as_bytes(), &[]);
        assert!(
            sent.added_is_cut
                && sent.added.len() <= MOST_ADDED
                && sent.added.len() > MOST_ADDED - field.len()
        );
        assert!(folded.starts_with(&sent.added) && sent.added.ends_with(&field));
        assert_eq!(sent.reverse_path, None);
        let short = sent_changes(&ReversePath::Null, field.as_bytes(), &[]);
        assert!(!short.added_is_cut && short.added == field);
        // A field that has no end is none.
        let endless = format!("Received: {}\r\n", "a\r\n ".repeat(MOST_ADDED));
        assert_eq!(sent_changes(&ReversePath::Null, endless.as_bytes(), &[]).added, "");
    }

    #[test]
    fn a_name_that_this_program_does_not_give_renames_nothing() {
        let renamed = vec![RenamedField { old: "Subject".to_owned(), new: "X-Subject".to_owned() }];
        let sent = SentChanges { added: "A: b\r\n".to_owned(), renamed, ..SentChanges::default() };
        let header = b"Subject: s\r\nBcc: x\r\n y\r\nTo: t\r\n\r\nBcc: body";
        assert_eq!(sent_header(header, &sent), b"A: b\r\nSubject: s\r\nTo: t\r\n\r\nBcc: body");
    }
}
