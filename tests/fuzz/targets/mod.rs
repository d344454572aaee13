//! What is fuzzed: one function `run` a target, which panics where a promise is broken.
//!
//! Used twice: by libFuzzer on nightly (`fuzz/`) and by the tests on stable (`tests/fuzz/`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a target panics to say that it has found something"
)]
#![allow(missing_docs, reason = "the same function in every file")]

pub mod challenges;
pub mod changes;
pub mod commands;
pub mod configuration;
pub mod content;
pub mod filter;
pub mod header;
pub mod records;
pub mod replies;

/// Takes an input apart from its front; where there is nothing more, it gives zeros.
pub struct Tape<'a>(pub &'a [u8]);

impl<'a> Tape<'a> {
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (part, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        part
    }

    /// Where what follows is cut: a number of lengths, then the lengths.
    pub fn cuts(&mut self) -> Cuts<'a> {
        let count = self.byte() % 8;
        Cuts(self.take(count.into()))
    }
}

/// Lengths of pieces, taken in turn again and again; without one all is one piece.
#[derive(Clone, Copy)]
pub struct Cuts<'a>(&'a [u8]);

impl<'a> Cuts<'a> {
    /// The pieces of `input`, none of them empty.
    pub fn of<'i>(self, input: &'i [u8]) -> impl Iterator<Item = &'i [u8]> + use<'a, 'i> {
        let (mut rest, mut turn) = (input, 0);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let length = match self.0 {
                [] => rest.len(),
                lengths => usize::from(lengths[turn % lengths.len()]).max(1),
            };
            turn += 1;
            let (piece, after) = rest.split_at(length.min(rest.len()));
            rest = after;
            Some(piece)
        })
    }
}
