//! The fuzz targets on stable: each plays its kept corpus, then mutations of it (`fuzz/` runs the same functions under
//! libFuzzer).
//!
//! `FUZZ_SECONDS=60` goes on with mutations for so long; without it there are a few of them.

mod targets;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target)
}

/// Plays the corpus of a target and `cases` mutations.
fn fuzz(target: &str, cases: u32, run: fn(&[u8])) {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder("corpus", target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "only {} inputs are kept for {target}", paths.len());
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    for (path, input) in paths.iter().zip(&corpus) {
        catch_unwind(AssertUnwindSafe(|| run(input)))
            .unwrap_or_else(|_| panic!("see above: {}", path.display()));
    }
    let seconds =
        std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse().expect("FUZZ_SECONDS is a number"));
    let time = Duration::from_secs(seconds.unwrap_or(0));
    let start = Instant::now();
    let inputs = mutations(corpus, dictionary(target));
    loop {
        // In the suite always the same ones: what is found is found on purpose, with FUZZ_SECONDS or by libFuzzer.
        let rng_seed = if seconds.is_none() { RngSeed::Fixed(4711) } else { RngSeed::Random };
        let mut runner =
            TestRunner::new(Config { cases, rng_seed, failure_persistence: None, ..Config::default() });
        match runner.run(&inputs, |input| {
            run(&input);
            Ok(())
        }) {
            Ok(()) => {}
            Err(TestError::Fail(why, input)) => {
                panic!("{why}; keep the input in fuzz/corpus/{target}: b\"{}\"", input.escape_ascii())
            }
            Err(error) => panic!("{error}"),
        }
        if start.elapsed() >= time {
            return;
        }
    }
}

/// The words that an input may be made of: one a line, in quotes, as libFuzzer takes them.
fn dictionary(target: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(folder("dictionaries", target)).unwrap();
    let words = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    words.map(unescape).collect()
}

/// `\xAB`, `\\` and `\"`.
fn unescape(word: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), word.as_bytes());
    while let [first, after @ ..] = rest {
        (bytes, rest) = match (first, after) {
            (b'\\', [b'x', digits @ ..]) => {
                let code = std::str::from_utf8(&digits[..2]).unwrap();
                bytes.push(u8::from_str_radix(code, 16).unwrap());
                (bytes, &digits[2..])
            }
            (b'\\', [escaped, after @ ..]) => {
                bytes.push(*escaped);
                (bytes, after)
            }
            _ => {
                bytes.push(*first);
                (bytes, after)
            }
        };
    }
    bytes
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Replace(Index, u8),
    /// A part of it again, elsewhere.
    Repeat(Index, usize, Index),
}

fn mutations(corpus: Vec<Vec<u8>>, dictionary: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let place = any::<Index>;
    let edit = prop_oneof![
        3 => (place(), select(dictionary)).prop_map(|(at, word)| Edit::Insert(at, word)),
        1 => (place(), prop::collection::vec(any::<u8>(), 1..5)).prop_map(|(at, any)| Edit::Insert(at, any)),
        2 => (place(), 1usize..20).prop_map(|(at, length)| Edit::Remove(at, length)),
        2 => (place(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        1 => (place(), 1usize..50, place()).prop_map(|(from, length, to)| Edit::Repeat(from, length, to)),
    ];
    let other = select(corpus.clone());
    let spliced = prop::option::weighted(0.2, (other, place(), place()));
    (select(corpus), spliced, prop::collection::vec(edit, 0..8)).prop_map(|(mut input, spliced, edits)| {
        if let Some((other, here, there)) = spliced {
            input.truncate(here.index(input.len() + 1));
            input.extend_from_slice(&other[there.index(other.len() + 1)..]);
        }
        edits.iter().for_each(|edit| edit.apply(&mut input));
        input
    })
}

impl Edit {
    fn apply(&self, input: &mut Vec<u8>) {
        let at = |place: &Index| place.index(input.len() + 1);
        let part = |place: &Index, length: usize| at(place)..(at(place) + length).min(input.len());
        match self {
            Edit::Insert(place, bytes) => drop(input.splice(at(place)..at(place), bytes.iter().copied())),
            Edit::Remove(place, length) => drop(input.drain(part(place, *length))),
            Edit::Replace(place, byte) => {
                let at = at(place);
                if let Some(replaced) = input.get_mut(at) {
                    *replaced = *byte;
                }
            }
            Edit::Repeat(from, length, to) => {
                let repeated = input[part(from, *length)].to_vec();
                drop(input.splice(at(to)..at(to), repeated));
            }
        }
    }
}

#[test]
fn command_lines() {
    fuzz("commands", 2_000, targets::commands::run);
}

#[test]
fn content() {
    fuzz("content", 2_000, targets::content::run);
}

#[test]
fn replies() {
    fuzz("replies", 1_000, targets::replies::run);
}

#[test]
fn configuration() {
    fuzz("configuration", 200, targets::configuration::run);
}

#[test]
fn stored_records() {
    fuzz("records", 100, targets::records::run);
}

#[test]
fn headers() {
    fuzz("header", 1_000, targets::header::run);
}

#[test]
fn changes_of_headers() {
    fuzz("changes", 1_000, targets::changes::run);
}

#[test]
fn challenges_of_logins() {
    fuzz("challenges", 2_000, targets::challenges::run);
}

#[test]
fn filters() {
    fuzz("filter", 3_000, targets::filter::run);
}
